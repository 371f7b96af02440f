"""ultralytics' validation that also gathers boxes for a training's signals. Imports ultralytics: import it late."""

from __future__ import annotations

from typing import Any

import numpy as np
from ultralytics.models.yolo.detect import DetectionValidator

from carsdepo_assets.detectors.postprocess import MAX_BOXES
from carsdepo_assets.detectors.signals import BoxMeter
from carsdepo_assets.scoring.boxes import Detections, Truth


class BoxValidator(DetectionValidator):
    """boxes: of the newest validation."""

    boxes: BoxMeter

    def init_metrics(self, model: Any) -> None:
        """Begins a validation."""
        super().init_metrics(model)
        self.boxes = BoxMeter(self.nc)

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        """Takes a batch: boxes are in the network's pixels here, labels in shares of them."""
        super().update_metrics(preds, batch)
        height, width = batch["img"].shape[2:]
        owner, labels = batch["batch_idx"].cpu().numpy(), batch["bboxes"].cpu().numpy().astype(np.float64)
        classes = batch["cls"].cpu().numpy().reshape(-1).astype(np.int64)
        corners = np.concatenate([labels[:, :2] - labels[:, 2:] / 2, labels[:, :2] + labels[:, 2:] / 2], axis=1)
        corners *= [width, height, width, height]
        for number, one in enumerate(preds):
            mine = owner == number
            given = [one[name][:MAX_BOXES].cpu().numpy() for name in ("bboxes", "conf", "cls")]
            detections = Detections(given[0].astype(np.float64), given[1].astype(np.float64), given[2].astype(np.int64))
            self.boxes.add(Truth(corners[mine], classes[mine]), detections, (width, height))
