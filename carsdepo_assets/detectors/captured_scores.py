"""How low a score a detected box may have and still be recorded by the service.

What the service records is all that monitoring sees, so the monitor's reference is cut at the same score, and two
runtimes of one model are compared down to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CAPTURE_FLOOR = 0.05
"""Lowest recorded score for most models; `capture_floor` goes lower for a model whose threshold is very low."""


def capture_floor(threshold: NDArray[Any] | float, unsure_share: float) -> NDArray[np.float64]:
    """The lowest score of the boxes that the service records for a model.

    A model may find its best threshold below CAPTURE_FLOOR; its answers, and those that count as unsure, are still
    recorded.

    Args:
        threshold: The model's threshold, of 1; or one for each of several answers.
        unsure_share: `policy.inference.unsure_share`, the share of the threshold from which an answer counts as unsure.

    Returns:
        The floor, of 1, in the shape of `threshold`.
    """
    return np.minimum(CAPTURE_FLOOR, unsure_share * np.asarray(threshold, dtype=np.float64))
