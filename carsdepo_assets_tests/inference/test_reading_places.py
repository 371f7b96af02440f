"""inference/reading_places.py, commands/serving.py: slow and hostile senders keep nobody out."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from carsdepo_assets.commands.serving import HEADER_BYTES
from carsdepo_assets.inference import reading_places
from carsdepo_assets.inference.reading_places import Reading, ReadingPlaces
from carsdepo_assets.inference.requests import Refused
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.served_models import deploy, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model

pytestmark = pytest.mark.slow

HOSTILE, GOOD, REQUESTS = 100, 8, 10


async def held(places: ReadingPlaces, client: str, received: int, until: asyncio.Event) -> str:
    """Holds a place with so many bytes; how it ended."""
    try:
        async with places.one(client) as reading:
            reading.received = received
            await until.wait()
    except Refused as refused:
        return f"{refused.status} {refused.reason}"
    return "read"


async def ends_of(holders: list[tuple[str, int]], newcomer: str, places: int) -> tuple[list[str], str]:
    """How holders of places (client, bytes) and a newcomer end, where there are so many places."""
    there, until = ReadingPlaces(places), asyncio.Event()
    tasks = [asyncio.create_task(held(there, client, received, until)) for client, received in holders]
    await asyncio.sleep(2 * reading_places.SETTLED_S)
    last = asyncio.create_task(held(there, newcomer, 10**9, until))
    await asyncio.sleep(0.05)
    until.set()
    return [await task for task in tasks], await last


FAST = 10**8
BUSY, TOO_SLOW = "503 busy", "408 too_slow"


@pytest.mark.parametrize(
    ("holders", "newcomer", "expected"),
    [
        ([("a", FAST), ("b", FAST)], "c", (["read", "read"], "read")),  # a place is free
        ([("a", FAST), ("b", 9), ("b", 99)], "c", (["read", BUSY, "read"], "read")),  # the slowest loses its place
        ([("a", 9), ("b", 99), ("b", 100)], "c", (["read", BUSY, "read"], "read")),  # of who holds most
        ([("a", FAST), ("b", FAST), ("c", FAST)], "d", (["read"] * 3, BUSY)),  # nobody is slow or greedy
        ([("a", FAST), ("a", FAST), ("a", FAST + 1)], "b", ([BUSY, "read", "read"], "read")),  # more than its share
        ([("a", FAST), ("a", FAST), ("a", FAST)], "a", (["read"] * 3, BUSY)),
    ],
)
def test_who_loses_a_place(holders: list[tuple[str, int]], newcomer: str, expected: tuple[list[str], str]) -> None:
    assert asyncio.run(ends_of(holders, newcomer, places=3)) == expected


def test_each_byte_moves_the_limit_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_places, "GRACE_S", 0.2)
    monkeypatch.setattr(reading_places, "LEAST_RATE", 10)

    async def read(sizes: list[int]) -> str:
        """Bodies of the sizes, 0.15 s apart."""

        async def receive() -> dict[str, object]:
            await asyncio.sleep(0.15)
            return {"type": "http.request", "body": b"x" * sizes.pop(0), "more_body": bool(sizes)}

        try:
            async with ReadingPlaces(1).one("a") as reading:
                assert isinstance(reading, Reading)
                body = await reading.counted(Request({"type": "http"}, receive)).body()  # type: ignore[arg-type]
        except Refused as refused:
            return f"{refused.status} {refused.reason}"
        return str(len(body))

    assert asyncio.run(read([10, 10, 10])) == "30"
    assert asyncio.run(read([0, 0, 0])) == TOO_SLOW


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    settings = settings_of(tmp_path)
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "a")
    deploy(lake, "production", digest)
    with service(settings) as running:
        running.serves(digest)
        yield running.url


def connected(url: str, source: str = "127.0.0.1") -> socket.socket:
    target = httpx.URL(url)
    return socket.create_connection((target.host, target.port or 80), timeout=30, source_address=(source, 0))


@pytest.mark.slow
def test_an_endless_header_is_cut_off(url: str) -> None:
    with connected(url) as endless, suppress(ConnectionError):
        endless.sendall(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Endless: ")
        sent = 0
        while sent < 100 * HEADER_BYTES:  # the connection is closed long before
            endless.sendall(b"a" * 4096)
            sent += 4096
        assert endless.recv(65536).startswith(b"HTTP/1.1 4")
    assert httpx.get(f"{url}/ping").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("sources", [1, HOSTILE], ids=["one address", "an address each"])
def test_a_hundred_bodies_of_a_few_bytes_refuse_no_good_request(url: str, sources: int) -> None:
    stop, answers = threading.Event(), []
    with ExitStack() as held_open:
        for n in range(HOSTILE):
            hostile = held_open.enter_context(connected(url, f"127.0.1.{1 + n % sources}"))
            hostile.sendall(
                b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: 1000000\r\n\r\nfew"
            )
        stop.wait(2 * reading_places.SETTLED_S)

        def good(n: int) -> None:
            transport = httpx.HTTPTransport(local_address=f"127.0.2.{n + 1}")
            with httpx.Client(base_url=url, transport=transport, timeout=60) as client:
                for k in range(REQUESTS):
                    files = {"photographs": ("a.jpg", photograph(n * REQUESTS + k), "image/jpeg")}
                    answers.append(client.post("/v1/inspections", files=files).status_code)

        clients = [threading.Thread(target=good, args=(n,)) for n in range(GOOD)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert answers == [200] * (GOOD * REQUESTS)
