"""Faster R-CNN on an ImageNet-trained EfficientNet-Lite0: no download, no AGPL (torchvision BSD, backbone Apache)."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carsdepo_assets.detectors.base import Recipe, Report, Trained, TrainingSet, Watch, unwatched
from carsdepo_assets.detectors.checkpoints import (
    DetectorError,
    fingerprint,
    read_checkpoint,
    read_weights,
    write_weights,
)
from carsdepo_assets.detectors.faster_rcnn.predictor import FasterRcnnPredictor
from carsdepo_assets.detectors.pace import Pace

INITS = "scratch, imagenet, champion or a weights file"


class FasterRcnn:
    """The detector Faster R-CNN; recipe.extra holds the fields of `Options` in training.py."""

    name = "faster_rcnn"

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
        import torchvision

        from carsdepo_assets.detectors.faster_rcnn.training import Training

        out.mkdir(parents=True, exist_ok=True)
        mark = fingerprint(data, recipe)
        checkpoint = read_checkpoint(out / "checkpoint.pt", mark)
        torch.manual_seed(recipe.seed)
        model = self._initial_model(recipe, data.class_names)
        training = Training(
            model, data, recipe, out / "checkpoint.pt", mark, pace, report, watch, recipe.init != "scratch"
        )
        if checkpoint:
            training.restore(checkpoint)
        training.run()
        weights = out / "weights.pt"
        write_weights(weights, self.name, training.averaged_weights(), data.class_names, recipe.image_size)
        environment = {
            "torchvision": str(torchvision.__version__),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        }
        return Trained(weights, training.history, pace.taken, training.planned_steps(), environment, pace.clock)

    def _initial_model(self, recipe: Recipe, class_names: Sequence[str]) -> Any:
        """Raises DetectorError for an init that this detector does not have."""
        from carsdepo_assets.detectors.faster_rcnn.model import build_model

        if recipe.init in ("champion", "yolov8n"):
            meant = (
                "must be given as the champion's weights file when the training starts"
                if recipe.init == "champion"
                else f"is not for faster_rcnn, which has {INITS}"
            )
            raise DetectorError(f"init {recipe.init} {meant}.")
        if recipe.init in ("scratch", "imagenet"):
            return build_model(len(class_names), recipe.image_size, imagenet=recipe.init == "imagenet")
        state = read_weights(Path(recipe.init), self.name)["state"]
        model = build_model(len(class_names), recipe.image_size, imagenet=False)
        own = model.state_dict()
        model.load_state_dict({k: v for k, v in state.items() if k in own and own[k].shape == v.shape}, strict=False)
        return model

    def load(
        self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu"
    ) -> FasterRcnnPredictor:
        """See Detector.load."""
        import torch

        from carsdepo_assets.detectors.faster_rcnn.model import STRIDE, build_model
        from carsdepo_assets.imaging.resize import NetworkInput

        content = read_weights(weights, self.name, class_names)
        model = build_model(len(class_names), image_size, imagenet=False)
        model.load_state_dict(content["state"])
        model = model.eval().to(device).to(memory_format=torch.channels_last)
        return FasterRcnnPredictor(model, NetworkInput(image_size, STRIDE), device)
