"""Capture segments by name: where they lie, which are closed, which are a dead process's.

capture/<stage>/YYYY/MM/DD/HH/<instance>-<n>.jsonl; `.open` behind it while its service writes, and a lock on the file
says that the service lives. A segment holds answers of its hour only (UTC).
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import fsync_path

ROOT = "capture"
OPEN = ".open"
_CLOSED = re.compile(r"capture/([a-z]+)/(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+\.jsonl")


@dataclass(frozen=True)
class CaptureSegment:
    """A closed segment: key in the lake, stage, and the UTC day of all its answers."""

    key: str
    stage: str
    day: date


def hour_folder(stage: str, at: datetime) -> str:
    """`at` in UTC."""
    return f"{ROOT}/{stage}/{at:%Y/%m/%d/%H}"


def photograph_key(image_id: str, kind: str) -> str:
    """Where a photograph that was answered is kept; kind: the format that decoding found."""
    return f"{ROOT}/photographs/{image_id[:2]}/{image_id}.{'jpg' if kind == 'jpeg' else kind}"


def closed(lake: Lake, stage: str, day: date | None = None) -> Iterator[CaptureSegment]:
    """A stage's closed segments, of one day or of all, in order of key."""
    prefix = f"{ROOT}/{stage}" if day is None else f"{ROOT}/{stage}/{day:%Y/%m/%d}"
    for info in lake.list(prefix):
        found = _CLOSED.fullmatch(info.key)
        if found:
            try:
                yield CaptureSegment(info.key, found[1], date(*map(int, found.group(2, 3, 4))))
            except ValueError:  # month 13: no name that a service gave
                continue


def lock(descriptor: int) -> bool:
    """Whether the file is now ours; the lock ends with the process, however it ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def finish(path: Path, descriptor: int) -> int:
    """Closes a segment: drops a torn last line, forces the bytes to the disk, takes the `.open` from the name.

    Returns the number of torn lines (0 or 1). A segment without a whole line is removed. The caller holds the lock.
    """
    whole = _whole_bytes(descriptor)
    torn = int(os.fstat(descriptor).st_size > whole)
    if torn:
        os.ftruncate(descriptor, whole)
    if whole == 0:
        path.unlink()
        return torn
    os.fsync(descriptor)
    os.replace(path, path.with_suffix(""))
    fsync_path(path.parent)
    return torn


def close_orphans(root: Path, stage: str) -> tuple[int, int]:
    """Closes the stage's segments whose process is dead. Returns (segments closed, torn lines dropped)."""
    count = torn = 0
    for path in sorted((root / ROOT / stage).rglob(f"*.jsonl{OPEN}")):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # its service closed it just now
            continue
        try:
            # Locked by us, yet under this name no more: its service closed it between the listing and the lock.
            if lock(descriptor) and path.exists() and os.path.samestat(os.stat(path), os.fstat(descriptor)):
                torn += finish(path, descriptor)
                count += 1
        finally:
            os.close(descriptor)
    return count, torn


def _whole_bytes(descriptor: int) -> int:
    """Bytes up to and with the last newline; reads backwards, since a segment may be large."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 2**16)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
