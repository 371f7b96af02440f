"""The golden test set: golden/<N>.json, the photographs that champion and challenger are both scored on.

Version 1 is the test split of the first dataset; it grows only by a new version. Files never change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from carsdepo_assets.lake.lake import Lake, LakeError


@dataclass(frozen=True)
class Golden:
    """images: sorted image ids. added_by, reason, at (ISO): who extended it, why and when; empty for version 1."""

    version: int
    images: tuple[str, ...]
    added_by: str = ""
    reason: str = ""
    at: str = ""


def key(version: int) -> str:
    return f"golden/{version}.json"


def current(lake: Lake) -> Golden | None:
    """The newest version; None before the first dataset with test photographs."""
    version = 0
    while lake.exists(key(version + 1)):
        version += 1
    return read(lake, version) if version else None


def read(lake: Lake, version: int) -> Golden:
    """Raises LakeError for a version that is not there, or is damaged."""
    data = lake.get(key(version))
    try:
        said = json.loads(data)
        who = {name: said.get(name, "") for name in ("added_by", "reason", "at")}
        return Golden(said["version"], tuple(said["images"]), **who)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LakeError(
            f"{key(version)} in {lake.url} is damaged ({error}): put it back from a copy. Without it "
            "models would be judged on the version before."
        ) from error


def write(lake: Lake, golden: Golden) -> None:
    """Raises LakeError when that version stands already, with other photographs, or the one before it does not.

    Two writers of the same photographs (the first dataset, built twice at once on S3) agree.
    """
    if lake.exists(key(golden.version)):
        if read(lake, golden.version).images == tuple(sorted(golden.images)):
            return
        raise LakeError(f"golden set {golden.version} stands already: it never changes.")
    if golden.version > 1 and not lake.exists(key(golden.version - 1)):
        raise LakeError(f"golden set {golden.version - 1} is not there: versions follow one another.")
    said = {
        "version": golden.version,
        "images": sorted(golden.images),
        "added_by": golden.added_by,
        "reason": golden.reason,
        "at": golden.at,
    }
    lake.put(key(golden.version), json.dumps(said).encode())
