"""inference/service_figures.py: every request is counted once, whatever thread it is counted in and however it ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from carsdepo_assets.inference.service_figures import ServiceFigures
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.cloudwatch.emf_rules import measured
from carsdepo_assets_tests.inference.served_models import deploy, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model

NEVER = 3600.0  # seconds between two lines: only full ones and the last are written


def figures(namespace: str | None = "Carsdepo", every_s: float = NEVER, ready: bool = True) -> ServiceFigures:
    return ServiceFigures(namespace, "production", lambda: ready, lambda: 2.5, every_s)


def of_stage(text: str) -> dict[str, list[float]]:
    found = measured(text)
    assert {(namespace, of) for namespace, _, of in found} <= {("Carsdepo", "Stage=production")}
    return {name: values for (_, name, _), values in found.items()}


def test_requests_are_counted_by_outcome_and_timed_where_they_were_answered(capsys: pytest.CaptureFixture[str]) -> None:
    gathered = figures()
    gathered.start()
    for outcome in ("ok", "ok", "refused", "unavailable", "failed", "gone"):
        gathered.answered(outcome, 0.0123456)
    gathered.inspected(5)
    gathered.stop()
    found = of_stage(capsys.readouterr().out)
    assert found.pop("MemoryUse")
    assert found.pop("CpuUse")
    found.pop("GpuUse", None)
    found.pop("GpuMemoryUse", None)
    assert found == {
        "Requests": [5],  # one that left was not answered
        "RequestsRefused": [1],
        "RequestsUnavailable": [1],
        "RequestsFailed": [1],
        "Latency": [12.346, 12.346],
        "Photographs": [5],
        "CaptureLag": [2.5],
        "Ready": [1.0],
    }


def test_nothing_is_lost_or_counted_twice_while_lines_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    gathered = figures()
    gathered.start()
    with ThreadPoolExecutor(4) as threads:
        for number in range(1234):
            threads.submit(gathered.answered, "ok", number / 1000)
    gathered.stop()
    found = of_stage(capsys.readouterr().out)
    assert sum(found["Requests"]) == 1234
    assert sorted(found["Latency"]) == [float(number) for number in range(1234)]


def test_a_line_comes_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()
    monkeypatch.setattr("carsdepo_assets.inference.service_figures.publish", lambda *given: written.set())
    gathered = figures(every_s=0.01, ready=False)
    gathered.start()
    assert written.wait(20)
    gathered.stop()


def test_a_closed_stdout_ends_no_service(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def closed(*given: object) -> None:
        raise BrokenPipeError

    gathered = figures()
    with monkeypatch.context() as patch:
        patch.setattr("carsdepo_assets.inference.service_figures.publish", closed)
        gathered.start()
        gathered.answered("ok", 1.0)
        gathered.stop()
    assert capsys.readouterr().out == ""


def test_without_a_namespace_nothing_is_gathered(capsys: pytest.CaptureFixture[str]) -> None:
    gathered = figures(namespace=None)
    gathered.start()
    for _ in range(200):
        gathered.answered("ok", 1.0)
        gathered.inspected(1)
    assert gathered._gathered()[0].values == (0,)
    gathered.stop()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_service_publishes_what_it_answered_when_it_ends(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, metrics_namespace="Carsdepo")
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "first")
    deploy(lake, "production", digest, version=1)
    with service(settings) as running:
        running.serves(digest)
        for seed in range(3):
            assert running.send(photograph(seed)).status_code == 200
        assert running.send(b"no photograph").status_code >= 400
        assert running.end() == 0
        assert running.process.stdout is not None
        found = of_stage(running.process.stdout.read())
    assert sum(found["Requests"]) == 4
    assert sum(found["RequestsRefused"]) == 1
    assert sum(found["Photographs"]) == 3
    assert len(found["Latency"]) == 3
    assert found["Ready"][-1] == 1.0
