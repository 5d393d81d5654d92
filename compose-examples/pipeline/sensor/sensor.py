"""Reads a sensor, here a make-believe one, and writes one JSON object a line."""

import json
import math
import os
import time

pause = float(os.environ.get("SECONDS_BETWEEN", "1"))
number = 0
while True:
    print(json.dumps({"number": number, "value": round(math.sin(number / 10), 3)}), flush=True)
    number += 1
    time.sleep(pause)
