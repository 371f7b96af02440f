"""What was taken for what, background included."""

from __future__ import annotations

import numpy as np

from carsdepo_assets.scoring.matching import Flat, Matches, Pairs, assign, overlapping


def confusion(flat: Flat, matches: Matches, threshold: float, iou: float) -> np.ndarray:
    """(classes + 1, classes + 1) counts: rows what was there, columns what was said; the last is background.

    Truths found by their own class first (the diagonal is the true positives of precision and recall); what is left
    over on both sides is matched by overlap whatever its class; the rest is missed, or a false alarm on background.
    """
    k = flat.n_classes
    kept = flat.det_score >= threshold
    found = (matches.det_truth >= 0) & kept
    table = np.zeros((k + 1, k + 1), np.int64)
    np.add.at(table, (flat.det_class[found], flat.det_class[found]), 1)

    taken = np.zeros(len(flat.truth_image), bool)
    taken[matches.det_truth[found]] = True
    pairs = overlapping(flat, iou, same_class=False)
    open_pair = (kept & ~found)[pairs.det] & ~taken[pairs.truth]
    rest = assign(flat, Pairs(pairs.det[open_pair], pairs.truth[open_pair], pairs.iou[open_pair]))
    mixed = rest.det_truth >= 0
    np.add.at(table, (flat.truth_class[rest.det_truth[mixed]], flat.det_class[mixed]), 1)
    table[:k, k] = np.bincount(flat.truth_class[~taken & (rest.truth_det < 0)], minlength=k)
    table[k, :k] = np.bincount(flat.det_class[kept & ~found & ~mixed], minlength=k)
    return table
