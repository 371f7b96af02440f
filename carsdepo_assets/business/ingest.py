"""New business files into their tables, each row once.

A file's state is (key, size, modified_at); `batches/business/<kind>.json` says which state of which file is in the
table. A file whose bytes are others than at its last ingestion is read again: rows with a known id and the same content
are left out, rows with other content correct the earlier ones. The unit of a commit names the file, its bytes and the
ingestion of the file that it follows, so a run that was killed anywhere, or a lost state, repeats nothing, and a file
that is put back to what it was counts again.
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
from carsdepo_assets.business.rules import Rule, broken
from carsdepo_assets.lake.lake import Lake, LakeError, ObjectInfo, ObjectMissing
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.sources import source_for
from carsdepo_assets.policy import Policy

PROBLEMS_A_FILE = 200  # rows in quarantine; how many more there are is said in the last
ROWS_AT_ONCE = 200_000  # read before they are validated and committed, at least one file


class FileState(BaseModel):
    """A file as it was last read. seen: its rows; refused: those of them in quarantine, all where it was unreadable."""

    model_config = ConfigDict(frozen=True)

    size: int  # bytes
    modified_at: AwareDatetime
    sha256: str | None  # None: too large to read
    sequence: int
    seen: int
    refused: int


class TableState(BaseModel):
    files: dict[str, FileState] = {}


@dataclass
class BusinessIngestResult:
    """What one call did. rows, quarantined: its rows of the kind's table and of QUARANTINE.

    standing: every file that lies in the folder now, as last read. sequence: of the newest ingestion.
    """

    kind: Kind
    rows: pa.Table
    quarantined: pa.Table
    files: list[str] = field(default_factory=list)
    unchanged: int = 0
    sequence: int = 0
    standing: dict[str, FileState] = field(default_factory=dict)

    def refused_share(self) -> float:
        """Of the rows of the files that lie there now; a file that cannot be read counts as one refused row."""
        seen = sum(max(state.seen, state.refused) for state in self.standing.values())
        return sum(state.refused for state in self.standing.values()) / seen if seen else 0.0


def folder(kind: Kind) -> str:
    return f"raw/business/{kind}"


def new_files(lake: Lake, kind: Kind) -> list[ObjectInfo]:
    """Files whose present state has not been read, oldest first."""
    return _new(_listed(lake, kind), _state(lake, kind))


def changed_files(lake: Lake, kind: Kind, policy: Policy) -> list[ObjectInfo]:
    """Files whose bytes have not been read, oldest first.

    A file whose time alone changed (a copied home, `touch`) is hashed once: its new time is kept with its state. Waits
    for a run that is reading the kind's files.
    """
    if not new_files(lake, kind):
        return []
    with one_writer(lake, f"business-{kind}"):
        state = _state(lake, kind)
        changed, retimed = [], {}
        for entry in _new(_listed(lake, kind), state):
            last = state.files.get(entry.key)
            if last is not None and last.size == entry.size and last.sha256 == _sha256(lake, entry, policy):
                retimed[entry.key] = last.model_copy(update={"modified_at": entry.modified_at})
            else:
                changed.append(entry)
        if retimed:
            state.files |= retimed
            lake.put(_state_key(kind), state.model_dump_json(indent=1).encode())
    return changed


def _sha256(lake: Lake, entry: ObjectInfo, policy: Policy) -> str | None:
    """None for a file that is too large to be read, and for one that was removed since it was listed."""
    if entry.size > policy.data.max_bytes:
        return None
    try:
        return hashlib.sha256(lake.get(entry.key)).hexdigest()
    except ObjectMissing:
        return None


def stray_files(lake: Lake) -> list[str]:
    """Keys in raw/business/ outside the three folders, which nothing reads."""
    found, _ = source_for(lake, "raw/business/").poll(None)
    return [o.key for o in found if not o.key.startswith(tuple(f"{folder(kind)}/" for kind in KINDS))]


def ingest(lake: Lake, kind: Kind, policy: Policy, now: datetime | None = None) -> BusinessIngestResult:
    """Reads every new file of the kind, oldest first."""
    now = now or datetime.now(UTC)
    with one_writer(lake, f"business-{kind}"):
        listed, state = _listed(lake, kind), _state(lake, kind)
        # The state may be lost or a commit behind the table: numbers go on from both.
        before = max((s.sequence for s in state.files.values()), default=0)
        before = max(before, pc.max(lake.read(kind, columns=["sequence"])["sequence"]).as_py() or 0)
        sequence, unchanged, done = before, 0, []
        for group in _groups(lake, kind, _new(listed, state), state, policy):
            for file, rules in zip(group, _broken(kind, group, policy, now), strict=True):
                if file.found is None:
                    assert file.previous is not None
                    fresh = file.previous.model_copy(
                        update={"size": file.entry.size, "modified_at": file.entry.modified_at}
                    )
                else:
                    sequence += 1
                    fresh, same = _commit(lake, kind, file, file.found, rules, sequence, now)
                    unchanged += same
                    done.append(file.entry.key)
                state.files[file.entry.key] = fresh
                lake.put(_state_key(kind), state.model_dump_json(indent=1).encode())
        rows, refused = lake.read(kind), lake.read("quarantine")
        here = pa.array([_batch(kind, n) for n in range(before + 1, sequence + 1)], pa.string())
        present = {entry.key for entry in listed}
        return BusinessIngestResult(
            kind,
            rows.filter(pc.greater(rows["sequence"], before)).sort_by(
                [("sequence", "ascending"), ("line", "ascending")]
            ),
            refused.filter(pc.is_in(refused["batch_id"], here)).sort_by([("key", "ascending"), ("line", "ascending")]),
            done,
            unchanged,
            sequence,
            {key: s for key, s in state.files.items() if key in present},
        )


def latest(lake: Lake, kind: Kind) -> pd.DataFrame:
    """The rows that count, one an id: of the newest ingestion, of its last line. Times are UTC, missing ones NaT."""
    return lake.query(_latest_sql(kind)).to_pandas()


def _latest_sql(kind: Kind) -> str:
    identity = CONTRACTS[kind].id
    return (
        f"select * from {kind} qualify row_number() over "
        f"(partition by {identity} order by sequence desc, line desc) = 1 order by {identity}"
    )


@dataclass(frozen=True)
class _File:
    """found: None where the bytes are those of `previous`."""

    entry: ObjectInfo
    sha256: str | None
    previous: FileState | None
    found: Read | None


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
        found = None
        if data is None:
            detail = f"{entry.size:,} bytes, at most {policy.data.max_bytes:,} are read: split the file"
            found = Read(refused=[RefusedLine(None, "too_large", detail)])
        elif previous is None or previous.sha256 != sha256:
            found = read(CONTRACTS[kind], entry.key, data, policy)
        group.append(_File(entry, sha256, previous, found))
        rows += found.seen if found else 0
        if rows >= ROWS_AT_ONCE:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _broken(kind: Kind, group: list[_File], policy: Policy, now: datetime) -> list[dict[int, Rule]]:
    """For each file {position among its rows: the rule that it breaks}, from one look at all of them."""
    counts = [len(file.found.rows) if file.found else 0 for file in group]
    starts = [sum(counts[:i]) for i in range(len(group))]
    rules = broken(kind, [row for file in group if file.found for row in file.found.rows], policy, now)
    return [
        {at - start: rule for at, rule in rules.items() if start <= at < start + count}
        for start, count in zip(starts, counts, strict=True)
    ]


def _commit(
    lake: Lake, kind: Kind, file: _File, found: Read, rules: dict[int, Rule], sequence: int, now: datetime
) -> tuple[FileState, int]:
    """Commits one file; also gives the number of its rows that stand already."""
    contract, key = CONTRACTS[kind], file.entry.key
    good = [row for i, row in enumerate(found.rows) if i not in rules]
    refused = list(found.refused)
    for i, rule in rules.items():
        said = {k: str(v) for k, v in found.rows[i].items() if k != "line" and v is not None}
        detail = f"not kept: {rule.says}; row: {json.dumps(said)}"
        refused.append(RefusedLine(found.rows[i]["line"], rule.reason, detail))
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
        sha256=file.sha256,
        sequence=sequence,
        seen=found.seen,
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
        raise LakeError(f"{_state_key(kind)}: not a state of files: {error}. Delete it: it is made anew.") from error


def _listed(lake: Lake, kind: Kind) -> list[ObjectInfo]:
    found, _ = source_for(lake, folder(kind)).poll(None)
    return sorted(found, key=lambda o: (o.modified_at, o.key))


def _new(listed: list[ObjectInfo], state: TableState) -> list[ObjectInfo]:
    def known(entry: ObjectInfo) -> bool:
        last = state.files.get(entry.key)
        return last is not None and (last.size, last.modified_at) == (entry.size, entry.modified_at)

    return [entry for entry in listed if not known(entry)]
