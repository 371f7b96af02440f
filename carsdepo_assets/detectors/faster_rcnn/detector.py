"""Faster R-CNN on an ImageNet-trained EfficientNet-Lite: no download, no AGPL (torchvision BSD, backbone Apache)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.faster_rcnn.options import LiteOptions
from carsdepo_assets.detectors.faster_rcnn.predictor import FasterRcnnPredictor
from carsdepo_assets.detectors.looped_detector import LoopedDetector
from carsdepo_assets.detectors.recipe_options import LoopOptions, read_options
from carsdepo_assets.detectors.weight_transfer import ClassRows

if TYPE_CHECKING:
    from carsdepo_assets.detectors.training_loop import TrainingLoop

NUMBERS = {"faster_rcnn": 0, "faster_rcnn_lite2": 2}  # of the backbone


class FasterRcnn(LoopedDetector):
    """The detector Faster R-CNN; recipe.extra holds the fields of `LiteOptions`."""

    options: type[LoopOptions] = LiteOptions
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

    def initial_model(self, recipe: Recipe, class_names: Sequence[str]) -> Any:
        """See LoopedDetector.initial_model. The anchors are the recipe's, whatever the initial weights had."""
        model = super().initial_model(recipe, class_names)
        options = read_options(recipe, self.options)
        if isinstance(options, LiteOptions) and options.anchor_scale != 1:
            from carsdepo_assets.detectors.faster_rcnn.model import scale_anchors

            scale_anchors(model, options.anchor_scale)
        return model

    def fit_to(self, model: Any, state: Mapping[str, Any]) -> None:
        """See LoopedDetector.fit_to. Weights of scaled anchors hold their scale; those of the usual ones hold none."""
        from carsdepo_assets.detectors.faster_rcnn.model import ANCHOR_SCALE, scale_anchors

        if ANCHOR_SCALE in state:
            scale_anchors(model, float(state[ANCHOR_SCALE]))

    def loop(self) -> type[TrainingLoop]:
        """See LoopedDetector.loop."""
        from carsdepo_assets.detectors.faster_rcnn.training import LiteLoop

        return LiteLoop

    def load(
        self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu"
    ) -> FasterRcnnPredictor:
        """See Detector.load."""
        return FasterRcnnPredictor(self.loaded(weights, class_names, image_size, device), image_size, device)
