"""What follows from a drift report: the decision, which is a pure function, and carrying it out.

It is carried out in this order: hold and alert first, then the row in the table `routes`. A run that was killed can
therefore be repeated: neither the hold nor the alert happens twice, and a report that has its row was acted on in full.

A report that cannot be read is routed to an alert that names it, and has its row like any other: one damaged row never
keeps the reports after it from being acted on.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from carsdepo_assets.alerts.channels import Severity
from carsdepo_assets.lake import queues
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.monitoring.drift_queues import MEASURED_BANDS, open_queue
from carsdepo_assets.monitoring.features import NAMES
from carsdepo_assets.monitoring.missing_inputs import MissingInput, sentence
from carsdepo_assets.policy import MonitoringPolicy, Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.labels_learnt import label_coverage

Action = Literal["queue", "retrain", "hold", "experiment", "study", "alert"]
_CUT = "A labelling queue is cut from the drifted photographs"
_STANDING = "Labelling queue {} for the same drift still waits for most of its labels, so no other is cut"
_MISSING_INPUT = TypeAdapter(MissingInput)

logger = logging.getLogger(__name__)


class ReportsNotRouted(RuntimeError):
    """Reports that could not be routed, each with its reason. All others were."""


@dataclass(frozen=True)
class Route:
    """What is done about a drift report."""

    actions: tuple[Action, ...]
    """In the order in which the table `routes` keeps them; empty: nothing is done."""
    message: str
    """The decision and its reason, for people."""
    damage: str | None = None
    """What of the report, or of an earlier queue for its drift, could not be read; None: nothing."""


def decide(
    report: Mapping[str, Any],
    labels_waiting: int,
    policy: MonitoringPolicy,
    *,
    stuck: int = 0,
    open_queue: str | None = None,
    band_before: str | None = None,
    study: bool = True,
) -> Route:
    """Decides what follows from a drift report, by the bands of the policy. Nothing is read or written.

    Args:
        report: a row of the table `drift`.
        labels_waiting: label revisions that a training will still take up.
        policy: the section `monitoring`.
        stuck: label revisions that no training will take up any more: every model trained on them stayed under the
            floor, and a person was asked.
        open_queue: the id of an earlier queue for the same drift of this model that is mostly unlabelled.
        band_before: the band of the same model's report before this one, None for its first. A model's drift that is
            unknown twice in a row raises one alert.
        study: whether a study follows high drift, policy.study.after_high_drift.
    """
    damage = damage_of(report)
    if damage is not None:
        return Route(
            ("alert",),
            f"Drift report {report['report_id']} cannot be read: {damage}. Nothing else follows from it; look at its "
            "page, or measure its window anew with the job `drift`.",
            damage,
        )
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
        if not study:
            return Route(
                ("queue", "experiment", "alert"), f"{limit} {_CUT}, an experiment is opened and an alert is sent."
            )
        return Route(
            ("queue", "hold", "experiment", "study", "alert"),
            f"{limit} {_CUT}, an experiment is opened and an alert is sent. When enough of its labels have come, a "
            "study tries recipes on them. A person must approve the next promotion.",
        )
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


def damage_of(report: Mapping[str, Any]) -> str | None:
    """What of a row of the table `drift` keeps a decision from being made, in words; None: it is whole."""
    if not report["report_id"]:
        return "it has no id"
    if report["at"] is None:
        return "its time is missing"
    if report["band"] not in ("none", "unknown", *MEASURED_BANDS):
        return f"its band is {report['band']!r}"  # of a later version perhaps: it may stand for much drift
    drift = report["drift"]
    if report["band"] in MEASURED_BANDS and (drift is None or not math.isfinite(drift)):
        return f"its band is {report['band']}, but how much drift there is is missing"
    return None


def _unknown(report: Mapping[str, Any], before: str | None) -> Route:
    message = f"Drift is not known for a window of {report['photographs']} photographs, which is not the same as none."
    if before == "unknown":
        return Route((), f"{message} It was not known before either, so no further alert is sent.")
    return Route(("alert",), message)


Alert = Callable[[str, Severity, str, str], object]  # key, severity, title, body
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

    Raises:
        ReportsNotRouted: the routing of some reports failed; it names them, and the others were routed.
    """
    routed: list[tuple[dict[str, Any], Route]] = []
    failures: list[tuple[str, Exception]] = []
    with one_writer(lake, LOCK):
        for report in unrouted_reports(lake):
            try:
                routed.append((report, route_report(lake, report, policy, alert, now, address)))
            except Exception as error:  # whatever one report brings about, a critical one after it is still told
                logger.warning("Drift report %s is not routed", report["report_id"], exc_info=error)
                failures.append((str(report["report_id"]), error))
    if failures:
        reasons = "; ".join(f"{report_id}: {type(error).__name__}: {error}" for report_id, error in failures)
        raise ReportsNotRouted(
            f"{len(routed)} drift reports were routed. These were not, and are tried again: {reasons}"
        ) from failures[0][1]
    return routed


