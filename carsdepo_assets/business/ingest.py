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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AwareDatetime, BaseModel, ConfigDict

from carsdepo_assets.business.contracts import CONTRACTS, KINDS, Contract, Kind
from carsdepo_assets.business.reading import Read, Refusal, Row, read
from carsdepo_assets.business.rules import broken
from carsdepo_assets.lake.lake import Lake, LakeError, ObjectInfo, ObjectMissing
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.sources import source_for
from carsdepo_assets.policy import Policy

PROBLEMS_A_FILE = 200  # rows in quarantine; how many more there are is said in the last


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
class Ingested:
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


def stray_files(lake: Lake) -> list[str]:
    """Keys in raw/business/ outside the three folders, which nothing reads."""
    found, _ = source_for(lake, "raw/business/").poll(None)
    return [o.key for o in found if not o.key.startswith(tuple(f"{folder(kind)}/" for kind in KINDS))]


def ingest(lake: Lake, kind: Kind, policy: Policy, now: datetime | None = None) -> Ingested:
    """Reads every new file of the kind, oldest first."""
    now = now or datetime.now(UTC)
    with one_writer(lake, f"business-{kind}"):
        listed, state = _listed(lake, kind), _state(lake, kind)
        done: list[str] = []
        before = max((s.sequence for s in state.files.values()), default=0)
        # The state may be lost or a commit ahead of it: numbers go on from the table's too.
        sequence = max(before, pc.max(lake.read(kind, columns=["sequence"])["sequence"]).as_py() or 0)
        first, unchanged = sequence + 1, 0
        for entry in _new(listed, state):
            try:
                data = lake.get(entry.key) if entry.size <= policy.data.max_bytes else None
            except ObjectMissing:
                continue  # removed since it was listed
            previous = state.files.get(entry.key)
            sha256 = None if data is None else hashlib.sha256(data).hexdigest()
            if previous is not None and sha256 is not None and previous.sha256 == sha256:
                fresh = previous.model_copy(update={"size": entry.size, "modified_at": entry.modified_at})
            else:
                sequence += 1
                fresh, same = _one(lake, kind, entry, data, sha256, sequence, previous, policy, now)
                unchanged += same
                done.append(entry.key)
            state.files[entry.key] = fresh
            lake.put(_state_key(kind), state.model_dump_json(indent=1).encode())
        rows, refused = lake.read(kind), lake.read("quarantine")
        here = pa.array([_batch(kind, n) for n in range(first, sequence + 1)], pa.string())
        present = {entry.key for entry in listed}
        return Ingested(
            kind,
            rows.filter(pc.greater_equal(rows["sequence"], first)).sort_by(
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


def _one(
    lake: Lake,
    kind: Kind,
    entry: ObjectInfo,
    data: bytes | None,
    sha256: str | None,
    sequence: int,
    previous: FileState | None,
    policy: Policy,
    now: datetime,
) -> tuple[FileState, int]:
    """Commits one file; also gives the number of its rows that stand already."""
    contract = CONTRACTS[kind]
    if data is None:
        detail = f"{entry.size:,} bytes, at most {policy.data.max_bytes:,} are read: split the file"
        found = Read(refused=[Refusal(None, "too_large", detail)])
    else:
        found = read(contract, entry.key, data, policy)
    rules = broken(kind, found.rows, policy, now)
    good = [row for i, row in enumerate(found.rows) if i not in rules]
    for i, rule in rules.items():
        said = {k: str(v) for k, v in found.rows[i].items() if k != "line" and v is not None}
        found.refused.append(
            Refusal(found.rows[i]["line"], rule.reason, f"not kept: {rule.says}; row: {json.dumps(said)}")
        )
    good, repeated = _last_of_each(contract, good)
    found.refused.extend(repeated)
    added = _changed(lake, contract, good)
    unit = f"{entry.key}:{sha256 or entry.size}:{previous.sequence if previous else 0}"
    stamp = {"file": entry.key, "sequence": sequence, "ingested_at": now}
    lake.append(
        "quarantine",
        _refusals(kind, entry.key, sha256, sequence, found.refused, now),
        f"business:{entry.key}:{sha256 or entry.size}",
    )
    lake.append(kind, [row | stamp for row in added], unit)
    state = FileState(
        size=entry.size,
        modified_at=entry.modified_at,
        sha256=sha256,
        sequence=sequence,
        seen=found.seen,
        refused=len(found.refused),
    )
    return state, len(good) - len(added)


def _last_of_each(contract: Contract, rows: list[Row]) -> tuple[list[Row], list[Refusal]]:
    """Each id once: its last line counts, an earlier one that says otherwise is refused, a mere repetition is not."""
    last: dict[str, Row] = {}
    refused = []
    for row in reversed(rows):
        kept = last.setdefault(row[contract.id], row)
        if kept is not row and any(kept[name] != row[name] for name in contract.names):
            detail = f"line {kept['line']} says otherwise of {contract.id} {row[contract.id]} and counts"
            refused.append(Refusal(row["line"], "repeated_id", detail))
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
    kind: Kind, key: str, sha256: str | None, sequence: int, refused: list[Refusal], now: datetime
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
