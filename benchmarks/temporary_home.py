"""A temporary installation for one benchmark."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carsdepo_assets.settings import Settings


@contextmanager
def temporary_home() -> Iterator[Settings]:
    """Settings of a new home with the default policy; afterwards the home is removed and the environment restored."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="carsdepo-bench-") as folder:
        home = Path(folder) / "home"
        try:
            yield Settings.read({"CARSDEPO_POLICY_FOLDER": folder}, home=home)
        finally:
            os.environ.clear()
            os.environ.update(before)
