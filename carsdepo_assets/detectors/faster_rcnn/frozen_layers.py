"""Makes the frozen leading layers of an EfficientNet-Lite faster. Imports torch: import it late.

A frozen layer's batch norm is a constant scale and shift, so it is folded into the convolution before it. The outputs
are the same up to the rounding of float32.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fused(stem: nn.Sequential, blocks: Iterable[Any]) -> list[nn.Module]:
    """Copies layers with their batch norms folded into the convolutions; the copies take no gradient.

    Args:
        stem: Convolution, batch norm and ReLU6.
        blocks: The blocks of the backbone that follow.

    Returns:
        The copies in the same order, in evaluation mode.
    """
    stem, blocks = copy.deepcopy(stem).eval(), [copy.deepcopy(block).eval() for block in blocks]
    stem[0], stem[1] = fuse_conv_bn_eval(stem[0], stem[1]), nn.Identity()
    for block in blocks:
        for convolution, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if hasattr(block, convolution):
                setattr(block, convolution, fuse_conv_bn_eval(getattr(block, convolution), getattr(block, norm)))
                setattr(block, norm, nn.Identity())
        block._swish = nn.ReLU6(inplace=True)  # nothing needs the map before it: no gradient is taken
    layers: list[nn.Module] = [stem, *blocks]
    for layer in layers:
        layer.requires_grad_(False)
    return layers
