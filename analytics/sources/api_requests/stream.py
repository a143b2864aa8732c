"""A bounded read of a live stream of Server-Sent Events, with reconnect.

The standard library's HTTP client is enough: one connection, one GET, lines until the time is up. When
the connection ends, for whatever reason, it is made again after 1 s, then 2 s, up to 30 s; a message
sets the wait back. Clock and sleep are given, so that tests need neither.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
_EVENT_STREAM = "text/event-stream"
_NO_CONTENT = 204
_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429
_UNFIT_FOR_HEADERS = re.compile(rb"[\0\r]")


class Message(NamedTuple):
    """One event of a stream: its data, and the id to resume after where the server gives one."""

    data: bytes
    last_id: str | None


class StreamRefused(Exception):
    """The server answers, and trying again will not help."""


@dataclass
class EventStream:
    """Reads one endpoint for at most `seconds`. `problem` says what the last connection failed of."""

    url: str
    seconds: float
    max_bytes: int
    last_id: str | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    problem: str | None = None
    connection_count: int = 0
    oversized_count: int = 0

    def read(self) -> Iterator[Message]:
        """Messages until the time is up, the server ends the stream for good (204), or refuses it (4xx)."""
        deadline = self.clock() + self.seconds
        wait = FIRST_WAIT_S
        while (left := deadline - self.clock()) > 0:
            try:
                for message in self._read_once(left, deadline):
                    wait = FIRST_WAIT_S
                    yield message
            except StreamRefused as refused:
                self.problem = str(refused) or None
                return
            except (OSError, http.client.HTTPException) as error:
                self.problem = _explain(error)
            if (left := deadline - self.clock()) <= 0:
                return
            self.sleep(min(wait, left))
            wait = min(wait * 2, LONGEST_WAIT_S)

    def _read_once(self, left: float, deadline: float) -> Iterator[Message]:
        target = urlsplit(self.url)
        connection = _connect(target, min(left, CONNECT_TIMEOUT_S))
        try:
            headers = {"Accept": _EVENT_STREAM, "Cache-Control": "no-store"}
            if self.last_id is not None:
                headers["Last-Event-ID"] = self.last_id
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
            connection.request("GET", path, headers=headers)
            socket = connection.sock
            response = connection.getresponse()
            _check(response)
            self.connection_count += 1
            self.problem = None
            yield from self._parse(response, socket, deadline)
        finally:
            connection.close()

    def _parse(self, response: http.client.HTTPResponse, socket: object, deadline: float) -> Iterator[Message]:
        """The messages of one connection: fields a line, a message at each empty one.

        An id counts with its message's end: one that the connection cut off is to be sent again.
        """
        data: list[bytes] = []
        last_id = self.last_id
        size = 0
        while (left := deadline - self.clock()) > 0:
            _set_timeout(socket, left)
            try:
                line = response.readline(self.max_bytes + 1)
            except TimeoutError:
                return  # the time is up
            if not line:
                return
            text = line.rstrip(b"\r\n")
            if text:
                size += len(line)
                name, _, value = text.partition(b":")
                value = value.removeprefix(b" ")
                if name == b"data" and size <= self.max_bytes:
                    data.append(value)
                elif name == b"id" and not _UNFIT_FOR_HEADERS.search(value):
                    last_id = value.decode("latin-1")[:200] or None
                continue
            self.last_id = last_id
            if size > self.max_bytes:
                self.oversized_count += 1
            elif data:
                yield Message(b"\n".join(data), self.last_id)
            data, size = [], 0


def _connect(target: SplitResult, timeout: float) -> http.client.HTTPConnection:
    host = target.hostname or ""
    if target.scheme == "https":
        return http.client.HTTPSConnection(host, target.port, timeout=timeout, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, target.port, timeout=timeout)


def _set_timeout(socket: object, seconds: float) -> None:
    # http.client lets go of the socket when the server will close it; the response reads on from it.
    if (set_timeout := getattr(socket, "settimeout", None)) is not None:
        set_timeout(max(seconds, 0.001))


def _check(response: http.client.HTTPResponse) -> None:
    if response.status == _NO_CONTENT:
        raise StreamRefused
    if response.status >= _SERVER_ERROR or response.status == _TOO_MANY_REQUESTS:
        raise http.client.HTTPException(f"the server answers {response.status}")
    if response.status != http.client.OK:
        raise StreamRefused(f"the server answers {response.status}")
    if not (response.getheader("Content-Type") or "").lower().startswith(_EVENT_STREAM):
        raise StreamRefused("the server does not answer with a stream of events")


def _explain(error: Exception) -> str:
    """A reason without addresses: they may hold names of machines."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.HTTPException):
        return str(error) if str(error).startswith("the server") else "the connection broke"
    return getattr(error, "strerror", None) or "the connection broke"
