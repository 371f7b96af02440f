"""Puts a file of initial weights into the lake, where a worker on any machine finds it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.lake.lake import Lake

FOLDER = "weights"


def keep_initial_weights(lake: Lake, recipe: Recipe, home: Path) -> str | None:
    """Stores the file that recipe.init names at weights/<first digits of its sha256>/<name>, unless it is there.

    Args:
        lake: the lake.
        recipe: its `init` may be a path, absolute or below `home`, or no path at all.
        home: CARSDEPO_HOME.

    Returns:
        The key; None where `init` names no file.

    Raises:
        DetectorError: there is no such file.
    """
    if "/" not in recipe.init:
        return None
    path = Path(home, recipe.init)
    if not path.is_file():
        raise DetectorError(f"{path}, from which the recipe starts, is not there: put the weights there, or change it.")
    content = path.read_bytes()
    key = f"{FOLDER}/{hashlib.sha256(content).hexdigest()[:16]}/{path.name}"
    if not lake.exists(key):
        lake.put(key, content)
    return key
