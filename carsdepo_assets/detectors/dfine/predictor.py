"""D-FINE predicts: photographs in, boxes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import Exportable
from carsdepo_assets.detectors.postprocess import MAX_BOXES, to_image_frame
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput, letterboxed
from carsdepo_assets.scoring.boxes import Detections

if TYPE_CHECKING:
    import torch


class DFinePredictor:
    """Predicts image by image, each letterboxed to a square as in training: places in the image are part of what the
    transformer learnt, and one shape lets its graph be folded."""

    def __init__(self, model: Any, image_size: int, device: str) -> None:
        self.model, self.network, self.device = model, NetworkInput(image_size, image_size), device

    def predict(self, images: Sequence[NDArray[np.uint8]], min_score: float = 0.001) -> list[Detections]:
        """See Predictor.predict."""
        return [self.predict_letterboxed(letterboxed(image, self.network), min_score) for image in images]

    def predict_letterboxed(self, image: Letterboxed, min_score: float = 0.001) -> Detections:
        """See LetterboxPredictor.predict_letterboxed."""
        import torch

        pixels = np.ascontiguousarray(image.pixels.transpose(2, 0, 1))
        tensor = torch.from_numpy(pixels)[None].to(self.device).float() / 255
        # no_grad and not inference_mode: the model keeps its anchors for the next call, which may be a training step.
        with torch.no_grad():
            boxes, scores, classes = (t.cpu().double().numpy() for t in best_boxes(self.model, tensor))
        above = scores > min_score
        return to_image_frame(boxes[above], scores[above], classes[above], image)

    def exportable(self) -> Exportable:
        """See ExportablePredictor.exportable."""
        import torch

        model = self.model

        class Boxes(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
                boxes, scores, classes = best_boxes(self.model, image.permute(0, 3, 1, 2).float() / 255)
                return boxes, scores, classes + 1

        return Exportable(Boxes().eval(), ("boxes", "scores", "labels"), any_shape=False)


def best_boxes(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best pairs of a query and a class, as the authors' own postprocessing takes them.

    Args:
        model: D-FINE.
        pixels: (1, 3, side, side), RGB of 0 to 1.

    Returns:
        Corners in pixels (n, 4), scores (n,) and class ids (n,), best first, n at most MAX_BOXES.
    """
    import torch

    output = model(pixel_values=pixels)
    scores = output.logits[0].sigmoid()
    n_classes = model.config.num_labels
    best, index = torch.topk(scores.flatten(), min(MAX_BOXES, model.config.num_queries * n_classes))
    query = torch.div(index, n_classes, rounding_mode="floor")
    boxes = output.pred_boxes[0][query]
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    side = float(pixels.shape[-1])
    return torch.cat((centre - half, centre + half), dim=1) * side, best, index - query * n_classes
