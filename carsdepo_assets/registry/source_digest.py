"""Which code runs: its revision in git, and one digest of its source files.

Two checkouts of one commit with different edits have different digests.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the code that runs."""


def source_digest(root: Path = PACKAGE, parts: Iterable[str] = ("",)) -> str:
    """A digest of Python files: of their bytes and of their places below a folder.

    Unlike `orchestration.code_version`, it also changes with comments, since it says which files exactly were there.

    Args:
        root: The folder.
        parts: Folders and files below it; by default the folder itself.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in parts:
        place = root / part
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def git_revision() -> str | None:
    """The revision of the code in git, marked where files differ from it.

    None outside a checkout of this package (a wheel inside someone else's repository is none) or without git.
    """
    if not (PACKAGE.parent / ".git").exists():
        return None
    try:
        process = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--tags"],
            cwd=PACKAGE.parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() or None
