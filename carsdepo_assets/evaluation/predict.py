"""Evaluates a model on photographs as it is served: original bytes, the serving decoder, the predictor.

Evaluating what production would do, and not the resized training images, keeps the figures honest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections, Truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from carsdepo_assets.imaging.decode import Decoded
    from carsdepo_assets.imaging.serving import NetworkImage
    from carsdepo_assets.lake.models import ModelCard
    from carsdepo_assets.scoring.evaluation import Evaluation

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class NothingToScore(ValueError):
    """There is no photograph to score, or not every one that must be."""


@dataclass(frozen=True)
class Scored:
    """Labels and detections of the same photographs: the lists have one entry for each, in the same order."""

    rows: list[dict[str, Any]]
    """Rows of the dataset's manifest."""
    truths: list[Truth]
    """Labelled boxes, in pixels of the upright original."""
    detections: list[Detections]
    """The model's boxes, in the same pixels."""
    sizes: list[tuple[int, int]]
    """Width and height of the upright originals, in pixels."""


@dataclass(frozen=True)
class SplitEvaluation:
    """A model's figures on some photographs, with what they were computed from."""

    evaluation: Evaluation
    """The figures."""
    scored: Scored
    """The photographs, their labels and the model's detections."""
    card: ModelCard
    """The model's card, which holds the threshold that was used."""


def evaluate_split(scored: Scored, card: ModelCard, policy: Policy) -> SplitEvaluation:
    """Computes a model's figures from its detections, at the threshold in its card.

    The threshold was chosen on the split `val`, never on what is evaluated here. The classes are the policy's: a class
    map only grows, so an older model simply never predicts the newer classes.

    Args:
        scored: Labels and detections.
        card: The model's card.
        policy: Gives the classes, the IoU of a match and the number of detections that count.
    """
    from carsdepo_assets.detectors.training_set import negatives_of
    from carsdepo_assets.scoring.evaluation import evaluate

    evaluation = evaluate(
        scored.truths,
        scored.detections,
        policy.class_map.names,
        scored.sizes,
        iou=policy.evaluation.iou,
        max_detections=policy.evaluation.max_detections,
        threshold=card.threshold,
        negatives=[negatives_of(row) for row in scored.rows],
    )
    return SplitEvaluation(evaluation, scored, card)


def choose_threshold(
    lake: Lake, dataset_version: str, predictor: Predictor, class_names: Sequence[str], policy: Policy
) -> tuple[float, str]:
    """Chooses a model's threshold: the score with the best F1 on the split `val`.

    Args:
        lake: The lake that holds the dataset.
        dataset_version: The dataset's version.
        predictor: The model.
        class_names: The model's classes.
        policy: Gives the limits of the decoder and how boxes are matched.

    Returns:
        The threshold, of 1, and a sentence that says how it was chosen.
    """
    return threshold_on(predict_split(lake, dataset_version, "val", predictor, policy), class_names, policy)


def threshold_on(scored: Scored, class_names: Sequence[str], policy: Policy) -> tuple[float, str]:
    """As `choose_threshold`, on predictions on the split `val` that were made before."""
    from carsdepo_assets.scoring.thresholds import WITHOUT_A_MATCH, best_threshold

    boxes = sum(len(t) for t in scored.truths)
    threshold = best_threshold(
        scored.truths,
        scored.detections,
        len(class_names),
        iou=policy.evaluation.iou,
        max_detections=policy.evaluation.max_detections,
    )
    on = f"{len(scored.rows)} val photographs with {boxes} boxes"
    if threshold is None:
        return WITHOUT_A_MATCH, f"none is better: no detection matches a labelled box on {on}"
    return threshold, f"best F1 on {on}"


def predict_split(
    lake: Lake,
    dataset_version: str,
    split: str,
    predictor: Predictor,
    policy: Policy,
    *,
    progress: Progress | None = None,
) -> Scored:
    """Predicts on all originals of a split, as `predict_rows`. Empty for a split without photographs."""
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
    """Detections on the originals of these rows of a manifest, those of them that the service would answer.

    A photograph beyond the service's limits is left out of the result, with a warning in the log.
    Raises LakeError where an original is missing, BadImage where one is damaged.
    """
    from carsdepo_assets.detectors.predicting import predict_image
    from carsdepo_assets.detectors.training_set import boxes_of

    scored = Scored([], [], [], [])
    for number, row in enumerate(rows, 1):
        served = served_if_answered(lake, row, predictor, policy)
        if served is not None:
            photograph, image = served
            scored.detections.append(predict_image(predictor, image))
            scored.rows.append(row)
            scored.truths.append(Truth(*boxes_of(row)))
            scored.sizes.append((photograph.width, photograph.height))
        if progress is not None:
            progress(number, len(rows))
    return scored


def decoded(lake: Lake, row: Mapping[str, Any], policy: Policy) -> NDArray[np.uint8]:
    """All upright pixels of the original of a manifest's row, HxWx3 uint8 RGB, to be looked at.

    Raises BadImage where the service would refuse it, LakeError where it is missing.
    """
    from carsdepo_assets.imaging.serving import decode_as_served

    return decode_as_served(lake.get(row["key"]), policy)[0].rgb


def served_if_answered(
    lake: Lake, row: Mapping[str, Any], predictor: Predictor, policy: Policy
) -> tuple[Decoded, NetworkImage] | None:
    """The original of a manifest's row as the service decodes it, and what it would give this predictor.

    Returns None, with a warning in the log, where the photograph is beyond the service's limits: the pipeline's, under
    which it came into the lake, may be wider. A damaged one still raises BadImage.
    """
    from carsdepo_assets.detectors.predicting import network_of
    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.serving import decode_as_served, is_beyond_limits

    try:
        return decode_as_served(lake.get(row["key"]), policy, network_of(predictor))
    except BadImage as refusal:
        if not is_beyond_limits(refusal):
            raise
        logger.warning("%s is left out: the service would refuse it (%s).", row["key"], refusal)
        return None
