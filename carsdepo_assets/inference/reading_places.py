"""Lets a number of requests send their bodies at a time, so that slow or hostile senders keep nobody out.

A body has to arrive at a least rate. When all places are taken, a new request gets the place of a sender that is slower
than that, or of the client that holds more than its share. For the event loop only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.types import Message

from carsdepo_assets.inference.requests import RETRY_AFTER_S, Refused

GRACE_S = 10.0  # seconds that a body may take whatever its size
LEAST_RATE = 32 * 2**10  # bytes a second beyond them
SETTLED_S = 0.25  # seconds before a sender's rate says anything


class Reading:
    """A body that is arriving."""

    def __init__(self, client: str, now: float) -> None:
        self.client, self.started, self.received = client, now, 0
        self.displaced = False
        self.limit: asyncio.Timeout | None = None

    def rate(self, now: float) -> float:
        """Bytes a second so far."""
        return self.received / max(now - self.started, 1e-9)

    def is_slow(self, now: float) -> bool:
        """Whether the body has been arriving for a while at less than the least rate."""
        return now - self.started > SETTLED_S and self.rate(now) < LEAST_RATE

    def counted(self, request: Request) -> Request:
        """The same request; the bytes of its body are counted, and each moves the time limit on."""
        receive = request.receive

        async def counting() -> Message:
            message = await receive()
            self.received += len(message.get("body", b""))
            if self.limit is not None and not self.displaced:
                self.limit.reschedule(self.started + GRACE_S + self.received / LEAST_RATE)
            return message

        return Request(request.scope, counting)


class ReadingPlaces:
    """The places for bodies that are arriving."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._readings: set[Reading] = set()

    @asynccontextmanager
    async def one(self, client: str) -> AsyncIterator[Reading]:
        """A place for a client's body.

        Args:
            client: The address that the request comes from.

        Raises:
            Refused: 503 where no place is free and none can be taken from another, or where this one is taken for
                another; 408 where the body arrives too slowly.
        """
        loop = asyncio.get_running_loop()
        if len(self._readings) >= self._places:
            self._displace(client, loop.time())
        reading = Reading(client, loop.time())
        self._readings.add(reading)
        try:
            async with asyncio.timeout(GRACE_S) as reading.limit:
                yield reading
        except TimeoutError as error:
            if reading.displaced:
                raise _busy() from error
            raise Refused(
                408, "too_slow", f"after {GRACE_S:g} s a body must have come at {LEAST_RATE} bytes a second or more"
            ) from error
        finally:
            self._readings.discard(reading)

    def _displace(self, client: str, now: float) -> None:
        """Takes the place of the slowest sender that may lose it; raises Refused where there is none."""
        held = Counter(r.client for r in self._readings)
        share = self._places / len({*held, client})
        greedy = {c for c, count in held.items() if count > share >= held[client] + 1}
        losers = [r for r in self._readings if not r.displaced and (r.is_slow(now) or r.client in greedy)]
        if not losers:
            raise _busy()
        loser = min(losers, key=lambda r: (-held[r.client], r.rate(now)))
        loser.displaced = True
        self._readings.discard(loser)
        assert loser.limit is not None
        loser.limit.reschedule(now)


def _busy() -> Refused:
    return Refused(503, "busy", "too many requests are being read: try again", RETRY_AFTER_S)
