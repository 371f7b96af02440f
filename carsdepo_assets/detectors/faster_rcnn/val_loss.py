"""The training loss of Faster R-CNN on validation photographs, to see over-fitting. Imports torch: import it late."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from carsdepo_assets.detectors.training_samples import Sample


def targets_of(batch: Sequence[Sample]) -> list[dict[str, torch.Tensor]]:
    """What torchvision's model is to find on each image; in the model 0 is the background."""
    return [{"boxes": s.boxes, "labels": s.classes + 1} for s in batch]


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def val_loss(model: Any, samples: Iterable[Sample]) -> float:
    """The mean loss of images, not augmented; the model and torch's chance are left as they were.

    torchvision computes losses in training mode only. Batch norms stay in evaluation, so that nothing is learnt, and
    the same anchors are drawn each time.
    """
    model.eval()
    for part in (model, model.rpn, model.roi_heads):
        part.training = True
    device = next(model.parameters()).device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            totals = [sum(float(v) for v in model([s.pixels], targets_of([s])).values()) for s in samples]
    finally:
        model.eval()
    return sum(totals) / len(totals)
