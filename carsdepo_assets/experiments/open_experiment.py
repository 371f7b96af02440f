"""Opens an experiment where drift is too large for a retraining: a file in the lake and a run in MLflow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from carsdepo_assets.lake import queues
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.models import is_complete, read_card
from carsdepo_assets.policy import OtherDetector, Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.tracking import Tracking

EXPERIMENT_TAG = "carsdepo_experiment"
NOTE_TAG = "mlflow.note.content"  # MLflow shows it as the run's description
_REPORT_ID = re.compile(r"[\w.:+-]+")


class ExperimentError(ValueError):
    """The experiment that was asked for cannot be opened."""


def experiment_key(report_id: str) -> str:
    """Where the experiment of a drift report lies in the lake."""
    return f"experiments/{report_id}.json"


def open_experiment(
    lake: Lake,
    tracking: Tracking,
    report_id: str,
    reason: str,
    queue_id: str | None,
    policy: Policy | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Opens the experiment of a drift report, once: asked again, the same comes back.

    The MLflow run is found by its tag, so that a kill between run and file leaves one run.

    Args:
        report_id: the drift report.
        reason: why the labelling queue holds what it holds, in a sentence.
        queue_id: the labelling queue of the report; None where it has none.
        policy: the built-in policy where it is not given.
        now: the experiment's date; the present where it is not given.

    Returns:
        The content of `experiments/<report_id>.json`: what drifted, the question, the queue, the champion, recipes.

    Raises:
        ExperimentError: there is no such report in the table `drift`.
    """
    key = experiment_key(report_id)
    with one_writer(lake, "experiments"):
        if _REPORT_ID.fullmatch(report_id) and lake.exists(key):
            return dict(json.loads(lake.get(key)))
        rows = [r for r in lake.read("drift").to_pylist() if r["report_id"] == report_id]
        if not rows or not _REPORT_ID.fullmatch(report_id):
            raise ExperimentError(f"no drift report {report_id!r} in {lake.url}: an experiment starts from one.")
        report = max(rows, key=lambda r: r["at"])
        experiment = _experiment(lake, report, reason, queue_id, policy or Policy(), now or datetime.now(UTC))
        experiment["mlflow"] = {"experiment": tracking.experiment, "run_id": _run(tracking, experiment)}
        lake.put(key, json.dumps(experiment, indent=1).encode())
    return experiment


def _experiment(
    lake: Lake, report: Mapping[str, Any], reason: str, queue_id: str | None, policy: Policy, now: datetime
) -> dict[str, Any]:
    feature = report["worst_feature"] or "an unnamed feature"
    size = "an unknown share" if report["drift"] is None else f"{100 * report['drift']:.1f} %"
    return {
        "report_id": report["report_id"],
        "opened_at": now.isoformat(),
        "reason": reason,
        "question": f"At least {size} of the traffic has changed, most in {feature}. Which recipe serves both the old "
        "photographs and these, once the queue is labelled?",
        "drifted": {
            "from": report["window_from"].isoformat(),
            "to": report["window_to"].isoformat(),
            "photographs": report["photographs"],
            "drift": report["drift"],
            "band": report["band"],
            "worst_feature": report["worst_feature"],
            "features": json.loads(report["features"] or "null"),
            "sources": json.loads(report["sources"] or "null"),
            "report": report["report_key"],
        },
        "queue": None if queue_id is None else {"queue_id": queue_id, "key": queues.queue_key(queue_id)},
        "champion": {"answered": report["digest"], "serves_now": _champion(lake)},
        "study": {
            "job": "study",
            "config": {"ops": {"trials": {"config": {"report_id": report["report_id"]}}}},
            "starts": "by itself, when the queue is labelled" if policy.study.after_high_drift else "by hand",
        },
        "recipes": _recipes(lake, policy),
    }


def _champion(lake: Lake) -> str | None:
    serving = ledger.desired(lake, "production")
    return None if serving is None else serving.digest


def _family(lake: Lake) -> str | None:
    """The family of production's model; None where production serves none, or one that is not in this lake."""
    digest = _champion(lake)
    return read_card(lake, digest).detector if digest is not None and is_complete(lake, digest) else None


def _recipes(lake: Lake, policy: Policy) -> list[dict[str, Any]]:
    """Configurations of the job `train`, as its launchpad takes them."""
    version = latest(lake)
    n_train = 0 if version is None else read_manifest(lake, version)["split"].to_pylist().count("train")
    limits = policy.training
    family = _family(lake)
    longer = {"minutes": 3 * limits.minutes} if limits.steps is None else {"steps": 3 * limits.steps}
    tries: tuple[tuple[str, dict[str, Any]], ...] = (
        (f"As now, with the queue's labels added to the {n_train} training photographs that there are", {}),
        ("Three times as long: a wider variety of light takes more steps", longer),
        *(
            (f"Another family of detector, {name}: evaluated on the same photographs, old and new", {"detector": name})
            for name in dict.fromkeys(c.detector for c in limits.fallbacks if isinstance(c, OtherDetector))
            if name != family
        ),
    )
    return [{"why": why, "train": {"ops": {"recipe": {"config": config}}}} for why, config in tries]


def _run(tracking: Tracking, experiment: Mapping[str, Any]) -> str:
    """The experiment's MLflow run, FINISHED: it records the question; trainings that answer it are other runs."""
    client = tracking.client
    report_id = experiment["report_id"]
    runs = client.search_runs([tracking.experiment_id()], f"tags.{EXPERIMENT_TAG} = '{report_id}'", max_results=1)
    if runs:
        run_id = str(runs[0].info.run_id)
    else:
        tags = {
            EXPERIMENT_TAG: report_id,
            "band": str(experiment["drifted"]["band"]),
            "worst_feature": str(experiment["drifted"]["worst_feature"]),
            "queue_id": "none" if experiment["queue"] is None else experiment["queue"]["queue_id"],
            NOTE_TAG: f"{experiment['question']}\n\n{experiment['reason']}",
        }
        run_id = tracking.begin(None, f"experiment: drift {report_id}", tags)
    if experiment["drifted"]["drift"] is not None:
        tracking.log_row(run_id, {"drift": experiment["drifted"]["drift"]}, step=0)
    tracking.log_text(run_id, json.dumps(experiment, indent=1), "experiment.json")
    tracking.end(run_id, "FINISHED")
    return run_id
