"""inference/connections.py: connections that send no request are closed, and keep no other out."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from carsdepo_assets.inference import connections
from carsdepo_assets.inference.connections import Connections
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.served_models import deploy, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


async def _echo(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Answers with the body, after as long as the path says."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await asyncio.sleep(float(scope["path"][1:] or 0))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(most: int) -> Iterator[tuple[int, Connections]]:
    """The port of a server with these limits."""
    limits = Connections(most)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(_echo, http=limits.protocol, lifespan="off", log_config=None, timeout_keep_alive=60)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1], limits
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def connected(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))


def is_closed(connection: socket.socket) -> bool:
    """Waits until the server ends the connection; False where it sends something."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.4)


@pytest.mark.usefixtures("impatient")
def test_a_head_that_does_not_arrive_in_time_ends_the_connection() -> None:
    with serving(100) as (port, limits), ExitStack() as held:
        silent, dripping, again = (held.enter_context(connected(port)) for _ in range(3))
        again.sendall(HEAD + b"body")
        assert again.recv(1000).endswith(b"body")
        again.sendall(HEAD[:20])  # the next request on it
        ended = threading.Event()

        def drip() -> None:
            for i in range(len(HEAD)):
                try:
                    dripping.sendall(HEAD[i : i + 1])
                except OSError:
                    return
                if ended.wait(0.05):
                    return

        dripper = threading.Thread(target=drip)
        dripper.start()
        assert [is_closed(c) for c in (silent, dripping, again)] == [True] * 3
        ended.set()
        dripper.join()
        assert limits.too_slow == 3


@pytest.mark.usefixtures("impatient")
def test_a_slow_body_and_a_slow_answer_are_not_cut_off_here() -> None:
    with serving(100) as (port, limits), connected(port) as slow:
        slow.sendall(HEAD.replace(b"POST / ", b"POST /1 ") + b"bo")
        threading.Event().wait(1.0)
        slow.sendall(b"dy")
        assert slow.recv(1000).endswith(b"body")
        assert limits.too_slow == 0


def test_a_new_connection_takes_the_place_of_the_greediest_address_that_sends_nothing() -> None:
    with serving(8) as (port, limits), ExitStack() as held:
        modest = held.enter_context(connected(port, "127.0.1.1"))
        greedy = [held.enter_context(connected(port, "127.0.1.2")) for _ in range(20)]
        for _ in range(4):
            with connected(port, "127.0.1.3") as good:
                good.sendall(HEAD + b"body")
                assert good.recv(1000).endswith(b"body")
        modest.sendall(HEAD + b"body")
        assert modest.recv(1000).endswith(b"body")
        assert limits.displaced >= 13
        assert is_closed(greedy[0])
        assert limits.refused == 0


def test_where_all_are_busy_a_new_connection_is_refused() -> None:
    with serving(2) as (port, limits), ExitStack() as held:
        busy = [held.enter_context(connected(port)) for _ in range(2)]
        for connection in busy:
            connection.sendall(HEAD.replace(b"POST / ", b"POST /1 ") + b"body")
        with connected(port) as late:
            assert is_closed(late)
        assert [c.recv(1000)[-4:] for c in busy] == [b"body"] * 2
        assert (limits.refused, limits.displaced) == (1, 0)


@pytest.mark.slow
def test_more_silent_connections_than_open_files_refuse_no_good_request(tmp_path: Path) -> None:
    """500 open files for the service, 1,000 silent connections of two addresses, and eight good clients."""
    settings = settings_of(tmp_path)
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "a")
    deploy(lake, "production", digest)
    with service(settings, most_files=500) as running, ExitStack() as held:
        running.serves(digest)
        target = httpx.URL(running.url)
        answers: list[int] = []
        for n in range(1000):
            held.enter_context(connected(int(target.port or 0), f"127.0.1.{1 + n % 2}"))

        def good(n: int) -> None:
            transport = httpx.HTTPTransport(local_address=f"127.0.2.{n + 1}")
            with httpx.Client(base_url=running.url, transport=transport, timeout=60) as client:
                for k in range(10):
                    files = {"photographs": ("a.jpg", photograph(n * 10 + k), "image/jpeg")}
                    answers.append(client.post("/v1/inspections", files=files).status_code)

        clients = [threading.Thread(target=good, args=(n,)) for n in range(8)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert answers == [200] * 80
        assert "Too many open files" not in running.log.read_text()
