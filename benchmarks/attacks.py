"""What hostile clients cost the good ones: memory, refused and failed requests, and their time, attack by attack.

A service of production with YOLOv8n (320 pixels, random weights) serves eight good clients, each on an address of its
own, that send one photograph after the other; first without, then beside each attack, in the same run.
"""

from __future__ import annotations

import io
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from benchmarks.image_pipeline import photograph
from benchmarks.rollback import await_served, exported_models, free_port, service
from benchmarks.temporary_home import temporary_home
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.settings import Settings

CLIENTS, SECONDS, HOSTILE = 8, 20.0, 100
_HEAD = "POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n"

Attack = Callable[[Settings, threading.Event], None]


@dataclass
class _Period:
    """What happened to the good clients during one attack, or without one."""

    seconds: list[float] = field(default_factory=list)
    """of each answer"""
    failures: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    """resident memory of the service and its processes, at most"""


def run() -> list[dict[str, Any]]:
    """Rows {name, value, unit, against, ratio}: for each attack the memory, time and failures of good requests."""
    rows: list[dict[str, Any]] = []
    with temporary_home() as settings, tempfile.TemporaryDirectory() as logs:
        settings = settings.model_copy(update={"production_port": free_port()})
        digest = exported_models(settings)[0]
        lake = Lake.open(settings.lake)
        ledger.record(lake, "production", "promote", digest=digest, version=1, actor="benchmark", reason="measured")
        with service(settings, Path(logs, "service.log")) as started:
            process = psutil.Process(started.pid)
            await_served(settings, digest)
            _period(settings, process, None)  # warms up
            normal = _period(settings, process, None)
            usual = statistics.median(normal.seconds)
            for name, attack in ATTACKS.items():
                under = _period(settings, process, attack)
                time.sleep(2)
                median = statistics.median(under.seconds) if under.seconds else float("nan")
                rows += [
                    {
                        "name": f"{name}: memory",
                        "value": round(under.peak_mb),
                        "unit": "MB",
                        "against": f"without: {normal.peak_mb:.0f} MB",
                        "ratio": round(under.peak_mb / normal.peak_mb, 2),
                    },
                    {
                        "name": f"{name}: a good request, median",
                        "value": round(1000 * median),
                        "unit": "ms",
                        "against": f"without: {1000 * usual:.0f} ms",
                        "ratio": round(median / usual, 2),
                    },
                    {
                        "name": f"{name}: good requests that failed",
                        "value": len(under.failures),
                        "unit": f"of {len(under.failures) + len(under.seconds)}",
                        "against": under.failures[0][:60] if under.failures else "",
                        "ratio": None,
                    },
                ]
    return rows


def _period(settings: Settings, process: psutil.Process, attack: Attack | None) -> _Period:
    period, ended = _Period(), threading.Event()
    with ExitStack() as stack:
        if attack is not None:
            hostile = threading.Thread(target=attack, args=(settings, ended))
            hostile.start()
            stack.callback(hostile.join)
            time.sleep(1)
        clients = [threading.Thread(target=_client, args=(settings, n, period, ended)) for n in range(CLIENTS)]
        for client in clients:
            client.start()
            stack.callback(client.join)
        stack.callback(ended.set)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            period.peak_mb = max(period.peak_mb, _memory(process))
            time.sleep(0.05)
    return period


def _client(settings: Settings, number: int, period: _Period, ended: threading.Event) -> None:
    bodies = [photograph(seed) for seed in range(8)]
    transport = httpx.HTTPTransport(local_address=f"127.0.2.{number + 1}")
    with httpx.Client(base_url=settings.service_url("production"), transport=transport, timeout=60) as http:
        for turn in range(10**9):
            if ended.is_set():
                return
            started = time.perf_counter()
            files = {"photographs": ("a.jpg", bodies[turn % len(bodies)], "image/jpeg")}
            try:
                answer = http.post("/v1/inspections", files=files)
            except httpx.HTTPError as error:
                period.failures.append(type(error).__name__)
                continue
            if answer.status_code == 200:
                period.seconds.append(time.perf_counter() - started)
            else:
                period.failures.append(f"{answer.status_code} {answer.text}")


def _memory(process: psutil.Process) -> float:
    total = 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            total += one.memory_info().rss
    return total / 2**20


def _png(width: int, height: int, mode: str) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height)).save(out, "PNG")
    return out.getvalue()


def _at_once(count: int, work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(work) for _ in range(count)]:
            future.result()


def _senders(count: int, send: Callable[[httpx.Client], object]) -> Attack:
    """That many clients of one address that send it again and again, whatever the answer is."""

    def attack(settings: Settings, ended: threading.Event) -> None:
        def one() -> None:
            transport = httpx.HTTPTransport(local_address="127.0.1.1")
            with httpx.Client(base_url=settings.service_url("production"), transport=transport, timeout=60) as http:
                while not ended.is_set():
                    with suppress(httpx.HTTPError):
                        send(http)

        _at_once(count, one)

    return attack


def _bombs(mode: str, photographs: int) -> Attack:
    bomb = _png(7000, 7000, mode)
    files = [("photographs", (f"{n}.png", bomb, "image/png")) for n in range(photographs)]
    return _senders(4, lambda http: http.post("/v1/inspections", files=files))


def _connections(head: str) -> Attack:
    """Connections that send this and then nothing; one that is closed comes again."""

    def attack(settings: Settings, ended: threading.Event) -> None:
        def one() -> None:
            while not ended.is_set():
                with (
                    suppress(OSError),
                    socket.create_connection(
                        ("127.0.0.1", settings.production_port), timeout=1, source_address=("127.0.1.1", 0)
                    ) as connection,
                ):
                    connection.sendall(head.encode())
                    while not ended.is_set():
                        try:
                            if not connection.recv(1000):
                                break
                        except TimeoutError:
                            continue

        _at_once(HOSTILE, one)

    return attack


def _leaving(settings: Settings, ended: threading.Event) -> None:
    """Six clients that send a photograph of nearly 16 megapixels and close the connection while it is decoded."""
    bomb = _png(4000, 3990, "RGB")

    def one() -> None:
        while not ended.is_set():
            with (
                suppress(OSError),
                socket.create_connection(
                    ("127.0.0.1", settings.production_port), timeout=5, source_address=("127.0.1.1", 0)
                ) as connection,
            ):
                connection.sendall(_HEAD.format(len(bomb)).encode() + bomb)
                ended.wait(0.4)

    _at_once(6, one)


def _endless(settings: Settings, ended: threading.Event) -> None:
    """A header that never ends, again and again."""
    while not ended.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", settings.production_port), timeout=5) as one:
            one.sendall(b"GET /ping HTTP/1.1\r\nX-Endless: ")
            for _ in range(640):
                one.sendall(b"a" * 2**16)


ATTACKS: dict[str, Attack] = {
    "4 senders of grey PNG bombs (49 Mpx, 6 kB)": _bombs("L", 1),
    "4 senders of 4 colour PNG bombs (49 Mpx each)": _bombs("RGB", 4),
    "6 senders that leave while it is decoded (16 Mpx)": _leaving,
    "an endless header": _endless,
    f"{HOSTILE} bodies that stop": _connections(_HEAD.format(10**6) + "few"),
    f"{HOSTILE} silent connections": _connections(""),
}
