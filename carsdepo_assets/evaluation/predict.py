"""A model judged as it is served: original bytes, through the serving decoder, into the predictor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections, Truth

if TYPE_CHECKING:
    import numpy as np

    from carsdepo_assets.lake.models import ModelCard
    from carsdepo_assets.scoring.evaluation import Evaluation

Progress = Callable[[int, int], None]
_CHUNK = 8  # photographs decoded at a time: originals are large


class NothingToScore(ValueError):
    """There is no photograph to score, or not every one that must be."""


@dataclass(frozen=True)
class Scored:
    """One entry a photograph, in the manifest's order; boxes in upright original pixels, sizes (width, height)."""

    rows: list[dict[str, Any]]  # manifest rows
    truths: list[Truth]
    detections: list[Detections]
    sizes: list[tuple[int, int]]


@dataclass(frozen=True)
class SplitEvaluation:
    evaluation: Evaluation
    scored: Scored
    card: ModelCard


def evaluate_split(scored: Scored, card: ModelCard, policy: Policy) -> SplitEvaluation:
    """Figures at the threshold in the model's card, which was chosen on val and never on what is scored here.

    The classes are the policy's: a class map only appends, so an older model simply never names the newer classes.
    """
    from carsdepo_assets.scoring.evaluation import evaluate

    evaluation = evaluate(
        scored.truths,
        scored.detections,
        policy.class_map.names,
        scored.sizes,
        iou=policy.evaluation.iou,
        max_detections=policy.evaluation.max_detections,
        threshold=card.threshold,
    )
    return SplitEvaluation(evaluation, scored, card)


def choose_threshold(
    lake: Lake, dataset_version: str, predictor: Predictor, class_names: Sequence[str], policy: Policy
) -> tuple[float, str]:
    """The score with the best F1 on val, served as in production, and a sentence that says so."""
    from carsdepo_assets.scoring.thresholds import best_threshold

    scored = predict_split(lake, dataset_version, "val", predictor, policy)
    boxes = sum(len(t) for t in scored.truths)
    threshold = best_threshold(
        scored.truths,
        scored.detections,
        len(class_names),
        iou=policy.evaluation.iou,
        max_detections=policy.evaluation.max_detections,
    )
    return threshold, f"best F1 on {len(scored.rows)} val photographs with {boxes} boxes"


def predict_split(
    lake: Lake,
    dataset_version: str,
    split: str,
    predictor: Predictor,
    policy: Policy,
    *,
    progress: Progress | None = None,
) -> Scored:
    """Detections on the originals of a split. Empty for a split without photographs."""
    rows = [r for r in read_manifest(lake, dataset_version).to_pylist() if r["split"] == split]
    return predict_rows(lake, rows, predictor, policy, progress=progress)


def predict_rows(
    lake: Lake,
    rows: list[dict[str, Any]],
    predictor: Predictor,
    policy: Policy,
    *,
    progress: Progress | None = None,
) -> Scored:
    """Detections on the originals of these rows of a manifest. Raises LakeError where an original is missing."""
    from carsdepo_assets.detectors.training_set import boxes_of

    scored = Scored(rows, [Truth(*boxes_of(r)) for r in rows], [], [])
    for chunk in _chunks(rows):
        images = [decoded(lake, row, policy) for row in chunk]
        scored.detections.extend(predictor.predict(images))
        scored.sizes.extend((image.shape[1], image.shape[0]) for image in images)
        if progress is not None:
            progress(len(scored.detections), len(rows))
    return scored


def decoded(lake: Lake, row: Mapping[str, Any], policy: Policy) -> np.ndarray:
    from carsdepo_assets.imaging.decode import decode

    limits = policy.data
    decoded = decode(
        lake.get(row["key"]), max_bytes=limits.max_bytes, max_pixels=limits.max_pixels, min_side=limits.min_side_px
    )
    return decoded.rgb


def _chunks(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
