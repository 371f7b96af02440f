"""Photographs and odd files for these tests, made in memory."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

LIMITS: dict[str, int] = {"max_bytes": 2**24, "max_pixels": 20_000_000, "min_side": 32}


def scene(width: int = 320, height: int = 240, seed: int = 0) -> np.ndarray:
    """Soft colours and texture, height x width x 3 uint8; no symmetry, so that a wrong turn shows."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(20, 235, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    texture = cv2.resize(rng.normal(0, 10, (height // 2, width // 2)).astype(np.float32), (width, height))
    pixels: np.ndarray = np.clip(soft + texture[..., None], 0, 255).astype(np.uint8)
    return pixels


def saved(pixels: np.ndarray | Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(scene(64, 64, seed)) for seed in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def png(width: int, height: int, depth: int, colour: int, rows: bytes = b"") -> bytes:
    """A PNG written by hand: Pillow writes no 16-bit colour. rows: filter byte and samples of each row."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png16(rgb: np.ndarray) -> bytes:
    """`rgb` as 16-bit PNG: each sample times 257."""
    rows = (rgb.astype(">u2") * 257).astype(">u2")
    return png(rgb.shape[1], rgb.shape[0], 16, 2, b"".join(b"\0" + row.tobytes() for row in rows))


def jpeg_claiming(width: int, height: int) -> bytes:
    """A JPEG whose frame header says width x height, whatever its data."""
    data = bytearray(saved(scene(64, 64)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def without_adobe(data: bytes) -> bytes:
    """The same JPEG without its APP14 segment."""
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
