"""Counts its visitors, keeps the count in the shared volume and answers JSON."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COUNTER = Path("/data/x")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        visits = int(COUNTER.read_text()) + 1 if COUNTER.exists() else 1
        COUNTER.write_text(f"{visits}\n")
        body = json.dumps({"text": f"{os.environ['GREETING']} from api", "visits": visits}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


print("api listens on port 80 in", Path.cwd())
ThreadingHTTPServer(("", 80), Handler).serve_forever()
