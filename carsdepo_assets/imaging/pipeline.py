"""Turns a photograph's bytes into everything that the lake keeps of it: facts, features, hashes, a smaller copy."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import Decoded, decode
from carsdepo_assets.imaging.encode import encode_jpeg, rewrap_jpeg
from carsdepo_assets.imaging.exif import read_exif
from carsdepo_assets.imaging.features import FEATURE_PX, features
from carsdepo_assets.imaging.headers import JpegHeader, jpeg_header, sniff
from carsdepo_assets.imaging.perceptual import phash
from carsdepo_assets.imaging.resize import fit_longest, fitted_size, shrink
from carsdepo_assets.policy import DataPolicy


@dataclass(frozen=True)
class PhotographFacts:
    """Facts about an original, as decoding gives them."""

    format: str
    """jpeg, png ..."""
    width: int
    """upright, in pixels"""
    height: int
    """upright, in pixels"""
    orientation: int
    """EXIF's, 1..8"""
    notes: str
    """what decoding had to do, comma-separated; "" for nothing"""
    captured_at: datetime | None
    """UTC"""
    camera: str | None
    """make and model"""


@dataclass(frozen=True)
class Processed:
    """A photograph, measured and reduced."""

    sha256: str
    """of the original's bytes: the image_id"""
    n_bytes: int
    """size of the original's file"""
    facts: PhotographFacts
    """of the original"""
    features: dict[str, float]
    """as imaging.features names them"""
    phash: str
    """perceptual hash, 16 hex digits"""
    jpeg: bytes
    """the processed image: upright, without metadata"""
    jpeg_sha256: str
    """of the processed image's bytes"""
    width: int
    """of the processed image"""
    height: int
    """of the processed image"""
    scale: float
    """longest side of the processed image / that of the original, at most 1"""


def process(data: bytes, policy: DataPolicy) -> Processed:
    """Decodes, measures and reduces one photograph.

    A sequential JPEG that is upright and small enough keeps its own compressed pixels (see rewrap_jpeg): it loses
    nothing to a second encoding, and half scale is enough to measure it. Every byte of it is still decoded strictly.

    Args:
        data: the original's bytes.
        policy: limits, the longest side of the processed image and its quality.

    Raises:
        BadImage: the photograph cannot be used.
    """
    header = _copyable(data, policy)
    decoded = _decode(data, policy, FEATURE_PX if header else policy.longest_side_px)
    jpeg = rewrap_jpeg(data, header) if header and not decoded.notes else None
    if header and jpeg is None:
        decoded = _decode(data, policy, policy.longest_side_px)  # not certain enough to copy: every pixel, to encode
    rgb, scale, width, height = decoded.rgb, 1.0, decoded.width, decoded.height
    if jpeg is None:
        width, height = fitted_size(decoded.width, decoded.height, policy.longest_side_px)
        scale = max(width, height) / max(decoded.width, decoded.height)
        rgb = shrink(rgb, width, height)
        jpeg = encode_jpeg(rgb, policy.jpeg_quality)
    small, _ = fit_longest(rgb, FEATURE_PX)
    facts = PhotographFacts(
        decoded.format,
        decoded.width,
        decoded.height,
        decoded.orientation,
        decoded.notes,
        decoded.exif["captured_at"],
        decoded.exif["camera"],
    )
    return Processed(
        hashlib.sha256(data).hexdigest(),
        len(data),
        facts,
        features(small, len(data), decoded.width, decoded.height),
        phash(small),
        jpeg,
        hashlib.sha256(jpeg).hexdigest(),
        width,
        height,
        scale,
    )


def process_many(items: Iterable[bytes], policy: DataPolicy, threads: int = 2) -> Iterator[Processed | BadImage]:
    """Processes photographs in several threads and yields the results in the order of `items`.

    Decoding and encoding release the interpreter's lock, so threads use all cores.

    Args:
        items: bytes of the originals; at most 2 x threads of them are held at a time, so a generator may read files.
        policy: as in process.
        threads: how many.

    Yields:
        What process returns, or for a photograph that cannot be used its BadImage. Other errors are raised.
    """
    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="photographs") as pool:
        waiting: deque[Future[Processed | BadImage]] = deque()
        try:
            for data in items:
                waiting.append(pool.submit(_attempt, data, policy))
                if len(waiting) >= 2 * max(1, threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _attempt(data: bytes, policy: DataPolicy) -> Processed | BadImage:
    try:
        return process(data, policy)
    except BadImage as refusal:
        return refusal.with_traceback(None)  # a traceback would keep the file's bytes alive


def _decode(data: bytes, policy: DataPolicy, at_least: int) -> Decoded:
    return decode(
        data, max_bytes=policy.max_bytes, max_pixels=policy.max_pixels, min_side=policy.min_side_px, at_least=at_least
    )


def _copyable(data: bytes, policy: DataPolicy) -> JpegHeader | None:
    """The header of a JPEG whose compressed pixels can be kept as they are, as far as the header tells; else None."""
    if len(data) > policy.max_bytes or sniff(data) != "jpeg":
        return None
    header = jpeg_header(data)
    fits = max(header.width, header.height) <= policy.longest_side_px
    plain = header.sequential and header.components == 3 and header.precision == 8
    return header if fits and plain and read_exif(header.exif).orientation == 1 else None
