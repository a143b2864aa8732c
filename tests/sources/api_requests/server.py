"""A real server of Server-Sent Events on the loopback, which a test scripts one connection at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOLD = object()  # keep the connection open and say nothing


@dataclass
class Script:
    """What the server does with each connection in turn: a status, or what it sends before it closes."""

    connections: Sequence[Any]
    requests: list[dict[str, str | None]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def sse(*values: Any, event_id: str | None = None) -> bytes:
    head = b"" if event_id is None else f"id: {event_id}\n".encode()
    return b"".join(head + b"event: message\ndata: " + json.dumps(value).encode() + b"\n\n" for value in values)


@contextmanager
def serve(*connections: Any, port: int = 0) -> Iterator[tuple[str, Script]]:
    """The address of a running server, and what it was asked."""
    script = Script(connections)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = len(script.requests)
            script.requests.append({"path": self.path, "last_id": self.headers.get("Last-Event-ID")})
            act = script.connections[number] if number < len(script.connections) else 204
            if isinstance(act, int):
                self.send_response(act)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.end_headers()
            for piece in act:
                if piece is HOLD:
                    script.stop.wait(10)
                    return
                self.wfile.write(piece)
                self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/sse/analytics", script
    finally:
        script.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
