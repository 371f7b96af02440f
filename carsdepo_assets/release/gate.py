"""The promotion gate: decides whether a challenger may replace the champion. Pure: scored photographs in, verdict out.

The challenger must be shown not to be worse in overall mAP@.5 (non-inferiority, by the paired bootstrap over groups).
Recall and precision of each class, compared at equal false alarms a photograph (scoring/paired.py), and the large
slices refuse it only for significant harm. A champion that is itself under the floors cannot refuse a challenger.
Floors, latency and export parity are absolute. One failed check rejects; otherwise one check that the data cannot
decide leaves the verdict undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.evaluation.predict import Scored
from carsdepo_assets.policy import GatePolicy, Policy
from carsdepo_assets.release.gate_checks import (
    Check,
    class_vetoes,
    floors,
    limits,
    non_inferiority_check,
    slice_veto,
    under_the_floors,
    without_veto,
)
from carsdepo_assets.scoring.evaluation import Evaluation, evaluate
from carsdepo_assets.scoring.paired import Footing, PairedScores, paired_scores

GateDecision = Literal["promote", "reject", "undecided"]


@dataclass(frozen=True)
class GateInputs:
    """What a verdict rests on. As long as none of it changes, the verdict is reused."""

    challenger: str
    """The digest of the model that is to be promoted."""
    champion: str | None
    """The digest of the model in production; None before the first."""
    golden: int
    """The version of the golden set."""
    dataset: str
    """The version of the dataset whose labels are used."""
    policy_digest: str
    validated_at: str
    """ISO time of the challenger's validation at staging."""


class NotComparable(ValueError):
    """Champion and challenger were not scored on the same photographs with the same labels."""


@dataclass(frozen=True)
class Verdict:
    """The gate's decision with everything that it was based on."""

    verdict: GateDecision
    mode: Literal["interval", "point"]
    """policy.gate.mode."""
    reasons: tuple[str, ...]
    """Sentences with numbers, the deciding ones first."""
    checks: tuple[Check, ...]
    figures: Mapping[str, float | None]
    """By name, for the table `gates` and for plots; None: not measured."""
    photographs: int
    boxes: int
    """Labelled boxes on the photographs."""
    groups: int
    """Cars (or listings) that the photographs show."""
    needed: int | None = None
    """Labelled boxes that would decide an undecided verdict; None where that cannot be said."""
    notes: tuple[str, ...] = field(default=())
    """Sentences on how the models were compared."""
    footing: Footing | None = None
    """Where the classes' recall and precision were compared; None for a first model."""

    def table(self) -> list[dict[str, Any]]:
        """The checks as rows of a table."""
        columns = ("name", "champion", "challenger", "difference", "low", "high", "bar", "passed")
        return [{k: v for k, v in asdict(c).items() if k in columns} for c in self.checks]


