"""commands/sending.py: `carsdepo send` against a real service."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from carsdepo_assets.commands.sending import ServiceUnreachable, send, send_folder
from carsdepo_assets.inference.ingest import ingest, waiting
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.served_models import Running, deploy, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Lake, str]]:
    settings = settings_of(tmp_path_factory.mktemp("sending"), "[inference]\nsegment_age_s = 0.2\n", api_key="k")
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "a")
    deploy(lake, "production", digest)
    with service(settings) as running:
        running.serves(digest)
        yield running, lake, digest


def test_a_folder_is_sent_with_what_its_manifest_says(served: tuple[Running, Lake, str], tmp_path: Path) -> None:
    running, lake, digest = served
    images = tmp_path / "images"
    (images / "deeper").mkdir(parents=True)
    for number in range(6):
        (images / f"{number}.jpg").write_bytes(photograph(number, 24 if number % 3 else None))
    (images / "deeper" / "6.jpg").write_bytes(photograph(6))
    (images / "7.jpg").write_bytes(b"no photograph")
    (tmp_path / "manifest.csv").write_text(
        "File,camera,region,uploader,group,listing,source\n"
        "images/0.jpg,Pixel 9,north,u1,g1,,\n1.jpg,,,,g1,L1,mobile\ndeeper/6.jpg,A,,,,,\n"
    )
    steps: list[tuple[int, int]] = []
    sent = send_folder(
        running.url, tmp_path, {"source": "web"}, api_key="k", concurrency=3, progress=lambda *s: steps.append(s)
    )
    assert (sent.photographs, sent.answered, sent.by_decision) == (8, 7, Counter(damage=5, clear=2))
    assert [(Path(f).name, why.split(":")[0]) for f, why in sent.failures] == [("7.jpg", "415 not_an_image")]
    assert sent.digests == Counter({digest: 7})
    assert len(sent.latencies) == 7
    assert min(sent.latencies) > 0
    assert sent.per_second > 0
    assert steps == [(n, 8) for n in range(1, 9)]
    running.wait(lambda _: len(waiting(lake)) > 0 and not any(o.key.endswith(".open") for o in lake.list("capture")))
    ingest(lake, waiting(lake))
    rows = {r["file_name"]: r for r in lake.read("inferences").to_pylist()}
    assert {r["prediction_id"] for r in rows.values()} == set(sent.prediction_ids)
    fields = {
        n: tuple(rows[f"{n}.jpg"][k] for k in ("source", "camera", "region", "uploader", "listing")) for n in range(7)
    }
    assert fields[0] == ("web", "Pixel 9", "north", "u1", "g1")
    assert fields[1] == ("mobile", None, None, None, "L1")
    assert fields[2] == ("web", None, None, None, None)
    assert fields[6] == ("web", "A", None, None, None)


def test_a_wrong_key_is_a_failure_of_each(served: tuple[Running, Lake, str], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    sent = send(served[0].url, [tmp_path / "a.jpg", tmp_path / "gone.jpg"], api_key="wrong")
    assert sorted(why.split(":")[0] for _, why in sent.failures) == ["401 unauthorized", "cannot be read"]


def test_what_cannot_be_sent_says_why(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    with pytest.raises(ServiceUnreachable, match="carsdepo serve"):
        send(f"http://127.0.0.1:{port}", [tmp_path / "a.jpg"])
    with pytest.raises(ValueError, match="colour"):
        send(f"http://127.0.0.1:{port}", [], {"colour": "red"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no photographs"):
        send_folder(f"http://127.0.0.1:{port}", tmp_path / "empty")
    with pytest.raises(ValueError, match="not a folder"):
        send_folder(f"http://127.0.0.1:{port}", tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["name,camera\na.jpg,b\n", "file\na.jpg,b,c\n", "file\n\xff"])
def test_a_manifest_that_cannot_be_read_is_named(served: tuple[Running, Lake, str], tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    (tmp_path / "manifest.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"manifest\.csv"):
        send(served[0].url, [tmp_path / "a.jpg"], api_key="k")


@pytest.mark.parametrize(("retry_after", "times_busy"), [("0", 2), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("", 1)])
def test_a_busy_service_is_asked_again(tmp_path: Path, retry_after: str, times_busy: int) -> None:
    """Sends 503 for the first photograph, then an answer; gives up where it stays busy."""
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    busy = (503, {"Retry-After": retry_after}, b'{"error": {"reason": "busy", "detail": "later"}}')
    with server_of(lambda n: busy if n <= times_busy else (200, {}, ANSWER)) as (url, asked):
        sent = send(url, [tmp_path / "a.jpg"])
        assert (sent.answered, len(asked)) == (1, times_busy + 1)
    with server_of(lambda n: busy) as (url, _):
        stuck = send(url, [tmp_path / "a.jpg"], patience_s=0.5)
        assert (stuck.answered, len(stuck.failures)) == (0, 1)
        assert "busy" in stuck.failures[0][1]


ANSWER = b'{"model": {"digest": "d"}, "photographs": [{"decision": "clear", "prediction_id": "p"}]}'


@contextmanager
def server_of(post: Callable[[int], tuple[int, dict[str, str], bytes] | None]) -> Iterator[tuple[str, list[str]]]:
    """A server whose answer to the n-th photograph (from 1) `post` gives: status, headers, body; None: it hangs up.

    Yields its URL, and the Idempotency-Key of each request.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, {}, b"{}")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["Idempotency-Key"])
            answer = post(len(asked))
            if answer is None:
                self.close_connection = True
            else:
                self._say(*answer)

        def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b"1", b'{"photographs": []}', b'{"photographs": [{}]}', b"<html>", b"\xff"]
)
def test_an_answer_of_something_else_is_a_failure_of_that_photograph(tmp_path: Path, body: bytes) -> None:
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for file in files:
        file.write_bytes(photograph(1))
    with server_of(lambda n: (200, {}, body if n == 1 else ANSWER)) as (url, _):
        sent = send(url, files, concurrency=1)
    assert (sent.answered, [file for file, _ in sent.failures]) == (1, [str(files[0])])
    assert "not an answer of the inspection service" in sent.failures[0][1]


