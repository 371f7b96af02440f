"""A training step of Faster R-CNN with its frozen layers fused, against the same step with them as they are.

Steps of the two models alternate, on the same squares and boxes: forward, backward and AdamW; no reading of files.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

STEPS, WARM_UP = 60, 5
BOXES = 3  # a square, of which a photograph of the labelled set has 2.3


def run() -> list[dict[str, Any]]:
    """Medians at the size, batch and frozen blocks of the CPU recipe for real photographs."""
    import torch

    from carsdepo_assets.detectors.catalogue import default_recipe
    from carsdepo_assets.detectors.checkpoints import threads
    from carsdepo_assets.detectors.faster_rcnn.model import build_model

    recipe = default_recipe("faster_rcnn", minutes=10, n_train=400, device="cpu", real=True)
    torch.set_num_threads(threads(None))
    torch.manual_seed(0)
    size, batch = recipe.image_size, recipe.batch
    images = [torch.rand(3, size, size) for _ in range(batch)]
    corners = torch.rand(batch, BOXES, 2) * size / 2
    targets = [
        {"boxes": torch.cat([xy, xy + size / 4], dim=1), "labels": torch.ones(BOXES, dtype=torch.int64)}
        for xy in corners
    ]
    sides = {}
    for name in ("fused", "plain"):
        model = build_model(2, size, imagenet=True).to(memory_format=torch.channels_last).train()
        model.backbone.set_frozen(True, recipe.freeze)
        if name == "fused":
            model.backbone.fuse_frozen()
        trained = [p for p in model.parameters() if p.requires_grad]
        sides[name] = (model, torch.optim.AdamW(trained, lr=recipe.lr))
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(WARM_UP + STEPS):
        for name, (model, optimizer) in sides.items():
            started = time.perf_counter()
            optimizer.zero_grad()
            sum(model(images, targets).values()).backward()
            optimizer.step()
            taken[name].append(time.perf_counter() - started)
    fused, plain = (statistics.median(taken[name][WARM_UP:]) for name in ("fused", "plain"))
    return [
        {
            "name": f"Faster R-CNN, a step of {batch} at {size} px, {recipe.freeze} frozen blocks fused",
            "value": 1000 * fused,
            "unit": "ms",
            "against": f"the same, not fused, {1000 * plain:.0f} ms",
            "ratio": plain / fused,
        }
    ]
