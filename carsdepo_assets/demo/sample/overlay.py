"""What lies over the paint: panel gaps, trim, handles, badges, dirt, drops, stickers, windows, wheels, the street."""

from __future__ import annotations

from carsdepo_assets.demo.sample import clutter, fittings, outside
from carsdepo_assets.demo.sample.panel import Panel
from carsdepo_assets.demo.sample.stack import Overlay, Stack


def overlay(made: Panel) -> Overlay:
    stack = Stack(made)
    clutter.dirt(stack)
    fittings.gaps(stack)
    fittings.fittings(stack)
    clutter.stickers(stack)
    clutter.drops(stack)
    outside.windows(stack)
    outside.wheels(stack)
    outside.street(stack)
    return Overlay(1 - stack.cover, stack.radiance)
