"""torchvision's Faster R-CNN on ResNet50-FPN, version 2 (BSD): Li et al., Benchmarking Detection Transfer Learning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.faster_rcnn.detector import FasterRcnn
from carsdepo_assets.detectors.faster_rcnn.proposals import PROPOSALS
from carsdepo_assets.detectors.recipe_options import LoopOptions

if TYPE_CHECKING:
    from carsdepo_assets.detectors.training_loop import TrainingLoop


class FasterRcnnResNet50(FasterRcnn):
    """The same detector on a larger backbone; its published weights are torchvision's of COCO."""

    options = LoopOptions  # the published weights know torchvision's anchors

    def build(self, n_classes: int, image_size: int, *, imagenet: bool) -> Any:
        """See LoopedDetector.build. Nothing is downloaded."""
        from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

        return fasterrcnn_resnet50_fpn_v2(
            weights=None,
            weights_backbone=None,
            num_classes=n_classes + 1,
            min_size=image_size,
            max_size=image_size,
            **PROPOSALS,
            _skip_resize=True,
        )

    def published_state(self, file: Path) -> dict[str, Any]:
        """See LoopedDetector.published_state. Only tensors are read, and no pickled object."""
        import torch

        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch's errors of a torn file are of many types
            raise DetectorError(f"{file}: not torchvision's file of weights ({type(error).__name__}).") from error
        return state

    def loop(self) -> type[TrainingLoop]:
        """See LoopedDetector.loop."""
        from carsdepo_assets.detectors.faster_rcnn.training import ResNetLoop

        return ResNetLoop
