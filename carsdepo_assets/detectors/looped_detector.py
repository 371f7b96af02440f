"""A detector that trains by the common loop: what its families share. Light to import."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.base import Recipe, Report, Trained, TrainingSet, Watch, unwatched
from carsdepo_assets.detectors.checkpoints import (
    DetectorError,
    fingerprint,
    read_checkpoint,
    write_weights,
)
from carsdepo_assets.detectors.pace import Pace
from carsdepo_assets.detectors.recipe_options import LoopOptions, read_options

if TYPE_CHECKING:
    from carsdepo_assets.detectors.training_loop import TrainingLoop


class LoopedDetector:
    """Trains by `training_loop.TrainingLoop`; a family fills in the four methods that raise here."""

    libraries: tuple[str, ...] = ("torch",)
    """Distributions whose versions are recorded with a model."""
    options: type[LoopOptions] = LoopOptions
    """What recipe.extra may hold."""

    def __init__(self, name: str) -> None:
        self.name = name

    def initial_model(self, recipe: Recipe, class_names: Sequence[str]) -> Any:
        """The model before its first step. Raises DetectorError for an init that this family does not have."""
        raise NotImplementedError

    def loop(self) -> type[TrainingLoop]:
        """The loop, imported late."""
        raise NotImplementedError

    def train(
        self,
        data: TrainingSet,
        recipe: Recipe,
        out: Path,
        report: Report,
        *,
        watch: Watch = unwatched,
        spent_s: float = 0.0,
    ) -> Trained:
        """See Detector.train. Reports an epoch before its checkpoint is written: an epoch killed in between is trained
        and reported again under the same number. The weights kept are the averaged ones of the last epoch."""
        pace = Pace(recipe.minutes, recipe.epochs, spent_s, recipe.steps)
        if not data.split("train"):
            raise DetectorError("the training set has no image in split 'train'.")
        import torch

        options = read_options(recipe, self.options)
        out.mkdir(parents=True, exist_ok=True)
        mark = fingerprint(data, recipe)
        checkpoint = read_checkpoint(out / "checkpoint.pt", mark)
        torch.manual_seed(recipe.seed)
        training = self.loop()(
            self.initial_model(recipe, data.class_names),
            data,
            recipe,
            options,
            checkpoint=out / "checkpoint.pt",
            mark=mark,
            pace=pace,
            report=report,
            watch=watch,
        )
        if checkpoint:
            training.restore(checkpoint)
        training.run()
        weights = out / "weights.pt"
        state = training.averaged_weights()
        write_weights(weights, self.name, state, data.class_names, recipe.image_size)
        environment = {**{name: version(name) for name in self.libraries}, "python": platform.python_version()}
        return Trained(weights, training.history, pace.taken, training.planned_steps(), environment)
