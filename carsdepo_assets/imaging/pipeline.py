"""From a file's bytes to everything the lake keeps of a photograph."""

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
    """What decoding found. width, height: of the original, upright. notes: '' for nothing special."""

    format: str
    width: int
    height: int
    orientation: int
    notes: str
    captured_at: datetime | None  # UTC
    camera: str | None


@dataclass(frozen=True)
class Processed:
    """sha256: of the original's bytes. facts: of the original. features: IMAGES' columns luma_mean..bits_per_pixel.

    jpeg: the processed image, upright, without metadata; jpeg_sha256, width, height are its own.
    scale: processed longest side / original longest side, at most 1.
    """

    sha256: str
    n_bytes: int
    facts: PhotographFacts
    features: dict[str, float]
    phash: str
    jpeg: bytes
    jpeg_sha256: str
    width: int
    height: int
    scale: float


def process(data: bytes, policy: DataPolicy) -> Processed:
    """Decodes, measures and reduces one photograph. Raises BadImage.

    A sequential JPEG that is upright and small enough already keeps its own scan (rewrap_jpeg): it loses nothing to a
    second encoding, and half scale is enough to measure it. Every byte of it is still decoded strictly.
    """
    header = _copyable(data, policy)
    found = _decode(data, policy, FEATURE_PX if header else policy.longest_side_px)
    jpeg = rewrap_jpeg(data, header) if header and not found.notes else None
    if header and jpeg is None:
        found = _decode(data, policy, policy.longest_side_px)  # not certain enough to copy: every pixel, to encode
    rgb, scale, width, height = found.rgb, 1.0, found.width, found.height
    if jpeg is None:
        width, height = fitted_size(found.width, found.height, policy.longest_side_px)
        scale = max(width, height) / max(found.width, found.height)
        rgb = shrink(rgb, width, height)
        jpeg = encode_jpeg(rgb, policy.jpeg_quality)
    small, _ = fit_longest(rgb, FEATURE_PX)
    facts = PhotographFacts(
        found.format,
        found.width,
        found.height,
        found.orientation,
        found.notes,
        found.exif["captured_at"],
        found.exif["camera"],
    )
    return Processed(
        hashlib.sha256(data).hexdigest(),
        len(data),
        facts,
        features(small, len(data), found.width, found.height),
        phash(small),
        jpeg,
        hashlib.sha256(jpeg).hexdigest(),
        width,
        height,
        scale,
    )


def process_many(items: Iterable[bytes], policy: DataPolicy, threads: int = 2) -> Iterator[Processed | BadImage]:
    """process() of each item, in their order; a refused photograph gives its BadImage as value.

    Holds at most 2 x threads items, so `items` may be a generator that reads files. Decoding and encoding release
    the interpreter's lock, so threads use all cores. Anything but BadImage is raised.
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
    """The header of a JPEG whose scan can be kept as it is, so far as the header tells."""
    if len(data) > policy.max_bytes or sniff(data) != "jpeg":
        return None
    header = jpeg_header(data)
    fits = max(header.width, header.height) <= policy.longest_side_px
    plain = header.sequential and header.components == 3 and header.precision == 8
    return header if fits and plain and read_exif(header.exif).orientation == 1 else None
