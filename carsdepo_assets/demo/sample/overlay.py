"""Everything that covers the paint: dirt, gaps, trim, handles, badge, stickers, drops, windows, wheels, the street."""

from __future__ import annotations

from carsdepo_assets.demo.sample import clutter, fittings, outside
from carsdepo_assets.demo.sample.panel import Panel
from carsdepo_assets.demo.sample.stack import Overlay, Stack


def overlay(panel: Panel) -> Overlay:
    """Draws all that covers a car's paint in one picture, from the lowest layer to the uppermost."""
    stack = Stack(panel)
    clutter.dirt(stack)
    fittings.gaps(stack)
    fittings.fittings(stack)
    clutter.stickers(stack)
    clutter.drops(stack)
    outside.windows(stack)
    outside.wheels(stack)
    outside.street(stack)
    return Overlay(1 - stack.cover, stack.radiance)
