"""What follows from a drift report: the decision, which is a pure function, and carrying it out.

It is carried out in this order: hold and alert first, then the row in the table `routes`. A run that was killed can
therefore be repeated: neither the hold nor the alert happens twice, and a report that has its row was acted on in full.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from carsdepo_assets.alerts.channels import Severity
from carsdepo_assets.lake import queues
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
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
    """What is done about a drift report."""

    actions: tuple[Action, ...]
    """In the order in which the table `routes` keeps them; empty: nothing is done."""
    message: str
    """The decision and its reason, for people."""


def decide(
    report: Mapping[str, Any],
    labels_waiting: int,
    policy: MonitoringPolicy,
    *,
    stuck: int = 0,
    open_queue: str | None = None,
    band_before: str | None = None,
) -> Route:
    """Decides what follows from a drift report, by the bands of the policy. Nothing is read or written.

    Args:
        report: a row of the table `drift`.
        labels_waiting: label revisions that a training will still take up.
        policy: the section `monitoring`.
        stuck: label revisions that no training will take up any more: every model trained on them stayed under the
            floor, and a person was asked.
        open_queue: the id of an earlier queue for the same drift of this model that is mostly unlabelled.
        band_before: the band of the report before this one, None for the first. Drift that is unknown twice in a row
            raises one alert.
    """
    band = report["band"]
    if band == "none":
        return Route((), f"No drift in {report['photographs']} photographs: nothing to do.")
    if band == "unknown":
        return _unknown(report, band_before)
    size = f"Drift of {100 * report['drift']:.1f} % in {name_of(report['worst_feature'])}"
    if band == "high":
        limit = f"{size}: no retraining, since it reaches the limit of {100 * policy.no_retraining_from:.0f} %."
        if open_queue is not None:
            return Route(
                ("alert",), f"{limit} {_STANDING.format(open_queue)} and no other experiment opened; an alert is sent."
            )
        return Route(("queue", "experiment", "alert"), f"{limit} {_CUT}, an experiment is opened and an alert is sent.")
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
        f"{_CUT if queue else _STANDING.format(open_queue)}; a model is trained when enough of its labels have come."
        f"{approve}",
    )


def name_of(feature: str | None) -> str:
    """A feature's name in words, for people."""
    return NAMES.get(feature or "", feature or "an unknown feature")


def _unknown(report: Mapping[str, Any], before: str | None) -> Route:
    message = f"Drift is not known for a window of {report['photographs']} photographs, which is not the same as none."
    if before == "unknown":
        return Route((), f"{message} It was not known before either, so no further alert is sent.")
    return Route(("alert",), message)


Alert = Callable[[str, Severity, str, str], object]  # key, severity, title, body
_BANDS = ("low", "middle", "high")
QUEUE_ASKED_FOR = timedelta(days=7)  # a queue that could not be cut for so long is not asked for any more
LOCK = "drift_route"  # reports are routed one at a time


def unrouted_reports(lake: Lake) -> list[dict[str, Any]]:
    """The rows of the table `drift` that have no row in `routes` yet, oldest first."""
    routed = set(lake.read("routes", columns=["report_id"])["report_id"].to_pylist())
    rows = lake.read("drift").sort_by([("at", "ascending"), ("report_id", "ascending")]).to_pylist()
    return [row for row in rows if row["report_id"] not in routed]


def route_unrouted(
    lake: Lake,
    policy: Policy,
    alert: Alert,
    now: datetime,
    address: Callable[[str], str] = str,
) -> list[tuple[dict[str, Any], Route]]:
    """Routes the reports that have no route yet, oldest first, while no other process does so.

    Args:
        lake: where the reports and routes are.
        policy: the policy in force.
        alert: sends an alert; called with key, severity, title and body.
        now: the time of the routes.
        address: see `route_report`.

    Returns:
        The reports that were routed here (rows of the table `drift`), each with its route.
    """
    with one_writer(lake, LOCK):
        return [(report, route_report(lake, report, policy, alert, now, address)) for report in unrouted_reports(lake)]


def latest_route(lake: Lake) -> tuple[dict[str, Any], Route] | None:
    """The newest drift report that has a route, as a row of the table `drift`, and its route; None before the first."""
    routes = {row["report_id"]: row for row in lake.read("routes").to_pylist()}
    reports = [row for row in lake.read("drift").to_pylist() if row["report_id"] in routes]
    if not reports:
        return None
    report = max(reports, key=lambda row: (row["at"], row["report_id"]))
    route = routes[report["report_id"]]
    return report, Route(tuple(route["actions"] or ()), route["said"])


def route_report(
    lake: Lake,
    report: Mapping[str, Any],
    policy: Policy,
    alert: Alert,
    now: datetime,
    address: Callable[[str], str] = str,
) -> Route:
    """Decides about one report, enters the hold, sends the alerts and then records the route.

    Called again for the same report it adds no second hold and no second row.

    Args:
        lake: where ledger, reports and routes are.
        report: a row of the table `drift`.
        policy: the policy in force.
        alert: sends an alert; called with key, severity, title and body.
        now: the time of the route.
        address: turns a key of the lake into the address that an alert links to; by default the key itself is shown.
    """
    labels = label_coverage(lake, policy)
    route = decide(
        report,
        labels.trainable,
        policy.monitoring,
        stuck=labels.unlearnt - labels.trainable,
        open_queue=open_queue(lake, report, now),
        band_before=_band_before(lake, report),
    )
    report_id = report["report_id"]
    if "hold" in route.actions and ledger.LedgerHistory.read(lake).promotion_hold is None:
        ledger.record(
            lake,
            "production",
            "hold",
            digest=None,
            version=None,
            actor=ledger.machine(policy.digest()),
            reason=f"Drift report {report_id}: {route.message}",
            policy_digest=policy.digest(),
            event_id=f"hold-{report_id}",
        )
    if "alert" in route.actions:
        high = report["band"] == "high"
        alert(
            f"drift:{report['band']}:{report['digest']}:{report['worst_feature']}",
            "critical" if high else "warning",
            f"Drift of {100 * report['drift']:.1f} % in {name_of(report['worst_feature'])}"
            if high
            else "Drift is not known",
            f"{route.message} Report: {address(report['report_key'])}",
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
        "actions": list(route.actions),
        "queue_id": queues.queue_id_of(report_id) if "queue" in route.actions else None,
        "said": route.message,
    }
    lake.append("routes", [row], report_id)
    return route


def open_queue(lake: Lake, report: Mapping[str, Any], now: datetime) -> str | None:
    """The id of a labelling queue that makes another one for this report needless, None where there is none.

    It was cut for the same model, the same feature and a band at least as high, and fewer than half of its photographs
    have labels. A queue that was asked for in the last QUEUE_ASKED_FOR and is not cut yet counts too.
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


def queues_to_cut(lake: Lake, now: datetime) -> list[str]:
    """Report ids whose routes of the last QUEUE_ASKED_FOR asked for a queue that is not there yet, oldest first."""
    there = {queue.report_id for queue, complete in queues.all_queues(lake) if complete}
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
