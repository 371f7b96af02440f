"""How rows of the table `objects` change its local index (see object_index.py)."""

from __future__ import annotations

import sqlite3
import unicodedata
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.text_files import storable

# Of all rows of the table, `given`, those that count, in the order in which they are applied.
LATEST = (
    """SELECT * FROM given WHERE state NOT IN ('waiting', 'gone', 'closed', 'ingested')
    QUALIFY row_number() OVER (PARTITION BY key ORDER BY batch_id DESC, sequence DESC) = 1 ORDER BY key""",
    "SELECT * FROM given WHERE state IN ('closed', 'ingested')",
    """SELECT * FROM given g WHERE state = 'gone' AND coalesce(sequence > (
    SELECT arg_max(n.sequence, (n.batch_id, n.sequence)) FROM given n
    WHERE n.key = g.key AND n.state NOT IN ('waiting', 'gone')), true)
    QUALIFY row_number() OVER (PARTITION BY key ORDER BY sequence DESC) = 1""",
    """SELECT w.* FROM (SELECT * FROM given WHERE state = 'waiting'
    QUALIFY row_number() OVER (PARTITION BY key ORDER BY sequence DESC) = 1) w WHERE NOT EXISTS(
    SELECT 1 FROM given n WHERE n.key = w.key AND n.sequence > w.sequence AND (n.state IN ('batched', 'gone') OR
    (n.state <> 'waiting' AND n.size = w.size AND n.modified_at = w.modified_at
     AND n.etag IS NOT DISTINCT FROM w.etag)))""",
)
# A row about an older batch never takes the place of one about a newer batch, whenever it was written.
_KNOWN = """INSERT INTO known VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?) ON CONFLICT(key) DO UPDATE SET
  size = excluded.size, modified_at = excluded.modified_at, etag = excluded.etag, sha256 = excluded.sha256,
  batch_id = excluded.batch_id, state = excluded.state, reason = excluded.reason, record = excluded.record,
  sequence = excluded.sequence, gone = 0, turn = excluded.turn
  WHERE (excluded.batch_id, excluded.sequence) >= (known.batch_id, known.sequence)"""
_BATCH = """INSERT INTO batches VALUES(?, ?, ?) ON CONFLICT(kind, batch_id) DO UPDATE SET
  state = excluded.state WHERE batches.state <> 'ingested'"""
_NO_LONGER_WAITING = """DELETE FROM waiting WHERE key = ?
  AND (? IN ('batched', 'gone') OR (size = ? AND modified_at = ? AND etag IS ?))"""

WANTS_LISTS = "///"
"""How wants begin that are about lists of names of classes."""

OF_LISTS = "lists:"
"""How `record` begins of a label file whose classes lists of names say, and no import: the digest of their meaning."""


def photograph_wants(key: str) -> tuple[str, str, str]:
    """By what label files may want a photograph: its name in its folder, below its topmost folder, and anywhere."""
    path = PurePosixPath(key.removeprefix("raw/uploads/"))
    return want_in(path.parent, path.stem), want_below(path, path.stem), want_below(PurePosixPath("any"), path.stem)


def want_in(folder: PurePosixPath, stem: str) -> str:
    """How a photograph of a name, without its suffix, is wanted in a folder below raw/uploads."""
    return _plain(f"{folder}//{stem}")


def want_below(path: PurePosixPath, stem: str) -> str:
    """How it is wanted at any depth below the topmost folder of a path; of a path without folder: anywhere."""
    return _plain(f"{path.parts[0] if len(path.parts) > 1 else ''}//*//{stem}")


def want_lists(folder: PurePosixPath, digest: str) -> str:
    """How other lists of names are wanted, in a folder below raw/labels or above it, than those of a digest.

    No photograph is wanted by such a text: it would begin with a folder, or with one slash pair.
    """
    return f"{WANTS_LISTS}{digest}///{folder}"


def lists_wanted(want: str) -> tuple[PurePosixPath, str]:
    """The folder and the digest that `want_lists` was given."""
    digest, _, folder = want.removeprefix(WANTS_LISTS).partition("///")
    return PurePosixPath(folder), digest


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", storable(text)).casefold()


