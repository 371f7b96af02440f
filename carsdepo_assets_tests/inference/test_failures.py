"""inference/app.py, inference/service.py: what a client is told when the disk is full or the model breaks."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from carsdepo_assets.inference import reading_places
from carsdepo_assets.inference.app import create_app
from carsdepo_assets.inference.ingest import waiting
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.served_models import CLIENT, deploy, photograph, settings_of
from carsdepo_assets_tests.inference.service_process import RedPixels, load_red_pixels, put_model

pytestmark = pytest.mark.slow

FILES = {"photographs": ("a.jpg", photograph(1), "image/jpeg")}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(settings_of(tmp_path).lake)


class Here:
    """The service in a thread of this process, so that a test can break what is below it."""

    def __init__(self, app: Any) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on"))
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()

    def get(self, path: str) -> httpx.Response:
        return CLIENT.get(f"http://127.0.0.1:{self.port}{path}")

    def post(self) -> httpx.Response:
        return CLIENT.post(f"http://127.0.0.1:{self.port}/v1/inspections", files=FILES)

    def end(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def client(tmp_path: Path, lake: Lake) -> Iterator[Here]:
    deploy(lake, "staging", put_model(lake, "a"))
    service = Here(create_app(settings_of(tmp_path), "staging", load_red_pixels))
    try:
        until(lambda: service.get("/ping").status_code == 200)
        yield service
    finally:
        service.end()


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def no_space(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_503_and_never_an_uncaptured_answer(
    client: Here, lake: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_space)
        answer = client.post()
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "not_captured")
    assert "Retry-After" in answer.headers
    assert "No space left" in caplog.text
    assert 'outcome="unavailable"' in client.get("/metrics").text
    assert client.post().status_code == 200
    client.end()  # closes the segment
    assert len(waiting(lake)) == 1
    assert len(lake.get(waiting(lake)[0].key).splitlines()) == 1


def test_a_photograph_that_cannot_be_kept_is_503_too(client: Here, lake: Lake) -> None:
    Path(lake.url, "capture").mkdir(exist_ok=True)
    in_the_way = Path(lake.url, "capture", "photographs")
    in_the_way.write_text("in the way")
    answer = client.post()
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "not_captured")
    assert waiting(lake) == []
    assert client.get("/ping").status_code == 503
    in_the_way.unlink()
    until(lambda: client.get("/ping").status_code == 200)


def test_a_full_disk_is_not_ready_but_alive_until_there_is_room_again(
    client: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It recovers without a request, since a service that is not ready gets none."""
    assert client.get("/readyz").json() == {"ready": True, "not_ready_because": []}
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_space)
        patch.setattr(os, "fsync", no_space)  # what a trial needs
        client.post()
        for _ in range(3):
            time.sleep(0.3)  # the trials of a full disk fail too
            answer = client.get("/readyz")
            assert (answer.status_code, client.get("/ping").status_code) == (503, 503)
            assert "cannot be captured" in answer.json()["not_ready_because"][0]
        health = client.get("/healthz")
        assert (health.status_code, health.json()["status"], health.json()["ready"]) == (200, "serving", False)
    until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/healthz").json()["ready"]
    assert client.post().status_code == 200


def test_a_lake_that_is_away_is_not_ready(client: Here, lake: Lake) -> None:
    away = Path(f"{lake.url}-away")
    Path(lake.url).rename(away)
    until(lambda: client.get("/readyz").status_code == 503)
    assert client.get("/healthz").status_code == 200
    shutil.rmtree(lake.url, ignore_errors=True)
    away.rename(lake.url)
    until(lambda: client.get("/readyz").status_code == 200)


def test_a_model_that_breaks_is_500_in_json_and_the_next_request_works(
    client: Here, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the network went mad")

    with monkeypatch.context() as patch:
        patch.setattr(RedPixels, "_one", broken)
        answer = client.post()
    assert (answer.status_code, answer.json()["error"]["reason"]) == (500, "failed")
    assert "mad" not in answer.text  # insides are for the log
    assert answer.json()["request_id"] in caplog.text
    assert client.post().status_code == 200


def test_a_client_that_never_ends_its_body_is_sent_away(client: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_places, "GRACE_S", 0.1)
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as slow:
        slow.sendall(b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
        assert slow.recv(65536).startswith(b"HTTP/1.1 408")
    assert client.post().status_code == 200


def test_work_ends_with_its_client(client: Here, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen photographs, and a client that leaves while the second one is inspected."""
    inspected, one = [], RedPixels._one

    def slowly(self: RedPixels, rgb: Any, min_score: float) -> Any:
        inspected.append(rgb.shape)
        time.sleep(0.2)
        return one(self, rgb, min_score)

    before = len(waiting(lake))
    with monkeypatch.context() as patch:
        patch.setattr(RedPixels, "_one", slowly)
        files = [("photographs", (f"{n}.jpg", photograph(n), "image/jpeg")) for n in range(16)]
        request = httpx.Request("POST", f"http://127.0.0.1:{client.port}/v1/inspections", files=files)
        with socket.create_connection(("127.0.0.1", client.port)) as leaving:
            headers = "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
            leaving.sendall(f"POST /v1/inspections HTTP/1.1\r\n{headers}\r\n".encode() + request.read())
            until(lambda: len(inspected) == 2)
        until(lambda: 'outcome="gone",path="/v1/inspections"' in client.get("/metrics").text)
    assert len(inspected) <= 4
    assert client.post().status_code == 200
    client.end()
    assert [len(lake.get(info.key).splitlines()) for info in waiting(lake)][before:] == [1]


def test_the_photographs_of_a_request_have_a_limit_together(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "[inference]\nmax_request_pixels = 200000\n")
    own_lake = Lake.open(settings.lake)
    deploy(own_lake, "staging", put_model(own_lake, "a"))
    running = Here(create_app(settings, "staging", load_red_pixels))
    try:
        until(lambda: running.get("/ping").status_code == 200)
        url = f"http://127.0.0.1:{running.port}/v1/inspections"
        files = [("photographs", (f"{n}.jpg", photograph(n), "image/jpeg")) for n in range(16)]
        answer = CLIENT.post(url, files=files)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "too_many_pixels")
        assert "send fewer photographs" in answer.json()["error"]["detail"]
        assert waiting(own_lake) == []
        assert CLIENT.post(url, files=files[:1]).status_code == 200
    finally:
        running.end()


def test_a_client_that_leaves_in_the_middle_is_counted_and_harms_nobody(client: Here, lake: Lake) -> None:
    with socket.create_connection(("127.0.0.1", client.port)) as gone:
        gone.sendall(b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf")
    until(lambda: 'outcome="gone",path="/invocations"' in client.get("/metrics").text)
    assert client.post().status_code == 200
    assert 'carsdepo_in_flight{stage="staging"} 0.0' in client.get("/metrics").text
