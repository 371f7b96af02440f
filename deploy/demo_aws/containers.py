"""What runs the jobs and the endpoints of the demo, and the handle by which one of them is killed."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.emulators.sagemaker_runners import Runner, Running


@dataclass(frozen=True)
class Started:
    """A container, or the process that stands for it."""

    image: str
    command: tuple[str, ...]
    running: Running


class NotingRunner:
    """Starts what another runner starts, and notes it.

    Args:
        runner: of jobs and endpoints.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner, self.words = runner, runner.words
        self._started: list[Started] = []
        self._lock = threading.Lock()

    def start(self, image: str, command: Sequence[str], root: Path, variables: Mapping[str, str]) -> Running:
        """Starts it; see Runner."""
        running = self._runner.start(image, command, root, variables)
        with self._lock:
            self._started.append(Started(image, tuple(command), running))
        return running

    def started(self, verb: str) -> list[Started]:
        """What was started with a verb of the images, such as `train`, oldest first."""
        with self._lock:
            return [one for one in self._started if one.command[:1] == (verb,)]

    def end(self) -> None:
        """Kills what still runs."""
        with self._lock:
            left = [one.running for one in self._started if one.running.poll() is None]
        for running in left:
            running.kill()
