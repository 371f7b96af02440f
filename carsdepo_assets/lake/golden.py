"""The golden test set: the photographs on which champion and challenger are both scored, stored as golden/<N>.json.

Version 1 is the test split of the first dataset. The set grows only by a new version; a stored version never changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from carsdepo_assets.lake.lake import Lake, LakeError


@dataclass(frozen=True)
class Golden:
    """One version of the golden set."""

    version: int
    """counts from 1"""
    images: tuple[str, ...]
    """image ids, sorted"""
    added_by: str = ""
    """who extended the set; empty for version 1"""
    reason: str = ""
    """why it was extended; empty for version 1"""
    at: str = ""
    """when it was extended, ISO 8601; empty for version 1"""


def key(version: int) -> str:
    """Returns the key in the lake at which a version is stored."""
    return f"golden/{version}.json"


def current(lake: Lake) -> Golden | None:
    """Returns the newest version; None before the first dataset with test photographs.

    Raises:
        LakeError: the newest version is damaged.
    """
    version = 0
    while lake.exists(key(version + 1)):
        version += 1
    return read(lake, version) if version else None


def read(lake: Lake, version: int) -> Golden:
    """Returns one version of the golden set.

    Raises:
        LakeError: there is no such version, or it is damaged.
    """
    data = lake.get(key(version))
    try:
        stored = json.loads(data)
        origin = {name: stored.get(name, "") for name in ("added_by", "reason", "at")}
        return Golden(stored["version"], tuple(stored["images"]), **origin)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LakeError(
            f"{key(version)} in {lake.url} is damaged ({error}): put it back from a copy. Without it "
            "models would be evaluated on the version before."
        ) from error


def write(lake: Lake, golden: Golden) -> None:
    """Stores a new version of the golden set. Writing the same photographs again under its number changes nothing.

    So two builds of the first dataset at once (on S3, where no lock keeps them apart) do not fail.

    Raises:
        LakeError: the version is stored already with other photographs, or the version before it is not stored.
    """
    if lake.exists(key(golden.version)):
        if read(lake, golden.version).images == tuple(sorted(golden.images)):
            return
        raise LakeError(f"golden set {golden.version} exists already with other photographs: a version never changes.")
    if golden.version > 1 and not lake.exists(key(golden.version - 1)):
        raise LakeError(f"golden set {golden.version - 1} does not exist: write the versions in order.")
    stored = {
        "version": golden.version,
        "images": sorted(golden.images),
        "added_by": golden.added_by,
        "reason": golden.reason,
        "at": golden.at,
    }
    lake.put(key(golden.version), json.dumps(stored).encode())
