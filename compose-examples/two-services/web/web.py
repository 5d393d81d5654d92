"""Asks the api service, by its name, for the text of its page."""

import json
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen


def ask_api(patience=5):
    """The api's answer; depends_on only says that it was started first, so it may not listen yet."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with urlopen("http://api:80/", timeout=patience) as response:
                return json.load(response)
        except URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = ask_api()
        page = f"<h1>{answer['text']}</h1>\n<p>visit {answer['visits']}</p>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


print("web listens on port 80 in", Path.cwd())
HTTPServer(("0.0.0.0", 80), Handler).serve_forever()