def apply_rows(database: sqlite3.Connection, rows: pa.Table) -> None:
    """Applies rows of one commit, or of all, in an open transaction."""
    of_batches = pc.is_in(rows["state"], value_set=pa.array(["closed", "ingested"]))
    batches = rows.filter(of_batches)
    database.executemany(_BATCH, zip(*(batches[c].to_pylist() for c in ("kind", "batch_id", "state")), strict=True))
    files = rows.filter(pc.invert(of_batches))
    for state in ("known", "gone", "waiting"):
        own = (
            pc.equal(files["state"], state)
            if state != "known"
            else pc.invert(pc.is_in(files["state"], value_set=pa.array(["gone", "waiting"])))
        )
        part = files.filter(own)
        if part.num_rows:
            {"known": _apply_states, "gone": _apply_gone, "waiting": _apply_waiting}[state](database, part)


def _apply_states(database: sqlite3.Connection, rows: pa.Table) -> None:
    (turn,) = database.execute("SELECT coalesce(max(turn), -1) + 1 FROM known WHERE kind = 'uploads'").fetchone()
    names = (
        "key",
        "kind",
        "size",
        "modified_at",
        "etag",
        "sha256",
        "batch_id",
        "state",
        "reason",
        "record",
        "sequence",
    )
    columns = {name: _column(rows, name) for name in names}
    about_wants = _about_wants(database, rows)
    batched_at = {key: _turn_of(database, key) for key in about_wants["key"].to_pylist()}
    values = zip(*(columns[name] for name in names), [turn] * rows.num_rows, strict=True)
    database.executemany(_KNOWN, values)
    for row in about_wants.to_pylist():
        _want(database, row, batched_at[row["key"]])
    if database.execute("SELECT 1 FROM waiting LIMIT 1").fetchone():
        facts = (columns[name] for name in ("key", "state", "size", "modified_at", "etag"))
        database.executemany(_NO_LONGER_WAITING, zip(*facts, strict=True))


def _about_wants(database: sqlite3.Connection, rows: pa.Table) -> pa.Table:
    """The rows that may change which label files want a photograph."""
    labels = pc.equal(rows["kind"], "labels")
    if not database.execute("SELECT 1 FROM wants LIMIT 1").fetchone():
        labels = pc.and_(labels, pc.greater(pc.fill_null(pc.list_value_length(rows["wants"]), 0), 0))
    return rows.filter(labels).select(["key", "batch_id", "sequence", "wants"])


def _turn_of(database: sqlite3.Connection, key: str) -> int:
    row = database.execute("SELECT turn FROM known WHERE key = ?", (key,)).fetchone()
    return 0 if row is None else int(row[0])


def _want(database: sqlite3.Connection, row: dict[str, Any], batched_at: int) -> None:
    """Keeps what a label file wants. Photographs that came since its batch was closed are looked at again."""
    counts = "SELECT 1 FROM known WHERE key = ? AND batch_id = ? AND sequence = ?"
    if database.execute(counts, (row["key"], row["batch_id"], row["sequence"])).fetchone() is None:
        return
    database.execute("DELETE FROM wants WHERE key = ?", (row["key"],))
    if row["wants"]:
        database.executemany("INSERT OR IGNORE INTO wants VALUES(?, ?)", ((want, row["key"]) for want in row["wants"]))
        earlier = "UPDATE meta SET value = min(CAST(value AS INT), ?) WHERE name = 'healed_until'"
        database.execute(earlier, (batched_at,))


def _apply_gone(database: sqlite3.Connection, rows: pa.Table) -> None:
    keys = [(key,) for key in rows["key"].to_pylist()]
    database.executemany("UPDATE known SET gone = 1 WHERE key = ?", keys)
    database.executemany("DELETE FROM waiting WHERE key = ?", keys)


def _apply_waiting(database: sqlite3.Connection, rows: pa.Table) -> None:
    names = ("key", "kind", "size", "modified_at", "etag", "sha256", "sequence")
    database.executemany(
        "INSERT OR REPLACE INTO waiting VALUES(?, ?, ?, ?, ?, ?, ?)",
        zip(*(_column(rows, name) for name in names), strict=True),
    )


def _column(rows: pa.Table, name: str) -> list[object]:
    if name == "modified_at":
        return list(rows[name].cast(pa.int64()).to_pylist())
    values = rows[name].to_pylist()
    return [None if v is None else bytes.fromhex(v) for v in values] if name == "sha256" else list(values)
