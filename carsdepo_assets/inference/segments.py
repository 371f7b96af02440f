"""The files of captured answers: where they are stored, which ones are closed, and how they are closed.

A segment is capture/<stage>/YYYY/MM/DD/HH/<instance>-<n>.jsonl and holds answers of its hour (UTC). While its service
writes, its name ends with `.open`, and a lock on the file shows that the service lives.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from carsdepo_assets.lake import data_capture
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import fsync_path

ROOT = "capture"
OPEN = ".open"
DELIVERED = "sagemaker"  # in place of a stage: files that SageMaker delivers, whose answers name their stages
_DELIVERED = re.compile(r"capture/(sagemaker)/[^/]+/[^/]+/(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+\.jsonl")
_CLOSED = re.compile(r"capture/([a-z]+)/(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+\.jsonl")


@dataclass(frozen=True)
class CaptureSegment:
    """A closed segment: key in the lake, stage (or DELIVERED), and the UTC day of its answers."""

    key: str
    stage: str
    day: date


def hour_folder(stage: str, at: datetime) -> str:
    """The folder of the segments of an hour; `at` is in UTC."""
    return f"{ROOT}/{stage}/{at:%Y/%m/%d/%H}"


def photograph_key(image_id: str, kind: str) -> str:
    """The key of a photograph that was inspected; `kind` is the format that decoding has detected, such as jpeg."""
    return f"{ROOT}/photographs/{image_id[:2]}/{image_id}.{'jpg' if kind == 'jpeg' else kind}"


def closed(lake: Lake, stage: str, day: date | None = None) -> Iterator[CaptureSegment]:
    """Lists the closed segments of a stage in the order of their keys.

    Args:
        lake: where they are.
        stage: staging or production; DELIVERED: the files of SageMaker's data capture.
        day: in UTC; None lists all days.
    """
    is_delivered = stage == DELIVERED
    places = [data_capture.place_of(e) for e in data_capture.endpoints(lake)] if is_delivered else [f"{ROOT}/{stage}"]
    pattern = _DELIVERED if is_delivered else _CLOSED
    for place in places:
        for info in lake.list(place if day is None else f"{place}/{day:%Y/%m/%d}"):
            match = pattern.fullmatch(info.key)
            if match:
                try:
                    yield CaptureSegment(info.key, match[1], date(*map(int, match.group(2, 3, 4))))
                except ValueError:  # month 13: no name that a service gave
                    continue


def lock(descriptor: int) -> bool:
    """Locks a file for this process; False when another process has it. The lock ends with the process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def finish(path: Path, descriptor: int) -> int:
    """Closes a segment: drops a torn last line, forces the bytes to the disk, removes `.open` from the name.

    A segment without a whole line is deleted. The caller holds the lock.

    Returns:
        The number of torn lines: 0 or 1.
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
    """Closes the segments of a stage whose process is dead.

    Returns:
        The number of segments closed, and the number of torn lines dropped.
    """
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
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
