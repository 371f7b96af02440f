"""detectors/faster_rcnn/frozen_layers.py: the fused copy of frozen layers.

It gives what the layers give, and is left out where it would not.
"""

from __future__ import annotations

from typing import Any

import pytest


def backbone(leading_blocks: int, batch_norms: bool = True) -> Any:
    import torch

    from carsdepo_assets.detectors.faster_rcnn.model import LiteBackbone

    torch.manual_seed(0)
    built = LiteBackbone(imagenet=True)
    built.set_frozen(batch_norms, leading_blocks)
    # As a resumed training does: weights of another origin come in after the layers were frozen.
    built.load_state_dict({k: v * 1.01 if v.is_floating_point() else v for k, v in built.state_dict().items()})
    built.fuse_frozen()
    return built


@pytest.mark.parametrize("leading_blocks", [1, 5, 12])
def test_training_sees_the_maps_that_serving_sees(leading_blocks: int) -> None:
    import torch

    built = backbone(leading_blocks)
    for side in (96, 160, 224):
        image = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            trained, served = built.train()(image), built.eval()(image)
        assert set(trained) == set(served)
        for name in served:
            torch.testing.assert_close(trained[name], served[name], rtol=1e-4, atol=1e-4)


def test_the_copies_are_no_part_of_the_state_and_take_no_gradient() -> None:
    import torch

    built = backbone(5)
    assert len(built._trunk) == 6
    assert set(built.state_dict()) == set(backbone(0).state_dict())
    maps = built.train()(torch.rand(1, 3, 96, 96))
    sum(m.sum() for m in maps.values()).backward()
    with_gradient = {n for n, p in built.named_parameters() if p.grad is not None}
    assert "blocks.5._project_conv.weight" in with_gradient
    assert not any(n.startswith(("stem", "blocks.4.")) for n in with_gradient)
    assert not any(p.requires_grad for layer in built._trunk for p in layer.parameters())


@pytest.mark.parametrize(("leading_blocks", "batch_norms"), [(0, True), (5, False)])
def test_nothing_is_fused_where_nothing_is_frozen_or_norms_still_move(leading_blocks: int, batch_norms: bool) -> None:
    assert backbone(leading_blocks, batch_norms)._trunk == []
