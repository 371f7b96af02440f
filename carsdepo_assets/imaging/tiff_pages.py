"""Chooses the page of a TIFF file that is the photograph."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from carsdepo_assets.imaging.bad_image import BadImage

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _ORIENTATION, _SUB_IFDS, _DNG = (
    0x00FE, 0x00FF, 0x0100, 0x0101, 0x0106, 0x0112, 0x014A, 0xC612,
)  # fmt: skip
_SHORT, _LONG, _IFD, _LONG8, _IFD8, _BYTE = 3, 4, 13, 16, 18, 1
_WIDTHS = {_BYTE: 1, _SHORT: 2, _LONG: 4, _IFD: 4, _LONG8: 8, _IFD8: 8}
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType (TIFF 6.0, section 8)
_RAW = frozenset({32803, 34892})  # photometric interpretations of a sensor's values: CFA, LinearRaw
_MAX_PAGES, _MAX_ENTRIES = 1000, 4096


@dataclass(frozen=True)
class TiffPage:
    """One page: an image file directory of the main chain."""

    index: int
    """from 0, in the chain's order"""
    width: int
    """in pixels"""
    height: int
    """in pixels"""
    is_reduced: bool
    """tagged as a reduced copy of another page, or as a mask"""
    orientation: int
    """1..8"""

    @property
    def pixels(self) -> int:
        """Their number."""
        return self.width * self.height


def photograph_page(data: bytes) -> TiffPage:
    """Returns the page that is the photograph.

    Pages tagged as reduced copies or masks (NewSubfileType bit 0 or 2, SubfileType 2) are none. Of several others, the
    largest is it where each has at most half its width and height, as thumbnails without a tag have.

    Args:
        data: the file's bytes.

    Raises:
        BadImage: truncated; animated, where several pages are photographs; unsupported, where it is a camera's raw
            file, whose pages are only previews.
    """
    pages = _pages(data)
    full = [page for page in pages if not page.is_reduced] or pages
    largest = max(full, key=lambda page: page.pixels)
    others = [page for page in full if page is not largest]
    if any(2 * page.width > largest.width or 2 * page.height > largest.height for page in others):
        sizes = ", ".join(f"{page.width} x {page.height}" for page in full[:4])
        more = f" and {len(full) - 4} more" if len(full) > 4 else ""
        raise BadImage("animated", f"tiff of several pages ({sizes}{more}): save each photograph as a file of its own")
    return largest


def _pages(data: bytes) -> list[TiffPage]:
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    if data[8:10] == b"CR":
        raise BadImage("unsupported", "camera raw (CR2): export it as JPEG or TIFF")
    pointer = "Q" if is_big else "I"
    try:
        at = struct.unpack_from(order + pointer, data, 8 if is_big else 4)[0]
        pages: list[TiffPage] = []
        seen: set[int] = set()
        has_children = False
        while at and at not in seen and len(pages) < _MAX_PAGES:
            seen.add(at)
            tags, at = _directory(data, at, order, is_big)
            if _DNG in tags or tags.get(_PHOTOMETRIC) in _RAW:
                raise BadImage("unsupported", "camera raw (DNG): export it as JPEG or TIFF")
            has_children = has_children or _SUB_IFDS in tags
            kind = tags.get(_SUBFILE)
            is_reduced = bool(kind & (_REDUCED | _MASK)) if kind is not None else tags.get(_OLD_SUBFILE) == 2
            turned = tags.get(_ORIENTATION, 1)
            pages.append(
                TiffPage(
                    len(pages),
                    tags.get(_WIDTH, 0),
                    tags.get(_HEIGHT, 0),
                    is_reduced,
                    turned if 1 <= turned <= 8 else 1,
                )
            )
    except (struct.error, OverflowError) as error:
        raise BadImage("truncated", f"tiff: its directory runs past the file's end: {error}") from error
    if not pages:
        raise BadImage("truncated", "tiff without a page")
    if has_children and all(page.is_reduced for page in pages):
        raise BadImage("unsupported", "tiff whose pages are only previews, as camera raw: export it as JPEG or TIFF")
    return pages


def _directory(data: bytes, at: int, order: str, is_big: bool) -> tuple[dict[int, int], int]:
    """The first value of each tag of whole numbers, and the offset of the next directory."""
    head, entry, inline = ("Q", 20, 12) if is_big else ("H", 12, 8)
    (count,) = struct.unpack_from(order + head, data, at)
    at += struct.calcsize(order + head)
    tags: dict[int, int] = {}
    for n in range(min(count, _MAX_ENTRIES)):
        tag, kind = struct.unpack_from(order + "HH", data, at + n * entry)
        width = _WIDTHS.get(kind, 0)
        value = data[at + n * entry + inline : at + n * entry + inline + width]
        tags.setdefault(tag, int.from_bytes(value, "little" if order == "<" else "big"))
    return tags, struct.unpack_from(order + ("Q" if is_big else "I"), data, at + count * entry)[0]
