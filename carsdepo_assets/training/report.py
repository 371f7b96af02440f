"""Renders an evaluation as a single HTML page with everything in it, and as pictures for Dagster's UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """What the page shows."""

    evaluation: Evaluation
    interval: Interval
    """95 % interval of mAP@.5."""
    passed: bool
    """Whether the floors are met."""
    verdict: str
    """The same as a sentence with both numbers."""
    made_at: datetime
    threshold_from: str
    """What chose the threshold, in words."""
    mistakes: Mistakes
    truths: Sequence[Truth]
    """The labels of each photograph, as they were scored."""
    detections: Sequence[Detections]
    """The model's boxes on each photograph, as they were scored."""
    images: Mapping[int, NDArray[np.uint8]]
    """The photographs with mistakes, HxWx3 RGB, by their index."""
    history: Sequence[Mapping[str, Any]] = ()
    """Figures of the training, a row an epoch."""
    slices: Sequence[SliceScore] = ()
    slice_by: str = "light"
    """What the slices divide the photographs by."""
    evaluated_on: str = ""
    """Whose photographs the model was evaluated on, in words."""
    comparison: Comparison | None = None
    """The same figures of the model in production; None where there is none to compare with."""
    no_comparison: str = ""
    """Why there is none, in a sentence."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What was evaluated, by name, in the order to show."""
    notes: Sequence[str] = ()
    title: str = "Damage detection: evaluation"


def render_report(context: EvaluationReportInput) -> str:
    """The page as HTML, every text in it escaped. A mistake whose photograph is not given has no picture."""
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
    """PNG pictures for the UI, by name; misses and false alarms are left out where there are none."""
    e = context.evaluation
    by_name = {"precision_recall": pr_curve_png(e), "threshold_sweep": sweep_png(e), "confusion": confusion_png(e)}
    if context.history:
        by_name["training"] = history_png(context.history)
    both: tuple[tuple[str, Sequence[Mistake]], ...] = (
        ("worst_misses", context.mistakes.misses),
        ("worst_false_alarms", context.mistakes.false_alarms),
    )
    for name, mistakes in both:
        shown = [m for m in mistakes if m.image in context.images][:_IN_GRID]
        if shown:
            by_name[name] = mistakes_png(
                [context.images[m.image] for m in shown],
                [context.truths[m.image] for m in shown],
                [context.detections[m.image] for m in shown],
                class_names=e.class_names,
                threshold=e.threshold,
                mistakes=shown,
            )
    return by_name


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
    """Recall and precision as a sentence; a figure that cannot be computed is left out."""
    parts = []
    if e.recall is not None:
        parts.append(f"Of 100 labelled damages the model finds {100 * e.recall:.0f}")
    if e.precision is not None:
        parts.append(f"{'of' if parts else 'Of'} 100 boxes that it draws {100 * e.precision:.0f} are right")
    return "; ".join(parts) + "." if parts else "There is neither labelled damage nor a box: no figure can be computed."


def _wrong_boxes(e: Evaluation) -> str:
    """How many boxes are wrong, and in which way, as a sentence."""
    if not e.fp:
        return "No box is wrong."
    k = len(e.class_names)
    confused = sum(e.confusion[y][x] for y in range(k) for x in range(k) if x != y)
    return (
        f"{e.fp:,} of {e.tp + e.fp:,} boxes are wrong: {sum(e.confusion[k]):,} lie where no damage is left to "
        f"find, {confused:,} name the wrong class."
    )
