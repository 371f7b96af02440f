"""Limits the connections of a service, so that those that send no request keep nobody out.

The head of a request (its line and headers) must arrive within a time, also on a connection that is used again. When
as many connections are open as the process may have, a new one takes the place of one whose request has not arrived:
of the client address that holds most of them, the oldest. For the event loop of one server only.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0  # seconds for the head of a request
BACKLOG = 128  # connections that are accepted before the first of them is looked at
_FILES = 256  # for the lake, models, logs and the threads that write
_MOST = 4096


class Connections:
    """The open connections of one server.

    Args:
        most: How many may be open at a time.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        # Closed since the head took too long; for a newer one; at once, since all others were busy.
        self.too_slow = self.displaced = self.refused = 0
        self._open: set[LimitedH11] = set()
        self._waiting: dict[LimitedH11, None] = {}  # for a request's head; the oldest first

    def open(self, connection: LimitedH11) -> bool:
        """Counts a new connection, and closes another where there are too many.

        Returns:
            False where every one of them has a request under way: the new one is to be closed.
        """
        if len(self._open) >= self.most:
            if not self._waiting:
                self.refused += 1
                return False
            held = Counter(c.address for c in self._waiting)
            greediest = max(held.values())
            loser = next(c for c in self._waiting if held[c.address] == greediest)
            self.displaced += 1
            loser.drop()
        self._open.add(connection)
        return True

    def waits(self, connection: LimitedH11, is_waiting: bool) -> None:
        """Notes whether a connection waits for the head of a request."""
        if not is_waiting:
            self._waiting.pop(connection, None)
        elif connection in self._open:
            self._waiting.setdefault(connection)

    def close(self, connection: LimitedH11) -> None:
        """Forgets a connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def protocol(self, *args: Any, **kwargs: Any) -> LimitedH11:
        """Makes the protocol of a new connection, as uvicorn asks for it."""
        return LimitedH11(self, *args, **kwargs)


class LimitedH11(H11Protocol):
    """uvicorn's protocol with a time limit on the head of each request."""

    def __init__(self, connections: Connections, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.address = ""
        self._all = connections
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a place, or ends the connection where there is none."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if self._all.open(self):
            self._look()
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Passes data on, and looks whether the head is whole."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Waits for the head of the next request, where the connection is kept."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives the place back."""
        self._stop()
        self._all.close(self)
        super().connection_lost(exc)

    def drop(self) -> None:
        """Ends the connection at once."""
        self._stop()
        self._all.close(self)
        self.transport.abort()

    def _look(self) -> None:
        waiting = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        self._all.waits(self, waiting)
        if not waiting:
            self._stop()
        elif self._limit is None:
            self._limit = self.loop.call_later(HEAD_S, self._too_slow)

    def _stop(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _too_slow(self) -> None:
        self._all.too_slow += 1
        self.drop()


def allow_connections() -> None:
    """Raises this process's limit of open files towards what the most connections need, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST + BACKLOG + _FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def most_connections() -> int:
    """How many connections leave room for the files that the process opens besides."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if files == resource.RLIM_INFINITY else max(32, min(_MOST, files - BACKLOG - _FILES))
