"""Exports a detector's network as an ONNX graph for images of any height and width. Imports torch when called.

The graph takes the letterboxed image as it is, (1, height, width, 3) uint8 RGB, so that the runtimes convert it and no
second copy of the preprocessing exists. One graph for all shapes was measured to be at most 3 % slower on ONNX Runtime
than a graph for each, at most 11 % on OpenVINO. What its outputs are, `base.Exportable` says.
"""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path
from typing import Any

from carsdepo_assets.detectors.base import Exportable
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
    if not hasattr(loaded, "exportable"):
        raise DetectorError(f"{card.detector} has no export to ONNX.")
    export: Exportable = loaded.exportable()
    side = network_input.side
    blank = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught, torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("always")
        # The TorchScript exporter: the newer one needs onnxscript, and does not take torchvision's detectors.
        torch.onnx.export(
            export.network,
            (blank,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(export.outputs),
            dynamic_axes={INPUT: {1: "height", 2: "width"}} if export.any_shape else None,
        )
    for text in sorted({f"{w.category.__name__}: {w.message}" for w in caught}):
        # A tracer cannot tell what is constant; parity, measured on photographs, can.
        logger.debug("torch.onnx.export of %s: %s", card.digest, text)
    return buffer.getvalue(), network_input