def latest_route(lake: Lake) -> tuple[dict[str, Any], Route] | None:
    """The newest drift report that has a route, as a row of the table `drift`, and its route; None before the first."""
    routes = {row["report_id"]: row for row in lake.read("routes").to_pylist()}
    reports = [row for row in lake.read("drift").to_pylist() if row["report_id"] in routes]
    if not reports:
        return None
    report = max(reports, key=_moment)
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
    queue_id, queue_damage = open_queue(lake, report, now)
    route = decide(
        report,
        labels.trainable,
        policy.monitoring,
        stuck=labels.unlearnt - labels.trainable,
        open_queue=queue_id,
        band_before=_band_before(lake, report),
        study=policy.study.after_high_drift,
    )
    missing, missing_damage = _missing_inputs(report)
    for damage in (queue_damage, missing_damage):
        if damage is not None:
            route = replace(
                route,
                message=f"{route.message} Not read: {damage}",
                damage="; ".join(d for d in (route.damage, damage) if d),
            )
    report_id = report["report_id"]
    if route.damage is not None:
        logger.warning("Drift report %s: %s", report_id, route.damage)
    page = f" Report: {address(report['report_key'])}" if report["report_key"] else ""
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
    high = report["band"] == "high"
    if damage_of(report) is not None:
        alert(
            f"drift:damaged:{report_id}",
            "critical" if high else "warning",
            "A drift report cannot be read",
            f"{route.message}{page}",
        )
    elif "alert" in route.actions:
        alert(
            f"drift:{report['band']}:{report['digest']}:{report['worst_feature']}",
            "critical" if high else "warning",
            f"Drift of {100 * report['drift']:.1f} % in {name_of(report['worst_feature'])}"
            if high
            else "Drift is not known",
            f"{route.message}{page}",
        )
    if missing_damage is not None:
        alert(
            f"missing_inputs:damaged:{report_id}",
            "warning",
            "Whether inputs are missing more often cannot be read",
            f"Drift report {report_id}: {missing_damage}{page}",
        )
    risen = [m for m in missing if m.risen]
    if risen:
        alert(
            f"missing_inputs:{report['digest']}:{','.join(sorted(f'{m.what}.{m.name}' for m in risen))}",
            "warning",
            "Inputs are missing more often than before",
            f"{sentence(risen)}{page}",
        )
    row = {
        "report_id": report_id,
        "at": now,
        "band": report["band"],
        "actions": list(route.actions),
        "queue_id": queues.queue_id_of(report_id) if "queue" in route.actions else None,
        "said": route.message,
    }
    lake.append("routes", [row], report_id or "report without an id")
    return route


def _missing_inputs(report: Mapping[str, Any]) -> tuple[list[MissingInput], str | None]:
    """The report's missing inputs as far as they can be read, and in words what of them cannot; None: all can."""
    try:
        stored = json.loads(report.get("missing") or "[]")
        entries = stored if isinstance(stored, list) else [stored]
    except (ValueError, RecursionError) as error:
        return [], f"its missing inputs are damaged ({error})."
    inputs, unread = [], []
    for entry in entries:
        try:
            inputs.append(_MISSING_INPUT.validate_python(entry))  # keys of a later version are left out
        except ValidationError as error:
            first = error.errors()[0]
            unread.append(f"{'.'.join(map(str, first['loc'])) or 'the entry'}: {first['msg']}")
    return inputs, f"{len(unread)} of its missing inputs are damaged ({'; '.join(unread)})." if unread else None


def _moment(report: Mapping[str, Any]) -> tuple[datetime, str]:
    """Orders reports by time; one without a time comes before all others."""
    return report["at"] or datetime.min.replace(tzinfo=UTC), str(report["report_id"])


def _band_before(lake: Lake, report: Mapping[str, Any]) -> str | None:
    """The band of the same model's report before this one; None: there is none."""
    rows = lake.read("drift", columns=["report_id", "at", "band", "digest"]).to_pylist()
    earlier = [r for r in rows if r["digest"] == report["digest"] and _moment(r) < _moment(report)]
    return max(earlier, key=_moment)["band"] if earlier else None
