"""A detector that trains by the common loop: what its families share. Light to import."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.base import Recipe, Report, Trained, TrainingSet, Watch, unwatched
from carsdepo_assets.detectors.checkpoints import (
    fingerprint,
    read_checkpoint,
    read_weights,
    set_aside,
    write_weights,
)
from carsdepo_assets.detectors.pace import Pace
from carsdepo_assets.detectors.preflight import check_init, check_training
from carsdepo_assets.detectors.recipe_options import LoopOptions, read_options
from carsdepo_assets.detectors.signals import UNHEARD, Listener
from carsdepo_assets.detectors.weight_transfer import ClassRows, known_classes, taken_over
from carsdepo_assets.families.registry import family_of

if TYPE_CHECKING:
    from carsdepo_assets.detectors.training_loop import TrainingLoop


class LoopedDetector:
    """Trains by `training_loop.TrainingLoop`; a family fills in what raises here, and `load`."""

    options: type[LoopOptions] = LoopOptions
    """What recipe.extra may hold."""
    heads: tuple[ClassRows, ...] = ()
    """Tensors of the model with rows for each class."""

    def __init__(self, name: str) -> None:
        self.name = name

    def build(self, n_classes: int, image_size: int, *, imagenet: bool) -> Any:
        """The model with random weights, or with a backbone's ImageNet weights below them.

        Args:
            n_classes: Number of damage classes.
            image_size: Longest side of the images, in pixels.
            imagenet: Whether the backbone starts from its ImageNet weights.
        """
        raise NotImplementedError

    def published_state(self, file: Path) -> dict[str, Any]:
        """The tensors of the file of published weights, by their names in the model."""
        raise NotImplementedError

    def fit_to(self, model: Any, state: Mapping[str, Any]) -> None:
        """Changes a new model so that it takes this state, where a recipe's `extra` changes what is built."""

    def loop(self) -> type[TrainingLoop]:
        """The loop, imported late."""
        raise NotImplementedError

    def initial_model(self, recipe: Recipe, class_names: Sequence[str]) -> Any:
        """The model before its first step.

        Args:
            recipe: Its `init` says what the model starts from.
            class_names: The classes of the training.

        Raises:
            DetectorError: This family has no such init, or the file is no weights of it and of these classes.
        """
        check_init(self.name, recipe.init)
        model = self.build(len(class_names), recipe.image_size, imagenet=recipe.init == "imagenet")
        if recipe.init in ("scratch", "imagenet"):
            return model
        path, published = Path(recipe.init), family_of(self.name).pretrained
        if published is not None and path.name == published.file and path.is_file():
            given, n_known = self.published_state(path), 0
        else:
            content = read_weights(path, self.name)
            given, n_known = content["state"], known_classes(path.name, content["class_names"], class_names)
        model.load_state_dict(taken_over(model.state_dict(), given, self.heads, n_known, path.name))
        return model

    def loaded(self, weights: Path, class_names: Sequence[str], image_size: int, device: str) -> Any:
        """The model of a file of weights, ready to predict.

        Raises:
            DetectorError: The file is no weights of this family and of these classes.
        """
        import torch

        content = read_weights(weights, self.name, class_names)
        model = self.build(len(class_names), image_size, imagenet=False)
        self.fit_to(model, content["state"])
        model.load_state_dict(content["state"])
        return model.eval().to(device).to(memory_format=torch.channels_last)

    def check_extra(self, recipe: Recipe) -> None:
        """See ChecksExtra.check_extra."""
        read_options(recipe, self.options)

    def train(
        self,
        data: TrainingSet,
        recipe: Recipe,
        out: Path,
        report: Report,
        *,
        watch: Watch = unwatched,
        spent_s: float = 0.0,
        signals: Listener = UNHEARD,
    ) -> Trained:
        """See Detector.train. Reports an epoch before its checkpoint is written: an epoch killed in between is trained
        and reported again under the same number. The weights kept are the averaged ones of the last epoch."""
        pace = Pace(recipe.minutes, recipe.epochs, spent_s, recipe.steps)
        check_training(data, recipe)
        options = read_options(recipe, self.options)
        import torch

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
            signals=signals,
        )
        if checkpoint:
            try:
                training.restore(checkpoint)
            except (KeyError, ValueError, TypeError, RuntimeError) as error:  # as torch says of tensors that do not fit
                set_aside(out / "checkpoint.pt", f"{type(error).__name__}: {error}")
                return self.train(data, recipe, out, report, watch=watch, spent_s=spent_s, signals=signals)
        training.run()
        weights = out / "weights.pt"
        write_weights(weights, self.name, training.averaged_weights(), data.class_names, recipe.image_size)
        environment = {
            **{name: version(name) for name in (*family_of(self.name).libraries, "torch")},
            "python": platform.python_version(),
        }
        return Trained(weights, training.history, pace.taken, training.planned_steps(), environment, pace.clock)
