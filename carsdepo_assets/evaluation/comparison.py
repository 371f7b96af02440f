"""Compares a candidate with the champion on the same photographs: overall, by class and by light."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.evaluation.predict import SplitEvaluation
from carsdepo_assets.scoring.evaluation import Evaluation, SliceScore, evaluate_slices


class Compared(BaseModel):
    """One row of the comparison. Figures are None where there are no labelled boxes."""

    model_config = ConfigDict(frozen=True)

    what: str
    """What the row is about: `all`, a class, or a light."""
    boxes: int
    """Labelled boxes."""
    champion_ap50: float | None
    """Average precision at IoU 0.5, of 1; for several classes their mean."""
    candidate_ap50: float | None
    """The same figure of the candidate."""
    champion_recall: float | None
    """Recall at the champion's own threshold, of 1."""
    candidate_recall: float | None
    """Recall at the candidate's own threshold, of 1."""

    @property
    def gain(self) -> float | None:
        """Candidate's AP@.5 less the champion's."""
        if self.champion_ap50 is None or self.candidate_ap50 is None:
            return None
        return self.candidate_ap50 - self.champion_ap50


class Comparison(BaseModel):
    """A candidate beside the champion."""

    model_config = ConfigDict(frozen=True)

    champion: str
    """The champion's digest."""
    version: int | None
    """The champion's number in the registry; None where the ledger has none."""
    threshold: float
    """The champion's threshold, of 1."""
    figures: dict[str, float]
    """The champion's figures by name."""
    rows: list[Compared]
    """Both models, overall, by class and by light."""


def sliced(evaluated: SplitEvaluation, by: Sequence[str]) -> list[SliceScore]:
    """Computes a model's figures for each slice of the photographs, at the model's threshold.

    Args:
        evaluated: The evaluation whose photographs are sliced.
        by: The name of each photograph's slice, in the evaluation's order.
    """
    e, scored = evaluated.evaluation, evaluated.scored
    return evaluate_slices(
        scored.truths,
        scored.detections,
        e.class_names,
        by,
        threshold=e.threshold,
        iou=e.iou,
        max_detections=e.max_detections,
    )


def compare(champion: SplitEvaluation, candidate: SplitEvaluation, by: Sequence[str]) -> list[Compared]:
    """Compares two models: one row for all photographs, one for each class and one for each slice.

    Args:
        champion: The evaluation of production's model.
        candidate: The evaluation of the new model, on the same photographs.
        by: The name of each photograph's slice (its light), in the evaluations' order.

    Raises:
        ValueError: The two were evaluated on different photographs.
    """
    photographs = [[row["image_id"] for row in one.scored.rows] for one in (champion, candidate)]
    if photographs[0] != photographs[1]:
        raise ValueError("champion and challenger were scored on different photographs: score both on one golden set.")
    old, new = champion.evaluation, candidate.evaluation
    rows = [_row("all", new.n_boxes, old.map50, new.map50, old.recall, new.recall)]
    for name, score in new.per_class.items():
        was = old.per_class[name]
        rows.append(_row(name, score.n_boxes, was.ap50, score.ap50, was.counts.recall, score.counts.recall))
    for was_slice, now in zip(sliced(champion, by), sliced(candidate, by), strict=True):
        rows.append(
            _row(
                f"light: {now.name}",
                now.n_boxes,
                was_slice.map50,
                now.map50,
                was_slice.counts.recall,
                now.counts.recall,
            )
        )
    return rows


def figures_of(e: Evaluation) -> dict[str, float]:
    """The figures that MLflow, the registry and the site show, by name; one that cannot be computed is left out."""
    named = {
        "map50": e.map50,
        "map75": e.map75,
        "map50_95": e.map50_95,
        "precision": e.precision,
        "recall": e.recall,
        "f1": e.f1,
        "threshold": e.threshold,
    }
    return {name: float(value) for name, value in named.items() if value is not None}


def _row(
    what: str, boxes: int, old: float | None, new: float | None, old_recall: float | None, new_recall: float | None
) -> Compared:
    return Compared(
        what=what,
        boxes=boxes,
        champion_ap50=old,
        candidate_ap50=new,
        champion_recall=old_recall,
        candidate_recall=new_recall,
    )
