"""Faster R-CNN on an ImageNet-trained EfficientNet-Lite0: no download, no AGPL (torchvision BSD, backbone Apache)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError, read_weights
from carsdepo_assets.detectors.faster_rcnn.predictor import FasterRcnnPredictor
from carsdepo_assets.detectors.looped_detector import LoopedDetector

if TYPE_CHECKING:
    from carsdepo_assets.detectors.training_loop import TrainingLoop

INITS = "scratch, imagenet, champion or a weights file"


class FasterRcnn(LoopedDetector):
    """The detector Faster R-CNN; recipe.extra holds the fields of `LoopOptions`."""

    libraries = ("torchvision", "torch")

    def __init__(self, name: str = "faster_rcnn") -> None:
        super().__init__(name)

    def loop(self) -> type[TrainingLoop]:
        """See LoopedDetector.loop."""
        from carsdepo_assets.detectors.faster_rcnn.training import FasterRcnnLoop

        return FasterRcnnLoop

    def initial_model(self, recipe: Recipe, class_names: Sequence[str]) -> Any:
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
