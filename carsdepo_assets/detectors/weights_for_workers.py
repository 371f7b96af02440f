"""Puts a file of initial weights into the lake, where a worker on any machine finds it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.recipe_changes import pretrained_init
from carsdepo_assets.lake.lake import Lake

FOLDER = "weights"


def keep_initial_weights(lake: Lake, recipe: Recipe, home: Path) -> str | None:
    """Stores the file that recipe.init means at weights/<first digits of its sha256>/<name>, unless it is there.

    Args:
        lake: the lake.
        recipe: its `init` may be `pretrained`, a path, absolute or below `home`, or no path at all.
        home: CARSDEPO_HOME.

    Returns:
        The key; None where `init` names no file.

    Raises:
        DetectorError: there is no such file.
    """
    init = recipe.init
    if init == "pretrained":
        init = pretrained_init(recipe.detector, Path(home, FOLDER)) or ""
        if not init:
            raise DetectorError(f"init pretrained: {recipe.detector} has no published weights.")
        if not Path(home, init).is_file():
            raise DetectorError(
                f"init pretrained: {init} is not there, and nothing is downloaded unasked: "
                f"`carsdepo weights get {recipe.detector}` fetches it."
            )
    if "/" not in init:
        return None
    path = Path(home, init)
    if not path.is_file():
        raise DetectorError(f"{path}, from which the recipe starts, is not there: put the weights there, or change it.")
    content = path.read_bytes()
    key = f"{FOLDER}/{hashlib.sha256(content).hexdigest()[:16]}/{path.name}"
    if not lake.exists(key):
        lake.put(key, content)
    return key
