"""Gives YOLOv8's training an order of images that follows from seed and epoch, so that it can be resumed.

ultralytics draws each epoch's order from one generator, which a new process starts from the beginning again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch


class EpochOrder(torch.utils.data.Sampler[int]):
    """Permuted indices of an epoch; each further pass is the next epoch's. skip: indices left out of the first pass.

    with_epoch: an index i of n becomes epoch * n + i, which a dataset that varies images by the epoch takes.
    """

    def __init__(self, n: int, seed: int, epoch: int, skip: int, with_epoch: bool = False) -> None:
        self.n, self.seed, self.epoch, self.skip, self.with_epoch = n, seed, epoch, skip, with_epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)[self.skip :]
        if self.with_epoch:
            order = order + self.epoch * self.n
        self.epoch, self.skip = self.epoch + 1, 0
        return iter(order.tolist())


class ResumableLoader:
    """ultralytics' loader in the order of the seed, from batch `skip` of `epoch` on.

    Its length stays that of a whole epoch; the first pass is shorter by the batches that are skipped. with_epoch: as
    EpochOrder takes it.
    """

    def __init__(self, loader: Any, seed: int, epoch: int, skip: int, with_epoch: bool = False) -> None:
        batches = loader.batch_sampler.sampler  # ultralytics repeats torch's BatchSampler for ever
        batches.sampler = EpochOrder(len(batches.sampler), seed, epoch, skip * batches.batch_size, with_epoch)
        self.loader, self.skip = loader, skip

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        left = len(self) - self.skip
        self.skip = 0
        yield from islice(self.loader, left)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)
