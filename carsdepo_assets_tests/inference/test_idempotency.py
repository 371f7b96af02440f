"""inference/idempotency.py: a request that is sent again under its key is answered, captured and counted once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from carsdepo_assets.inference.idempotency import KEPT_S, Idempotency
from carsdepo_assets.inference.ingest import ingest, waiting
from carsdepo_assets.inference.requests import Refused
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.served_models import CLIENT, Running, deploy, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model

pytestmark = pytest.mark.slow

NAME = "/v1/inspections k"


def send(running: Running, key: str | None, *files: bytes, **form: str) -> httpx.Response:
    parts = [("photographs", (f"{n}.jpg", data, "image/jpeg")) for n, data in enumerate(files)]
    headers = {} if key is None else {"Idempotency-Key": key}
    return CLIENT.post(f"{running.url}/v1/inspections", files=parts, data=form, headers=headers)


def rows(lake: Lake) -> Counter[str]:
    ingest(lake, waiting(lake))
    return Counter(lake.read("inferences", columns=["prediction_id"])["prediction_id"].to_pylist())


def ids(answer: httpx.Response) -> list[str]:
    return [p["prediction_id"] for p in answer.json()["photographs"]]


@contextmanager
def served(folder: Path, **model: Any) -> Iterator[tuple[Running, Lake]]:
    settings = settings_of(folder, "[inference]\nsegment_age_s = 3600.0\n")
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "only", **model)
    deploy(lake, "production", digest)
    with service(settings) as running:
        running.serves(digest)
        yield running, lake


def test_the_same_request_has_one_answer_and_one_row_across_a_restart_and_a_new_model(tmp_path: Path) -> None:
    with served(tmp_path) as (running, lake):
        first = send(running, "7d0b", photograph(1), photograph(2), camera="Pixel 9")
        again = send(running, '"7d0b"', photograph(1), photograph(2), camera="Pixel 9")
        assert (first.status_code, again.content) == (200, first.content)
        assert 'carsdepo_repeated_requests_total{stage="production"} 1.0' in CLIENT.get(f"{running.url}/metrics").text
        assert running.end() == 0
    settings = settings_of(tmp_path)
    newer = put_model(lake, "newer")
    deploy(lake, "production", newer, 2)
    with service(settings) as running:
        running.serves(newer)
        assert send(running, "7d0b", photograph(1), photograph(2), camera="Pixel 9").content == first.content
        other = send(running, "7d0c", photograph(1), photograph(2), camera="Pixel 9")
        assert other.json()["model"]["digest"] == newer
        running.end()
    assert rows(lake) == Counter(ids(first) + ids(other))


@pytest.mark.slow
def test_another_request_under_the_key_is_refused(tmp_path: Path) -> None:
    with served(tmp_path) as (running, lake):
        first = send(running, "k", photograph(1))
        for changed in (
            send(running, "k", photograph(2)),
            send(running, "k", photograph(1), camera="Pixel 9"),
            send(running, "k", photograph(1), photograph(1)),
        ):
            assert changed.status_code == 409
            assert changed.json()["error"]["reason"] == "idempotency_key_reused"
        raw = CLIENT.post(f"{running.url}/invocations", content=photograph(2), headers={"Idempotency-Key": "k"})
        assert raw.status_code == 200  # another address
        running.end()
    assert rows(lake) == Counter(ids(first) + ids(raw))


@pytest.mark.slow
def test_what_was_refused_may_be_sent_again_under_its_key(tmp_path: Path) -> None:
    with served(tmp_path) as (running, lake):
        assert send(running, "k", b"no photograph").status_code == 415
        answer = send(running, "k", photograph(1))
        assert answer.status_code == 200
        running.end()
    assert rows(lake) == Counter(ids(answer))


@pytest.mark.slow
def test_what_could_not_be_captured_is_captured_by_the_next_attempt(tmp_path: Path) -> None:
    with served(tmp_path) as (running, lake):
        blocked = Path(lake.url, "capture", "production")
        blocked.parent.mkdir(exist_ok=True)
        blocked.write_text("no folder")
        refused = send(running, "k", photograph(1))
        assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "not_captured")
        blocked.unlink()
        answer = send(running, "k", photograph(1))
        assert answer.status_code == 200
        assert send(running, "k", photograph(1)).content == answer.content
        running.end()
    assert rows(lake) == Counter(ids(answer))


def test_a_database_that_was_removed_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "idempotency" / "production.db"
    keys = Idempotency(file)
    for _ in range(2):
        with keys.claim(NAME, "a") as stored:
            assert stored is None
            keys.store(NAME, "{}", [])
        for path in file.parent.iterdir():
            path.unlink()


def test_a_place_where_no_database_can_be_is_an_error_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "idempotency").write_text("no folder")
    with pytest.raises(sqlite3.Error), Idempotency(tmp_path / "idempotency" / "production.db").claim(NAME, "a"):
        pass


def test_of_requests_at_once_one_is_worked_on_and_all_get_its_answer(tmp_path: Path) -> None:
    answers: list[httpx.Response] = []
    with served(tmp_path, seconds=0.5) as (running, lake):

        def client() -> None:
            while True:
                answer = send(running, "k", photograph(1))
                if answer.status_code != 409:
                    answers.append(answer)
                    return
                assert (answer.json()["error"]["reason"], answer.headers["Retry-After"]) == ("in_progress", "1")

        threads = [threading.Thread(target=client) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        running.end()
    assert {a.status_code for a in answers} == {200}
    assert len({a.content for a in answers}) == 1
    assert rows(lake) == Counter(ids(answers[0]))


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    with served(tmp_path) as (running, _):
        for key in ("", '""', "x" * 256, "tab\there", 'in"side'):
            answer = send(running, key, photograph(1))
            assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "bad_idempotency_key"), key
        twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        raw = CLIENT.post(f"{running.url}/invocations", content=photograph(2), headers=twice)
        assert raw.json()["error"]["reason"] == "bad_idempotency_key"


DIE = """
import os, signal, sys
from carsdepo_assets.inference import service
from carsdepo_assets.inference.capture import Capture
from carsdepo_assets_tests.inference.service_process import load_red_pixels
from carsdepo_assets.commands.serving import run
from carsdepo_assets.settings import Settings
write = Capture.write

