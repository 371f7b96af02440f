"""Models of random weights in a lake, whose heads are turned up until they find boxes of all scores."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from carsdepo_assets.demo.sample.render import render_car
from carsdepo_assets.detectors.checkpoints import write_weights
from carsdepo_assets.detectors.export.runtimes import torch_threads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.lake.stored_model import stored_model

NAMES = ("scratch", "dent")


@cache
def photographs() -> tuple[np.ndarray, ...]:
    """Rendered, of three sizes and both orientations."""
    day, night = render_car(3, "day", clean=False), render_car(4, "night", clean=False)
    wide = np.ascontiguousarray(np.rot90(day[0].rgb))
    return (day[0].rgb, wide, night[0].rgb, np.ascontiguousarray(night[0].rgb[100:321, 60:500]))


def store_model(lake: Lake, detector: str, size: int = 96, *, blind: bool = False) -> str:
    """The digest of a model in the lake, the same each time. blind (yolov8n): its scores are all next to 0."""
    import torch

    torch.manual_seed(0)
    with torch_threads(1):
        model = _yolo(size, blind) if detector == "yolov8n" else _faster_rcnn(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pt"
        write_weights(path, detector, model.state_dict(), NAMES, size)
        weights = path.read_bytes()
    return stored_model(
        lake, weights, weights="weights.pt", detector=detector, class_names=NAMES, image_size=size, threshold=0.3
    )


def _yolo(size: int, blind: bool) -> Any:
    """Batch norms get the statistics of photographs, else the signal dies on its way to the head."""
    import torch

    from carsdepo_assets.detectors.yolov8.detector import build_model
    from carsdepo_assets.imaging.resize import letterbox

    model = build_model(len(NAMES))
    squares = np.stack([letterbox(rgb, max(size, 160))[0] for rgb in photographs()])
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.from_numpy(squares.transpose(0, 3, 1, 2).copy()).float() / 255)
        for branch in model.model[-1].cv3:
            branch[-1].weight.mul_(1.2)
            branch[-1].bias.fill_(-20 if blind else -2)
    return model


def _faster_rcnn(size: int) -> Any:
    import torch

    from carsdepo_assets.detectors.faster_rcnn.model import build_model

    model = build_model(len(NAMES), size, imagenet=True)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(2)
    return model
