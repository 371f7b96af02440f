"""Exports a detector's network as an ONNX graph for images of any height and width. Imports torch when called.

The graph takes the letterboxed image as it is, (1, height, width, 3) uint8 RGB, so that the runtimes convert it and no
second copy of the preprocessing exists. One graph for all shapes was measured to be at most 3 % slower on ONNX Runtime
than a graph for each, at most 11 % on OpenVINO. Outputs: yolov8n `head` (1, 4 + classes, anchors), before suppression;
faster_rcnn `boxes` (n, 4) xyxy, `scores` (n,), `labels` (n,) counted from 1, n <= 100, best first, scores from 0 on.
"""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path
from typing import Any

from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.imaging.resize import NetworkInput
from carsdepo_assets.lake.models import ModelCard

logger = logging.getLogger(__name__)

OPSET = 17
INPUT = "image"


def onnx_graph(weights: Path, card: ModelCard) -> tuple[bytes, NetworkInput]:
    """Exports a model's network.

    Args:
        weights: The model's weights.
        card: The model's card.

    Returns:
        The graph, and the images that it takes.

    Raises:
        DetectorError: The detector has no export.
        Exception: Whatever torch raises where it cannot trace the network.
    """
    import torch

    loaded: Any = get_detector(card.detector).load(weights, card.class_names, card.image_size)
    network_input: NetworkInput = loaded.network
    if card.detector == "yolov8n":
        network, outputs = _yolo(loaded.model), ["head"]
    elif card.detector == "faster_rcnn":
        network, outputs = _faster_rcnn(loaded.model), ["boxes", "scores", "labels"]
    else:
        raise DetectorError(f"{card.detector} has no export to ONNX.")
    side = network_input.side
    blank = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught, torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("always")
        # The TorchScript exporter: the newer one needs onnxscript, and does not take torchvision's detectors.
        torch.onnx.export(
            network,
            (blank,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={INPUT: {1: "height", 2: "width"}},
        )
    for text in sorted({f"{w.category.__name__}: {w.message}" for w in caught}):
        # A tracer cannot tell what is constant; parity, measured on photographs, can.
        logger.debug("torch.onnx.export of %s: %s", card.digest, text)
    return buffer.getvalue(), network_input


def _yolo(model: Any) -> Any:
    import torch

    model.model[-1].dynamic = True  # its anchors are computed for each image, and not once while it is traced

    class Head(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.model(image.permute(0, 3, 1, 2).float() / 255)[0]

    return Head().eval()


def _faster_rcnn(model: Any) -> Any:
    import torch

    # Greedy suppression goes by falling score, so a threshold after it gives the same boxes as one before it.
    model.roi_heads.score_thresh = 0.0

    class Boxes(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            prediction = self.model([image[0].permute(2, 0, 1).float() / 255])[0]
            return prediction["boxes"], prediction["scores"], prediction["labels"]

    return Boxes().eval()
