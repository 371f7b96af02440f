"""Which source delivers the new files below a prefix of a lake."""

from __future__ import annotations

from collections.abc import Callable

from carsdepo_assets.lake.inventory import InventorySource
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.message_queue import MessageQueue
from carsdepo_assets.lake.queue_source import QueueSource
from carsdepo_assets.lake.sources import FolderSource, Memory, S3ListingSource, Source, wanted_name


def source_for(
    lake: Lake,
    prefix: str,
    memory: Memory,
    settle_s: float = 60.0,
    accept: Callable[[str], bool] = wanted_name,
    queue: str | None = None,
    inventory: str | None = None,
) -> Source:
    """Returns the source of the objects below a prefix, of the kind that suits the lake.

    Args:
        lake: the lake.
        prefix: a folder of it.
        memory: what is known of its objects.
        settle_s: see FolderSource.
        accept: see FolderSource.
        queue: URL of an SQS queue that gets S3's events of the prefix; None: the prefix is listed.
        inventory: s3:// URL of the folder of an S3 Inventory of the lake's bucket, which `reconcile` reads in place of
            a listing; None: it lists.

    Raises:
        ValueError: a queue or an inventory is named, and the lake is a folder.
    """
    if lake.root is not None:
        if queue is not None or inventory is not None:
            raise ValueError(f"{lake.url} is a folder, of which no queue or inventory tells: use FolderSource.")
        return FolderSource(lake, prefix, memory, settle_s, accept)
    everything: Source = S3ListingSource(lake, prefix, memory)
    if inventory is not None:
        everything = InventorySource(lake, prefix, memory, inventory, everything)
    return everything if queue is None else QueueSource(lake, prefix, memory, MessageQueue(queue), everything)
