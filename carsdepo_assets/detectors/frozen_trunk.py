"""The frozen leading layers of an EfficientNet-Lite, made quick to run. Imports torch: import it late.

A frozen layer's batch norm is a constant scale and shift, so it is folded into the convolution before it, and padding
that a layer of its own writes into a copy of the map becomes the convolution's. Same outputs, up to float32 rounding.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fused(stem: nn.Sequential, blocks: list[Any]) -> list[nn.Module]:
    """[stem, *blocks] as copies in evaluation mode that take no gradient. stem: convolution, batch norm, ReLU6."""
    stem, blocks = copy.deepcopy(stem).eval(), [copy.deepcopy(block).eval() for block in blocks]
    stem[0], stem[1] = _folded(stem[0], stem[1]), nn.Identity()
    for block in blocks:
        for convolution, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if hasattr(block, convolution):
                setattr(block, convolution, _folded(getattr(block, convolution), getattr(block, norm)))
                setattr(block, norm, nn.Identity())
        block._swish = nn.ReLU6(inplace=True)  # nothing needs the map before it: no gradient is taken
    layers: list[nn.Module] = [stem, *blocks]
    for layer in layers:
        layer.requires_grad_(False)
    return layers


def _folded(convolution: Any, norm: nn.BatchNorm2d) -> Any:
    """The two as one convolution with its own padding."""
    one: Any = fuse_conv_bn_eval(convolution, norm)
    if isinstance(one.static_padding, nn.ZeroPad2d):
        left, right, top, bottom = one.static_padding.padding
        # A convolution pads both sides alike. TensorFlow's padding for stride 2 has a row and a column less in front:
        # zeros in front of the kernel make up for them.
        grown = functional.pad(one.weight, (right - left, 0, bottom - top, 0))
        one.weight = nn.Parameter(grown.contiguous(memory_format=_layout(one.weight)))
        one.padding, one.static_padding = (bottom, right), nn.Identity()
    return one


def _layout(weight: Any) -> Any:
    import torch

    return torch.channels_last if weight.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
