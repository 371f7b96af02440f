"""How Faster R-CNN learns from a batch. Imports torch: import it late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.faster_rcnn.predictor import FasterRcnnPredictor
from carsdepo_assets.detectors.faster_rcnn.val_loss import targets_of, val_loss
from carsdepo_assets.detectors.training_loop import TrainingLoop
from carsdepo_assets.detectors.training_samples import Sample


class FasterRcnnLoop(TrainingLoop):
    """The common loop with torchvision's losses."""

    def losses(self, batch: Sequence[Sample]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """See TrainingLoop.losses."""
        parts: dict[str, torch.Tensor] = self.model([s.pixels for s in batch], targets_of(batch))
        return sum(parts.values(), torch.zeros((), device=self.device)), parts

    def val_loss(self, model: Any, samples: Iterable[Sample]) -> float:
        """See TrainingLoop.val_loss."""
        return val_loss(model, samples)

    def predictor(self, model: Any) -> FasterRcnnPredictor:
        """See TrainingLoop.predictor."""
        return FasterRcnnPredictor(model, self.recipe.image_size, str(self.device))


class LiteLoop(FasterRcnnLoop):
    """Of the backbones EfficientNet-Lite: recipe.freeze counts their blocks."""

    def freeze(self, recipe: Recipe) -> None:
        """See TrainingLoop.freeze. Pretrained batch norms stay as they are: a small batch cannot estimate them."""
        blocks = len(self.model.backbone.blocks)
        if not 0 <= recipe.freeze <= blocks:
            raise DetectorError(f"freeze {recipe.freeze}: the backbone has {blocks} blocks.")
        self.model.backbone.set_frozen(recipe.init != "scratch", recipe.freeze)

    def is_backbone(self, parameter: str) -> bool:
        """See TrainingLoop.is_backbone."""
        return parameter.startswith(("backbone.stem", "backbone.blocks"))

    def run(self) -> None:
        """See TrainingLoop.run. Frozen layers run on faster, fused copies of the weights that are loaded by now."""
        self.model.backbone.fuse_frozen()
        super().run()


class ResNetLoop(FasterRcnnLoop):
    """Of ResNet50: recipe.freeze counts its stem and its four stages."""

    def freeze(self, recipe: Recipe) -> None:
        """See TrainingLoop.freeze."""
        body = self.model.backbone.body
        stages = [[body.conv1, body.bn1], [body.layer1], [body.layer2], [body.layer3], [body.layer4]]
        if not 0 <= recipe.freeze <= len(stages):
            raise DetectorError(f"freeze {recipe.freeze}: the backbone has {len(stages)} stages, its stem among them.")
        for part in (p for stage in stages[: recipe.freeze] for p in stage):
            part.requires_grad_(False)
        if recipe.init != "scratch":
            self.keep_norms(body)

    def is_backbone(self, parameter: str) -> bool:
        """See TrainingLoop.is_backbone."""
        return parameter.startswith("backbone.body")
