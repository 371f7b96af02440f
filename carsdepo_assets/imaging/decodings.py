"""A photograph decoded at the scales that are asked for, each of them once."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.imaging.decode import Decoded, decode, is_at_scale


@dataclass(frozen=True)
class Limits:
    """What a photograph may be, checked before it is decoded."""

    max_bytes: int
    """size of the file, in bytes"""
    max_pixels: int
    """width times height, as the header says"""
    min_side: int
    """shortest side, in pixels"""
    max_pixels_other: int | None = None
    """as max_pixels, of formats other than JPEG and PNG; None: as many"""
    heic: bool = False
    """whether HEIC is read"""


class Decodings:
    """Decodes one photograph at several scales; scales that give the same pixels are decoded once.

    Args:
        data: the file's bytes.
        limits: what is refused.
    """

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data, self._limits = data, limits
        self._decoded: list[Decoded] = []

    def at_least(self, px: int | None) -> Decoded:
        """Decodes at a scale whose longest side is at least `px` pixels; None: every pixel. See `decode`.

        Raises:
            BadImage: the photograph is refused.
        """
        for decoded in self._decoded:
            if is_at_scale(decoded, px):
                return decoded
        limits = self._limits
        decoded = decode(
            self.data,
            max_bytes=limits.max_bytes,
            max_pixels=limits.max_pixels,
            min_side=limits.min_side,
            max_pixels_other=limits.max_pixels_other,
            at_least=px,
            heic=limits.heic,
        )
        self._decoded.append(decoded)
        return decoded
