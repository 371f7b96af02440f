"""Reads new business files into their tables, each row once.

The state of a file is its key, size and modification time; `batches/business/<kind>.json` holds the state in which each
file was last read. A file whose bytes changed is read again: rows whose id and content are in the table already are
left out, rows with changed content correct the earlier ones. A commit is named by the file, its bytes and the previous
ingestion of that file. So a run that was killed at any moment repeats nothing, nor does one whose state was lost, and a
file that is changed back to an earlier content counts again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AwareDatetime, BaseModel, ConfigDict

from carsdepo_assets.business.contracts import CONTRACTS, KINDS, Contract, Kind
from carsdepo_assets.business.reading import Read, RefusedLine, Row, read
from carsdepo_assets.business.rules import Rule, first_broken_rules
from carsdepo_assets.lake.lake import Lake, LakeError, ObjectInfo, ObjectMissing
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.sources import listing
from carsdepo_assets.policy import Policy

PROBLEMS_A_FILE = 200  # rows in quarantine; how many more there are is said in the last
ROWS_AT_ONCE = 200_000  # read before they are validated and committed, at least one file


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
    """Rows of it in quarantine; one where the file could not be read at all."""


class TableState(BaseModel):
    """The files of one kind as they were last read, by key."""

    files: dict[str, FileState] = {}


@dataclass
class BusinessIngestResult:
    """What one call of `ingest` did."""

    kind: Kind
    rows: pa.Table
    """The rows that it added to the kind's table."""
    quarantined: pa.Table
    """The rows that it added to the table `quarantine`."""
    files: list[str] = field(default_factory=list)
    """Keys of the files that it read."""
    unchanged: int = 0
    """Rows that it read and that the table held already."""
    sequence: int = 0
    """Number of the newest ingestion of the kind."""
    standing: dict[str, FileState] = field(default_factory=dict)
    """Every file that is in the folder now, as it was last read, by key."""

    def refused_share(self) -> float:
        """The share (0 to 1) of rows in quarantine among all rows of the files that are in the folder now.

        A file that cannot be read counts as one refused row.
        """
        seen = sum(max(state.seen, state.refused) for state in self.standing.values())
        return sum(state.refused for state in self.standing.values()) / seen if seen else 0.0


def folder(kind: Kind) -> str:
    """The folder of the lake into which the files of a kind are dropped."""
    return f"raw/business/{kind}"


def new_files(lake: Lake, kind: Kind) -> list[ObjectInfo]:
    """The files that are new, or whose size or modification time changed since they were read, oldest first."""
    return _new(_listed(lake, kind), _state(lake, kind))


def changed_files(lake: Lake, kind: Kind, policy: Policy) -> list[ObjectInfo]:
    """The files that are new, or whose bytes changed since they were read, oldest first.

    A file of which only the time changed (a copied home, `touch`) is hashed once, and its new time is stored. Waits
    while a run is reading files of the kind.
    """
    if not new_files(lake, kind):
        return []
    with one_writer(lake, f"business-{kind}"):
        state = _state(lake, kind)
        changed, retimed = [], {}
        for entry in _new(_listed(lake, kind), state):
            last = state.files.get(entry.key)
            if last is not None and last.size == entry.size and last.sha256 == _sha256(lake, entry, policy):
                retimed[entry.key] = last.model_copy(update={"modified_at": entry.modified_at, "etag": entry.etag})
            else:
                changed.append(entry)
        if retimed:
            state.files |= retimed
            lake.put(_state_key(kind), state.model_dump_json(indent=1).encode())
    return changed


def _sha256(lake: Lake, entry: ObjectInfo, policy: Policy) -> str | None:
    """The file's digest; None where it is too large to be read, or was removed since it was listed."""
    if entry.size > policy.data.max_bytes:
        return None
    try:
        return hashlib.sha256(lake.get(entry.key)).hexdigest()
    except ObjectMissing:
        return None


def stray_files(lake: Lake) -> list[str]:
    """Keys of files in raw/business/ that are outside the three folders, where nothing reads them."""
    return [
        o.key
        for o in listing(lake, "raw/business/")
        if not o.key.startswith(tuple(f"{folder(kind)}/" for kind in KINDS))
    ]