def test_ctrl_c_ends_the_pauses_and_sends_no_more(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.jpg" for n in range(20)]
    for file in files:
        file.write_bytes(photograph(1))
    refused = b'{"error": {"reason": "bad", "detail": "no"}}'

    def interrupt(behind: int, total: int) -> None:
        raise KeyboardInterrupt

    with server_of(lambda n: (422, {}, refused) if n == 1 else (503, {"Retry-After": "30"}, refused)) as (url, asked):
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            send(url, files, concurrency=2, progress=interrupt)
        assert time.monotonic() - began < 20  # a single pause takes 30 s
        count = len(asked)
        time.sleep(0.2)
        assert (len(asked), count <= 4) == (count, True)


@pytest.mark.parametrize("url", ["http://[::1", "ftp://127.0.0.1", "", "http://me:hunter22@127.0.0.1:1"])
def test_an_address_that_is_none_is_named_without_its_password(tmp_path: Path, url: str) -> None:
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    with pytest.raises(ServiceUnreachable) as refused:
        send(url, [tmp_path / "a.jpg"])
    assert "hunter22" not in str(refused.value)


def test_a_photograph_whose_connection_breaks_is_sent_again_under_its_key(tmp_path: Path) -> None:
    """The first attempt is read and not answered, at the second it is still worked on, the third counts."""
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    in_progress = (409, {}, b'{"error": {"reason": "in_progress", "detail": "later"}}')
    answers = [None, in_progress, (200, {}, ANSWER)]
    with server_of(lambda n: answers[n - 1]) as (url, keys):
        sent = send(url, [tmp_path / "a.jpg"])
    assert (sent.answered, sent.failures) == (1, [])
    assert len(keys) == 3
    assert len(set(keys)) == 1
