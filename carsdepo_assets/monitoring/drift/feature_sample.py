"""Photographs as the drift measure takes them: features by name, and which of them show one car."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class FeatureSample:
    """Photographs, one entry each in every array of length n.

    features: by name; numbers (n,) float for ordered ones, texts or None (n,) object for the others. None: not said.
    partial: names of ordered features that may be NaN, which then means "not measured on this photograph".
    groups: name of the car (listing), else the photograph's own. weights: of photographs, positive; None: all equal.
    sources: who sent it, by attribute (camera, uploader ...): (n,) object, texts or None.
    """

    ids: Sequence[str]
    features: Mapping[str, np.ndarray]
    groups: Sequence[str]
    partial: frozenset[str] = frozenset()
    weights: np.ndarray | None = None
    sources: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def problem(self, what: str) -> str | None:
        """Why it cannot be used; None when it can."""
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
                    f"The {what} has no finite {name} for {bad} of {n} photographs: what was not measured is unknown."
                )
        return None

    def measured(self, name: str) -> np.ndarray:
        """(n,) bool: photographs on which the feature was measured or said."""
        values = self.features[name]
        return np.array([v is not None for v in values], bool) if values.dtype == object else ~np.isnan(values)
