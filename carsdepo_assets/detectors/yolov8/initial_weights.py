"""What a training of YOLOv8 starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError, is_foreign, read_weights
from carsdepo_assets.detectors.preflight import check_init
from carsdepo_assets.detectors.weight_transfer import ClassRows, known_classes
from carsdepo_assets.detectors.yolov8.ultralytics_settings import config_folder, online, ultralytics

if TYPE_CHECKING:
    import torch

# Tensors of the head with rows for each class. Its widths hold up to 64 classes without a change.
HEADS = (ClassRows(r"model\.\d+\.cv3\.\d+\.2\.(weight|bias)"),)


@dataclass(frozen=True)
class InitialWeights:
    """What a training starts from."""

    state: dict[str, torch.Tensor]
    """Tensors by name."""
    n_known: int
    """How many leading classes the heads know already."""
    where: str
    """Names them in messages."""


def initial_weights(name: str, recipe: Recipe, class_names: Sequence[str]) -> InitialWeights | None:
    """What a training starts from.

    Args:
        name: The size, such as yolov8n.
        recipe: Its `init` says so.
        class_names: The classes of the training.

    Returns:
        None where that is random weights from the recipe's seed.

    Raises:
        DetectorError: YOLOv8 has no such init, or the file is no weights of this size and of these classes.
    """
    check_init(name, recipe.init)
    if recipe.init == "scratch":
        return None
    if recipe.init == "yolov8n":
        return _downloaded_weights()
    return _weights_of_file(Path(recipe.init), name, class_names)


def _weights_of_file(path: Path, name: str, class_names: Sequence[str]) -> InitialWeights:
    """Of a Carsdepo weights file, or ultralytics' own yolov8n.pt where the user named one."""
    if path.is_file() and path.suffix == ".pt" and is_foreign(path):
        return InitialWeights(_state_of_pickle(path), 0, path.name)
    content = read_weights(path, name)
    n_known = known_classes(path.name, content["class_names"], class_names)
    return InitialWeights(dict(content["state"]), n_known, path.name)


def _state_of_pickle(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of ultralytics' own file. It is a pickle, which could run any code: only ultralytics' and torch's
    layers are made of it, and nothing is installed for it.

    Raises:
        DetectorError: It holds anything else, or is damaged.
    """
    ultralytics()
    import torch
    from ultralytics.nn import tasks

    if not getattr(getattr(tasks, "_SafeLoad", None), "SUPPORTED", False):  # it would be opened as any pickle
        raise DetectorError(f"{path}: these versions of ultralytics and torch open no file safely: install newer ones.")
    try:
        content, _ = tasks.torch_safe_load(str(path), safe_only=True)
        model = content.get("ema") or content["model"]
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"it holds a {type(model).__name__}")
        return dict(model.float().state_dict())
    except (TypeError, KeyError, AttributeError, ImportError, RuntimeError, ValueError, OSError) as error:
        raise DetectorError(
            f"{path}: not weights that ultralytics publishes ({type(error).__name__}); a file with other objects in it "
            "is not opened."
        ) from error


def _downloaded_weights() -> InitialWeights:
    """COCO-trained weights, from the local copy or by download: a training's one network access, when asked for."""
    ultralytics()
    from ultralytics.utils.downloads import attempt_download_asset

    folder = config_folder() / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with online():
            path = Path(attempt_download_asset(folder / "yolov8n.pt", retry=1, progress=False))
    except (OSError, RuntimeError, ValueError) as error:
        path = Path()
        reason = f": {error}"
    else:
        reason = ""
    if not path.is_file():
        raise DetectorError(
            f"init yolov8n needs yolov8n.pt, and its download from github.com/ultralytics/assets failed{reason}. "
            f"Go online, put the file at {folder / 'yolov8n.pt'}, or use init scratch."
        )
    return _weights_of_file(path, "yolov8n", ())
