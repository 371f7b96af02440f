"""A local index of the table `objects`: what is known of a file, at the price of the question and not of the lake.

It is a SQLite file in the lake's cache folder, which follows the table's log (see commits.py). Whoever deletes it, or
whose machine has none, has it built again from the table.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from carsdepo_assets.lake.annotator_folders import photographs_path
from carsdepo_assets.lake.commits import Position, news
from carsdepo_assets.lake.data_schemas import OBJECTS
from carsdepo_assets.lake.index_rows import LATEST, OF_LISTS, WANTS_LISTS, apply_rows, photograph_wants
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import ObjectInfo, micros, time_of
from carsdepo_assets.lake.predicates import Condition
from carsdepo_assets.lake.sources import Facts

logger = logging.getLogger(__name__)

_FORM = "2"  # of the file; one of another form is built again
_AT_ONCE = 400  # keys a question
_ROWS_AT_ONCE = 50_000  # of the table, as Python objects
ROWS_A_PART = 4_000_000  # of the table in memory while the index is built, of about 600 bytes each
_TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE known(
  key TEXT PRIMARY KEY, kind TEXT, size INT, modified_at INT, etag TEXT, sha256 BLOB, batch_id TEXT, state TEXT,
  reason TEXT, record TEXT, sequence INT, gone INT, turn INT) WITHOUT ROWID;
CREATE INDEX known_turn ON known(turn) WHERE kind = 'uploads';
CREATE INDEX known_refused ON known(kind, modified_at) WHERE state = 'quarantined';
CREATE INDEX known_batched ON known(modified_at) WHERE kind = 'uploads' AND state = 'batched';
CREATE TABLE waiting(
  key TEXT PRIMARY KEY, kind TEXT, size INT, modified_at INT, etag TEXT, sha256 BLOB, sequence INT) WITHOUT ROWID;
CREATE TABLE batches(kind TEXT, batch_id TEXT, state TEXT, PRIMARY KEY(kind, batch_id)) WITHOUT ROWID;
CREATE INDEX batches_open ON batches(kind, batch_id) WHERE state <> 'ingested';
CREATE TABLE wants(want TEXT, key TEXT, PRIMARY KEY(want, key)) WITHOUT ROWID;
CREATE INDEX wants_key ON wants(key);
CREATE TABLE places(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class ObjectState:
    """What is known of a file."""

    info: ObjectInfo
    """As it was when it was last looked at."""
    sha256: str | None
    batch_id: str
    """The newest batch that lists it."""
    state: str
    """See lake.schemas.OBJECTS."""
    reason: str | None
    record: str | None
    wants: tuple[str, ...] = ()
    """Of a label file in quarantine: the photographs that were not there, and the lists of names that were."""


@contextmanager
def open_index(lake: Lake) -> Iterator[ObjectIndex]:
    """Opens the index of a lake's objects, up to date with the table, for a block.

    Raises:
        LakeError: the table cannot be read, or the cache folder not be written.
    """
    path = index_path(lake)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LakeError(f"{path.parent}: the cache folder cannot be created: {error.strerror}.") from error
    for last_try in (False, True):
        try:
            database = _connected(path)
            try:
                index = ObjectIndex(lake, database)
                index.refresh()
            except BaseException:
                database.close()
                raise
            break
        except sqlite3.OperationalError as error:
            raise LakeError(f"{path}: {error}. Other processes hold it, or its disk is full.") from error
        except sqlite3.DatabaseError as error:  # damaged, as by a power cut
            if last_try:
                raise LakeError(f"{path}: {error}. Delete it: it is built again from the table `objects`.") from error
            logger.warning("%s is damaged (%s): it is built again.", path, error)
            path.unlink(missing_ok=True)
    with closing(database):
        yield index


def index_path(lake: Lake) -> Path:
    """Where the index of a lake is."""
    name = hashlib.sha256(lake.url.encode()).hexdigest()[:12] if lake.root is None else "lake"
    return lake.objects.cache_folder / f"objects-{name}.sqlite"


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=120, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA cache_size = -65536")
        with _transaction(database):
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            form = database.execute("SELECT value FROM meta WHERE name = 'form'").fetchone() if tables else None
            if form != (_FORM,):
                _make(database, [name for (name,) in tables])
    except BaseException:
        database.close()
        raise
    return database


def _make(database: sqlite3.Connection, old: Sequence[str]) -> None:
    for name in old:
        database.execute(f"DROP TABLE {name}")
    for statement in _TABLES.split(";"):
        if statement.strip():
            database.execute(statement)
    database.execute("INSERT INTO meta VALUES('form', ?)", (_FORM,))


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


class ObjectIndex:
    """What is known of the files in raw/ and of the batches. `open_index` opens it."""

    def __init__(self, lake: Lake, database: sqlite3.Connection) -> None:
        self._lake, self._database = lake, database

    def refresh(self) -> None:
        """Takes up what was committed since."""
        with _transaction(self._database):
            version, mark = self._meta("version"), self._meta("mark")
            since = None if version is None or mark is None else Position(int(version), mark)
            came = news(self._lake, "objects", since)
            if came.position == since:
                return
            if came.whole:
                _make(self._database, ["meta", "known", "waiting", "batches", "wants", "places"])
            for part in self._latest() if came.whole else came.rows:
                for start in range(0, part.num_rows, _ROWS_AT_ONCE):
                    apply_rows(self._database, part.slice(start, _ROWS_AT_ONCE))
            self._set_meta("version", str(came.position.version))
            self._set_meta("mark", came.position.mark)

    def _latest(self) -> Iterator[pa.Table]:
        """The rows of the whole table that count, one range of keys after the other to spare memory."""
        columns = [name for name in OBJECTS.names if name != "at"]
        bounds = self._lake.tables.bounds("objects", "key", ROWS_A_PART)
        ranges = list(zip([None, *bounds], [*bounds, None], strict=True))
        for kind in ("uploads", "labels"):
            for low, high in ranges:
                where: list[Condition] = [("kind", "=", kind)]
                where += [] if low is None else [("key", ">=", low)]
                where += [] if high is None else [("key", "<", high)]
                rows = self._lake.read("objects", columns, where)
                if rows.num_rows:
                    yield from (self._lake.query(sql, given=rows) for sql in LATEST)

    def states_of(self, keys: Sequence[str]) -> dict[str, ObjectState]:
        """What is known of some files, by key; one that no batch lists is left out."""
        columns = "key, size, modified_at, etag, sha256, batch_id, state, reason, record"
        wants: dict[str, list[str]] = {}
        for key, want in self._of_keys("SELECT key, want FROM wants WHERE key IN (%s) ORDER BY want", keys):
            wants.setdefault(key, []).append(want)
        rows = self._of_keys(f"SELECT {columns} FROM known WHERE key IN (%s)", keys)
        return {row[0]: _state_of(row, wants.get(row[0], ())) for row in rows}

    def unknown(self, objects: Sequence[Facts]) -> list[Facts]:
        """Those objects of a listing that no batch lists as they are: in size, time or ETag they differ from it."""
        sql = "SELECT key, size, modified_at, etag FROM known WHERE NOT gone AND key IN (%s)"
        there = {row[0]: row for row in self._of_keys(sql, [o[0] for o in objects])}
        return [o for o in objects if (row := there.get(o[0])) is None or not _same(row, o)]

    def standing(self, keys: Sequence[str]) -> list[str]:
        """Those of some keys that a batch lists, and that are not known to be gone."""
        return [key for (key,) in self._of_keys("SELECT key FROM known WHERE NOT gone AND key IN (%s)", keys)]

    def compare(
        self, prefix: str, objects: Sequence[Facts], before: int | None = None
    ) -> tuple[list[Facts], list[str]]:
        """The same of everything that is below a prefix, in order of key; and the known keys that are not there.

        Args:
            prefix: a folder.
            objects: all that was below it.
            before: microseconds since 1970: when that was, where it is over. Younger objects are not missed.
        """
        sql = "SELECT key, size, modified_at, etag FROM known WHERE key >= ? AND key < ? AND NOT gone ORDER BY key"
        standing = self._database.execute(sql, _below(prefix))
        unknown, gone, row = [], [], next(standing, None)
        for entry in objects:
            while row is not None and row[0] < entry[0]:
                if before is None or row[2] < before:
                    gone.append(row[0])
                row = next(standing, None)
            if row is not None and row[0] == entry[0]:
                if not _same(row, entry):
                    unknown.append(entry)
                row = next(standing, None)
            else:
                unknown.append(entry)
        while row is not None:
            if before is None or row[2] < before:
                gone.append(row[0])
            row = next(standing, None)
        return unknown, gone

    def waiting(self, kind: str) -> list[tuple[ObjectInfo, str | None]]:
        """The files that no batch lists yet, each with its sha256 where it is known."""
        sql = "SELECT key, size, modified_at, etag, sha256 FROM waiting WHERE kind = ?"
        return [(_info(row), row[4].hex() if row[4] else None) for row in self._database.execute(sql, (kind,))]

    def waiting_count(self, kind: str) -> int:
        """How many files of a kind no batch lists yet."""
        return int(self._database.execute("SELECT count(*) FROM waiting WHERE kind = ?", (kind,)).fetchone()[0])

    def refused_since(self, kind: str, since: datetime) -> list[ObjectInfo]:
        """The files in quarantine that were written since a time, as they were: some were half-copied."""
        sql = """SELECT key, size, modified_at, etag FROM known
          WHERE state = 'quarantined' AND kind = ? AND modified_at >= ?"""
        return [_info(row) for row in self._database.execute(sql, (kind, micros(since)))]

    def settled(self, labels: Sequence[str]) -> set[str]:
        """Of some keys of label files those whose photograph, of the same path, is ingested or given up."""
        self._database.execute("CREATE TEMP TABLE IF NOT EXISTS asked(key TEXT, stem TEXT)")
        self._database.execute("DELETE FROM asked")
        with _transaction(self._database):
            self._database.executemany("INSERT INTO asked VALUES(?, ?)", ((k, _photograph_stem(k)) for k in labels))
        sql = """SELECT key FROM asked w WHERE
          EXISTS(SELECT 1 FROM known k WHERE k.key = w.stem AND k.state <> 'batched')
          OR EXISTS(SELECT 1 FROM known k WHERE k.key > w.stem || '.' AND k.key < w.stem || '/'
                    AND k.state <> 'batched' AND instr(substr(k.key, length(w.stem) + 2), '.') = 0)"""
        return {key for (key,) in self._database.execute(sql)}

    def oldest_open_upload(self) -> datetime | None:
        """When the oldest photograph whose batch is not ingested, or that waits for its batch, was modified."""
        sql = """SELECT min(t) FROM (
          SELECT min(modified_at) t FROM known WHERE kind = 'uploads' AND state = 'batched'
          UNION ALL SELECT min(modified_at) FROM waiting WHERE kind = 'uploads')"""
        (at,) = self._database.execute(sql).fetchone()
        return None if at is None else time_of(at)

    def healed(self) -> tuple[list[str], int]:
        """Label files in quarantine that want a photograph which came since, and the place for `healed_until`."""
        (until,) = self._database.execute(
            "SELECT coalesce(max(turn), -1) + 1 FROM known WHERE kind = 'uploads'"
        ).fetchone()
        came = "SELECT key FROM known WHERE kind = 'uploads' AND turn >= ? AND state IN ('image', 'duplicate')"
        if self._database.execute("SELECT 1 FROM wants LIMIT 1").fetchone() is None:
            return [], until
        looked_from = int(self._meta("healed_until") or 0)
        keys = self._database.execute(came, (looked_from,)).fetchall()
        if not keys:
            return [], until
        self._database.execute("CREATE TEMP TABLE IF NOT EXISTS came(want TEXT)")
        self._database.execute("DELETE FROM came")
        with _transaction(self._database):
            wants = ((want,) for (key,) in keys for want in photograph_wants(key))
            self._database.executemany("INSERT INTO came VALUES(?)", wants)
        due = self._database.execute("SELECT DISTINCT w.key FROM came c JOIN wants w ON w.want = c.want ORDER BY 1")
        return [key for (key,) in due.fetchall()], until

    def of_other_lists(self) -> list[tuple[str, str]]:
        """(want, key) of the label files in quarantine that other lists of names may heal; see index_rows."""
        range_ = (WANTS_LISTS, WANTS_LISTS[:-1] + "0")
        return self._database.execute("SELECT want, key FROM wants WHERE want >= ? AND want < ?", range_).fetchall()

    def healed_until(self, place: int) -> None:
        """Notes that what `healed` found has its batch, so that it looks at later photographs only."""
        if self._meta("healed_until") != str(place):
            self._set_meta("healed_until", str(place))

    def read_with_other_record(self, prefix: str, record: str | None) -> list[str]:
        """Keys of the label files below a prefix that were read with another import record than this one."""
        sql = "SELECT key FROM known WHERE key >= ? AND key < ? AND NOT gone AND record IS NOT ?"
        return [key for (key,) in self._database.execute(sql, (*_below(prefix), record))]

    def read_by_lists(self, folder: str) -> list[tuple[str, str]]:
        """(key, record) of the label files below a folder that were read with lists of names; see index_rows."""
        sql = "SELECT key, record FROM known WHERE key >= ? AND key < ? AND NOT gone AND state = 'read'"
        rows = self._database.execute(f"{sql} AND record >= ? AND record < ?", (*_below(folder), OF_LISTS, "lists;"))
        return rows.fetchall()

    def batches(self, kind: str, open_only: bool = False, before: str | None = None) -> list[str]:
        """Ids of the closed batches of a kind, oldest first.

        Args:
            kind: uploads or labels.
            open_only: only those that are not ingested.
            before: only those whose ids are smaller.
        """
        sql = "SELECT batch_id FROM batches WHERE kind = ?" + (" AND state <> 'ingested'" if open_only else "")
        given = (kind,) if before is None else (kind, before)
        sql += "" if before is None else " AND batch_id < ?"
        return [batch for (batch,) in self._database.execute(f"{sql} ORDER BY batch_id", given)]

    def newest_batch(self, kind: str) -> str | None:
        """The id of the batch of a kind that was closed last; None before the first."""
        newest = self._database.execute("SELECT max(batch_id) FROM batches WHERE kind = ?", (kind,)).fetchone()[0]
        return None if newest is None else str(newest)

    def place(self, name: str) -> str | None:
        """What was kept under a name by `keep_place`; gone with the index."""
        row = self._database.execute("SELECT value FROM places WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def keep_place(self, name: str, value: str) -> None:
        """Keeps a text, such as how far a source was read."""
        if self.place(name) != value:
            self._database.execute("INSERT OR REPLACE INTO places VALUES(?, ?)", (name, value))

    def _meta(self, name: str) -> str | None:
        row = self._database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set_meta(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (name, value))

    def _of_keys(self, sql: str, keys: Sequence[str]) -> Iterable[Any]:
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            yield from self._database.execute(sql % ",".join("?" * len(part)), part)


def _below(prefix: str) -> tuple[str, str]:
    """The range of the keys below a folder: "0" follows "/"."""
    folder = prefix.rstrip("/")
    return f"{folder}/", f"{folder}0"


def _photograph_stem(label_key: str) -> str:
    """raw/labels/a/b.txt -> raw/uploads/a/b"""
    path = photographs_path(label_key.removeprefix("raw/labels/"))
    folder, slash, name = path.rpartition("/")
    return f"raw/uploads/{folder}{slash}{Path(name).stem}"


def _same(row: Facts, entry: Facts) -> bool:
    # Without an ETag is how versions that did not know them wrote the file down.
    return row == entry or (row[3] is None and row[:3] == entry[:3])


def _info(row: Sequence[Any]) -> ObjectInfo:
    return ObjectInfo(row[0], row[1], time_of(row[2]), row[3])


def _state_of(row: Sequence[Any], wants: Sequence[str]) -> ObjectState:
    batch_id, state, reason, record = row[5:9]
    return ObjectState(_info(row), row[4].hex() if row[4] else None, batch_id, state, reason, record, tuple(wants))
