"""Collects the readings that come in and shows them on port 80: the place to send them on from."""

import json
import os
import selectors
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

readings = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"count": len(readings), "last": readings[-3:]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


def take_lines(data):
    *lines, rest = data.split(b"\n")
    for line in lines:
        readings.append(json.loads(line))
        print("uploaded", line.decode(), flush=True)
    return rest


server = HTTPServer(("", 80), Handler)
waiting = selectors.DefaultSelector()
waiting.register(sys.stdin, selectors.EVENT_READ)
waiting.register(server, selectors.EVENT_READ)
rest = b""
while True:
    for key, _ in waiting.select():
        if key.fileobj is server:
            server.handle_request()
        elif data := os.read(sys.stdin.fileno(), 4096):
            rest = take_lines(rest + data)
        else:
            print("the input has ended", flush=True)
            waiting.unregister(sys.stdin)