def gate_verdict(
    champion: Scored | None,
    challenger: Scored,
    class_names: Sequence[str],
    thresholds: tuple[float | None, float],
    policy: Policy,
    *,
    latency_p95_ms: float | None,
    parity: float | None,
    slices: Mapping[str, Sequence[str | None]],
    champion_classes: Sequence[str] | None = None,
) -> Verdict:
    """Decides about a challenger.

    Args:
        champion: its detections on the golden photographs; None for the first model, which needs only to keep the
            floors and limits.
        challenger: its detections on the same photographs, in the same order.
        class_names: by class id.
        thresholds: the deployed score thresholds of champion and challenger.
        policy: the sections `gate` and `evaluation` are used.
        latency_p95_ms: of one photograph over HTTP at staging; None (not measured) leaves the verdict undecided.
        parity: share of boxes that the served export reproduces, 0..1; None likewise.
        slices: by dimension (light, camera), one value for each photograph.
        champion_classes: the classes that the champion was trained on, None for all. A class that is newer than the
            champion does not count against it.

    Raises:
        NotComparable: the models were scored on different photographs or labels.
        ScoringError: boxes do not fit their photographs.
    """
    gate = policy.gate
    new = _evaluate(challenger, class_names, thresholds[1], policy)
    checks: list[Check] = []
    faults: list[str] = []
    figures: dict[str, float | None] = _figures("challenger", new)
    footing = None
    if champion is not None:
        _same_photographs(champion, challenger)
        if thresholds[0] is None:
            raise NotComparable("The champion's threshold is not given: its recall cannot be compared.")
        old = _evaluate(champion, class_names, thresholds[0], policy)
        pair = _Pair(champion, challenger, class_names, (thresholds[0], thresholds[1]), policy)
        scores = pair.scores()
        footing = scores.footing
        figures |= _figures("champion", old) | _compared_figures(scores)
        checks.append(non_inferiority_check("mAP@.5", scores.map50, gate.map50_tolerance, gate, new.n_boxes))
        for name, recall, precision in zip(class_names, scores.recalls, scores.precisions, strict=True):
            checks += class_vetoes(name, recall, precision, gate)
        checks += pair.slice_checks(slices)
        faults = under_the_floors(old, champion_classes or class_names, gate)
        if faults:
            checks = [without_veto(c) for c in checks]
    checks += floors(new, class_names, gate)
    checks += limits(latency_p95_ms, parity, gate)
    figures |= {"latency_p95_ms": latency_p95_ms, "parity": parity}
    verdict: GateDecision = "promote"
    if any(c.passed is False for c in checks):
        verdict = "reject"
    elif any(c.passed is None for c in checks):
        verdict = "undecided"
    asked = [c.needed for c in checks if c.passed is None and c.needed is not None]
    return Verdict(
        verdict=verdict,
        mode=gate.mode,
        reasons=_reasons(verdict, checks, first=champion is None, faults=faults),
        checks=tuple(checks),
        figures=figures,
        photographs=len(challenger.rows),
        boxes=new.n_boxes,
        groups=len({r["group_id"] for r in challenger.rows}),
        needed=max(asked) if verdict == "undecided" and asked else None,
        notes=_notes(gate, footing, faults),
        footing=footing,
    )


class _Pair:
    """Champion and challenger on the same photographs."""

    def __init__(
        self,
        champion: Scored,
        challenger: Scored,
        class_names: Sequence[str],
        thresholds: tuple[float, float],
        policy: Policy,
    ) -> None:
        self.champion, self.challenger = champion, challenger
        self.n_classes, self.thresholds, self.policy = len(class_names), thresholds, policy

    def scores(
        self, masks: Mapping[str, NDArray[np.bool_]] | None = None, resamples: int | None = None
    ) -> PairedScores:
        """Paired scores of both models. masks: photographs of each slice; resamples: None for policy.gate.resamples."""

        gate, evaluation = self.policy.gate, self.policy.evaluation
        return paired_scores(
            self.challenger.truths,
            self.champion.detections,
            self.challenger.detections,
            self.n_classes,
            [str(r["group_id"]) for r in self.challenger.rows],
            thresholds=self.thresholds,
            least_false_alarms=gate.footing_false_alarms,
            slices=masks,
            iou=evaluation.iou,
            max_detections=evaluation.max_detections,
            resamples=gate.resamples if resamples is None else resamples,
            level=gate.level,
        )

    def slice_checks(self, slices: Mapping[str, Sequence[str | None]]) -> list[Check]:
        """One check a value of each dimension that divides the photographs; small slices are shown, without a veto."""
        gate = self.policy.gate
        n_truths = np.array([len(t) for t in self.challenger.truths])
        large: dict[str, NDArray[np.bool_]] = {}
        small: dict[str, NDArray[np.bool_]] = {}
        for dimension, values in slices.items():
            of = np.array([v or "unknown" for v in values], dtype=str)
            if of.shape != n_truths.shape:
                raise NotComparable(f"{len(n_truths)} photographs, but {len(of)} values of {dimension}.")
            for value in np.unique(of):
                mask = of == value
                boxes = int(n_truths[mask].sum())
                if boxes and not mask.all():
                    (large if boxes >= gate.slice_min_boxes else small)[f"{dimension} {value}"] = mask
        checks = [slice_veto(name, p, gate) for name, p in self.scores(large).slices.items()] if large else []
        if small:  # their values only: an interval of so few boxes would not be heeded
            checks += [slice_veto(name, p, gate) for name, p in self.scores(small, resamples=0).slices.items()]
        return checks


