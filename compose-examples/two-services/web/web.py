"""Asks the api service, by its name, for the text of its page."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import urlopen


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with urlopen("http://api:80/", timeout=5) as response:
            answer = json.load(response)
        page = f"<h1>{answer['text']}</h1>\n<p>visit {answer['visits']}</p>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


print("web listens on port 80 in", Path.cwd())
HTTPServer(("0.0.0.0", 80), Handler).serve_forever()
