"""Stands before a real service and spoils its answers in one way, as a faulty service or proxy would."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

Spoil = Callable[[int, dict[str, Any]], tuple[int, dict[str, Any]]]


@contextmanager
def before(url: str, spoil: Spoil) -> Iterator[str]:
    """The proxy's URL. spoil: status and body of an inspection's answer -> those that the client gets."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            names = ("Content-Type", "X-API-Key")
            headers = {n: self.headers[n] for n in names if self.headers[n]}
            answer = httpx.post(f"{url}{self.path}", content=body, headers=headers, timeout=30)
            status, spoiled = spoil(answer.status_code, answer.json())
            sent = json.dumps(spoiled).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
