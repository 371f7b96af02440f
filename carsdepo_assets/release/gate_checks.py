"""The checks of the promotion gate: each looks at one figure and gives one row of the verdict's table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from carsdepo_assets.policy import GatePolicy
from carsdepo_assets.scoring.evaluation import Evaluation
from carsdepo_assets.scoring.paired import Paired

Kind = Literal["comparison", "class", "slice", "floor", "limit"]
_ON_THE_BAR = 1e-4  # of 1: a difference this near to its bar is decided by no number of boxes
_WORDS = {True: "not worse", False: "worse", None: "undecided"}
_ROUNDING = 1e-12  # of 1: 0.48 - 0.5 is not below -0.02


@dataclass(frozen=True)
class Check:
    """One row of the verdict's table."""

    name: str
    kind: Kind
    """comparison: of the whole golden set. class: at the footing (scoring/paired.py). slice: of one light or camera.
    floor: an absolute bar under the value. limit: of latency or export parity."""
    challenger: float | None
    """The challenger's figure, 0..1; latency in milliseconds. None where it was not measured."""
    bar: float
    """What the difference (comparison, class, slice) or the figure itself (floor, limit) is compared with."""
    passed: bool | None
    """None where the data do not decide."""
    says: str
    """The result as a sentence with the numbers."""
    champion: float | None = None
    """The champion's figure; None for floors and limits."""
    difference: float | None = None
    """challenger - champion."""
    low: float | None = None
    high: float | None = None
    """The interval of the difference; None where there is none."""
    boxes: int | None = None
    """Labelled boxes that the figure rests on."""
    needed: int | None = None
    """Labelled boxes of the whole golden set that would decide an undecided check."""
    vetoes: bool = True
    """False where the figures are only shown and cannot refuse the challenger; `says` gives the reason."""


def boxes_needed(boxes: int, difference: float, bar: float, half_width: float) -> int | None:
    """Labelled boxes with which the interval would lie on one side of the bar, if the difference stays what it is.

    The half-width of an interval falls as 1 / sqrt(n), so n' = n (half_width / |difference - bar|)^2.

    Args:
        boxes: labelled boxes now.
        difference: challenger - champion, -1..1.
        bar: on the same scale.
        half_width: of the interval, on the side of the bar.

    Returns:
        The number of boxes, rounded up to two digits; None where the difference lies on the bar, so that no number of
        boxes decides.
    """
    margin = abs(difference - bar)
    if margin < _ON_THE_BAR:
        return None
    needed = math.ceil(round(boxes * (half_width / margin) ** 2, 6))
    unit = int(10 ** max(len(str(needed)) - 2, 0))  # two digits of an extrapolation are enough
    return max(boxes, unit * math.ceil(needed / unit))


def non_inferiority_check(name: str, p: Paired, tolerance: float, gate: GatePolicy, boxes: int) -> Check:
    """Checks that the challenger is not worse than the champion by more than the tolerance (non-inferiority)."""
    bar, needed = -tolerance, None
    if p.difference is None:
        passed = None if gate.mode == "interval" else True
        says = f"{name}: the golden set has no such box, so it cannot be checked"
    elif gate.mode == "point":
        passed = p.difference >= bar - _ROUNDING
        says = f"{_values(name, p, gate)}; bar {points(bar)}: {_WORDS[passed]}, by the middle alone"
    elif p.low is None or p.high is None:
        passed = None
        says = f"{_values(name, p, gate)}: {p.n_groups} group(s) with boxes give no interval"
    else:
        passed = True if p.low >= bar - _ROUNDING else False if p.high < bar - _ROUNDING else None
        says = f"{_values(name, p, gate)}; bar {points(bar)}: {_WORDS[passed]}"
        if passed is None:
            half = p.difference - p.low if p.difference >= bar else p.high - p.difference
            needed = boxes_needed(boxes, p.difference, bar, half)
            says += _more(boxes, needed)
    return Check(
        name, "comparison", p.second, bar, passed, says, p.first, p.difference, p.low, p.high, p.n_boxes, needed
    )


def slice_veto(name: str, p: Paired, gate: GatePolicy) -> Check:
    """Checks a slice for significant harm to its mAP@.5; one under gate.slice_min_boxes boxes is only shown."""
    if p.n_boxes < gate.slice_min_boxes:
        says = f"mAP@.5 of {name}: {p.n_boxes:,} boxes, under {gate.slice_min_boxes:,}: no veto"
        return _shown(f"mAP@.5 of {name}", "slice", p, gate.slice_harm, says)
    return _significant_harm(f"mAP@.5 of {name}", "slice", p, gate.slice_harm, gate)


def class_vetoes(name: str, recall: Paired, precision: Paired, gate: GatePolicy) -> list[Check]:
    """Checks a class at the footing for significant harm to its recall and to its precision.

    Where significantly more of its boxes are found, a lower precision is the price of them and has no veto: along one
    and the same curve precision falls as recall rises.
    """
    fewer = _significant_harm(f"recall of {name}", "class", recall, gate.recall_tolerance, gate)
    worse = _significant_harm(f"precision of {name}", "class", precision, gate.precision_tolerance, gate)
    if worse.passed is False and recall.low is not None and recall.low > 0:
        says = f"{_values(worse.name, precision, gate)}: no veto, since significantly more of them are found"
        worse = _shown(worse.name, "class", precision, gate.precision_tolerance, says)
    return [fewer, worse]


