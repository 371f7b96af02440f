"""An installation of its own for one benchmark, gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carsdepo_assets.settings import Settings


@contextmanager
def temporary_home() -> Iterator[Settings]:
    """Settings below a new folder, the policy's defaults; the environment that Pipeline.open changes is put back."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="carsdepo-bench-") as folder:
        home = Path(folder) / "home"
        try:
            yield Settings.read({"CARSDEPO_POLICY_FOLDER": folder}, home=home)
        finally:
            os.environ.clear()
            os.environ.update(before)
