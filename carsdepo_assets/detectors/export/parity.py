"""Whether two predictors say the same of the same photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.scoring.boxes import Detections, pairwise_iou

FLOOR = 0.05  # score: what the service captures; boxes below it are not asked for a partner
SAME_IOU = 0.9
SAME_SCORE = 0.02
# Partners may lie this far below the floor: both predictors must be asked for boxes down to here.
ASKED = FLOOR - SAME_SCORE


class Parity(BaseModel):
    """A box's partner: same photograph and class, IoU >= 0.9, scores at most 0.02 apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    photographs: int
    reference_boxes: int = Field(description="the reference's boxes at or above 0.05")
    boxes: int = Field(description="the runtime's boxes at or above 0.05")
    given_back: float | None = Field(description="share of the reference's boxes with a partner; None without boxes")
    confirmed: float | None = Field(description="share of the runtime's boxes with a partner; None without boxes")
    largest_score_difference: float = Field(
        description="from a box to the nearest score among those of its class and place"
    )

    @property
    def share(self) -> float | None:
        """The worse of both directions; None when neither found a box: then nothing was compared."""
        shares = [s for s in (self.given_back, self.confirmed) if s is not None]
        if self.reference_boxes == 0 and shares:
            return 0.0  # the runtime sees what the reference doesn't
        return min(shares) if shares else None


def parity(reference: Sequence[Detections], found: Sequence[Detections]) -> Parity:
    """One Detections each a photograph, of both, down to a score of ASKED. Raises ValueError on other lengths."""
    counted = np.zeros((2, 2), np.int64)  # (reference, runtime) x (boxes, those with a partner)
    largest = 0.0
    for a, b in zip(reference, found, strict=True):
        near = (pairwise_iou(a.xyxy, b.xyxy) >= SAME_IOU) & (a.classes[:, None] == b.classes[None, :])
        apart = np.where(near, np.abs(a.scores[:, None] - b.scores[None, :]), np.inf)
        for row, (scores, axis) in enumerate(((a.scores, 1), (b.scores, 0))):
            nearest = apart.min(axis=axis, initial=np.inf)[scores >= FLOOR]
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
