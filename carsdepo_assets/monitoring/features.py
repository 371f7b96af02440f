"""The features that drift compares: a photograph's look, the model's answer to it, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from carsdepo_assets.detectors.captured_scores import capture_floor
from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample

# Columns of `images` and `inferences`, measured by imaging.features in both.
IMAGE = (
    "luma_p95",
    "luma_std",
    "luma_mean",
    "sharpness",
    "saturation",
    "colour_cast",
    "megapixels",
    "aspect",
    "bits_per_pixel",
)
# One model's answers: boxes at the threshold; best score, 0 below capture_floor; whether it was unsure; its classes.
MODEL = ("n_boxes", "max_score", "unsure", "classes")
# Compared where both samples state them. Not the uploader: new ones come every day.
SAID = ("source", "camera", "region")
SOURCES = ("source", "camera", "uploader", "region")
NAMES = {
    "luma_p95": "brightness of the light parts",
    "luma_std": "contrast",
    "luma_mean": "mean brightness",
    "sharpness": "sharpness",
    "saturation": "saturation",
    "colour_cast": "colour cast",
    "megapixels": "resolution",
    "aspect": "aspect ratio",
    "bits_per_pixel": "bits per pixel",
    "n_boxes": "damages found per photograph",
    "max_score": "the model's best score",
    "unsure": "share of unsure answers",
    "classes": "mix of damage classes",
    "source": "source",
    "camera": "camera",
    "region": "region",
}


def answered(table: pa.Table, class_names: Sequence[str], unsure_share: float) -> dict[str, NDArray[Any]]:
    """The MODEL features of answers.

    Args:
        table: n answers with threshold, max_score and boxes (structs with class_id and score, as in the table
            `inferences`).
        class_names: by class id.
        unsure_share: share of the threshold from which on a best score below it counts as unsure.

    Returns:
        By name, (n,) each. unsure: 1 where the best score lies in [unsure_share x threshold, threshold), which is the
        service's `needs_person`. classes: names of the classes detected at the threshold, joined by +, or "none".
    """
    n = table.num_rows
    threshold = table["threshold"].to_numpy(zero_copy_only=False).astype(float)
    best = pc.fill_null(table["max_score"], 0.0).to_numpy(zero_copy_only=False).astype(float)
    column = table["boxes"].combine_chunks()
    photograph = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = pc.list_flatten(column)
    score = pc.struct_field(flat, "score").to_numpy(zero_copy_only=False).astype(float)
    kind = pc.struct_field(flat, "class_id").to_numpy(zero_copy_only=False).astype(np.int64)
    counted = score >= threshold[photograph]
    mask = np.zeros(n, np.int64)
    np.bitwise_or.at(mask, photograph[counted], 1 << np.minimum(kind[counted], 62))
    names = {m: _mix(int(m), class_names) for m in np.unique(mask)}
    floor = capture_floor(threshold, unsure_share)
    return {
        "n_boxes": np.bincount(photograph[counted], minlength=n).astype(float),
        "max_score": np.where(best >= floor, best, 0.0),
        "unsure": ((best < threshold) & (best >= unsure_share * threshold)).astype(float),
        "classes": np.array([names[m] for m in mask], dtype=object),
    }


def sample_of(
    table: pa.Table,
    model: Mapping[str, NDArray[Any]],
    groups: Sequence[str],
    *,
    weights: NDArray[Any] | None = None,
) -> FeatureSample:
    """Makes the input of the drift test.

    Args:
        table: n photographs with image_id, the IMAGE columns and, where they have them, the SOURCES.
        model: the MODEL features, (n,) each; NaN or None on photographs without an answer of the model.
        groups: the car of each photograph.
        weights: (n,) of the photographs; None: all are equal.
    """
    features: dict[str, NDArray[Any]] = {name: _numbers(table, name) for name in IMAGE}
    # Cameras of one kind differ by a pixel or two; that is no other format.
    features["aspect"] = np.round(features["aspect"], 2)
    features["megapixels"] = _two_digits(features["megapixels"])
    features |= {name: model[name] for name in MODEL}
    sources = {name: _texts(table, name) for name in SOURCES}
    features |= {name: sources[name] for name in SAID}
    partial = frozenset(name for name in MODEL if name != "classes")
    return FeatureSample(table["image_id"].to_pylist(), features, list(groups), partial, weights, sources)


def _mix(mask: int, class_names: Sequence[str]) -> str:
    names = [name for i, name in enumerate(class_names) if mask >> i & 1]
    return "+".join(names) if names else "none"


def _numbers(table: pa.Table, name: str) -> NDArray[Any]:
    return np.array(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False), float)


def _texts(table: pa.Table, name: str) -> NDArray[Any]:
    """None where the value is null or blank."""
    if name not in table.column_names:
        return np.full(table.num_rows, None, dtype=object)
    return np.array([v if v and v.strip() else None for v in table[name].to_pylist()] or [], dtype=object)


def _two_digits(values: NDArray[Any]) -> NDArray[Any]:
    there = np.where(np.isfinite(values) & (values > 0), values, 1.0)
    scale = 10.0 ** (np.floor(np.log10(there)) - 1)
    return np.where(np.isfinite(values), np.round(values / scale) * scale, np.nan)
