"""Faster R-CNN on an ImageNet-trained EfficientNet-Lite: no download, no AGPL (torchvision BSD, backbone Apache)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.faster_rcnn.predictor import FasterRcnnPredictor
from carsdepo_assets.detectors.looped_detector import LoopedDetector
from carsdepo_assets.detectors.weight_transfer import ClassRows

if TYPE_CHECKING:
    from carsdepo_assets.detectors.training_loop import TrainingLoop

NUMBERS = {"faster_rcnn": 0, "faster_rcnn_lite2": 2}  # of the backbone


class FasterRcnn(LoopedDetector):
    """The detector Faster R-CNN; recipe.extra holds the fields of `LoopOptions`."""

    # Class 0 of torchvision's heads is the background.
    heads = (
        ClassRows(r"roi_heads\.box_predictor\.cls_score\.(weight|bias)", before=1),
        ClassRows(r"roi_heads\.box_predictor\.bbox_pred\.(weight|bias)", each=4, before=1),
    )

    def __init__(self, name: str = "faster_rcnn") -> None:
        super().__init__(name)

    def build(self, n_classes: int, image_size: int, *, imagenet: bool) -> Any:
        """See LoopedDetector.build."""
        from carsdepo_assets.detectors.faster_rcnn.model import build_model

        return build_model(n_classes, image_size, imagenet=imagenet, number=NUMBERS[self.name])

    def loop(self) -> type[TrainingLoop]:
        """See LoopedDetector.loop."""
        from carsdepo_assets.detectors.faster_rcnn.training import LiteLoop

        return LiteLoop

    def load(
        self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu"
    ) -> FasterRcnnPredictor:
        """See Detector.load."""
        return FasterRcnnPredictor(self.loaded(weights, class_names, image_size, device), image_size, device)
