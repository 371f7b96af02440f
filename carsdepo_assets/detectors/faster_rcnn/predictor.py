"""Faster R-CNN predicts: photographs in, boxes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.postprocess import MAX_BOXES, check_image, to_image_frame
from carsdepo_assets.scoring.boxes import Detections


class FasterRcnnPredictor:
    """Letterboxes to one square size and predicts image by image, so that boxes do not depend on the batch."""

    def __init__(self, model: Any, image_size: int, device: str) -> None:
        self.model, self.image_size, self.device = model, image_size, device

    def predict(self, images: Sequence[NDArray[np.uint8]], min_score: float = 0.001) -> list[Detections]:
        """See Predictor.predict."""
        self.model.roi_heads.score_thresh = min_score
        return [self._predict_one(image) for image in images]

    def _predict_one(self, rgb: NDArray[np.uint8]) -> Detections:
        import torch

        from carsdepo_assets.imaging.resize import letterbox

        check_image(rgb)
        square, scale, (dx, dy) = letterbox(rgb, self.image_size, fill=114)
        tensor = torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1))).to(self.device).float() / 255
        with torch.inference_mode():
            prediction = self.model([tensor])[0]
        boxes, scores, labels = (
            prediction[k].cpu().double().numpy()[:MAX_BOXES] for k in ("boxes", "scores", "labels")
        )
        return to_image_frame(boxes, scores, labels - 1, scale, (dx, dy), rgb.shape[1], rgb.shape[0])
