"""Measures whether two predictors find the same boxes on the same photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.detectors.captured_scores import CAPTURE_FLOOR
from carsdepo_assets.scoring.boxes import Detections, pairwise_iou

SAME_IOU = 0.9
SAME_SCORE = 0.02
# Partners may lie this far below the floor: both predictors must be asked for boxes down to here.
MIN_SCORE = CAPTURE_FLOOR - SAME_SCORE


class Parity(BaseModel):
    """How far a runtime agrees with the reference.

    A box's partner is one of the same photograph and class with an IoU of at least 0.9 and a score at most 0.02 apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    photographs: int
    reference_boxes: int = Field(description=f"the reference's boxes with a score of at least {CAPTURE_FLOOR:g}")
    boxes: int = Field(description=f"the runtime's boxes with a score of at least {CAPTURE_FLOOR:g}")
    given_back: float | None = Field(description="share of the reference's boxes with a partner; None without boxes")
    confirmed: float | None = Field(description="share of the runtime's boxes with a partner; None without boxes")
    largest_score_difference: float = Field(
        description="from a box to the nearest score among those of its class and place"
    )

    @property
    def share(self) -> float | None:
        """The smaller of both shares; None where neither found a box, so that nothing was compared."""
        shares = [s for s in (self.given_back, self.confirmed) if s is not None]
        if self.reference_boxes == 0 and shares:
            return 0.0  # the runtime sees what the reference doesn't
        return min(shares) if shares else None


def parity(reference: Sequence[Detections], detections: Sequence[Detections]) -> Parity:
    """Compares a runtime's detections with the reference's.

    Args:
        reference: The reference's boxes on each photograph, with scores from MIN_SCORE on.
        detections: The runtime's boxes on the same photographs, likewise.

    Raises:
        ValueError: The lists differ in length.
    """
    counted = np.zeros((2, 2), np.int64)  # (reference, runtime) x (boxes, those with a partner)
    largest = 0.0
    for a, b in zip(reference, detections, strict=True):
        near = (pairwise_iou(a.xyxy, b.xyxy) >= SAME_IOU) & (a.classes[:, None] == b.classes[None, :])
        apart = np.where(near, np.abs(a.scores[:, None] - b.scores[None, :]), np.inf)
        for row, (scores, axis) in enumerate(((a.scores, 1), (b.scores, 0))):
            nearest = apart.min(axis=axis, initial=np.inf)[scores >= CAPTURE_FLOOR]
            counted[row] += (len(nearest), (nearest <= SAME_SCORE).sum())
            largest = max(largest, float(nearest[np.isfinite(nearest)].max(initial=0.0)))
    (n_reference, back), (n_found, confirmed) = counted.tolist()
    return Parity(
        photographs=len(reference),
        reference_boxes=n_reference,
        boxes=n_found,
        given_back=back / n_reference if n_reference else None,
        confirmed=confirmed / n_found if n_found else None,
        largest_score_difference=largest,
    )
