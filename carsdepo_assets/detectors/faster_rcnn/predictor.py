"""Faster R-CNN predicts: photographs in, boxes out."""

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

STRIDE = 32  # both sides of the images are multiples, else FasterRCNN adds a border itself


class FasterRcnnPredictor:
    """Predicts image by image: each is letterboxed to its own shape, and boxes do not depend on a batch."""

    def __init__(self, model: Any, image_size: int, device: str) -> None:
        self.model, self.network, self.device = model, NetworkInput(image_size, STRIDE), device

    def exportable(self) -> Exportable:
        """See ExportablePredictor.exportable."""
        import torch

        model = self.model
        # Greedy suppression goes by falling score, so a threshold after it gives the same boxes as one before it.
        model.roi_heads.score_thresh = 0.0

        class Boxes(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
                prediction = self.model([image[0].permute(2, 0, 1).float() / 255])[0]
                return prediction["boxes"], prediction["scores"], prediction["labels"]

        return Exportable(Boxes().eval(), ("boxes", "scores", "labels"), any_shape=True)

    def predict(self, images: Sequence[NDArray[np.uint8]], min_score: float = 0.001) -> list[Detections]:
        """See Predictor.predict."""
        return [self.predict_letterboxed(letterboxed(image, self.network), min_score) for image in images]

    def predict_letterboxed(self, image: Letterboxed, min_score: float = 0.001) -> Detections:
        """See LetterboxPredictor.predict_letterboxed."""
        import torch

        self.model.roi_heads.score_thresh = min_score
        tensor = torch.from_numpy(np.ascontiguousarray(image.pixels.transpose(2, 0, 1))).to(self.device).float() / 255
        with torch.inference_mode():
            prediction = self.model([tensor])[0]
        boxes, scores, labels = (
            prediction[k].cpu().double().numpy()[:MAX_BOXES] for k in ("boxes", "scores", "labels")
        )
        return to_image_frame(boxes, scores, labels - 1, image)
