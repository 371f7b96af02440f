"""The evaluation as one HTML page that needs nothing beside itself, and as pictures for the UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from carsdepo_assets.evaluation.comparison import Comparison
from carsdepo_assets.reporting.page import GATE_SLOT, data_uri, render
from carsdepo_assets.scoring.bootstrap import Interval
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.evaluation import Evaluation, SliceScore
from carsdepo_assets.scoring.mistakes import Mistakes
from carsdepo_assets.training.evaluation_charts import confusion_png, history_png, pr_curve_png, sweep_png
from carsdepo_assets.training.mistake_pictures import Mistake, caption, mistake_jpeg, mistakes_png

__all__ = [
    "EvaluationReportInput",
    "confusion_png",
    "data_uri",
    "history_png",
    "mistakes_png",
    "pictures",
    "pr_curve_png",
    "render_report",
    "sweep_png",
]

_IN_GRID = 6  # pictures in one PNG for the UI


@dataclass(frozen=True)
class EvaluationReportInput:
    """What the page says. truths and detections: as they were scored; images: RGB by index, those of the mistakes.

    verdict: a sentence with both numbers; facts: what was judged, by name, in order; threshold_from: where the
    threshold was chosen; slice_by: what the slices divide by; judged_on: whose photographs; no_comparison: why there is
    no champion to compare with.
    """

    evaluation: Evaluation
    interval: Interval
    passed: bool
    verdict: str
    made_at: datetime
    threshold_from: str
    mistakes: Mistakes
    truths: Sequence[Truth]
    detections: Sequence[Detections]
    images: Mapping[int, np.ndarray]
    history: Sequence[Mapping[str, Any]] = ()
    slices: Sequence[SliceScore] = ()
    slice_by: str = "light"
    judged_on: str = ""
    comparison: Comparison | None = None
    no_comparison: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    title: str = "Damage detection: evaluation"


def render_report(context: EvaluationReportInput) -> str:
    """The page. Every text in it is escaped. Mistakes whose image is not given are listed without a picture."""
    e = context.evaluation
    charts = {
        "pr": data_uri(pr_curve_png(e, "svg")),
        "sweep": data_uri(sweep_png(e, "svg")),
        "confusion": data_uri(confusion_png(e, "svg")),
        "history": data_uri(history_png(context.history, "svg")) if context.history else None,
    }
    return render(
        Path(__file__).parent,
        "report.html",
        c=context,
        e=e,
        charts=charts,
        gate_slot=GATE_SLOT,
        summary=_summary(e),
        wrong_boxes=_wrong_boxes(e),
        misses=[_shown(context, m) for m in context.mistakes.misses],
        false_alarms=[_shown(context, m) for m in context.mistakes.false_alarms],
    )


def pictures(context: EvaluationReportInput) -> dict[str, bytes]:
    """PNGs by name for the UI; of misses and false alarms only those that exist."""
    e = context.evaluation
    made = {"precision_recall": pr_curve_png(e), "threshold_sweep": sweep_png(e), "confusion": confusion_png(e)}
    if context.history:
        made["training"] = history_png(context.history)
    both: tuple[tuple[str, Sequence[Mistake]], ...] = (
        ("worst_misses", context.mistakes.misses),
        ("worst_false_alarms", context.mistakes.false_alarms),
    )
    for name, mistakes in both:
        shown = [m for m in mistakes if m.image in context.images][:_IN_GRID]
        if shown:
            made[name] = mistakes_png(
                [context.images[m.image] for m in shown],
                [context.truths[m.image] for m in shown],
                [context.detections[m.image] for m in shown],
                class_names=e.class_names,
                threshold=e.threshold,
                mistakes=shown,
            )
    return made


def _shown(context: EvaluationReportInput, mistake: Mistake) -> dict[str, str | None]:
    e, i = context.evaluation, mistake.image
    picture = None
    if i in context.images:
        picture = data_uri(
            mistake_jpeg(
                context.images[i],
                context.truths[i],
                context.detections[i],
                mistake,
                class_names=e.class_names,
                threshold=e.threshold,
            )
        )
    return {"caption": caption(mistake, e.class_names), "picture": picture}


def _summary(e: Evaluation) -> str:
    """The figures as one would say them; what cannot be computed is not said."""
    said = []
    if e.recall is not None:
        said.append(f"Of 100 labelled damages the model finds {100 * e.recall:.0f}")
    if e.precision is not None:
        said.append(f"{'of' if said else 'Of'} 100 boxes that it draws {100 * e.precision:.0f} are right")
    return "; ".join(said) + "." if said else "There is neither labelled damage nor a box: nothing can be said."


def _wrong_boxes(e: Evaluation) -> str:
    """The confusion matrix in words."""
    if not e.fp:
        return "No box is wrong."
    k = len(e.class_names)
    confused = sum(e.confusion[y][x] for y in range(k) for x in range(k) if x != y)
    return (
        f"{e.fp:,} of {e.tp + e.fp:,} boxes are wrong: {sum(e.confusion[k]):,} lie where no damage is left to "
        f"find, {confused:,} name the wrong class."
    )
