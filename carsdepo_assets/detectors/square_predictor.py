"""A predictor of networks that take squares and give boxes that need no suppression: photographs in, boxes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import Exportable
from carsdepo_assets.detectors.postprocess import to_image_frame
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput, letterboxed
from carsdepo_assets.scoring.boxes import Detections

if TYPE_CHECKING:
    import torch


class SquarePredictor(ABC):
    """Predicts image by image, each letterboxed to a square as in training: boxes do not depend on a batch."""

    def __init__(self, model: Any, image_size: int, device: str) -> None:
        self.model, self.network, self.device = model, NetworkInput(image_size, image_size), device

    @abstractmethod
    def best_boxes(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best boxes of one image.

        Args:
            pixels: (1, 3, side, side), RGB of 0 to 1.

        Returns:
            Corners in pixels (n, 4), scores (n,) and class ids (n,), best first, n at most MAX_BOXES.
        """

    def predict(self, images: Sequence[NDArray[np.uint8]], min_score: float = 0.001) -> list[Detections]:
        """See Predictor.predict."""
        return [self.predict_letterboxed(letterboxed(image, self.network), min_score) for image in images]

    def predict_letterboxed(self, image: Letterboxed, min_score: float = 0.001) -> Detections:
        """See LetterboxPredictor.predict_letterboxed."""
        import torch

        pixels = np.ascontiguousarray(image.pixels.transpose(2, 0, 1))
        tensor = torch.from_numpy(pixels)[None].to(self.device).float() / 255
        # no_grad and not inference_mode: a model may keep its anchors for its next call, which may be a training step.
        with torch.no_grad():
            boxes, scores, classes = (t.cpu().double().numpy() for t in self.best_boxes(tensor))
        above = scores > min_score
        return to_image_frame(boxes[above], scores[above], classes[above], image)

    def exportable(self) -> Exportable:
        """See ExportablePredictor.exportable. One shape lets the graph be folded."""
        import torch

        predictor = self

        class Boxes(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.model = predictor.model

            def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
                boxes, scores, classes = predictor.best_boxes(image.permute(0, 3, 1, 2).float() / 255)
                return boxes, scores, classes + 1

        return Exportable(Boxes().eval(), ("boxes", "scores", "labels"), any_shape=False)
