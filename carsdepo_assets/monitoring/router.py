"""What follows from a drift report. Pure: a row and the state of the labels in, actions and a sentence out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from carsdepo_assets.monitoring.features import NAMES
from carsdepo_assets.policy import MonitoringPolicy

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
