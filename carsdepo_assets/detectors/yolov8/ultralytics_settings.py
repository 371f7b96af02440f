"""Imports ultralytics so that it reaches no network, installs nothing and writes only under one folder.

By default it writes settings to the home folder, logs to MLflow in the working folder, fetches a font, sends usage
events and installs missing packages.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

# Integrations and events of ultralytics' settings file that a training here never uses.
SWITCHED_OFF = (
    "sync",
    "clearml",
    "comet",
    "dvc",
    "mlflow",
    "raytune",
    "tensorboard",
    "wandb",
    "vscode_msg",
    "openvino_msg",
)
SETTINGS_VERSION = "0.0.8"


def config_folder() -> Path:
    """The folder for ultralytics' own files: $CARSDEPO_HOME/ultralytics; without the variable below ./.carsdepo."""
    return Path(os.environ.get("CARSDEPO_HOME", ".carsdepo")).absolute() / "ultralytics"


def _prepare(folder: Path) -> None:
    """Settings with everything off, and a font: without one ultralytics downloads Arial before the first training."""
    import matplotlib

    home = folder / "Ultralytics"
    home.mkdir(parents=True, exist_ok=True)
    font = home / "Arial.ttf"
    if not font.exists():
        part = font.with_name(f"Arial.{os.getpid()}.part")
        shutil.copyfile(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", part)
        os.replace(part, font)
    settings = home / "settings.json"
    places = {f"{name}_dir": str(folder / name) for name in ("datasets", "weights", "runs")}
    content = {
        "settings_version": SETTINGS_VERSION,
        **places,
        "uuid": "",
        "api_key": "",
        "openai_api_key": "",
        **dict.fromkeys(SWITCHED_OFF, False),
    }
    if not places.items() <= _settings(settings).items():  # there are none, or they are of another home, moved here
        part = settings.with_name(f"settings.{os.getpid()}.part")
        part.write_text(json.dumps(content, indent=2))
        os.replace(part, settings)


def _settings(file: Path) -> dict[str, Any]:
    """What the file says; nothing where it is absent or damaged."""
    try:
        settings = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def ultralytics() -> ModuleType:
    """Imports ultralytics with its settings isolated, quiet and without its integrations."""
    if "ultralytics" in sys.modules:
        _switch_off(sys.modules["ultralytics"])
        return sys.modules["ultralytics"]
    folder = config_folder()
    _prepare(folder)
    os.environ.update(YOLO_CONFIG_DIR=str(folder), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    unset = "OMP_NUM_THREADS" not in os.environ
    import torch  # noqa: F401  before ultralytics, which would have it start with a single thread
    import torchvision  # noqa: F401  ultralytics suppresses boxes by its kernel if it is loaded, else by a Python loop
    import ultralytics as module

    if unset:
        os.environ.pop("OMP_NUM_THREADS", None)  # ultralytics sets 1, for every child process too
    _switch_off(module)
    return cast(ModuleType, module)


def _switch_off(module: ModuleType) -> None:
    """The same again in memory: a settings file may be older than this release, or another program's."""
    from ultralytics.utils import SETTINGS
    from ultralytics.utils.events import events

    dict.update(SETTINGS, {k: False for k in SWITCHED_OFF if k in SETTINGS})
    events.enabled = False


@contextmanager
def online() -> Iterator[None]:
    """Allows ultralytics the network, for the one download that a recipe asks for."""
    before = os.environ.pop("YOLO_OFFLINE", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["YOLO_OFFLINE"] = before
