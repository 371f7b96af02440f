"""Answers a request that is sent again under its Idempotency-Key as it was answered the first time.

After https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. A key is good for a day, for one
stage and address of the service, in all processes that share a home and across their restarts. What is kept: a
fingerprint of the request, and then the answer with its records, before these are captured. Where the service is killed
in between, the next request under the key has the records captured that are missing, so that there is one of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock
from starlette.requests import Request

from carsdepo_assets.inference.records import Record
from carsdepo_assets.inference.requests import RETRY_AFTER_S, Refused, RequestPhotograph

HEADER = "Idempotency-Key"
KEPT_S = 24 * 3600.0
LONGEST = 255  # characters of a key
PATTERN = "^[!#-~]([ !#-~]*[!#-~])?$"  # printable ASCII without quotes, and no space at its ends
_WAIT_S = 10.0  # for another process that writes
_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
  name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at REAL NOT NULL, owner TEXT NOT NULL,
  answer TEXT, records TEXT, captured INTEGER NOT NULL DEFAULT 0)
"""


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that was made before, and may not have been captured yet."""

    body: str
    """The answer's JSON, as it was or would have been sent."""
    records: tuple[Record, ...]
    begun_at: datetime
    """When the first request under the key began."""
    captured: bool


def key_of(request: Request) -> str | None:
    """Reads the Idempotency-Key of a request, in quotes as the draft has it, or without.

    Returns:
        The key; None where there is none.

    Raises:
        Refused: There are two, or it is empty, too long or not printable ASCII.
    """
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    key = values[0].strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(values) > 1 or len(key) > LONGEST or not re.fullmatch(PATTERN, key):
        raise Refused(
            400,
            "bad_idempotency_key",
            f"{HEADER} is one text of 1 to {LONGEST} printable ASCII characters, such as a UUID",
        )
    return key


def fingerprint(path: str, photographs: Sequence[RequestPhotograph]) -> str:
    """The sha256 of what decides an answer: address, bytes, names, types and fields, not the form's boundary."""
    parts = [
        [p.file_name, p.content_type, hashlib.sha256(p.read()).hexdigest(), sorted(p.client_fields.items())]
        for p in photographs
    ]
    for photograph in photographs:
        photograph.rewind()
    return hashlib.sha256(json.dumps([path, parts]).encode()).hexdigest()


class Idempotency:
    """The requests of a stage that came with a key. Several threads and processes may use it.

    Args:
        file: the SQLite database; it is created.
        now: seconds since the epoch.
    """

    def __init__(self, file: Path, now: Callable[[], float] = time.time) -> None:
        self._file, self._now = file, now
        self._owner = f"{os.getpid()}:{psutil.Process().create_time()}"
        self._under_way: set[str] = set()
        self._lock = threading.Lock()
        self._is_made = False

    @contextmanager
    def claim(self, name: str, print_: str) -> Iterator[StoredAnswer | None]:
        """Holds a key while its request is worked on, so that a second request under it does not begin meanwhile.

        Args:
            name: address and key.
            print_: the request's fingerprint.

        Yields:
            The answer where there is one; else None, and the caller makes it and calls `store`. Where it fails before
            that, the key is free again.

        Raises:
            Refused: 409, for another request came under this key, or one is worked on.
            sqlite3.Error: the database cannot be written.
        """
        with self._lock:
            if name in self._under_way:
                raise _in_progress()
            self._under_way.add(name)
        try:
            stored = self._begin(name, print_)
            try:
                yield stored
            except BaseException:
                with self._connection() as database:
                    database.execute("DELETE FROM requests WHERE name = ? AND answer IS NULL", (name,))
                raise
        finally:
            with self._lock:
                self._under_way.discard(name)

    def store(self, name: str, body: str, records: Sequence[Record]) -> None:
        """Keeps the answer of a claimed key; its records are captured next."""
        text = json.dumps([record.model_dump(mode="json") for record in records])
        with self._connection() as database:
            database.execute("UPDATE requests SET answer = ?, records = ? WHERE name = ?", (body, text, name))

    def captured(self, name: str) -> None:
        """Notes that the records of a key's answer are captured."""
        with self._connection() as database:
            database.execute("UPDATE requests SET captured = 1, records = NULL WHERE name = ?", (name,))

    def _begin(self, name: str, print_: str) -> StoredAnswer | None:
        with self._connection() as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM requests WHERE at < ?", (self._now() - KEPT_S,))
            row = database.execute(
                "SELECT fingerprint, at, owner, answer, records, captured FROM requests WHERE name = ?", (name,)
            ).fetchone()
            if row is None:
                database.execute(
                    "INSERT INTO requests (name, fingerprint, at, owner) VALUES (?, ?, ?, ?)",
                    (name, print_, self._now(), self._owner),
                )
                return None
            first_print, at, owner, answer, records, captured = row
            if first_print != print_:
                raise Refused(
                    409,
                    "idempotency_key_reused",
                    f"another request came under this {HEADER} before: use a new one for each request",
                )
            if not captured and owner != self._owner and _alive(owner):
                raise _in_progress()
            if not captured:
                database.execute("UPDATE requests SET owner = ? WHERE name = ?", (self._owner, name))
            if answer is None:
                return None
            rows = tuple(Record.model_validate(r) for r in json.loads(records)) if records else ()
            return StoredAnswer(answer, rows, datetime.fromtimestamp(at, UTC), bool(captured))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are committed at the end, or none of them."""
        if not (self._is_made and self._file.exists()):
            self._make()
        database = sqlite3.connect(self._file, timeout=_WAIT_S, isolation_level=None)
        try:
            # As with captured answers, a killed process loses nothing; only a power cut may.
            database.execute("PRAGMA synchronous = NORMAL")
            with database:
                yield database
        finally:
            database.close()

    def _make(self) -> None:
        """Makes the database where there is none; one process at a time, since SQLite does not wait for that."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with (
                FileLock(self._file.with_suffix(".lock")),
                closing(sqlite3.connect(self._file, timeout=_WAIT_S)) as database,
            ):
                database.execute("PRAGMA journal_mode = WAL")
                database.execute(_TABLE)
        except OSError as error:
            raise sqlite3.OperationalError(f"{self._file} cannot be made: {error.strerror}") from error
        self._is_made = True


def _in_progress() -> Refused:
    return Refused(409, "in_progress", f"a request under this {HEADER} is being worked on: try again", RETRY_AFTER_S)


def _alive(owner: str) -> bool:
    """Whether the process that began a request lives: a later one may have its number, and another start."""
    number, _, started = owner.partition(":")
    try:
        return str(psutil.Process(int(number)).create_time()) == started
    except psutil.Error:
        return False
