"""Which business files were read, and in which state: `batches/business/<kind>.json` has each as it was last read.

The state of a file is its key, size and modification time (and S3's ETag). A file of which only the time changed is not
read again; one that a person asks to be read again (`carsdepo quarantine readmit`) is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from pydantic import AwareDatetime, BaseModel, ConfigDict

from carsdepo_assets.business.contracts import KINDS, Kind
from carsdepo_assets.lake.lake import Lake, LakeError, ObjectInfo, ObjectMissing
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.sources import listing
from carsdepo_assets.policy import Policy


class FileState(BaseModel):
    """A file as it was last read."""

    model_config = ConfigDict(frozen=True)

    size: int
    """Bytes."""
    modified_at: AwareDatetime
    etag: str | None = None
    """S3's; None in a folder."""
    sha256: str | None
    """Digest of its bytes; None for a file that is too large to read."""
    sequence: int
    """Number of the ingestion that read it."""
    seen: int
    """Rows that it held."""
    refused: int
    """Rows of it in quarantine, all where it cannot be used as a whole, and at least one."""
    removed: int = 0
    """Rows that came with an earlier content of the file, are not in it any more, and are kept."""
    first_removed: tuple[str, ...] = ()
    """Ids of some of them."""
    readmitted: bool = False
    """Whether it is to be read again though it is as it was, since the rules may have changed."""


class TableState(BaseModel):
    """The files of one kind as they were last read, by key."""

    files: dict[str, FileState] = {}


def folder(kind: Kind) -> str:
    """The folder of the lake into which the files of a kind are dropped."""
    return f"raw/business/{kind}"


def file_states(lake: Lake, kind: Kind) -> TableState:
    """The files of a kind as they were last read.

    Raises:
        LakeError: What is stored is damaged.
    """
    key = _state_key(kind)
    if not lake.exists(key):
        return TableState()
    try:
        return TableState.model_validate_json(lake.get(key))
    except ValueError as error:
        raise LakeError(f"{key}: not a state of files: {error}. Delete it; the next run writes it again.") from error


def store_states(lake: Lake, kind: Kind, state: TableState) -> None:
    """Stores the files of a kind as they were last read. The caller holds the lock of the kind."""
    lake.put(_state_key(kind), state.model_dump_json(indent=1).encode())


def listed_files(lake: Lake, kind: Kind) -> list[ObjectInfo]:
    """The files that are in the folder of a kind, oldest first."""
    return sorted(listing(lake, folder(kind)), key=lambda o: (o.modified_at, o.key))


def unread(listed: list[ObjectInfo], state: TableState) -> list[ObjectInfo]:
    """Of listed files those that are new, changed in size or time, or to be read again."""

    def was_read(entry: ObjectInfo) -> bool:
        last = state.files.get(entry.key)
        if last is None or last.readmitted or (last.size, last.modified_at) != (entry.size, entry.modified_at):
            return False
        return last.etag in (None, entry.etag)  # None: read by a version that did not know ETags

    return [entry for entry in listed if not was_read(entry)]


def new_files(lake: Lake, kind: Kind) -> list[ObjectInfo]:
    """The files that are new, changed in size or time since they were read, or to be read again, oldest first."""
    return unread(listed_files(lake, kind), file_states(lake, kind))


def changed_files(lake: Lake, kind: Kind, policy: Policy) -> list[ObjectInfo]:
    """The files that are new, whose bytes changed since they were read, or that are to be read again, oldest first.

    A file of which only the time changed (a copied home, `touch`) is hashed once, and its new time is stored. Waits
    while a run is reading files of the kind.
    """
    if not new_files(lake, kind):
        return []
    with one_writer(lake, f"business-{kind}"):
        state = file_states(lake, kind)
        changed, retimed = [], {}
        for entry in unread(listed_files(lake, kind), state):
            last = state.files.get(entry.key)
            is_same = last is not None and not last.readmitted and last.size == entry.size
            if last is not None and is_same and last.sha256 == _sha256(lake, entry, policy):
                retimed[entry.key] = last.model_copy(update={"modified_at": entry.modified_at, "etag": entry.etag})
            else:
                changed.append(entry)
        if retimed:
            state.files |= retimed
            store_states(lake, kind, state)
    return changed


def read_again(lake: Lake, keys: Collection[str]) -> list[str]:
    """Has files read again by the next run of the business job, though they are as they were.

    Returns:
        Those of the keys that are business files, were read, and are still there.
    """
    readmitted = []
    for kind in KINDS:
        mine = [key for key in keys if key.startswith(f"{folder(kind)}/")]
        if not mine:
            continue
        with one_writer(lake, f"business-{kind}"):
            state = file_states(lake, kind)
            present = [key for key in mine if key in state.files and lake.exists(key)]
            state.files |= {key: state.files[key].model_copy(update={"readmitted": True}) for key in present}
            store_states(lake, kind, state)
        readmitted += present
    return readmitted


def newest_readings(lake: Lake) -> tuple[dict[str, str], frozenset[str]]:
    """The newest reading of each file.

    Returns:
        By key, the ingestion that read the file last, named as in the table `quarantine`; keys of files that are to be
        read again.
    """
    files = [(kind, key, file) for kind in KINDS for key, file in file_states(lake, kind).files.items()]
    newest = {key: ingestion_name(kind, file.sequence) for kind, key, file in files}
    return newest, frozenset(key for _, key, file in files if file.readmitted)


def ingestion_name(kind: Kind, sequence: int) -> str:
    """How the table `quarantine` names an ingestion of a business file; names sort by time."""
    return f"{kind}-{sequence:06d}"


def stray_files(lake: Lake) -> list[str]:
    """Keys of files in raw/business/ that are outside the three folders, where nothing reads them."""
    listed = listing(lake, "raw/business/")
    return [o.key for o in listed if not o.key.startswith(tuple(f"{folder(kind)}/" for kind in KINDS))]


def _sha256(lake: Lake, entry: ObjectInfo, policy: Policy) -> str | None:
    """The file's digest; None where it is too large to be read, or was removed since it was listed."""
    if entry.size > policy.data.max_bytes:
        return None
    try:
        return hashlib.sha256(lake.get(entry.key)).hexdigest()
    except ObjectMissing:
        return None


def _state_key(kind: Kind) -> str:
    return f"batches/business/{kind}.json"