def ingest(lake: Lake, kind: Kind, policy: Policy, now: datetime | None = None) -> BusinessIngestResult:
    """Reads every new file of a kind into its table, oldest first; rows that break the contract go to quarantine.

    Args:
        lake: The lake.
        kind: The kind of file.
        policy: The policy with the currency and the size limits.
        now: The present moment, for the check that times are not in the future; None: by the clock.
    """
    now = now or datetime.now(UTC)
    with one_writer(lake, f"business-{kind}"):
        listed, state = _listed(lake, kind), _state(lake, kind)
        # The state may be lost or a commit behind the table: numbers go on from both.
        last_sequence = max((s.sequence for s in state.files.values()), default=0)
        last_sequence = max(last_sequence, pc.max(lake.read(kind, columns=["sequence"])["sequence"]).as_py() or 0)
        sequence, unchanged, read_keys = last_sequence, 0, []
        for group in _groups(lake, kind, _new(listed, state), state, policy):
            for file, broken_rules in zip(group, _broken(kind, group, policy, now), strict=True):
                if file.contents is None:
                    assert file.previous is not None
                    entry = file.entry
                    fresh = file.previous.model_copy(
                        update={"size": entry.size, "modified_at": entry.modified_at, "etag": entry.etag}
                    )
                else:
                    sequence += 1
                    fresh, same = _commit(lake, kind, file, file.contents, broken_rules, sequence, now)
                    unchanged += same
                    read_keys.append(file.entry.key)
                state.files[file.entry.key] = fresh
                lake.put(_state_key(kind), state.model_dump_json(indent=1).encode())
        rows, refused = lake.read(kind), lake.read("quarantine")
        batches = pa.array([_batch(kind, n) for n in range(last_sequence + 1, sequence + 1)], pa.string())
        present = {entry.key for entry in listed}
        return BusinessIngestResult(
            kind,
            rows.filter(pc.greater(rows["sequence"], last_sequence)).sort_by(
                [("sequence", "ascending"), ("line", "ascending")]
            ),
            refused.filter(pc.is_in(refused["batch_id"], batches)).sort_by(
                [("key", "ascending"), ("line", "ascending")]
            ),
            read_keys,
            unchanged,
            sequence,
            {key: s for key, s in state.files.items() if key in present},
        )


def latest(lake: Lake, kind: Kind) -> pd.DataFrame:
    """The rows of a kind that count: of each id the last line of its newest ingestion. Times are UTC, else NaT."""
    return lake.query(_latest_sql(kind)).to_pandas()


def _latest_sql(kind: Kind) -> str:
    identity = CONTRACTS[kind].id
    return (
        f"select * from {kind} qualify row_number() over "
        f"(partition by {identity} order by sequence desc, line desc) = 1 order by {identity}"
    )


@dataclass(frozen=True)
class _File:
    """A listed file with what was read of it."""

    entry: ObjectInfo
    sha256: str | None
    previous: FileState | None
    contents: Read | None
    """None where the bytes are those of `previous`."""


def _groups(
    lake: Lake, kind: Kind, entries: list[ObjectInfo], state: TableState, policy: Policy
) -> Iterator[list[_File]]:
    """The files, read, some ROWS_AT_ONCE rows together: Great Expectations takes a second whatever the rows."""
    group: list[_File] = []
    rows = 0
    for entry in entries:
        try:
            data = lake.get(entry.key) if entry.size <= policy.data.max_bytes else None
        except ObjectMissing:
            continue  # removed since it was listed
        previous = state.files.get(entry.key)
        sha256 = None if data is None else hashlib.sha256(data).hexdigest()
        contents = None
        if data is None:
            detail = f"{entry.size:,} bytes, at most {policy.data.max_bytes:,} are read: split the file"
            contents = Read(refused=[RefusedLine(None, "too_large", detail)])
        elif previous is None or previous.sha256 != sha256:
            contents = read(CONTRACTS[kind], entry.key, data, policy)
        group.append(_File(entry, sha256, previous, contents))
        rows += contents.seen if contents else 0
        if rows >= ROWS_AT_ONCE:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _broken(kind: Kind, group: list[_File], policy: Policy, now: datetime) -> list[dict[int, Rule]]:
    """For each file {position among its rows: the rule that it breaks}, from one look at all of them."""
    counts = [len(file.contents.rows) if file.contents else 0 for file in group]
    starts = [sum(counts[:i]) for i in range(len(group))]
    broken_by_position = first_broken_rules(
        kind, [row for file in group if file.contents for row in file.contents.rows], policy, now
    )
    return [
        {at - start: rule for at, rule in broken_by_position.items() if start <= at < start + count}
        for start, count in zip(starts, counts, strict=True)
    ]


