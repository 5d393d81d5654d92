"""Passes on the readings above a threshold. Standard error is the log: the output is a pipe."""

import json
import os
import sys

threshold = float(os.environ.get("THRESHOLD", "0"))
print(f"passing on what is above {threshold}", file=sys.stderr)
for line in sys.stdin:
    reading = json.loads(line)
    if reading["value"] > threshold:
        print(json.dumps(reading), flush=True)
