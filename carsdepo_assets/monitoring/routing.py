"""What follows from a drift report: the decision, which is pure, and carrying it out.

It is carried out in this order: hold and alert first, then the row in `routes`. So a kill repeats both without doing
either twice, and a route that stands is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from carsdepo_assets.lake import queues
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.features import NAMES
from carsdepo_assets.monitoring.missing_inputs import MissingInput, sentence
from carsdepo_assets.policy import MonitoringPolicy, Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.labels_learnt import label_coverage

Action = Literal["queue", "retrain", "hold", "experiment", "alert"]
_CUT = "A labelling queue is cut from the drifted photographs"
_STANDING = "Labelling queue {} for the same drift still waits for most of its labels, so no other is cut"


@dataclass(frozen=True)
class Route:
    actions: tuple[Action, ...]
    said: str


def decide(
    report: Mapping[str, Any],
    labels_waiting: int,
    policy: MonitoringPolicy,
    *,
    stuck: int = 0,
    open_queue: str | None = None,
    band_before: str | None = None,
) -> Route:
    """report: a row of DRIFT. labels_waiting: label revisions that a training will still take up.

    stuck: those that none will, since every training on them was under the floor and a person is asked.

    open_queue: an earlier queue for the same drift of this model that is mostly unlabelled.
    band_before: of the report before this one, None for the first: what is unknown again is not said again.
    """
    band = report["band"]
    if band == "none":
        return Route((), f"No drift in {report['photographs']} photographs: nothing to do.")
    if band == "unknown":
        return _unknown(report, band_before)
    size = f"Drift of {100 * report['drift']:.1f} % in {name_of(report['worst_feature'])}"
    if band == "high":
        world = f"{size}, from {100 * policy.other_world:.0f} % on another world: no retraining."
        if open_queue is not None:
            return Route(("alert",), f"{world} {_STANDING.format(open_queue)}, nor another experiment.")
        return Route(("queue", "experiment", "alert"), f"{world} {_CUT}, an experiment is opened, people are told.")
    hold: tuple[Action, ...] = ("hold",) if band == "middle" else ()
    approve = " A person must approve the next promotion." if hold else ""
    if labels_waiting > 0:
        return Route(
            ("retrain", *hold),
            f"{size}: a model is trained on {labels_waiting} new label revisions and the gate decides.{approve}",
        )
    queue: tuple[Action, ...] = ("queue",) if open_queue is None else ()
    nothing_new = (
        f"the {stuck} label revisions that are not learnt were tried, and their models stayed under the floor"
        if stuck
        else "no label is newer than the last training"
    )
    return Route(
        (*queue, *hold),
        f"{size}: retraining has nothing new to learn, {nothing_new}. "
        f"{_CUT if queue else _STANDING.format(open_queue)}; the new-labels rule trains when its labels come.{approve}",
    )


def name_of(feature: str | None) -> str:
    return NAMES.get(feature or "", feature or "an unknown feature")


def _unknown(report: Mapping[str, Any], before: str | None) -> Route:
    said = f"Drift is not known for a window of {report['photographs']} photographs, which is not the same as none."
    if before == "unknown":
        return Route((), f"{said} It was not known before either: told already.")
    return Route(("alert",), said)


Alert = Callable[[str, str, str, str], object]  # key, severity, title, body
_BANDS = ("low", "middle", "high")
QUEUE_ASKED_FOR = timedelta(days=7)  # a queue that could not be cut for so long is not asked for any more


def waiting(lake: Lake) -> list[dict[str, Any]]:
    """Drift reports without a route, oldest first."""
    routed = set(lake.read("routes", columns=["report_id"])["report_id"].to_pylist())
    rows = lake.read("drift").sort_by([("at", "ascending"), ("report_id", "ascending")]).to_pylist()
    return [row for row in rows if row["report_id"] not in routed]


def route(
    lake: Lake,
    report: Mapping[str, Any],
    policy: Policy,
    alert: Alert,
    now: datetime,
    address: Callable[[str], str] = str,
) -> Route:
    """Decides, holds, tells, and records the route; again for the same report, the same again and no second row.

    address: where people open what lies at a key of the lake, for the alert's link; without it the key itself is said.
    """
    labels = label_coverage(lake, policy)
    decided = decide(
        report,
        labels.trainable,
        policy.monitoring,
        stuck=labels.unlearnt - labels.trainable,
        open_queue=open_queue(lake, report, now),
        band_before=_band_before(lake, report),
    )
    report_id = report["report_id"]
    if "hold" in decided.actions and ledger.promotion_hold(ledger.events(lake)) is None:
        ledger.record(
            lake,
            "production",
            "hold",
            digest=None,
            version=None,
            actor=ledger.machine(policy.digest()),
            reason=f"Drift report {report_id}: {decided.said}",
            policy_digest=policy.digest(),
            event_id=f"hold-{report_id}",
        )
    if "alert" in decided.actions:
        known = report["band"] == "high"
        alert(
            f"drift:{report['band']}:{report['digest']}:{report['worst_feature']}",
            "critical" if known else "warning",
            f"Drift of {100 * report['drift']:.1f} % in {name_of(report['worst_feature'])}"
            if known
            else "Drift is not known",
            f"{decided.said} Report: {address(report['report_key'])}",
        )
    risen = [MissingInput(**m) for m in json.loads(report.get("missing") or "[]") if m["risen"]]
    if risen:
        alert(
            f"missing_inputs:{report['digest']}:{','.join(sorted(f'{m.what}.{m.name}' for m in risen))}",
            "warning",
            "Inputs are missing more often than before",
            f"{sentence(risen)} Report: {address(report['report_key'])}",
        )
    row = {
        "report_id": report_id,
        "at": now,
        "band": report["band"],
        "actions": list(decided.actions),
        "queue_id": queues.queue_id_of(report_id) if "queue" in decided.actions else None,
        "said": decided.said,
    }
    lake.append("routes", [row], report_id)
    return decided


def open_queue(lake: Lake, report: Mapping[str, Any], now: datetime) -> str | None:
    """An earlier queue for this model, the same feature and no lower a band, of which less than half is labelled.

    One that was asked for in the last QUEUE_ASKED_FOR and is not cut yet counts too. None where there is none.
    """
    if report["band"] not in _BANDS:
        return None
    same = {
        r["report_id"]: r["band"]
        for r in lake.read("drift", columns=["report_id", "digest", "worst_feature", "band"]).to_pylist()
        if r["digest"] == report["digest"]
        and r["worst_feature"] == report["worst_feature"]
        and r["band"] in _BANDS
        and _BANDS.index(r["band"]) >= _BANDS.index(report["band"])
        and r["report_id"] != report["report_id"]
    }
    states = {state.report_id: state for state in queues.queue_state(lake, now)}
    for row in lake.read("routes", columns=["report_id", "at", "queue_id"]).sort_by("at").to_pylist():
        if row["report_id"] not in same or row["queue_id"] is None:
            continue
        state = states.get(row["report_id"])
        if state is None and now - row["at"] < QUEUE_ASKED_FOR:
            return str(row["queue_id"])
        if state is not None and 2 * state.labelled < state.photographs:
            return state.queue_id
    return None


def queues_asked_for(lake: Lake, now: datetime) -> list[str]:
    """Report ids whose routes of the last QUEUE_ASKED_FOR asked for a queue that is not there yet, oldest first."""
    there = {queue.report_id for queue, complete in queues.every(lake) if complete}
    rows = lake.read("routes", columns=["report_id", "at", "actions"]).sort_by("at").to_pylist()
    return [
        r["report_id"]
        for r in rows
        if "queue" in (r["actions"] or []) and now - r["at"] < QUEUE_ASKED_FOR and r["report_id"] not in there
    ]


def _band_before(lake: Lake, report: Mapping[str, Any]) -> str | None:
    rows = lake.read("drift", columns=["report_id", "at", "band"]).to_pylist()
    earlier = [r for r in rows if (r["at"], r["report_id"]) < (report["at"], report["report_id"])]
    return str(max(earlier, key=lambda r: (r["at"], r["report_id"]))["band"]) if earlier else None
