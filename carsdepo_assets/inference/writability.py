"""Whether answers can be captured: remembers a failed write, and tries by itself whether writing works again.

A service that is not ready gets no requests, so that no request would show that the disk has room again.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
from pathlib import Path

from carsdepo_assets.inference.segments import ROOT, photograph_key
from carsdepo_assets.lake.lake import Lake, LakeError

logger = logging.getLogger(__name__)

TRIAL_BYTES = 2**20  # of a trial file: on a disk that is nearly full a few bytes still go, a photograph does not


class Writability:
    """Whether the service's answers can be written. Threads may call `failed` while another one calls `try_again`."""

    def __init__(self, root: Path, lake: Lake, stage: str, *, keeps_photographs: bool) -> None:
        """Writing is taken to work until `failed`.

        Args:
            root: The folder below which segments are written.
            lake: Where photographs are kept.
            stage: The service's stage.
            keeps_photographs: Whether the policy keeps photographs in the lake, so that writing there must work too.
        """
        self._root, self._lake, self._stage, self._keeps_photographs = root, lake, stage, keeps_photographs
        self.problem: str | None = None
        """Why answers cannot be captured; None where they can, as far as is known."""
        self._is_suspected = False

    def failed(self, message: str) -> None:
        """Notes that an answer could not be captured."""
        self.problem = message

    def suspect(self) -> None:
        """Has the next `try_again` find out whether writing works, since something else of the lake failed."""
        self._is_suspected = True

    def try_again(self) -> None:
        """Where writing failed or is suspected, writes a trial file and removes it; `problem` is None once that works.

        A single small write that goes through does not count: on a nearly full disk some do.
        """
        if self.problem is None and not self._is_suspected:
            return
        trial = self._root / ROOT / f".trial-{self._stage}-{secrets.token_hex(4)}"
        try:
            if not self._root.is_dir():  # not made here: the lake may not be mounted
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._root))
            trial.parent.mkdir(parents=True, exist_ok=True)
            try:
                with trial.open("wb") as file:
                    file.write(b"\0" * TRIAL_BYTES)
                    os.fsync(file.fileno())
            finally:
                trial.unlink(missing_ok=True)
            if self._keeps_photographs:
                self._lake.put(
                    photograph_key(f"trial-{self._stage}", "txt"), b"Written to see whether writing works.\n"
                )
        except (OSError, LakeError) as error:
            self.problem = f"writing fails: {error}"
            return
        if self.problem is not None:
            logger.warning("%s: answers can be captured again.", self._stage)
        self.problem, self._is_suspected = None, False
