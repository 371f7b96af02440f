"""inference/reconciler.py: models that change under load, services that are killed, and what /healthz says."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from carsdepo_assets.inference.ingest import ingest, waiting
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import digest_of
from carsdepo_assets.registry import ledger
from carsdepo_assets_tests.detectors.stored_models import store_model
from carsdepo_assets_tests.inference.served_models import (
    CLIENT,
    Running,
    deploy,
    exported_and_signed,
    photograph,
    service,
    settings_of,
)
from carsdepo_assets_tests.inference.service_process import put_model

pytestmark = pytest.mark.slow

CLIENTS = 8
PHOTOGRAPHS = [photograph(seed, 24 if seed % 2 else None) for seed in range(16)]


@contextmanager
def clients(url: str) -> Iterator[tuple[list[dict[str, Any]], list[str]]]:
    """Answers and failures of CLIENTS that send one photograph after the other until the block ends."""
    answers: list[dict[str, Any]] = []
    failures: list[str] = []
    ended = threading.Event()

    def send(number: int) -> None:
        with httpx.Client(timeout=30) as client:
            for turn in itertools.count():
                if ended.is_set():
                    return
                data = PHOTOGRAPHS[(number + turn) % len(PHOTOGRAPHS)]
                try:
                    answer = client.post(f"{url}/v1/inspections", files={"photographs": ("a.jpg", data)})
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                    return
                if answer.status_code == 200:
                    answers.append(answer.json())
                else:
                    failures.append(answer.text)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield answers, failures
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def prediction_ids(answers: list[dict[str, Any]]) -> list[str]:
    return [p["prediction_id"] for answer in answers for p in answer["photographs"]]


def logged(lake: Lake) -> Counter[str]:
    """How often each prediction is in `inferences` once everything closed is ingested."""
    ingest(lake, waiting(lake))
    return Counter(lake.read("inferences", columns=["prediction_id"])["prediction_id"].to_pylist())


def test_models_swap_and_roll_back_under_load_without_a_failed_request(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "[inference]\nsegment_lines = 20\n")
    lake = Lake.open(settings.lake)
    slow, quick = put_model(lake, "slow", seconds=0.02), put_model(lake, "quick")
    deploy(lake, "production", slow, 1)
    with service(settings) as running:
        running.serves(slow)
        with clients(running.url) as (answers, failures):

            def answered_by(digest: str, after: int) -> bool:
                return sum(a["model"]["digest"] == digest for a in answers[after:]) >= 2 * CLIENTS

            until(lambda: answered_by(slow, 0))
            deploy(lake, "production", quick, 2)
            until(lambda: answered_by(quick, 0))
            before = len(answers)
            target = ledger.LedgerHistory.read(lake).rollback_target()
            ledger.record(
                lake, "production", "rollback", digest=target.digest, version=target.version, actor="t", reason="r"
            )
            until(lambda: answered_by(slow, before))
        assert failures == []
        assert {(a["model"]["digest"], a["model"]["version"]) for a in answers} == {(slow, 1), (quick, 2)}
        assert running.health()["ledger_sequence"] == 3
        assert running.end() == 0
    ids = prediction_ids(answers)
    assert logged(lake) == Counter(ids) == Counter(set(ids))
    rows = {r["prediction_id"]: r for r in lake.read("inferences").to_pylist()}
    for answer in answers:  # a request is captured with the model that it names
        assert {rows[i]["digest"] for i in prediction_ids([answer])} == {answer["model"]["digest"]}
    decisions = Counter(p["decision"] for a in answers for p in a["photographs"])
    assert min(decisions["damage"], decisions["clear"]) > 0


def test_no_acknowledged_answer_is_lost_to_kill_9(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "[inference]\nsegment_lines = 5000\nsegment_age_s = 3600\n")
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "only")
    deploy(lake, "production", digest)
    with service(settings) as running:
        running.serves(digest)
        with clients(running.url) as (answers, failures):
            until(lambda: len(answers) >= 100)
            os.kill(running.process.pid, signal.SIGKILL)
            until(lambda: len(failures) == CLIENTS)
    left = [o.key for o in lake.list("capture/production") if o.key.endswith(".open")]
    assert len(left) == 1
    acknowledged = prediction_ids(answers)
    assert len(acknowledged) >= 100
    # What a kill in the middle of a write leaves behind.
    torn = lake.get(left[0]).splitlines(keepends=True)[0][:-20]
    with open(f"{lake.url}/{left[0]}", "ab") as file:
        file.write(torn)
    with service(settings) as again:
        again.serves(digest)
        assert "1 torn lines" in again.log.read_text()
        assert "carsdepo_capture_torn_lines_total" in CLIENT.get(f"{again.url}/metrics").text
        counts = logged(lake)
        assert [counts[i] for i in acknowledged] == [1] * len(acknowledged)
        assert set(counts.values()) == {1}
        assert len(counts) - len(acknowledged) <= CLIENTS  # written, and killed before the answer was out
        assert lake.read("quarantine").num_rows == 0
        keys = lake.read("inferences", columns=["photograph_key"])["photograph_key"].unique().to_pylist()
        assert all(lake.exists(key) for key in keys)


def test_two_services_of_one_stage_write_segments_of_their_own(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "[inference]\nsegment_age_s = 3600.0\n")  # none closes by its age
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "only")
    deploy(lake, "production", digest)
    with service(settings) as one, service(settings) as two:
        for running in (one, two):
            running.serves(digest)
        answers = [running.send(photograph(seed)).json() for seed in range(3) for running in (one, two)]
        with service(settings) as three:  # its start leaves the segments of the living alone
            three.serves(digest)
            assert len([o for o in lake.list("capture/production") if o.key.endswith(".open")]) == 2
        assert [one.end(), two.end()] == [0, 0]
    assert len(waiting(lake)) == 2
    assert logged(lake) == Counter(prediction_ids(answers))


def test_health_tells_every_state(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    lake = Lake.open(settings.lake)
    with service(settings) as running:

        def status() -> tuple[int, int]:
            return CLIENT.get(f"{running.url}/ping").status_code, running.send(photograph(1)).status_code

        health = running.wait(lambda s: s["status"] == "empty")
        assert (health["digest"], health["error"], status()) == (None, None, (503, 503))
        assert running.send(photograph(1)).json()["error"]["reason"] == "no_model"
        assert int(running.send(photograph(1)).headers["Retry-After"]) >= 1
        missing = digest_of(b"no such model")
        deploy(lake, "production", missing)
        health = running.wait(lambda s: s["status"] == "failed")
        assert missing in health["error"]
        assert health["digest"] is None
        assert status() == (503, 503)
        good = put_model(lake, "good")
        deploy(lake, "production", good, 5)
        health = running.serves(good)
        assert (health["status"], health["version"], health["error"], health["ledger_sequence"]) == (
            "serving",
            5,
            None,
            2,
        )
        assert status() == (200, 200)
        deploy(lake, "production", missing, 6)
        health = running.wait(lambda s: s["error"] is not None)
        assert (health["status"], health["digest"], health["version"], health["ledger_sequence"]) == (
            "serving",
            good,
            5,
            2,
        )
        assert missing in running.log.read_text()
        assert status() == (200, 200)
        ledger.record(lake, "production", "promote", digest=good, version=5, actor="t", reason="the same again")
        running.wait(lambda s: s["ledger_sequence"] == 4 and s["error"] is None)
        log = lake.root / "tables" / "deployments"  # type: ignore[operator]
        log.rename(log.with_name("away"))  # to the service: no ledger
        (log / "_delta_log").mkdir(parents=True)
        (log / "_delta_log" / f"{0:020d}.json").write_text("not a commit")
        health = running.wait(lambda s: s["error"] is not None)
        assert "ledger" in health["error"]
        assert (health["status"], health["digest"], status()) == ("serving", good, (200, 200))
        (log / "_delta_log" / f"{0:020d}.json").unlink()
        (log / "_delta_log").rmdir()
        log.rmdir()
        log.with_name("away").rename(log)
        running.wait(lambda s: s["error"] is None)


def test_without_its_lake_a_service_gives_no_answers_and_says_so(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    lake = Lake.open(settings.lake)
    assert lake.root is not None
    model = put_model(lake, "m")
    deploy(lake, "production", model)
    with service(settings) as running:
        running.serves(model)
        lake.root.rename(tmp_path / "unmounted")
        health = running.wait(lambda s: s["status"] == "failed")
        assert "is the lake mounted" in health["error"]
        answer = running.send(photograph(1))
        assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "no_model")
        assert not lake.root.exists()  # nothing was written where the lake is not
        (tmp_path / "unmounted").rename(lake.root)
        assert running.serves(model)["error"] is None
        assert running.send(photograph(1)).status_code == 200


def test_a_model_that_appears_later_is_loaded_by_a_retry(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    lake = Lake.open(settings.lake)
    digest = put_model(Lake.open(tmp_path / "elsewhere"), "late")
    deploy(lake, "staging", digest)
    with service(settings, "staging") as running:
        running.wait(lambda s: s["status"] == "failed")
        assert put_model(lake, "late") == digest
        running.serves(digest)


def test_networks_swap_too(tmp_path: Path) -> None:
    """YOLOv8n with random weights, loaded as production loads it, in place of the test's quick model."""
    settings = settings_of(tmp_path)
    lake = Lake.open(settings.lake)
    quick, network = put_model(lake, "quick"), store_model(lake, "yolov8n", blind=True)
    exported_and_signed(settings, network)
    deploy(lake, "production", quick)
    with service(settings) as running:
        running.serves(quick)
        with clients(running.url) as (answers, failures):
            deploy(lake, "production", network, 2)
            running.serves(network)
            seen = len(answers)
            until(lambda: len(answers) > seen + 2 * CLIENTS)
        assert failures == []
        assert {a["model"]["runtime"] for a in answers} == {"numpy", "torch"}
        assert answers[-1]["model"]["digest"] == network


def test_a_busy_service_says_so_and_recovers(tmp_path: Path) -> None:
    """More requests at once than it takes: some are sent back with Retry-After, none hangs, none is lost."""
    settings = settings_of(tmp_path)
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "slow", seconds=0.05)
    deploy(lake, "staging", digest)
    with service(settings, "staging") as running:
        running.serves(digest)
        answers = burst(running, 80)
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 503}
        assert statuses[200] >= 32
        refused = next(a for a in answers if a.status_code == 503)
        assert refused.json()["error"]["reason"] == "busy"
        assert int(refused.headers["Retry-After"]) >= 1
        assert running.send(photograph(1)).status_code == 200
        running.end()
    assert sum(logged(lake).values()) == statuses[200] + 1


def burst(running: Running, count: int) -> list[httpx.Response]:
    from concurrent.futures import ThreadPoolExecutor

    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=count)) as client, ThreadPoolExecutor(count) as p:
        start = threading.Barrier(count)

        def one(seed: int) -> httpx.Response:
            start.wait()
            return client.post(
                f"{running.url}/v1/inspections", files={"photographs": ("a.jpg", PHOTOGRAPHS[seed % 16])}
            )

        return list(p.map(one, range(count)))
