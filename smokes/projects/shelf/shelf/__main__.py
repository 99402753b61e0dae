"""Serve them: python3 -m shelf PORT"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shelf import books

GREETING = "shelf 1.0"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        pages = {"/health": lambda: GREETING, "/books": lambda: json.dumps(books("shelf.db"))}
        page = pages.get(self.path)
        body = (page() if page else "not found").encode()
        self.send_response(200 if page else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    print("shelf is open", flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
