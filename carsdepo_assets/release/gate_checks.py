"""The gate's criteria: each looks at one figure and gives one row of the verdict's table."""

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
    """One row of the verdict's table. passed is None where the data do not decide.

    comparison, class and slice: values 0..1, bar on the difference; class: at the footing (scoring/paired.py). floor:
    bar under the value. limit: latency in ms with the bar above it, parity as a share with the bar under it. boxes:
    labelled boxes it rests on; needed: those (of the whole golden set) that would decide it. vetoes: False where the
    figures are shown and decide nothing, and says gives the reason.
    """

    name: str
    kind: Kind
    challenger: float | None
    bar: float
    passed: bool | None
    says: str
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    boxes: int | None = None
    needed: int | None = None
    vetoes: bool = True


def boxes_needed(boxes: int, difference: float, bar: float, half_width: float) -> int | None:
    """Labelled boxes with which the interval would lie on one side of the bar, if the difference stays what it is.

    The half-width falls as 1 / sqrt(n), so n' = n (half_width / |difference - bar|)^2. None: it lies on the bar.
    """
    margin = abs(difference - bar)
    if margin < _ON_THE_BAR:
        return None
    needed = math.ceil(round(boxes * (half_width / margin) ** 2, 6))
    unit = int(10 ** max(len(str(needed)) - 2, 0))  # two digits of an extrapolation are enough
    return max(boxes, unit * math.ceil(needed / unit))


def non_inferiority_check(name: str, p: Paired, tolerance: float, gate: GatePolicy, boxes: int) -> Check:
    """Non-inferiority: is challenger - champion at or above -tolerance?"""
    bar, needed = -tolerance, None
    if p.difference is None:
        passed = None if gate.mode == "interval" else True
        says = f"{name}: the golden set has no such box, so it is not judged"
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
    """Significant harm to mAP@.5 of a slice of at least gate.slice_min_boxes boxes."""
    if p.n_boxes < gate.slice_min_boxes:
        says = f"mAP@.5 of {name}: {p.n_boxes:,} boxes, under {gate.slice_min_boxes:,}: no veto"
        return _shown(f"mAP@.5 of {name}", "slice", p, gate.slice_harm, says)
    return _significant_harm(f"mAP@.5 of {name}", "slice", p, gate.slice_harm, gate)


def class_vetoes(name: str, recall: Paired, precision: Paired, gate: GatePolicy) -> list[Check]:
    """Significant harm to a class at the footing: fewer of its boxes found, or more of what is drawn of it wrong.

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
    """The same figures of a comparison with a champion that is under the floors: shown, and deciding nothing."""
    says = check.says if not check.vetoes else f"{check.says}; the champion has no veto"
    return replace(check, passed=True, vetoes=False, needed=None, says=says)


def under_the_floors(old: Evaluation, class_names: Sequence[str], gate: GatePolicy) -> list[str]:
    """What of a champion lies under the floors that every model must meet, as sentences; empty where nothing does.

    class_names: the classes that it was taught. One without a labelled box says nothing.
    """
    checks = [_floor("mAP@.5", old.map50, gate.floor_map50, old.n_boxes, unknown=None)]
    for name in class_names:
        score = old.per_class[name]
        checks.append(_floor(f"recall of {name}", score.counts.recall, gate.floor_recall, score.n_boxes, unknown=None))
    return [c.says for c in checks if c.passed is False]


def floors(new: Evaluation, class_names: Sequence[str], gate: GatePolicy) -> list[Check]:
    checks = [_floor("mAP@.5", new.map50, gate.floor_map50, new.n_boxes, unknown=None)]
    for name in class_names:
        score = new.per_class[name]
        unknown = None if gate.mode == "interval" else True
        checks.append(_floor(f"recall of {name}", score.counts.recall, gate.floor_recall, score.n_boxes, unknown))
    return checks


def _floor(name: str, value: float | None, floor: float, boxes: int, unknown: bool | None) -> Check:
    if value is None:
        says = f"{name}: the golden set has no such box, so the floor of {floor:.3f} is not judged"
        return Check(f"floor of {name}", "floor", None, floor, unknown, says, boxes=boxes)
    met = value >= floor
    says = f"{name} {value:.3f} {'meets' if met else 'is under'} the floor of {floor:.3f}"
    return Check(f"floor of {name}", "floor", value, floor, met, says, boxes=boxes)


def limits(latency_p95_ms: float | None, parity: float | None, gate: GatePolicy) -> list[Check]:
    if latency_p95_ms is None:
        late, said = None, "latency: not measured at staging"
    else:
        late = latency_p95_ms <= gate.latency_p95_ms
        said = (
            f"latency p95 {latency_p95_ms:.0f} ms {'keeps' if late else 'exceeds'} "
            f"the budget of {gate.latency_p95_ms:.0f} ms"
        )
    checks = [Check("latency p95, ms", "limit", latency_p95_ms, gate.latency_p95_ms, late, said)]
    if parity is None:
        same, said = None, "export parity: not measured"
    else:
        same = parity >= gate.parity_share
        said = f"the export gives back {100 * parity:.1f} % of the boxes, {100 * gate.parity_share:.1f} % are asked"
    return [*checks, Check("export parity", "limit", parity, gate.parity_share, same, said)]


def _values(name: str, p: Paired, gate: GatePolicy) -> str:
    assert p.first is not None
    assert p.second is not None
    assert p.difference is not None
    said = f"{name} {p.second:.3f} against {p.first:.3f}, {points(p.difference)} points"
    if p.low is not None and p.high is not None:
        said += f" ({100 * gate.level:.0f} % interval {points(p.low)} to {points(p.high)})"
    return said


def points(value: float) -> str:
    """0..1 as points of a hundred, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def _more(boxes: int, needed: int | None) -> str:
    if needed is None:
        return f". The difference lies on the bar: no number of boxes decides ({boxes:,} now)"
    return f". About {needed:,} labelled boxes would decide ({boxes:,} now), if the difference stays what it is"
