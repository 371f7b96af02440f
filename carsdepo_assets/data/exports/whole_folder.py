"""Writes a folder that appears whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TargetError(ValueError):
    """A folder cannot be written where it was asked for; the message says why and what to do."""


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target to write into; at the end it gets the target's name, in one step.

    After an error nothing is left of it. A process that was killed leaves `.NAME.part`, which the next one that writes
    the same target clears; a second one at the same time is refused.

    Args:
        target: the folder, which must not exist.

    Raises:
        TargetError: The target exists, or another process is writing it.
        OSError: The folder above it cannot be written.
    """
    refuse_existing(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f".{target.name}.part"
    part.mkdir(exist_ok=True)
    descriptor = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TargetError(f"{target} is being written by another process.") from error
        refuse_existing(target)  # another process may have finished just now
        _clear(part)  # of what a killed process left
        try:
            yield part
            refuse_existing(target)
            os.rename(part, target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def refuse_existing(target: Path) -> None:
    """Raises TargetError where something of this name is there already."""
    if os.path.lexists(target):
        raise TargetError(f"{target} is there already: remove it, or name another folder with --to.")


def _clear(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
