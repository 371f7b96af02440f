"""Asks for the present facts of objects by their keys, several at once."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import ObjectInfo

_AT_ONCE = 16  # questions that S3 is asked at the same time


@dataclass
class PresentObjects:
    """What stands under some keys now."""

    there: list[ObjectInfo] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Keys without an object."""
    unanswered: dict[str, LakeError] = field(default_factory=dict)
    """Keys of which nothing could be learnt, such as for want of a permission or of the network."""


def look_at(lake: Lake, keys: Iterable[str]) -> PresentObjects:
    """Asks for each key once: on S3 one HEAD a key, and a few of them at a time."""
    present = PresentObjects()
    asked = list(dict.fromkeys(keys))
    if not asked:
        return present
    with ThreadPoolExecutor(min(_AT_ONCE, len(asked)), thread_name_prefix="head") as pool:
        for key, answer in zip(asked, pool.map(lambda key: _info(lake, key), asked), strict=True):
            if isinstance(answer, LakeError):
                present.unanswered[key] = answer
            elif answer is None:
                present.missing.append(key)
            else:
                present.there.append(replace(answer, key=key))
    return present


def _info(lake: Lake, key: str) -> ObjectInfo | LakeError | None:
    try:
        return lake.info(key)
    except LakeError as error:
        return error
