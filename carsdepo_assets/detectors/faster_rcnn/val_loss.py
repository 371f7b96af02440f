"""The training loss of Faster R-CNN on validation photographs, to see over-fitting. Imports torch: import it late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

VAL_LOSSES = 16  # images of val whose loss is measured after an epoch: each costs a forward pass


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def val_loss(model: Any, samples: Sequence[tuple[torch.Tensor, dict[str, torch.Tensor]]]) -> float:
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
            totals = [sum(float(v) for v in model([image], [target]).values()) for image, target in samples]
    finally:
        model.eval()
    return sum(totals) / len(totals)