def dying(self, records):
    if sys.argv[1] == "after":
        write(self, records)
    elif sys.argv[1] == "half":
        write(self, records[:1])
    os.kill(os.getpid(), signal.SIGKILL)

Capture.write = dying
run(Settings.read(), "production", port=0, load=load_red_pixels)
"""


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_around_the_capture_the_next_start_gives_the_answer_and_one_row_each(
    tmp_path: Path, moment: str
) -> None:
    settings = settings_of(tmp_path, "[inference]\nsegment_age_s = 3600.0\n")
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "only")
    deploy(lake, "production", digest)
    process = subprocess.Popen(
        [sys.executable, "-c", DIE, moment],
        env={**os.environ, **settings.variables()},
        stdout=subprocess.PIPE,
        text=True,
    )
    dying = Running(process, process.stdout.readline().split()[1], tmp_path / "log")  # type: ignore[union-attr]
    dying.log.write_text("")
    dying.serves(digest)
    with pytest.raises(httpx.TransportError):
        send(dying, "k", photograph(1), photograph(2))
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    with service(settings) as running:
        running.serves(digest)
        answer = send(running, "k", photograph(1), photograph(2))
        assert answer.status_code == 200
        assert send(running, "k", photograph(1), photograph(2)).content == answer.content
        running.end()
    assert rows(lake) == Counter(ids(answer))


def test_a_key_is_free_again_after_a_day(tmp_path: Path) -> None:
    now = [1000.0]
    keys = Idempotency(tmp_path / "keys.db", lambda: now[0])
    with keys.claim(NAME, "a") as stored:
        assert stored is None
        keys.store(NAME, "{}", [])
    keys.captured(NAME)
    now[0] += KEPT_S - 1
    with pytest.raises(Refused, match="idempotency_key_reused"), keys.claim(NAME, "b"):
        pass
    with keys.claim(NAME, "a") as stored:
        assert stored is not None
    now[0] += 2
    with keys.claim(NAME, "b") as stored:
        assert stored is None


def test_a_living_process_keeps_its_key_and_a_dead_one_does_not(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom carsdepo_assets.inference.idempotency import Idempotency\n"
        "with Idempotency(Path(sys.argv[1])).claim(sys.argv[2], 'a'):\n    print('claimed', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "keys.db"), NAME],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "claimed\n"
    keys = Idempotency(tmp_path / "keys.db")
    with pytest.raises(Refused, match="in_progress"), keys.claim(NAME, "a"):
        pass
    other.kill()
    other.communicate()
    with keys.claim(NAME, "a") as stored:
        assert stored is None
