"""Keeps a training's checkpoint in the lake, so that it goes on after its machine is gone.

Only where the lake is on S3: a lake in a folder lies on the machine whose work folder survives. SageMaker's own sync of
/opt/ml/checkpoints is used besides, and not relied on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from carsdepo_assets.detectors.checkpoints import progress_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectMissing, write_atomic

FOLDER = "checkpoints"
CHECKPOINT = "checkpoint.pt"


class CheckpointStore:
    """The checkpoint of one training, named by its dataset and recipe.

    Args:
        lake: the lake.
        key: of the training, as TrainingSpec.key gives it.
        work: the folder in which the detector writes its checkpoint.
        log: gets a line where the checkpoint does not advance, or cannot be stored.
    """

    def __init__(self, lake: Lake, key: str, work: Path, log: Callable[[str], None]) -> None:
        self._lake, self._work, self._log = lake, work, log
        self.key = f"{FOLDER}/{key}/{CHECKPOINT}"
        self.stored = 0
        """Checkpoints that this process stored."""
        self._last: str | None = None  # digest of the newest one that was stored or fetched

    @property
    def _used(self) -> bool:
        return self._lake.root is None

    def fetch(self) -> bool:
        """Puts the lake's checkpoint into the work folder where that has none as far; returns whether it did.

        A copy of the work folder that SageMaker brought back may be cut short, or older than what the lake has.
        """
        target = self._work / CHECKPOINT
        if not self._used:
            return False
        try:
            content = self._lake.get(self.key)
        except ObjectMissing:
            return False
        digest = hashlib.sha256(content).hexdigest()
        if target.exists():
            if hashlib.sha256(target.read_bytes()).hexdigest() == digest:
                self._last = digest
                return False
            ours, theirs = progress_of(target.read_bytes()), progress_of(content)
            if theirs is None or (ours is not None and (ours[0] != theirs[0] or ours[1] >= theirs[1])):
                return False
            how = "cannot be read" if ours is None else f"has {ours[1]} steps"
            self._log(f"The checkpoint in {self._work.name} {how}, and the lake's has {theirs[1]}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, content)
        self._last = digest
        return True

    def store(self) -> None:
        """Stores the newest checkpoint; one that is the same as at the last call is reported, since it should advance.

        A lake that cannot be written to is a line in the log: the training goes on.
        """
        source = self._work / CHECKPOINT
        if not self._used or not source.exists():
            return
        content = source.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest == self._last:
            self._log(f"The checkpoint {self.key} did not advance since it was last stored.")
            return
        try:
            self._lake.put(self.key, content)
        except Exception as error:  # whatever the network raises: losing a checkpoint costs less than the training
            self._log(f"The checkpoint could not be stored at {self.key}: {error}. The training goes on.")
            return
        self._last = digest
        self.stored += 1

    def delete(self) -> None:
        """Removes the checkpoint of a training that is complete."""
        if self._used:
            self._lake.delete(self.key)
