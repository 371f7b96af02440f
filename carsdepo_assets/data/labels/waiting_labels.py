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
from carsdepo_assets.lake.objects import ObjectInfo
from carsdepo_assets.lake.source_choice import source_for
from carsdepo_assets.policy import ClassMap

_LISTS = "lists of names"  # the place that says whether files wait for a batch because other lists came
_RECORDS = str(PurePosixPath(import_record_key("any")).parent)


def ready(
    lake: Lake,
    index: ObjectIndex,
    labels: Sequence[BatchObject],
    label_wait_s: float,
    now: datetime,
    is_told: bool = False,
) -> list[BatchObject]:
    """The labels that need not wait: photograph ingested or given up, label old enough, or nothing to wait for.

    A file that may label many photographs waits for the uploads that are no younger than itself.

    Args:
        lake: the lake.
        index: what is known of its files.
        labels: those that may be due.
        label_wait_s: the policy's.
        now: the present.
        is_told: whether files come by events, of a lake too large to list each time. Then the uploads that were told of
            count; of one that was not told of yet the label is read again when it comes, as it is of any late one.
    """
    young = [o for o in labels if (now - o.modified_at).total_seconds() < label_wait_s]
    of_one = [o.key for o in young if o.key.lower().endswith(".txt")]
    settled = index.settled(of_one) if of_one else set()
    of_many = {o.key: o.modified_at for o in young if not o.key.lower().endswith(".txt")}
    oldest_open = _oldest_open_upload(lake, index, is_told) if of_many else None
    waits = {key for key in of_one if key not in settled}
    waits |= {key for key, at in of_many.items() if oldest_open is not None and oldest_open <= at}
    return [o for o in labels if o.key not in waits]


def _oldest_open_upload(lake: Lake, index: ObjectIndex, is_told: bool) -> datetime | None:
    if is_told:
        return index.oldest_open_upload()
    fresh, _ = source_for(lake, "raw/uploads", index).poll(None)  # not acknowledged: new_uploads gets them too
    times = [o.modified_at for o in fresh if is_photograph(o.key)]
    oldest_listed = index.oldest_open_upload()
    return min(times if oldest_listed is None else [*times, oldest_listed], default=None)


@dataclass
class Again:
    """Label files with the bytes that are known that are to be read again, and what to note when they have a batch."""

    keys: set[str] = field(default_factory=set)
    healed_until: int = 0
    places: dict[str, str] = field(default_factory=dict)
    """State of an import record or a list of names, by the name of a place of the index."""
    of_lists: set[str] = field(default_factory=set)
    """Those of the keys beside which other lists of names lie now."""

    def note(self, index: ObjectIndex, batched: set[str]) -> None:
        """Notes how far was looked, unless one of the files has no batch yet."""
        if self.keys <= batched:
            index.healed_until(self.healed_until)
            for place, state in self.places.items():
                index.keep_place(place, state)
        if self.of_lists or index.place(_LISTS) is not None:  # lists are delivered once, so that it is kept
            index.keep_place(_LISTS, "" if self.of_lists <= batched else "other lists came")


def to_read_again(lake: Lake, index: ObjectIndex, delivered: Iterable[ObjectInfo], class_map: ClassMap) -> Again:
    """Files in quarantine for want of a photograph that came since, or of names of classes that came or changed, and
    those whose import record, or lists of names, mean other classes than when they were read.

    Args:
        lake: the lake.
        index: what is known of its files.
        delivered: what the source of raw/labels delivered; lists of names are among them when they are new, or
            stand in a folder in which something changed.
        class_map: the policy's.
    """
    keys, until = index.healed()
    lists = [entry for entry in delivered if may_hold_names(entry.key)]
    classes = LabelClasses(lake, {}, class_map)
    folders = None if index.place(_LISTS) else [PurePosixPath(entry.key).parent for entry in lists]
    of_lists = _with_other_lists(index, folders, classes)
    states = {f"list:{entry.key}": _state(entry) for entry in lists}
    changed = {place: state for place, state in states.items() if index.place(place) != state}
    if changed or folders is None:
        of_changed = [PurePosixPath(place.removeprefix("list:")).parent for place in changed]
        of_lists |= _with_other_meaning(index, None if folders is None else of_changed, classes)
    again = Again({*keys, *of_lists}, until, of_lists=of_lists)
    if not index.batches("labels", open_only=True):  # what is being read now may be read with the lists before these
        again.places |= changed
    for entry in lake.list(_RECORDS):
        name = PurePosixPath(entry.key).stem
        place, state = f"record:{name}", _state(entry)
        if index.place(place) == state:
            continue
        record = read_import_record(lake, name)
        if record is None or is_unfinished(record):
            continue
        due = index.read_with_other_record(f"raw/labels/{name}", record_digest(record["options"]))
        # A file that the import has no more keeps what was read of it: its classes have not changed, and the file that
        # took its place may say something else.
        again.keys.update(set(due) - set(record.get("gone", ())))
        again.places[place] = state
    return again


def _state(entry: ObjectInfo) -> str:
    return f"{entry.size} {entry.modified_at.isoformat()} {entry.etag}"


def _with_other_meaning(
    index: ObjectIndex, folders: Collection[PurePosixPath] | None, classes: LabelClasses
) -> set[str]:
    """Keys of files that were read, whose class ids mean something else by the lists of names that lie there now.

    Args:
        index: what is known of the lake's files.
        folders: keys of the folders whose lists changed; None: of any.
        classes: of the files without an import.
    """
    below = PurePosixPath("raw/labels")
    read = {pair for folder in ([below] if folders is None else folders) for pair in index.read_by_lists(str(folder))}
    return {
        key for key, record in read if classes.meaning_by_lists(PurePosixPath(key).parent.relative_to(below)) != record
    }


def _with_other_lists(index: ObjectIndex, folders: Collection[PurePosixPath] | None, classes: LabelClasses) -> set[str]:
    """Keys of files in quarantine beside or above which other lists of names lie than when they were read.

    Args:
        index: what is known of the lake's files.
        folders: keys of the folders whose lists may have changed; None: of any.
        classes: of the files without an import.
    """
    if folders is not None and not folders:
        return set()
    due = set()
    for want, key in index.of_other_lists():
        folder, digest = lists_wanted(want)
        here = PurePosixPath("raw/labels") / folder
        is_near = folders is None or any(at == here or at in here.parents for at in folders)
        if is_near and classes.lists_digest(folder) != digest:
            due.add(key)
    return due