def _commit(
    lake: Lake, kind: Kind, file: _File, contents: Read, broken_rules: dict[int, Rule], sequence: int, now: datetime
) -> tuple[FileState, int]:
    """Commits one file; also gives the number of its rows that stand already."""
    contract, key = CONTRACTS[kind], file.entry.key
    good = [row for i, row in enumerate(contents.rows) if i not in broken_rules]
    refused = list(contents.refused)
    for i, rule in broken_rules.items():
        cells = {k: str(v) for k, v in contents.rows[i].items() if k != "line" and v is not None}
        detail = f"not kept: {rule.says}; row: {json.dumps(cells)}"
        refused.append(RefusedLine(contents.rows[i]["line"], rule.reason, detail))
    good, repeated = _last_of_each(contract, good)
    refused.extend(repeated)
    added = _changed(lake, contract, good)
    content = f"{key}:{file.sha256 or file.entry.size}"
    stamp = {"file": key, "sequence": sequence, "ingested_at": now}
    lake.append("quarantine", _refusals(kind, key, file.sha256, sequence, refused, now), f"business:{content}")
    lake.append(kind, [row | stamp for row in added], f"{content}:{file.previous.sequence if file.previous else 0}")
    state = FileState(
        size=file.entry.size,
        modified_at=file.entry.modified_at,
        etag=file.entry.etag,
        sha256=file.sha256,
        sequence=sequence,
        seen=contents.seen,
        refused=len(refused),
    )
    return state, len(good) - len(added)


def _last_of_each(contract: Contract, rows: list[Row]) -> tuple[list[Row], list[RefusedLine]]:
    """Each id once: its last line counts, an earlier one that says otherwise is refused, a mere repetition is not."""
    last: dict[str, Row] = {}
    refused = []
    for row in reversed(rows):
        kept = last.setdefault(row[contract.id], row)
        if kept is not row and any(kept[name] != row[name] for name in contract.names):
            detail = f"line {kept['line']} says otherwise of {contract.id} {row[contract.id]} and counts"
            refused.append(RefusedLine(row["line"], "repeated_id", detail))
    return sorted(last.values(), key=lambda row: int(row["line"])), refused[::-1]


def _changed(lake: Lake, contract: Contract, rows: list[Row]) -> list[Row]:
    """The rows that say something else than the table does."""
    if not rows:
        return []
    ids = pa.table({contract.id: pa.array([row[contract.id] for row in rows], pa.string())})
    sql = f"select * from ({_latest_sql(contract.kind)}) semi join wanted using ({contract.id})"
    standing = {row[contract.id]: row for row in lake.query(sql, wanted=ids).to_pylist()}
    return [
        row
        for row in rows
        if (old := standing.get(row[contract.id])) is None or any(old[name] != row[name] for name in contract.names)
    ]


def _refusals(
    kind: Kind, key: str, sha256: str | None, sequence: int, refused: list[RefusedLine], now: datetime
) -> list[dict[str, Any]]:
    ordered = sorted(refused, key=lambda r: r.line or 0)
    more = len(ordered) - PROBLEMS_A_FILE
    return [
        {
            "batch_id": _batch(kind, sequence),
            "key": key,
            "kind": "business",
            "reason": one.reason,
            "detail": one.detail + (f"; and {more} more rows" if i == PROBLEMS_A_FILE and more > 0 else ""),
            "line": one.line,
            "sha256": sha256,
            "at": now,
        }
        for i, one in enumerate(ordered[:PROBLEMS_A_FILE], 1)
    ]


def _batch(kind: Kind, sequence: int) -> str:
    return f"{kind}-{sequence:06d}"


def _state_key(kind: Kind) -> str:
    return f"batches/business/{kind}.json"


def _state(lake: Lake, kind: Kind) -> TableState:
    if not lake.exists(_state_key(kind)):
        return TableState()
    try:
        return TableState.model_validate_json(lake.get(_state_key(kind)))
    except ValueError as error:
        raise LakeError(
            f"{_state_key(kind)}: not a state of files: {error}. Delete it; the next run writes it again."
        ) from error


def _listed(lake: Lake, kind: Kind) -> list[ObjectInfo]:
    return sorted(listing(lake, folder(kind)), key=lambda o: (o.modified_at, o.key))


def _new(listed: list[ObjectInfo], state: TableState) -> list[ObjectInfo]:
    def was_read(entry: ObjectInfo) -> bool:
        last = state.files.get(entry.key)
        if last is None or (last.size, last.modified_at) != (entry.size, entry.modified_at):
            return False
        return last.etag in (None, entry.etag)  # None: read by a version that did not know ETags

    return [entry for entry in listed if not was_read(entry)]
