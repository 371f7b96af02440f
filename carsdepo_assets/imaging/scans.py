"""Walks through the scans of a JPEG, to tell whether all that makes up its pixels is there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from carsdepo_assets.imaging.headers import JpegHeader

# Inside a scan 0xFF is followed by 0, by a restart marker or by fill bytes; anything else ends it.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SPECTRUM = 64


@dataclass
class Scans:
    """What the scans of a JPEG hold."""

    number: int = 0
    """how many there are"""
    has_end: bool = False
    """whether the end marker follows them"""
    end: int = 0
    """offset of the end marker; without one, the file's length"""
    missing: set[tuple[int, int]] = field(default_factory=set)
    """component and coefficient of what no scan gives to its last bit"""

    @property
    def is_complete(self) -> bool:
        """Whether every coefficient of every component was sent to its last bit (ITU-T T.81, annex G.1.1)."""
        return not self.missing


def walk_scans(data: bytes, header: JpegHeader, most: int) -> Scans:
    """Reads the headers of a JPEG's scans up to its end marker; no entropy-coded data are decoded.

    A progressive JPEG that was cut between two scans decodes without a fault and is a blurred picture, so what is
    missing is counted by what the scans announce: components, a band of coefficients, and the bits that remain.

    Args:
        data: the file's bytes.
        header: its header.
        most: scans beyond this number are not looked at.
    """
    scans = Scans()
    left = {(component, k): 1 for component in header.component_ids for k in range(_SPECTRUM)}
    at = header.scan_at
    while scans.number < most:
        marker = data[at + 1] if at + 1 < len(data) else None
        if marker is None or marker == 0xD9:
            scans.has_end, scans.end = marker is not None, min(at, len(data))
            break
        body = data[at + 4 : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
        behind = at + 4 + max(0, len(body))
        if marker == 0xDA:
            scans.number += 1
            _note_scan(body, header, left)
        next_marker = _END_OF_SCAN.search(data, behind)
        at = next_marker.start() if next_marker else len(data)
    scans.missing = {key for key, bits in left.items() if bits}
    return scans


def _note_scan(body: bytes, header: JpegHeader, left: dict[tuple[int, int], int]) -> None:
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        return
    first, last, bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15
    if not header.progressive:
        first, last, bits = 0, _SPECTRUM - 1, 0
    for component in body[1 : 1 + 2 * count : 2]:
        for k in range(first, min(last, _SPECTRUM - 1) + 1):
            if (component, k) in left:
                left[component, k] = bits
