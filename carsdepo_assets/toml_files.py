"""Reads a TOML file that a variable of the environment names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def read_toml(path: Path, variable: str, error: type[ValueError]) -> dict[str, Any]:
    """The content of a file.

    Args:
        path: the file.
        variable: that names it.
        error: what is raised where it cannot be read; the message names the file.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' Notepad begins files with a mark
    except OSError as trouble:
        raise error(f"{path}, which {variable} names: {trouble.strerror}.") from trouble
    except RecursionError as trouble:
        raise error(f"{path}: not TOML that can be read: it is nested too deeply.") from trouble
    except ValueError as trouble:  # also of bytes that are no text
        raise error(f"{path}: not TOML: {trouble}.") from trouble
