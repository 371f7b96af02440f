"""experiments/sensors.py in a running installation: high drift, its labels, a study, a training, the gate, a person.

Night photographs are sent to the service of a model that was trained by day. All that follows runs as a person's
`dagster dev` runs it, with trainings of 20 steps and trials of ten: no figure of the models means anything here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.commands.sending import send_folder
from carsdepo_assets.commands.services import running
from carsdepo_assets.demo.sample.annotator import annotate
from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.environments import resources
from carsdepo_assets.lake import queues, trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import CandidatePointer
from carsdepo_assets.policy_layers import FILE_NAME
from carsdepo_assets.registry import ledger
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import dagster_dev, free_port
from carsdepo_assets_tests.end_to_end.dropping import drop
from carsdepo_assets_tests.end_to_end.test_poor_light import POLICY

STUDY = """
[study]
families = ["yolov8n"]
trials = 3
trial_steps = 10
trial_minutes = 10
"""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_high_drift_ends_with_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {f"CARSDEPO_{name}_PORT": str(free_port()) for name in ("DAGSTER", "STAGING", "PRODUCTION")}
    given = Settings.read({"CARSDEPO_POLICY": str(tmp_path / FILE_NAME), **variables}, home=tmp_path / "home")
    for name, value in given.variables().items():
        monkeypatch.setenv(name, value)
    sample, night = tmp_path / "day", tmp_path / "night"
    write_sample(sample, 72, 5, lights={"day": 0.6, "overcast": 0.4})
    write_sample(night, 60, 13, lights="night")
    drop(sample, given)
    # Any drift that is measured is high by these numbers.
    policy = POLICY.format(low=0.001, high=0.002).partition("[study]")[0].replace("minutes = 0.25", "steps = 20")
    (tmp_path / FILE_NAME).write_text(policy + STUDY)
    with running(given) as settings, dagster_dev(settings, tmp_path / "dagster.log") as server:
        lake = Lake.open(settings.lake)

        def served() -> str | None:
            event = ledger.desired(lake, "production")
            return event.digest if event else None

        first = server.wait("the first model in production", served, 600)
        assert send_folder(settings.service_url("production"), night, concurrency=4).failures == []

        def route() -> dict[str, Any] | None:
            return next((r for r in lake.read("routes").to_pylist() if "study" in (r["actions"] or [])), None)

        report_id = server.wait("a route to a study", route, 300)["report_id"]
        queue_id = queues.queue_id_of(report_id)
        server.wait("its queue", lambda: lake.exists(queues.queue_key(queue_id)), 200)
        before = len(server.runs("train"))
        assert annotate(lake, queue_id, [night], datetime.now(UTC)).labelled

        def concluded() -> trials.TrialEvent | None:
            return next((e for e in trials.events(lake) if e.state == "concluded"), None)

        end = server.wait("the study's conclusion", concluded, 900)
        assert end.report_id == report_id
        assert len(server.runs("train")) == before  # the training waited for the study
        ledger_of_trials = trials.trials(trials.events(lake, end.study))
        assert [t.number for t in ledger_of_trials] == [0, 1, 2]
        assert all(t.ended is not None and t.ended.steps == 10 for t in ledger_of_trials if t.state == "complete")
        assert lake.exists(f"reports/study/{end.study}.html")

        def gated() -> str | None:
            rows = [r for r in lake.read("gates").to_pylist() if r["challenger"] != first and r["verdict"] == "promote"]
            return rows[-1]["challenger"] if rows else None

        challenger = server.wait("a model that the gate lets through", gated, 900)
        candidate = CandidatePointer.read(lake)
        assert candidate is not None
        assert any(f"Study {end.study} is followed" in line for line in candidate.why)
        time.sleep(15)  # longer than a tick: nothing promotes it meanwhile
        assert served() == first
        hold = ledger.LedgerHistory.read(lake).promotion_hold
        assert hold is not None
        assert report_id in hold.reason
        runs = resources(settings)["tracking"].tracking().client.search_runs(["1"], "tags.carsdepo_trial LIKE '%'")
        assert len(runs) == 3
        assert len({r.data.tags["mlflow.parentRunId"] for r in runs}) == 1

        tool = str(Path(sys.executable).parent / "carsdepo")
        finished = subprocess.run(
            [tool, "approve", challenger, "--reason", "looked at by night"],
            env={**os.environ, **settings.variables()},
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
        assert served() == challenger