def _reasons(verdict: GateDecision, checks: Sequence[Check], *, first: bool, faults: Sequence[str]) -> tuple[str, ...]:
    deciding = {"promote": True, "reject": False, "undecided": None}[verdict]
    chosen = [c.says for c in checks if c.passed is deciding and c.vetoes]
    if verdict == "promote":
        chosen = [c.says for c in checks if c.kind != "slice"]
        chosen += [c.says for c in checks if c.kind == "slice" and c.low is not None]
    elif verdict == "reject":
        chosen += [c.says for c in checks if c.passed is None]
    opening = ["The first model: floors and limits only"] if first else []
    if faults:
        opening.append(f"The champion is under the floors itself and has no veto ({'; '.join(faults)})")
    # A refused model's own faults come first: the champion's are beside the point there.
    return tuple(f"{s}." for s in (opening + chosen if verdict == "promote" else chosen + opening))


def _notes(gate: GatePolicy, footing: Footing | None, faults: Sequence[str]) -> tuple[str, ...]:
    if footing is None:
        return ("There is no champion yet: the floors, the latency budget and the export's parity decide.",)
    own = [f"{side.deployed_false_alarms:.2f}" for side in (footing.first, footing.second)]
    common = (
        f"Recall and precision of the classes are compared at {footing.false_alarms:.2f} false alarms a photograph, "
        f"the same for both: the smaller of what they give at their own thresholds ({own[0]} and {own[1]}), and at "
        f"least {gate.footing_false_alarms:g}."
    )
    if faults:
        return ("The comparisons are shown and decide nothing: the floors, the latency and the parity do.", common)
    if gate.mode == "point":
        mode = (
            "Point mode (policy.gate.mode): the middle of mAP@.5's difference decides and its interval does not. Meant "
            "for little data, where equal models differ by chance; on a grown golden set use interval."
        )
    else:
        mode = (
            f"Interval mode: mAP@.5 passes when the whole {100 * gate.level:.0f} % interval of the difference lies at "
            "or above its bar, fails when all of it lies under, and is undecided between."
        )
    return (mode, "Classes and slices refuse a model where the whole interval lies under the bar.", common)


def _evaluate(scored: Scored, class_names: Sequence[str], threshold: float, policy: Policy) -> Evaluation:
    return evaluate(
        scored.truths,
        scored.detections,
        class_names,
        scored.sizes,
        iou=policy.evaluation.iou,
        max_detections=policy.evaluation.max_detections,
        threshold=threshold,
    )


def _figures(who: str, e: Evaluation) -> dict[str, float | None]:
    overall = {f"{who}_{k}": getattr(e, k) for k in ("map50", "map50_95", "precision", "recall", "f1", "threshold")}
    return overall | {f"{who}_recall_{name}": s.counts.recall for name, s in e.per_class.items()}


def _compared_figures(scores: PairedScores) -> dict[str, float | None]:
    footing = scores.footing
    return {
        "map50_difference": scores.map50.difference,
        "map50_difference_low": scores.map50.low,
        "map50_difference_high": scores.map50.high,
        "footing_false_alarms": footing.false_alarms,
        "champion_footing_threshold": footing.first.threshold,
        "challenger_footing_threshold": footing.second.threshold,
        "champion_footing_recall": scores.recall.first,
        "challenger_footing_recall": scores.recall.second,
        "champion_footing_precision": scores.precision.first,
        "challenger_footing_precision": scores.precision.second,
    }


def _same_photographs(champion: Scored, challenger: Scored) -> None:
    ids = [[r["image_id"] for r in s.rows] for s in (champion, challenger)]
    if ids[0] != ids[1]:
        raise NotComparable(
            f"The champion was scored on {len(ids[0])} photographs and the challenger on {len(ids[1])}, "
            "not the same ones in the same order."
        )
    for image, a, b in zip(ids[0], champion.truths, challenger.truths, strict=True):
        if not (np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.classes, b.classes)):
            raise NotComparable(f"Photograph {image}: champion and challenger were scored against different labels.")
