"""Reads the header of an AVIF or HEIC file without decoding it: its brands, and size and colours of its photograph.

Both are files of boxes (ISO/IEC 14496-12, 23008-12). The photograph is the primary item; a phone stores it as a grid of
tiles, beside a thumbnail, a map of depth and one of highlights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from carsdepo_assets.imaging.bad_image import BadImage

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_STILL = frozenset({b"mif1", b"mif2", b"miaf", b"msf1"})
_MAX_BOXES = 10_000


@dataclass(frozen=True)
class IsobmffHeader:
    """What the header says of the photograph."""

    width: int
    """in pixels, before it is turned; the larger of what the primary item and any other says"""
    height: int
    """likewise"""
    code_points: tuple[int, int] | None
    """colour primaries and transfer characteristics (ITU-T H.273); None: not said"""


def brand_of(data: bytes) -> str | None:
    """Returns avif or heic by the brands of a file's first box; None for other files, such as films."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4], "big"), 512)
    brands = [data[8:12], *(data[i : i + 4] for i in range(16, size - 3, 4))]
    if brands[0] in _AVIF:
        return "avif"
    if brands[0] in _HEIC:
        return "heic"
    if brands[0] not in _STILL:
        return None
    return "avif" if _AVIF.intersection(brands) else "heic"


def isobmff_header(data: bytes, kind: str) -> IsobmffHeader:
    """Reads size and colours of a file's primary item.

    Args:
        data: the file's bytes.
        kind: avif or heic, for messages.

    Raises:
        BadImage: truncated; animated, where there is no still picture.
    """
    meta = next((body for name, *body in _boxes(data, 0, len(data)) if name == b"meta"), None)
    if meta is None:
        is_film = any(name == b"moov" for name, *_ in _boxes(data, 0, len(data)))
        if is_film:
            raise BadImage("animated", f"{kind} of several frames")
        raise BadImage("truncated", f"{kind} without its table of items")
    if meta[1] > len(data):
        raise BadImage("truncated", f"{kind} ends in its table of items, after {len(data)} bytes")
    inside = {name: (start, end) for name, start, end in _boxes(data, meta[0] + 4, meta[1])}
    properties = {name: (start, end) for name, start, end in _boxes(data, *inside.get(b"iprp", (0, 0)))}
    listed = list(_boxes(data, *properties.get(b"ipco", (0, 0))))
    sizes = [
        (int.from_bytes(data[start + 4 : start + 8], "big"), int.from_bytes(data[start + 8 : start + 12], "big"))
        for name, start, end in listed
        if name == b"ispe" and end - start >= 12
    ]
    if not sizes:
        raise BadImage("truncated", f"{kind} that does not say its size")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    own = _associated(data, properties.get(b"ipma", (0, 0)), _primary(data, inside.get(b"pitm", (0, 0))))
    code_points = None
    for number, (name, start, end) in enumerate(listed, 1):
        is_own = not own or number in own
        if is_own and name == b"colr" and data[start : start + 4] == b"nclx" and end - start >= 10:
            code_points = (
                int.from_bytes(data[start + 4 : start + 6], "big"),
                int.from_bytes(data[start + 6 : start + 8], "big"),
            )
            break
    return IsobmffHeader(width, height, code_points)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each box between two offsets; the last may end behind the second."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, name, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield name, start + head, start + size
        start += size


def _primary(data: bytes, box: tuple[int, int]) -> int | None:
    start, end = box
    width = 4 if start < end and data[start] else 2
    return int.from_bytes(data[start + 4 : start + 4 + width], "big") if end - start >= 4 + width else None


def _associated(data: bytes, box: tuple[int, int], item: int | None) -> set[int]:
    """The numbers, from 1, of the properties of an item; empty where they are not listed."""
    at, end = box
    if item is None or end - at < 8:
        return set()
    id_width, is_wide = (4 if data[at] else 2), data[at + 3] & 1
    count, at = min(int.from_bytes(data[at + 4 : at + 8], "big"), _MAX_BOXES), at + 8
    for _ in range(count):
        if at + id_width + 1 > end:
            break
        owner, number = int.from_bytes(data[at : at + id_width], "big"), data[at + id_width]
        at += id_width + 1
        step = 2 if is_wide else 1
        entries = [int.from_bytes(data[at + i * step : at + (i + 1) * step], "big") for i in range(number)]
        at += number * step
        if owner == item:
            return {entry & (0x7FFF if is_wide else 0x7F) for entry in entries}
    return set()
