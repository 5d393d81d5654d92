"""A small web server with nothing but the standard library."""

import argparse
from http.server import BaseHTTPRequestHandler, HTTPServer

PAGE = b"""<!doctype html>
<title>hello</title>
<h1>Hello from Python</h1>
"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-p", "--port", type=int, default=8000)
    arguments = parser.parse_args()
    server = HTTPServer(("", arguments.port), Handler)
    print(f"Serving on port {arguments.port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
