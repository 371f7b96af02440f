"""Captures every answer as a line of a segment file before the answer is sent.

The operating system has the line when `write` returns, so that it survives the death of the process. A segment is
forced to the disk when it closes, so that a power cut costs at most the answers of an open segment. On a folder
segments are written in the lake itself; on S3 they are written below home/, and uploaded under the same name once they
are closed.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from carsdepo_assets.inference.records import Record
from carsdepo_assets.inference.segments import OPEN, ROOT, close_orphans, finish, hour_folder, lock, photograph_key
from carsdepo_assets.inference.writability import Writability
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import InferencePolicy

logger = logging.getLogger(__name__)


class CaptureError(OSError):
    """The answer cannot be captured, so that it must not be sent."""


@dataclass
class _Open:
    path: Path
    descriptor: int
    folder: str  # of its hour
    opened_at: datetime
    size: int = 0
    lines: int = 0


class Capture:
    """Writes the segments of one service. Several threads may call it; `close` ends its background thread."""

    def __init__(
        self,
        lake: Lake,
        stage: str,
        policy: InferencePolicy,
        home: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lake, self._stage, self._policy, self._now = lake, stage, policy, now
        self._root = lake.root or home
        self._instance = f"{now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._open: _Open | None = None
        self._retired: deque[_Open] = deque()  # full or old, to be closed
        self._segments_opened = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.torn_lines = 0  # of dead processes' segments, dropped
        self._unshipped_since: datetime | None = None
        self.writability = Writability(self._root, lake, stage, keeps_photographs=policy.keep_photographs)

    def start(self) -> None:
        """Closes the segments that dead processes of this stage left open; then closes old ones in the background."""
        count, self.torn_lines = close_orphans(self._root, self._stage)
        if count:
            logger.warning(
                "%d segments of a service that ended without closing them are closed; %d torn lines dropped.",
                count,
                self.torn_lines,
            )
        self._thread = threading.Thread(target=self._tend, name="capture", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Closes the open segment and ships what is closed."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._retire()
        self._close_retired()
        self._ship()

    def keep(self, image_id: str, kind: str, data: bytes) -> str | None:
        """Stores a photograph once, by its content.

        Args:
            image_id: sha256 of the bytes.
            kind: the format, such as jpeg.
            data: the photograph's bytes.

        Returns:
            The key; None where the policy keeps no photographs.

        Raises:
            CaptureError: it cannot be stored.
        """
        if not self._policy.keep_photographs:
            return None
        key = photograph_key(image_id, kind)
        try:
            if not self._lake.exists(key):
                self._lake.put(key, data)
        except LakeError as error:
            self.writability.failed(f"a photograph cannot be kept: {error}")
            raise CaptureError(f"the photograph cannot be kept: {error}") from error
        return key

    def write(self, records: Sequence[Record]) -> datetime:
        """Appends one line for each record, all in one write.

        Returns:
            The time that the lines carry.

        Raises:
            CaptureError: they cannot be written; none of them was.
        """
        try:
            with self._lock:
                # The time is taken under the lock: a segment's lines are of its hour, and in order.
                at = self._now()
                data = b"".join(record.line(secrets.token_hex(16), at) for record in records)
                segment = self._segment(at)
                self._append(segment, data)
                segment.lines += len(records)
                if segment.lines >= self._policy.segment_lines:
                    self._retire()
        except OSError as error:
            self.writability.failed(f"an answer cannot be written below {self._root}: {error.strerror}")
            raise CaptureError(f"the answer cannot be captured below {self._root}: {error.strerror}") from error
        finally:
            self._close_retired()
        return at

    def missing(self, records: Sequence[Record], since: datetime) -> list[Record]:
        """The records that no segment has, of this service or of one that was killed.

        Args:
            records: to look for, by their prediction_id.
            since: before any of them was written, in UTC.

        Raises:
            CaptureError: the segments cannot be read.
        """
        missing = list(records)
        try:
            for text in self._segments_since(since):
                whole = text[: text.rfind(b"\n") + 1]  # a torn line does not count: it is dropped
                missing = [r for r in missing if f'"inferenceId":"{r.prediction_id}"'.encode() not in whole]
                if not missing:
                    break
        except (OSError, LakeError) as error:
            raise CaptureError(f"the captured answers cannot be read below {self._root}: {error}") from error
        return missing

    def _segments_since(self, since: datetime) -> Iterator[bytes]:
        """The bytes of the stage's segments from that hour on, one by one, open ones too."""
        hour = since.replace(minute=0, second=0, microsecond=0)
        while hour <= self._now():
            folder = hour_folder(self._stage, hour)
            for path in sorted((self._root / folder).glob("*.jsonl*")):
                yield path.read_bytes()
            if self._lake.root is None:  # closed ones are there
                for stored in self._lake.list(folder):
                    yield self._lake.get(stored.key)
            hour += timedelta(hours=1)

    def lag_seconds(self) -> float:
        """Seconds since the oldest answer that ingestion cannot see yet; 0 when all segments are closed and shipped."""
        with self._lock:
            waiting = [s.opened_at for s in (self._open, *self._retired) if s]
            since = [*waiting, *([self._unshipped_since] if self._unshipped_since else [])]
        return max(0.0, (self._now() - min(since)).total_seconds()) if since else 0.0

    def _segment(self, at: datetime) -> _Open:
        """The segment of the answer's hour, opened where there is none."""
        folder = hour_folder(self._stage, at)
        if self._open is not None and self._open.folder != folder:
            self._retire()
        if self._open is None:
            self._segments_opened += 1
            directory = self._root / folder
            directory.mkdir(parents=True, exist_ok=True)
            name = f"{self._instance}-{self._segments_opened}.jsonl"
            new = directory / f".{name}.new"  # under this name nobody takes it for an orphan before it is locked
            descriptor = os.open(new, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                lock(descriptor)
                os.replace(new, directory / f"{name}{OPEN}")
            except OSError:
                os.close(descriptor)
                raise
            self._open = _Open(directory / f"{name}{OPEN}", descriptor, folder, at)
        return self._open

    def _append(self, segment: _Open, data: bytes) -> None:
        """One write. What a full disk took of it is taken back, so that the next line starts on a line of its own."""
        try:
            written = os.write(segment.descriptor, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, {written} of {len(data)} bytes were taken")
        except OSError:
            try:
                os.ftruncate(segment.descriptor, segment.size)
            except OSError:
                self._retire()  # closing drops the torn line, or leaves that to the next start
            raise
        segment.size += written

    def _retire(self) -> None:
        """Nothing more is written to the open segment; the lock is held."""
        if self._open is not None:
            self._retired.append(self._open)
            self._open = None

    def _close_retired(self) -> None:
        """Closes them without the lock: no answer waits for the disk. What fails is left for the next start."""
        while self._retired:
            try:
                segment = self._retired.popleft()
            except IndexError:  # another thread took it
                return
            try:
                finish(segment.path, segment.descriptor)
            except OSError as error:
                logger.error("%s: cannot be closed (%s); the next start closes it.", segment.path, error)
            finally:
                os.close(segment.descriptor)

    def _tend(self) -> None:
        while not self._ended.wait(min(1.0, self._policy.segment_age_s / 4)):
            with self._lock:
                segment = self._open
                if segment and (self._now() - segment.opened_at).total_seconds() >= self._policy.segment_age_s:
                    self._retire()
            self._close_retired()
            self._ship()
            self.writability.try_again()

    def _ship(self) -> None:
        """Puts closed segments of the spool into the lake, by their name: the same one twice is the same object."""
        if self._lake.root is not None:
            return
        waiting = sorted((self._root / ROOT / self._stage).rglob("*.jsonl"))
        for path in waiting:
            try:
                self._lake.put(path.relative_to(self._root).as_posix(), path.read_bytes())
                path.unlink()
            except FileNotFoundError:  # another service that shares this spool was faster
                continue
            except LakeError as error:
                if self._unshipped_since is None:
                    logger.warning("%s stays in the spool: %s", path, error)
                self._unshipped_since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                return
        self._unshipped_since = None


class HandedOver(Capture):
    """Captures nothing: the answer carries its records, and what calls the service captures it, as SageMaker does.

    The photographs' keys are those under which ingestion will store them.
    """

    def keep(self, image_id: str, kind: str, data: bytes) -> str | None:
        """The key under which ingestion stores the photograph; None where the policy keeps no photographs."""
        return photograph_key(image_id, kind) if self._policy.keep_photographs else None

    def write(self, records: Sequence[Record]) -> datetime:
        """The present: nothing is written."""
        return self._now()

    def missing(self, records: Sequence[Record], since: datetime) -> list[Record]:
        """None: what was answered has been handed over."""
        return []
