"""The tables of an evaluation that people read in the UI and on the terminal."""

from __future__ import annotations

from typing import Any

from carsdepo_assets.evaluation.predict import SplitEvaluation


def per_class_rows(on_golden: SplitEvaluation) -> list[dict[str, Any]]:
    """A row a class: its boxes and its figures."""
    return [
        {
            "class": name,
            "boxes": s.n_boxes,
            "AP@.5": figure_text(s.ap50),
            "AP@.5:.95": figure_text(s.ap50_95),
            "precision": figure_text(s.counts.precision),
            "recall": figure_text(s.counts.recall),
        }
        for name, s in on_golden.evaluation.per_class.items()
    ]


def by_cause_rows(on_golden: SplitEvaluation) -> list[dict[str, Any]]:
    """A row a cause of false alarms; none where no hard negative is labelled."""
    return [
        {
            "cause": row.cause or "none named",
            "labelled": row.negatives,
            "false alarms": row.false_alarms,
            "share": "no false alarms" if row.share is None else f"{row.share:.3f}",
        }
        for row in on_golden.evaluation.false_alarm_causes
    ]


def figure_text(value: float | None) -> str:
    """A figure with three digits, or `no boxes` where there is nothing to compute it from."""
    return "no boxes" if value is None else f"{value:.3f}"
