"""Which label files are due: those whose photograph is there, and those that are to be read again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

from carsdepo_assets.data.folders.class_names import may_hold_names
from carsdepo_assets.data.labels.import_records import import_record_key, is_unfinished, read_import_record
from carsdepo_assets.data.labels.label_classes import LabelClasses
from carsdepo_assets.data.objects.manifests import BatchObject, is_photograph, record_digest
from carsdepo_assets.lake.index_rows import lists_wanted
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.object_index import ObjectIndex
from carsdepo_assets.lake.sources import source_for
from carsdepo_assets.policy import ClassMap

_LISTS = "lists of names"  # the place that says whether files wait for a batch because other lists came
_RECORDS = str(PurePosixPath(import_record_key("any")).parent)


def ready(
    lake: Lake, index: ObjectIndex, labels: Sequence[BatchObject], label_wait_s: float, now: datetime
) -> list[BatchObject]:
    """The labels that need not wait: photograph ingested or given up, label old enough, or nothing to wait for.

    A file that may label many photographs waits for the uploads that are no younger than itself.
    """
    young = [o for o in labels if (now - o.modified_at).total_seconds() < label_wait_s]
    of_one = [o.key for o in young if o.key.lower().endswith(".txt")]
    settled = index.settled(of_one) if of_one else set()
    of_many = {o.key: o.modified_at for o in young if not o.key.lower().endswith(".txt")}
    oldest_open = _oldest_open_upload(lake, index) if of_many else None
    waits = {key for key in of_one if key not in settled}
    waits |= {key for key, at in of_many.items() if oldest_open is not None and oldest_open <= at}
    return [o for o in labels if o.key not in waits]


def _oldest_open_upload(lake: Lake, index: ObjectIndex) -> datetime | None:
    fresh, _ = source_for(lake, "raw/uploads", index).poll(None)  # not acknowledged: new_uploads gets them too
    times = [o.modified_at for o in fresh if is_photograph(o.key)]
    oldest_listed = index.oldest_open_upload()
    return min(times if oldest_listed is None else [*times, oldest_listed], default=None)


@dataclass
class Again:
    """Label files with the bytes that are known that are to be read again, and what to note when they have a batch."""

    keys: set[str] = field(default_factory=set)
    healed_until: int = 0
    records: dict[str, str] = field(default_factory=dict)
    """State of the import record by the name of a place of the index."""
    of_lists: set[str] = field(default_factory=set)
    """Those of the keys beside which other lists of names lie now."""

    def note(self, index: ObjectIndex, batched: set[str]) -> None:
        """Notes how far was looked, unless one of the files has no batch yet."""
        if self.keys <= batched:
            index.healed_until(self.healed_until)
            for place, state in self.records.items():
                index.keep_place(place, state)
        if self.of_lists or index.place(_LISTS) is not None:  # lists are delivered once, so that it is kept
            index.keep_place(_LISTS, "" if self.of_lists <= batched else "other lists came")


def to_read_again(lake: Lake, index: ObjectIndex, delivered: Iterable[str], class_map: ClassMap) -> Again:
    """Files in quarantine for want of a photograph that came since, or of names of classes that came or changed, and
    those whose import record means other classes by now.

    Args:
        lake: the lake.
        index: what is known of its files.
        delivered: keys that the source of raw/labels delivered; lists of names are among them when they are new, or
            stand in a folder in which something changed.
        class_map: the policy's.
    """
    keys, until = index.healed()
    lists = [PurePosixPath(key).parent for key in delivered if may_hold_names(key)]
    of_lists = _with_other_lists(lake, index, None if index.place(_LISTS) else lists, class_map)
    again = Again({*keys, *of_lists}, until, of_lists=of_lists)
    for entry in lake.list(_RECORDS):
        name = PurePosixPath(entry.key).stem
        place, state = f"record:{name}", f"{entry.size} {entry.modified_at.isoformat()} {entry.etag}"
        if index.place(place) == state:
            continue
        record = read_import_record(lake, name)
        if record is None or is_unfinished(record):
            continue
        again.keys.update(index.read_with_other_record(f"raw/labels/{name}", record_digest(record["options"])))
        again.records[place] = state
    return again


def _with_other_lists(
    lake: Lake, index: ObjectIndex, folders: Collection[PurePosixPath] | None, class_map: ClassMap
) -> set[str]:
    """Keys of files in quarantine beside or above which other lists of names lie than when they were read.

    Args:
        lake: the lake.
        index: what is known of its files.
        folders: keys of the folders whose lists may have changed; None: of any.
        class_map: the policy's.
    """
    if folders is not None and not folders:
        return set()
    classes = LabelClasses(lake, {}, class_map)
    due = set()
    for want, key in index.of_other_lists():
        folder, digest = lists_wanted(want)
        here = PurePosixPath("raw/labels") / folder
        is_near = folders is None or any(at == here or at in here.parents for at in folders)
        if is_near and classes.lists_digest(folder) != digest:
            due.add(key)
    return due
