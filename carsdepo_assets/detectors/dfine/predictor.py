"""D-FINE predicts: photographs in, boxes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carsdepo_assets.detectors.postprocess import MAX_BOXES
from carsdepo_assets.detectors.square_predictor import SquarePredictor

if TYPE_CHECKING:
    import torch


class DFinePredictor(SquarePredictor):
    """Takes the best pairs of a query and a class, as the authors' own postprocessing does."""

    def best_boxes(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See SquarePredictor.best_boxes."""
        import torch

        output, config = self.model(pixel_values=pixels), self.model.config
        best, index = torch.topk(
            output.logits[0].sigmoid().flatten(), min(MAX_BOXES, config.num_queries * config.num_labels)
        )
        query = torch.div(index, config.num_labels, rounding_mode="floor")
        boxes = output.pred_boxes[0][query]
        centre, half = boxes[:, :2], boxes[:, 2:] / 2
        corners = torch.cat((centre - half, centre + half), dim=1) * float(pixels.shape[-1])
        return corners, best, index - query * config.num_labels
