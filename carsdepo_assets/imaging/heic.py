"""Has HEIC decoded in a process of its own, which ends with its photograph.

The decoder, libheif with libde265, comes with the optional package pillow-heif. Both have had faults by which a file
runs its own code, so they are never loaded into this process: `heic_worker.py` has limits of time and memory, nothing
of the environment, and sees one file. What is known of its colours is applied here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import carsdepo_assets
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.colour import Declared, conversion
from carsdepo_assets.imaging.colour_tags import by_code_points, by_exif, of_profile
from carsdepo_assets.imaging.exif import ExifFacts, read_exif
from carsdepo_assets.imaging.isobmff import isobmff_header

INSTALL = 'pip install "carsdepo[heic]"'
MISSING = f"HEIC: reading it needs an optional package: {INSTALL}; or have the phone send JPEG"
_BASE_BYTES, _BYTES_A_PIXEL = 256 * 2**20, 16
_BASE_CPU_S, _PIXELS_A_S = 10, 4_000_000  # 12 megapixels take about 1 s
_WALL_FACTOR = 10  # of the CPU time: the machine may be busy, but the process must not wait for ever


@dataclass(frozen=True)
class HeicPicture:
    """A decoded HEIC photograph."""

    rgb: NDArray[np.uint8]
    """height x width x 3, sRGB, upright"""
    width: int
    """of the original, in pixels"""
    height: int
    """of the original, in pixels"""
    exif: ExifFacts
    """time and camera"""
    notes: list[str]
    """what decoding had to do"""


def is_installed() -> bool:
    """Whether the optional package is there."""
    return importlib.util.find_spec("pillow_heif") is not None


def check_installed() -> None:
    """Raises BadImage, which says how to get it, where the optional package is not there."""
    if not is_installed():
        raise BadImage("unsupported", MISSING)


def read_heic(data: bytes, pixels: int, at_least: int | None, large_px: int) -> HeicPicture:
    """Decodes a HEIC file, where the optional package is installed.

    Args:
        data: the file's bytes.
        pixels: as many as its header names, by which the process's limits are set.
        at_least: pixels: blocks may be averaged to one while the longest side is at least this.
        large_px: smaller pictures are not averaged.

    Raises:
        BadImage: truncated, unsupported or too_costly.
    """
    cpu_s = _BASE_CPU_S + pixels // _PIXELS_A_S
    request = {
        "bytes": len(data),
        "at_least": at_least,
        "large_px": large_px,
        "memory": _BASE_BYTES + _BYTES_A_PIXEL * pixels,
        "cpu_s": cpu_s,
    }
    head, body = _asked(json.dumps(request).encode() + b"\n" + data, _WALL_FACTOR * cpu_s)
    if "reason" in head:
        raise BadImage(head["reason"], head["detail"])
    profile, exif = body[: head["profile"]], bytes(body[head["profile"] :][: head["exif"]])
    stored = np.frombuffer(body[head["profile"] + head["exif"] :], np.uint8).reshape(head["shape"])
    facts = read_exif(exif)
    convert = conversion(_colours(data, bytes(profile), facts), 1 if "grey" in head["notes"] else 3)
    rgb = convert(stored[..., :1] if convert.transform is not None and convert.channels == 1 else stored)
    notes = [*head["notes"], convert.note] if convert.note else head["notes"]
    return HeicPicture(rgb, head["width"], head["height"], facts, notes)


def _colours(data: bytes, profile: bytes, facts: ExifFacts) -> Declared:
    if profile:
        return of_profile(profile)
    points = isobmff_header(data, "heic").code_points
    return (by_code_points(*points) if points else None) or by_exif(facts.adobe_rgb)


def _asked(request: bytes, wall_s: float) -> tuple[dict[str, Any], memoryview]:
    root = Path(carsdepo_assets.__file__).parents[1]
    try:
        process = subprocess.run(
            [sys.executable, "-m", "carsdepo_assets.imaging.heic_worker"],
            input=request,
            # Nothing of this environment: a file that takes the process over finds no key there.
            env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd=os.sep,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=wall_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadImage("too_costly", "heic: its decoder gave no sign of life") from error
    line, newline, _ = process.stdout.partition(b"\n") if process.returncode == 0 else (b"", b"", b"")
    if not newline:
        is_limit = process.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
        raise BadImage(
            "too_costly" if is_limit else "truncated",
            f"heic: its decoder {'took too much time or memory' if is_limit else f'ended with {process.returncode}'}",
        )
    return json.loads(line), memoryview(process.stdout)[len(line) + 1 :]
