"""Turns a photograph's bytes into everything that the lake keeps of it: facts, features, hashes, a smaller copy."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.colour import Conversion, conversion
from carsdepo_assets.imaging.colour_tags import colours_of_jpeg
from carsdepo_assets.imaging.decode import Decoded
from carsdepo_assets.imaging.decodings import Decodings, Limits
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
    reduced = _reduce(Decodings(data, pipeline_limits(policy)), policy)
    jpeg, decoded = reduced.jpeg or encode_jpeg(reduced.rgb, policy.jpeg_quality), reduced.decoded
    small, _ = fit_longest(reduced.rgb, FEATURE_PX)
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
        reduced.width,
        reduced.height,
        reduced.scale,
    )


def pipeline_limits(policy: DataPolicy) -> Limits:
    """Returns the limits within which photographs are taken into the lake."""
    return Limits(policy.max_bytes, policy.max_pixels, policy.min_side_px, heic=True)


def pipeline_scale(data: bytes, policy: DataPolicy) -> int:
    """Returns the least number of pixels of its longest side at which `process` decodes a photograph.

    Raises:
        BadImage: the header of a JPEG cannot be read.
    """
    return FEATURE_PX if _copyable(data, policy) else policy.longest_side_px


def measure(decodings: Decodings, policy: DataPolicy) -> dict[str, float]:
    """Returns a photograph's features, equal to the last bit to those that `process` gives.

    Args:
        decodings: the photograph; what was decoded already at a scale that is needed is used.
        policy: as in process.

    Raises:
        BadImage: the photograph cannot be used.
    """
    reduced = _reduce(decodings, policy)
    small, _ = fit_longest(reduced.rgb, FEATURE_PX)
    return features(small, len(decodings.data), reduced.decoded.width, reduced.decoded.height)


@dataclass(frozen=True)
class _Reduced:
    """What is measured, and encoded unless the photograph's own compressed pixels are kept."""

    decoded: Decoded
    jpeg: bytes | None  # the photograph's own compressed pixels, where they are kept
    rgb: NDArray[np.uint8]
    width: int
    height: int
    scale: float


def _reduce(decodings: Decodings, policy: DataPolicy) -> _Reduced:
    data = decodings.data
    header = _copyable(data, policy)
    decoded = decodings.at_least(FEATURE_PX if header else policy.longest_side_px)
    # A profile that cannot be used changes no pixel.
    is_plain = header is not None and decoded.notes in ("", _colours(data, header).note)
    jpeg = rewrap_jpeg(data, header) if header and is_plain else None
    if jpeg is not None:
        return _Reduced(decoded, jpeg, decoded.rgb, decoded.width, decoded.height, 1.0)
    if header:
        decoded = decodings.at_least(policy.longest_side_px)  # not certain enough to copy: every pixel, to encode
    width, height = fitted_size(decoded.width, decoded.height, policy.longest_side_px)
    scale = max(width, height) / max(decoded.width, decoded.height)
    return _Reduced(decoded, None, shrink(decoded.rgb, width, height), width, height, scale)


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


def _copyable(data: bytes, policy: DataPolicy) -> JpegHeader | None:
    """The header of a JPEG whose compressed pixels can be kept as they are, as far as the header tells; else None."""
    if len(data) > policy.max_bytes or sniff(data) != "jpeg":
        return None
    header = jpeg_header(data)
    fits = max(header.width, header.height) <= policy.longest_side_px
    plain = header.sequential and header.components == 3 and header.precision == 8
    facts = read_exif(header.exif)
    if not fits or not plain or facts.orientation != 1:
        return None
    # The copy has no profile, so its pixels must be sRGB.
    return header if _colours(data, header).transform is None else None


def _colours(data: bytes, header: JpegHeader) -> Conversion:
    return conversion(colours_of_jpeg(data, header, read_exif(header.exif).adobe_rgb), header.components)
