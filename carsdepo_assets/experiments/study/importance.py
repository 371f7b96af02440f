"""How much each parameter mattered in a study: rank correlation, and the share of variance between choices.

Not `optuna.importance`: its default measure is a forest, which says little on a dozen trials with fields that only one
family has. A rank correlation says the same in a line that a person can check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.lake.trials import Trial

_LEAST = 4  # trials with a score; with fewer every order is chance


def importances(ledger: Sequence[Trial]) -> dict[str, float]:
    """A figure from 0 to 1 by parameter, the largest first; empty with fewer than 4 scored trials.

    For numbers it is the size of Spearman's rank correlation with the score. For choices it is eta, the root of the
    share of the ranks' variance that lies between them. A parameter is looked at on the trials that have it.
    """
    from scipy.stats import rankdata

    scored = [t for t in ledger if t.value is not None]
    if len(scored) < _LEAST:
        return {}
    names = dict.fromkeys(name for t in scored for name in t.asked.params)
    figures: dict[str, float] = {}
    for name in names:
        having = [t for t in scored if name in t.asked.params]
        values = [t.asked.params[name] for t in having]
        if len(having) < _LEAST or len({repr(v) for v in values}) < 2:
            continue
        scores = rankdata([t.value for t in having])
        figures[name] = _of_numbers(rankdata(values), scores) if are_numbers(values) else _of_choices(values, scores)
    return dict(sorted(figures.items(), key=lambda item: -item[1]))


def _of_numbers(ranks: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    if ranks.std() == 0 or scores.std() == 0:
        return 0.0
    return float(min(1.0, abs(np.corrcoef(ranks, scores)[0, 1])))


def _of_choices(values: Sequence[Any], scores: NDArray[np.float64]) -> float:
    total = float(((scores - scores.mean()) ** 2).sum())
    if total == 0:
        return 0.0
    keys = np.array([repr(v) for v in values])
    between = sum(
        (keys == key).sum() * (scores[keys == key].mean() - scores.mean()) ** 2 for key in sorted(set(keys.tolist()))
    )
    return float(min(1.0, np.sqrt(between / total)))


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether a parameter's values have an order; else they are choices."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