def _significant_harm(name: str, kind: Kind, p: Paired, tolerance: float, gate: GatePolicy) -> Check:
    """Significant harm only, whatever the mode: the whole interval under -tolerance."""
    bar = -tolerance
    if p.difference is None:
        return _shown(name, kind, p, tolerance, f"{name}: one of the models has nothing to compare here: no veto")
    if p.low is None or p.high is None or p.n_groups < gate.veto_min_groups:
        says = f"{_values(name, p, gate)}: {p.n_groups} group(s), under {gate.veto_min_groups}: no veto"
        return _shown(name, kind, p, tolerance, says)
    passed = p.high >= bar - _ROUNDING
    says = f"{_values(name, p, gate)}; bar {points(bar)}: {'no significant harm' if passed else 'harm'}"
    return Check(name, kind, p.second, bar, passed, says, p.first, p.difference, p.low, p.high, p.n_boxes)


def _shown(name: str, kind: Kind, p: Paired, tolerance: float, says: str) -> Check:
    return Check(
        name, kind, p.second, -tolerance, True, says, p.first, p.difference, p.low, p.high, p.n_boxes, vetoes=False
    )


def without_veto(check: Check) -> Check:
    """The check as it counts against a champion that is itself under the floors: shown, without deciding anything."""
    says = check.says if not check.vetoes else f"{check.says}; the champion has no veto"
    return replace(check, passed=True, vetoes=False, needed=None, says=says)


def under_the_floors(old: Evaluation, class_names: Sequence[str], gate: GatePolicy) -> list[str]:
    """The floors that a champion does not reach, as sentences; an empty list where it reaches all.

    Args:
        old: the champion's evaluation on the golden set.
        class_names: the classes that it was trained on. A class without a labelled box is passed over.
        gate: the section `gate` of the policy.
    """
    checks = [_floor("mAP@.5", old.map50, gate.floor_map50, old.n_boxes, unknown=None)]
    for name in class_names:
        score = old.per_class[name]
        checks.append(_floor(f"recall of {name}", score.counts.recall, gate.floor_recall, score.n_boxes, unknown=None))
    return [c.says for c in checks if c.passed is False]


def floors(new: Evaluation, class_names: Sequence[str], gate: GatePolicy) -> list[Check]:
    """The absolute floors that every model must reach: mAP@.5, and the recall of each class."""
    checks = [_floor("mAP@.5", new.map50, gate.floor_map50, new.n_boxes, unknown=None)]
    for name in class_names:
        score = new.per_class[name]
        unknown = None if gate.mode == "interval" else True
        checks.append(_floor(f"recall of {name}", score.counts.recall, gate.floor_recall, score.n_boxes, unknown))
    return checks


def _floor(name: str, value: float | None, floor: float, boxes: int, unknown: bool | None) -> Check:
    if value is None:
        says = f"{name}: the golden set has no such box, so the floor of {floor:.3f} cannot be checked"
        return Check(f"floor of {name}", "floor", None, floor, unknown, says, boxes=boxes)
    reached = value >= floor
    says = f"{name} {value:.3f} {'meets' if reached else 'is under'} the floor of {floor:.3f}"
    return Check(f"floor of {name}", "floor", value, floor, reached, says, boxes=boxes)


def limits(latency_p95_ms: float | None, parity: float | None, gate: GatePolicy) -> list[Check]:
    """The limits of the service's latency (milliseconds) and of the export's parity (share of boxes); None: unknown."""
    if latency_p95_ms is None:
        late, message = None, "latency: not measured at staging"
    else:
        late = latency_p95_ms <= gate.latency_p95_ms
        message = (
            f"latency p95 {latency_p95_ms:.0f} ms {'keeps' if late else 'exceeds'} "
            f"the budget of {gate.latency_p95_ms:.0f} ms"
        )
    checks = [Check("latency p95, ms", "limit", latency_p95_ms, gate.latency_p95_ms, late, message)]
    if parity is None:
        same, message = None, "export parity: not measured"
    else:
        same = parity >= gate.parity_share
        share = f"{100 * parity:.1f} % of the boxes"
        message = f"the export reproduces {share}; at least {100 * gate.parity_share:.1f} % are required"
    return [*checks, Check("export parity", "limit", parity, gate.parity_share, same, message)]


def _values(name: str, p: Paired, gate: GatePolicy) -> str:
    assert p.first is not None
    assert p.second is not None
    assert p.difference is not None
    message = f"{name} {p.second:.3f} against {p.first:.3f}, {points(p.difference)} points"
    if p.low is not None and p.high is not None:
        message += f" ({100 * gate.level:.0f} % interval {points(p.low)} to {points(p.high)})"
    return message


def points(value: float) -> str:
    """A difference of shares (0..1) in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def _more(boxes: int, needed: int | None) -> str:
    if needed is None:
        return f". The difference lies on the bar: no number of boxes decides ({boxes:,} now)"
    return f". About {needed:,} labelled boxes would decide ({boxes:,} now), if the difference stays what it is"
