"""The confusion matrix of a detector: which class was taken for which, background included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.matching import Flat, Matches, Pairs, assign, overlapping


def confusion(flat: Flat, matches: Matches, threshold: float, iou: float) -> NDArray[np.int64]:
    """Counts the confusion matrix.

    Boxes are matched within their class first, so the diagonal holds the true positives of precision and recall. What
    is left on both sides is matched by overlap whatever its class. What is left then was missed, or is a false alarm on
    background.

    Args:
        flat: the boxes of all images.
        matches: as `match` gives them for the same boxes and IoU.
        threshold: score at and above which a detection counts.
        iou: overlap from which two boxes match.

    Returns:
        (classes + 1, classes + 1) counts; rows are the labelled class, columns the detected one, the last of each is
        background.
    """
    k = flat.n_classes
    kept = flat.det_score >= threshold
    matched = (matches.det_truth >= 0) & kept
    table = np.zeros((k + 1, k + 1), np.int64)
    np.add.at(table, (flat.det_class[matched], flat.det_class[matched]), 1)

    taken = np.zeros(len(flat.truth_image), bool)
    taken[matches.det_truth[matched]] = True
    pairs = overlapping(flat, iou, same_class=False)
    open_pair = (kept & ~matched)[pairs.det] & ~taken[pairs.truth]
    rest = assign(flat, Pairs(pairs.det[open_pair], pairs.truth[open_pair], pairs.iou[open_pair]))
    mixed = rest.det_truth >= 0
    np.add.at(table, (flat.truth_class[rest.det_truth[mixed]], flat.det_class[mixed]), 1)
    table[:k, k] = np.bincount(flat.truth_class[~taken & (rest.truth_det < 0)], minlength=k)
    table[k, :k] = np.bincount(flat.det_class[kept & ~matched & ~mixed], minlength=k)
    return table
