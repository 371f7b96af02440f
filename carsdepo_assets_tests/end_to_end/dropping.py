"""Puts a written sample into a lake as people drop folders there: each folder whole, at once, and its class names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from carsdepo_assets.settings import Settings


def drop(sample: Path, settings: Settings, name: str = "web") -> None:
    """The sample's photographs with their manifest, then its labels: a sensor's look meets all of a folder or none."""
    raw = Path(settings.lake, "raw")
    for kind, beside, place in (("images", "manifest.csv", "uploads"), ("labels", "classes.txt", "labels")):
        made = raw.parent / f".{name}-{kind}"
        shutil.copytree(sample / kind, made)
        shutil.copy(sample / beside, made)
        (raw / place).mkdir(parents=True, exist_ok=True)
        os.rename(made, raw / place / name)
