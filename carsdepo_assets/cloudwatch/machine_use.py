"""How much of its CPU, memory and GPU a process with its children uses, as far as it can know this itself."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_NVIDIA = "nvidia-smi"
_QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")
_NVIDIA_S = 10.0


@dataclass(frozen=True)
class Use:
    """Shares in percent; None where they are not known."""

    cpu: float | None
    """Of the cores that the process may use, since the look before; more than 100 never."""
    memory: float
    """Of the container's limit, without the page cache; of the machine's memory where it has none."""
    gpu: float | None
    """Mean over the GPUs."""
    gpu_memory: float | None
    """Of the fullest GPU's memory."""


class MachineUse:
    """Looks at this process and its children from time to time.

    Args:
        clock: seconds that never go back.
        cgroup: where the container's limits are.
        gpus: what nvidia-smi prints; None where it does not answer.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cgroup: Path = _CGROUP,
        gpus: Callable[[], str | None] | None = None,
    ) -> None:
        self._clock, self._cgroup, self._gpus = clock, cgroup, gpus or nvidia_smi
        self._before = (clock(), _cpu_seconds())

    def look(self) -> Use:
        """The use since the look before, or since the beginning."""
        now, spent = self._clock(), _cpu_seconds()
        (then, before), self._before = self._before, (now, spent)
        could = (now - then) * _cores(self._cgroup)
        gpu, gpu_memory = _of_gpus(self._gpus() or "")
        return Use(
            # A child that nobody waited for takes its seconds with it, so that the sum may fall.
            cpu=None if could <= 0 else min(100.0, max(0.0, 100 * (spent - before) / could)),
            memory=_memory(self._cgroup),
            gpu=gpu,
            gpu_memory=gpu_memory,
        )


def nvidia_smi() -> str | None:
    """One line for each GPU: use in percent, memory used and there in MiB; None where there is no nvidia-smi."""
    if shutil.which(_NVIDIA) is None:
        return None
    try:
        answer = subprocess.run([_NVIDIA, *_QUERY], capture_output=True, text=True, timeout=_NVIDIA_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout


def _of_gpus(text: str) -> tuple[float | None, float | None]:
    """(use, memory) in percent; a GPU whose figure is "[N/A]", as on a part of one (MIG), is left out of it."""
    uses: list[float] = []
    memories: list[float] = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        cells = [_number(cell) for cell in row]
        if len(cells) != 3:
            continue
        if cells[0] is not None:
            uses.append(cells[0])
        if cells[1] is not None and cells[2]:
            memories.append(100 * cells[1] / cells[2])
    return (sum(uses) / len(uses) if uses else None), max(memories, default=None)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _cpu_seconds() -> float:
    """Of this process, its children that have ended, and those that run, with theirs."""
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # user, system, and both of the children that have ended
        except psutil.Error:  # it has just ended: its parent has its seconds
            continue
    return total


def _cores(cgroup: Path) -> float:
    """The cores that this process may use: by its affinity, and by the container's quota where it has one."""
    usable = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return min(usable, int(quota) / int(period))
    except (OSError, ValueError):  # not a container with cgroup v2, or "max"
        return usable


def _memory(cgroup: Path) -> float:
    machine = psutil.virtual_memory()
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return float(machine.percent)
    if limit >= machine.total:
        return float(machine.percent)
    # The page cache that the kernel gives back when memory runs short, as `docker stats` leaves it out.
    return min(100.0, max(0.0, 100 * (used - int(statistics.get("inactive_file", 0))) / limit))
