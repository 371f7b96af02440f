"""The scripts below deploy/, which is no package, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "deploy" / "images"


def script(file: Path) -> ModuleType:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location(f"deploy_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
