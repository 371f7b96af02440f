"""The input of the drift test: photographs with their features by name, and the cars that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FeatureSample:
    """n photographs; every sequence and array has one entry for each of them."""

    ids: Sequence[str]
    features: Mapping[str, NDArray[Any]]
    """By name: (n,) float for ordered features, (n,) object with texts or None (not stated) for the others."""
    groups: Sequence[str]
    """The name of the car (listing) that a photograph shows, else the photograph's own id."""
    partial: frozenset[str] = frozenset()
    """Names of ordered features that may be NaN, which means that they were not measured on the photograph."""
    weights: NDArray[np.float64] | None = None
    """(n,) positive weights of the photographs; None: all are equal."""
    sources: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Where a photograph comes from, by attribute (camera, uploader and so on): (n,) object, texts or None."""

    def __len__(self) -> int:
        return len(self.ids)

    def problem(self, what: str) -> str | None:
        """Why the sample cannot be used, as a sentence; None when it can. what: the sample's name in that sentence."""
        n = len(self.ids)
        columns = {"groups": self.groups, "weights": self.weights, **self.features, **self.sources}
        for name, column in columns.items():
            if column is not None and len(column) != n:
                return f"The {what} has {n} photographs and {len(column)} values of {name}."
        if self.weights is not None and not (np.isfinite(self.weights).all() and (self.weights > 0).all()):
            return f"The {what} has weights that are not positive numbers."
        for name, values in self.features.items():
            if values.dtype == object:
                continue
            missing = np.isnan(values)
            bad = int(np.isinf(values).sum() + (0 if name in self.partial else missing.sum()))
            if bad:
                return (
                    f"The {what} has no finite {name} for {bad} of {n} photographs: a feature that was not measured "
                    "makes drift unknown."
                )
        return None

    def measured(self, name: str) -> NDArray[np.bool_]:
        """(n,): whether the feature was measured (or stated) on each photograph."""
        values = self.features[name]
        return np.array([v is not None for v in values], bool) if values.dtype == object else ~np.isnan(values)
