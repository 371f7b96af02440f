"""monitoring/routing.py in a running installation: night photographs are sent, and what follows is the policy's choice.

The same night traffic is read by three policies, changed in carsdepo.toml while everything runs: a drift that is low
by them promotes by itself, a middle one waits for a person, a high one opens an experiment and trains nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.commands.sending import send_folder
from carsdepo_assets.commands.services import running
from carsdepo_assets.demo.sample.annotator import annotate
from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.environments import resources
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy_layers import FILE_NAME
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import versions
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import Server, dagster_dev, free_port
from carsdepo_assets_tests.end_to_end.dropping import drop

POLICY = """
[data]
batch_max_age_s = 1
[training]
minutes = 0.25
debounce_s = 1
[evaluation]
floor_map50 = 0.0
[gate]
mode = "point"
floor_map50 = 0.0
floor_recall = 0.0
map50_tolerance = 1.0
recall_tolerance = 1.0
precision_tolerance = 1.0
latency_p95_ms = 60000.0
[inference]
segment_age_s = 1.0
[monitoring]
measure_every_s = 1
resamples = 400
queue_size = 12
retrain_below = {low}
no_retraining_from = {high}
[study]
after_high_drift = false
"""
LIGHT = {"luma_mean", "luma_std", "luma_p95"}


class World:
    """The running platform, and what a person does to it."""

    def __init__(self, settings: Settings, server: Server, folder: Path) -> None:
        self.settings, self.server, self.folder = settings, server, folder
        self.lake = Lake.open(settings.lake)
        self.truth: list[Path] = []

    def rules(self, low: float, high: float) -> None:
        self.settings.policy_files[-1].path.write_text(POLICY.format(low=low, high=high))

    def night(self, seed: int) -> dict[str, Any]:
        """Sends 60 night photographs of new cars; the drift report on them."""
        before = self.lake.read("drift").num_rows
        folder = self.folder / f"night-{seed}"
        write_sample(folder, 60, seed, lights="night")
        self.truth.append(folder)
        sent = send_folder(self.settings.service_url("production"), folder, concurrency=4)
        assert sent.failures == []
        self.wait("a drift report", lambda: self.lake.read("drift").num_rows > before, 150)
        report = max(self.lake.read("drift").to_pylist(), key=lambda r: r["at"])
        self.wait("its route", lambda: self.route(report) is not None, 60)
        return dict(report)

    def route(self, report: dict[str, Any]) -> dict[str, Any] | None:
        return next((r for r in self.lake.read("routes").to_pylist() if r["report_id"] == report["report_id"]), None)

    def queue(self, report: dict[str, Any]) -> str:
        def cut() -> str | None:
            for key in self.lake.list("queues"):
                if key.key.endswith("queue.json"):
                    said = json.loads(self.lake.get(key.key))
                    if said["report_id"] == report["report_id"]:
                        return str(said["queue_id"])
            return None

        return str(self.wait("a labelling queue", cut, 90))

    def label(self, queue_id: str) -> None:
        assert annotate(self.lake, queue_id, self.truth, datetime.now(UTC)).labelled

    def served(self) -> str | None:
        event = ledger.desired(self.lake, "production")
        return event.digest if event else None

    def wait(self, what: str, ready: Callable[[], Any], seconds: float) -> Any:
        return self.server.wait(what, ready, seconds)

    def trainings(self) -> int:
        return len(self.server.runs("train"))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_poor_light_goes_round_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("DAGSTER", "STAGING", "PRODUCTION")
    variables = {f"CARSDEPO_{name}_PORT": str(free_port()) for name in names}
    given = Settings.read({"CARSDEPO_POLICY": str(tmp_path / FILE_NAME), **variables}, home=tmp_path / "home")
    for name, value in given.variables().items():
        monkeypatch.setenv(name, value)
    sample = tmp_path / "day"
    write_sample(sample, 110, 5, lights={"day": 0.6, "overcast": 0.4})
    (tmp_path / FILE_NAME).write_text(POLICY.format(low=0.98, high=0.99))
    with running(given) as settings, dagster_dev(settings, tmp_path / "dagster.log") as server:
        world = World(settings, server, tmp_path)
        drop(sample, settings)
        world.wait("the first model in production", world.served, 300)
        first = world.served()

        # Low by these rules: everything by itself.
        report = world.night(11)
        assert report["computed"]
        assert report["detected"]
        assert report["worst_feature"] in LIGHT
        assert report["band"] == "low"
        route = world.route(report)
        assert route is not None
        assert "queue" in route["actions"]
        assert "hold" not in route["actions"]
        world.label(world.queue(report))
        world.wait("a second model in production", lambda: world.served() != first, 400)
        second = ledger.desired(world.lake, "production")
        assert second is not None
        assert second.actor.startswith("auto:")

        # Middle: trained and judged, but a person promotes.
        world.rules(low=0.001, high=0.99)
        report = world.night(12)
        assert report["band"] == "middle"
        route = world.route(report)
        assert route is not None
        assert "hold" in route["actions"]
        world.label(world.queue(report))

        def waiting() -> str | None:
            newest = max(versions(resources(settings)["tracking"].tracking()), key=lambda v: v.version).digest
            judged = {r["challenger"] for r in world.lake.read("gates").to_pylist() if r["verdict"] == "promote"}
            return newest if newest != second.digest and newest in judged else None

        third = world.wait("a third model that the gate lets through", waiting, 400)
        time.sleep(15)  # longer than a tick: nothing promotes it meanwhile
        assert world.served() == second.digest
        tool = str(Path(sys.executable).parent / "carsdepo")
        done = subprocess.run(
            [tool, "approve", third, "--reason", "looked at by night"],
            env={**os.environ, **settings.variables()},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert world.served() == third
        approved = ledger.desired(world.lake, "production")
        assert approved is not None
        assert not approved.actor.startswith("auto:")

        # High: nothing is retrained by itself.
        world.rules(low=0.001, high=0.002)
        before = world.trainings()
        report = world.night(13)
        assert report["band"] == "high"
        route = world.route(report)
        assert route is not None
        assert {"experiment", "alert"} <= set(route["actions"])
        assert "retrain" not in route["actions"]
        key = f"experiments/{report['report_id']}.json"
        world.wait("an experiment", lambda: world.lake.exists(key), 90)
        assert any(a["kind"] == "drift" for a in world.lake.read("alerts").to_pylist())
        time.sleep(25)
        assert world.trainings() == before
        for sensor in ("measure_drift", "drift_router", "release_candidate", "new_inferences", "retrain"):
            assert "SUCCESS" in server.ticks(sensor), sensor
