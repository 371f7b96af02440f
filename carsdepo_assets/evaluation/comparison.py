"""Challenger against champion on the very same photographs: overall, by class and by light."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.evaluation.predict import SplitEvaluation
from carsdepo_assets.scoring.evaluation import Evaluation, SliceScore, evaluate_slices


class Compared(BaseModel):
    """One row: AP@.5 (of several classes their mean) and recall, each model at its own threshold; None: no boxes."""

    model_config = ConfigDict(frozen=True)

    what: str
    boxes: int
    champion_ap50: float | None
    candidate_ap50: float | None
    champion_recall: float | None
    candidate_recall: float | None

    @property
    def gain(self) -> float | None:
        """Candidate's AP@.5 less the champion's."""
        if self.champion_ap50 is None or self.candidate_ap50 is None:
            return None
        return self.candidate_ap50 - self.champion_ap50


class Comparison(BaseModel):
    """champion: digest; version: its number in the registry, where the ledger says one; threshold: its own."""

    model_config = ConfigDict(frozen=True)

    champion: str
    version: int | None
    threshold: float
    figures: dict[str, float]
    rows: list[Compared]


def sliced(judged: SplitEvaluation, by: Sequence[str]) -> list[SliceScore]:
    """Scores of each slice at the model's threshold. by: one name a photograph."""
    e, scored = judged.evaluation, judged.scored
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
    """Rows for all, for each class and for each slice. Raises ValueError when the photographs are not the same."""
    photographs = [[row["image_id"] for row in judged.scored.rows] for judged in (champion, candidate)]
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
