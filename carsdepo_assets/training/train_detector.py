"""Trains a detector on the dataset in the lake and chooses its threshold. No Dagster, no MLflow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from carsdepo_assets.detectors.base import Recipe, Report, Trained, Watch, unwatched
from carsdepo_assets.detectors.clock import ClockDecisions, replaying
from carsdepo_assets.detectors.numerics import numerics
from carsdepo_assets.detectors.signals import UNHEARD, Listener
from carsdepo_assets.detectors.trainable import check_trainable
from carsdepo_assets.lake.class_names import check_class_names
from carsdepo_assets.lake.dataset_files import check_photographs
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

if TYPE_CHECKING:
    from carsdepo_assets.evaluation.predict import Scored


class TrainingFailed(RuntimeError):
    """The detector came back without a usable model."""


@dataclass(frozen=True)
class Fit:
    """A trained detector and the threshold at which it is deployed."""

    trained: Trained
    weights: bytes
    threshold: float
    """Score at and above which a box counts, chosen on the validation split."""
    threshold_from: str
    """What chose the threshold, in words."""
    val: Scored
    """The validation split, with the trained detector's boxes on it."""

    def last(self, name: str) -> float | None:
        """The newest value of a column of the history; None where no epoch has it."""
        values = [row[name] for row in self.trained.history if name in row]
        return values[-1] if values else None


def fit(
    lake: Lake,
    dataset_version: str,
    recipe: Recipe,
    policy: Policy,
    out: Path,
    report: Report,
    *,
    watch: Watch = unwatched,
    signals: Listener = UNHEARD,
    trained: Callable[[Trained], None] = lambda trained: None,
    clock: ClockDecisions | None = None,
) -> Fit:
    """Trains a detector on a dataset of the lake. Reading the dataset is part of the recipe's minutes.

    Args:
        out: the work folder; a checkpoint that lies there is taken up.
        report: called with a row of figures after each epoch.
        watch: called with the progress about every second.
        signals: told of every step and validation; what it raises ends the training.
        trained: called after the last step.
        clock: of a training that is made again: it ends where that one ended, at its learning rates.

    Raises:
        TrainingFailed: no epoch was finished, the loss is no number, or no weights were left.
        ClassNamesChanged: the policy gives another name to an id that labels have.
        DatasetErased: the dataset, or a photograph of it, is not in the lake.
        EmptyTrainingSet: the dataset has too little to train on.
        DetectorError: the recipe or its device cannot be used.
    """
    from carsdepo_assets.detectors.catalogue import get_detector
    from carsdepo_assets.detectors.training_set import training_set
    from carsdepo_assets.evaluation.predict import predict_split, threshold_on

    started = time.monotonic()
    names = policy.class_map.names
    check_class_names(lake, policy.class_map)
    manifest = read_manifest(lake, dataset_version)
    check_trainable(manifest, dataset_version, policy)
    check_photographs(lake, dataset_version, manifest)
    detector = get_detector(recipe.detector)
    data = training_set(lake, dataset_version, ("train", "val"), class_names=names)
    out.mkdir(parents=True, exist_ok=True)
    with replaying(clock):
        result = detector.train(
            data, recipe, out, report, watch=watch, spent_s=time.monotonic() - started, signals=signals
        )
    result = replace(result, environment={**result.environment, **numerics(recipe.device)})
    if not result.history:
        raise TrainingFailed(f"{recipe.detector} finished no epoch: give it more minutes or fewer pixels.")
    if not math.isfinite(result.history[-1]["loss"]):
        raise TrainingFailed(f"{recipe.detector}: the loss is {result.history[-1]['loss']}: lower the recipe's lr.")
    if not result.weights.is_file() or result.weights.stat().st_size == 0:
        raise TrainingFailed(f"{recipe.detector} left no weights at {result.weights.name}.")
    trained(result)
    predictor = detector.load(result.weights, names, recipe.image_size, recipe.device)
    val = predict_split(lake, dataset_version, "val", predictor, policy)
    threshold, source = threshold_on(val, names, policy)
    return Fit(result, result.weights.read_bytes(), threshold, source, val)
