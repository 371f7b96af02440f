"""How D-FINE learns from a batch. Imports torch: import it late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.dfine.options import DFineOptions
from carsdepo_assets.detectors.dfine.predictor import DFinePredictor
from carsdepo_assets.detectors.training_loop import TrainingLoop
from carsdepo_assets.detectors.training_samples import Sample

REPORTED = ("loss_vfl", "loss_bbox", "loss_giou")  # of the last layer; the total holds those of all layers


class DFineLoop(TrainingLoop):
    """The common loop with the losses of transformers: Hungarian matching, denoising, distillation between layers."""

    max_gradient = 0.1  # the authors'

    def freeze(self, recipe: Recipe) -> None:
        """See TrainingLoop.freeze: recipe.freeze counts the backbone's stem and its four stages."""
        backbone = self.model.model.backbone.model
        stages = [backbone.embedder, *backbone.encoder.stages]
        if not 0 <= recipe.freeze <= len(stages):
            raise DetectorError(f"freeze {recipe.freeze}: the backbone has {len(stages)} stages, its stem among them.")
        for stage in stages[: recipe.freeze]:
            stage.requires_grad_(False)
        if recipe.init != "scratch":
            self.keep_norms(backbone)
        self.model.config.num_denoising = DFineOptions.model_validate(recipe.extra).denoising

    def is_backbone(self, parameter: str) -> bool:
        """See TrainingLoop.is_backbone."""
        return parameter.startswith("model.backbone")

    def losses(self, batch: Sequence[Sample]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """See TrainingLoop.losses; boxes are centre, width and height as shares of the square."""
        side = float(self.recipe.image_size)
        labels = []
        for image in batch:
            first, last = image.boxes[:, :2] / side, image.boxes[:, 2:] / side
            labels.append(
                {"class_labels": image.classes, "boxes": torch.cat(((first + last) / 2, last - first), dim=1)}
            )
        output = self.model(pixel_values=torch.stack([s.pixels for s in batch]), labels=labels)
        parts = {name: output.loss_dict[name] for name in REPORTED if name in output.loss_dict}
        return output.loss, parts

    def predictor(self, model: Any) -> DFinePredictor:
        """See TrainingLoop.predictor."""
        return DFinePredictor(model, self.recipe.image_size, str(self.device))
