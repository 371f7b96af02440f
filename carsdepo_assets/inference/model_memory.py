"""Decides whether another model fits into the container's memory.

What a model takes is counted and not looked up: a process seldom gives memory back to the system when a model is
unloaded, so that its size would say for ever that nothing fits. The container's memory less what the process had before
its first model is shared out; a model counts with what the process grew by when it was loaded, at least with the bytes
of its files, and with the most that any load of it has grown by. Once a model was unloaded, a load may take what the
process kept and grow by nothing: from then on a new model counts at least with the most that any other grew by.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def container_bytes(cgroup: Path = _CGROUP) -> int:
    """The memory that this container may use: its limit, or the machine's memory where it has none."""
    machine = int(psutil.virtual_memory().total)
    try:
        return min(machine, int((cgroup / "memory.max").read_text()))
    except (OSError, ValueError):  # not a container with cgroup v2, or "max"
        return machine


def process_bytes() -> int:
    """The resident memory of this process and its children."""
    process = psutil.Process()
    total = int(process.memory_info().rss)
    for child in process.children(recursive=True):
        try:
            total += int(child.memory_info().rss)
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


class ModelMemory:
    """Counts what loaded models take. For one thread at a time.

    Args:
        limit: bytes that the process may have altogether.
        used: bytes that it has now.
    """

    def __init__(self, limit: int, used: Callable[[], int] = process_bytes) -> None:
        self._limit, self._used = limit, used
        self._without_models: int | None = None
        self._held: dict[str, int] = {}
        self._kept = False  # whether the process may have memory left of a model that was unloaded
        self._growths: dict[str, int] = {}  # what loads of a model have grown by at most, by its digest

    def refusal(self, digest: str, file_bytes: int) -> str | None:
        """Why a model does not fit; None where it may be tried. The only model is always tried.

        Args:
            digest: of the model.
            file_bytes: of all its files.
        """
        if self._without_models is None:
            self._without_models = self._used()
        taken = self._without_models + sum(self._held.values())
        needs = max(file_bytes, self._growths.get(digest, max(self._growths.values(), default=0)))
        if not self._held or taken + needs <= self._limit:
            return None
        return (
            f"model {digest} needs about {needs >> 20} MiB beside the {len(self._held)} that are loaded, which have "
            f"{taken >> 20} of {self._limit >> 20} MiB"
        )

    def began(self) -> int:
        """To be called before a load; what `loaded` wants to know."""
        return self._used()

    def loaded(self, name: str, digest: str, file_bytes: int, before: int) -> None:
        """Counts a model that was loaded.

        Args:
            name: under which it is held.
            digest: of the model.
            file_bytes: of all its files.
            before: what `began` said.
        """
        most = max(self._growths.values(), default=0) if self._kept else 0
        grown = max(file_bytes, self._used() - before, self._growths.get(digest, most))
        self._held[name] = self._growths[digest] = grown

    def unloaded(self, name: str) -> None:
        """Counts a model no longer."""
        if self._held.pop(name, None) is not None:
            self._kept = True
