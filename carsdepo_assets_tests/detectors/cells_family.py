"""A family of its own, as another package would bring it: each cell of a grid says whether damage has its centre there.

It has everything that the platform asks of a family: training, resuming, weights, export and classes that grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from carsdepo_assets.detectors.looped_detector import LoopedDetector
from carsdepo_assets.detectors.square_predictor import SquarePredictor
from carsdepo_assets.detectors.training_loop import TrainingLoop
from carsdepo_assets.detectors.weight_transfer import ClassRows
from carsdepo_assets.families.family import Family, Usual

CELL, BOX = 16, 40.0  # pixels


class CellsPredictor(SquarePredictor):
    def best_boxes(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scores = self.model(pixels)[0].sigmoid().flatten(1)  # (classes, cells)
        best, index = torch.topk(scores.flatten(), min(100, scores.numel()))
        cell, across = index % scores.shape[1], pixels.shape[-1] // CELL
        centre = (torch.stack((cell % across, torch.div(cell, across, rounding_mode="floor")), 1) + 0.5) * CELL
        return torch.cat((centre - BOX / 2, centre + BOX / 2), 1), best, (index - cell) // scores.shape[1]


class CellsLoop(TrainingLoop):
    def freeze(self, recipe: Any) -> None:
        self.model[0].requires_grad_(recipe.freeze == 0)

    def is_backbone(self, parameter: str) -> bool:
        return parameter.startswith("0.")

    def losses(self, batch: Sequence[Any]) -> Any:
        logits = self.model(torch.stack([s.pixels for s in batch]))
        target = torch.zeros_like(logits)
        for i, s in enumerate(batch):
            cells = ((s.boxes[:, :2] + s.boxes[:, 2:]) / 2 / CELL).long()
            target[i, s.classes, cells[:, 1], cells[:, 0]] = 1
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        return loss, {"loss_cells": loss}

    def predictor(self, model: Any) -> CellsPredictor:
        return CellsPredictor(model, self.recipe.image_size, str(self.device))


class Cells(LoopedDetector):
    heads = (ClassRows(r"2\.(weight|bias)"),)

    def build(self, n_classes: int, image_size: int, *, imagenet: bool) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 16, CELL, CELL), nn.ReLU(), nn.Conv2d(16, n_classes, 1))

    def loop(self) -> type[TrainingLoop]:
        return CellsLoop

    def load(self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu") -> CellsPredictor:
        return CellsPredictor(self.loaded(weights, class_names, image_size, device), image_size, device)


_USUAL = Usual(rendered_px=64, photographs_px=64, batch=2, lr=0.01, weight_decay=0.0)
FAMILY = Family(
    "cells", "Cells of a grid", Cells, ("torch",), "Apache-2.0", _USUAL, _USUAL, step_seconds=0.01, step_px=64
)
