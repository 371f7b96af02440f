"""Makes windows of traffic from a user's own photographs: some unchanged, some darkened as if taken in less light.

A darkened photograph shows the same car, so its labels stay valid. Darkening stands for dusk or night where nobody has
photographed them, and the windows' titles say that it is simulated.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.data.labels.formats.documents import ClassTargets
from carsdepo_assets.imaging.formats import PHOTOGRAPH_SUFFIXES
from carsdepo_assets.policy import DataPolicy

GAMMA = 2.2
READ_NOISE = 2.5  # standard deviation in grey levels of 255: the noise that a sensor's gain makes visible
SHOT_NOISE = 0.02  # standard deviation over the square root of the signal, in linear light
JPEG_QUALITY = 88


@dataclass(frozen=True)
class DimmedWindow:
    """What `write_window` wrote."""

    folder: Path
    """Has images/, labels/ and manifest.csv."""
    photographs: int
    darkened: int
    """How many of the photographs are darkened."""


def darken(rgb: NDArray[np.uint8], stops: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Darkens a picture in linear light, and adds the noise that a camera has in the dark.

    Args:
        rgb: (H, W, 3) uint8.
        stops: How many times the light is halved.
        rng: Source of the noise.

    Returns:
        (H, W, 3) uint8.
    """
    linear = (rgb.astype(np.float32) / 255) ** GAMMA * np.float32(2.0**-stops)
    noisy = linear + rng.standard_normal(linear.shape, np.float32) * np.float32(SHOT_NOISE) * np.sqrt(linear)
    back = np.clip(noisy, 0, 1) ** np.float32(1 / GAMMA) * 255
    back += rng.standard_normal(back.shape, np.float32) * np.float32(READ_NOISE)
    return np.clip(back, 0, 255).astype(np.uint8)


def write_window(
    source: Path,
    target: Path,
    *,
    photographs: int,
    dark_share: float,
    stops: float,
    seed: int,
    policy: DataPolicy,
    class_ids: ClassTargets | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DimmedWindow:
    """Copies photographs of a user's folder, some of them darkened, with their labels.

    Photographs of one group are either all darkened or all unchanged; the unchanged ones keep their bytes. Files that
    cannot be decoded are not darkened but left out.

    Args:
        source: Has images/ (or the photographs themselves), labels/ and manifest.csv with groups, where known.
        target: The folder to write.
        photographs: At most so many are copied, whole groups in a random order.
        dark_share: Share of the photographs to darken.
        stops: How many times the light is halved.
        seed: Of order and noise.
        policy: Which photographs are accepted.
        class_ids: What each class id of the source's labels, as text, becomes in the copies; None to copy them
            unchanged.
        progress: Called with the photographs written so far, and with the most that there can be.

    Returns:
        What was written.

    Raises:
        ValueError: For a folder without photographs.
    """
    import cv2

    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.decode import decode
    from carsdepo_assets.imaging.encode import encode_jpeg

    images = source / "images" if (source / "images").is_dir() else source
    files = sorted(p for p in images.rglob("*") if p.is_file() and p.suffix.lower() in PHOTOGRAPH_SUFFIXES)
    if not files:
        raise ValueError(f"{source} has no photographs. Name a folder that has some.")
    groups = _groups(source, images)
    members: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        members[groups.get(file.relative_to(images).as_posix(), file.stem)].append(file)
    order = sorted(members, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).digest())
    (target / "images").mkdir(parents=True, exist_ok=True)
    (target / "labels").mkdir(parents=True, exist_ok=True)
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(("file", "group", "light"))
    rng = np.random.default_rng([0xD1, seed])
    count = dark = 0
    for group in order:
        if count >= photographs:
            break
        is_dark = dark < dark_share * (count + len(members[group]) / 2)
        for file in members[group][: photographs - count]:
            data = file.read_bytes()
            name = file.relative_to(images).as_posix().replace("/", "_")
            if is_dark:
                try:
                    decoded = decode(
                        data, max_bytes=policy.max_bytes, max_pixels=policy.max_pixels, min_side=policy.min_side_px
                    )
                except (BadImage, cv2.error):
                    continue
                data, name = encode_jpeg(darken(decoded.rgb, stops, rng), JPEG_QUALITY), f"{Path(name).stem}_dark.jpg"
                dark += 1
            count += 1
            (target / "images" / name).write_bytes(data)
            label = source / "labels" / file.relative_to(images).with_suffix(".txt")
            if label.is_file():
                copy = (target / "labels" / name).with_suffix(".txt")
                copy.write_bytes(label.read_bytes() if class_ids is None else _translated(label, class_ids))
            writer.writerow((name, group, "simulated dark" if is_dark else ""))
            if progress is not None:
                progress(count, min(photographs, len(files)))
    (target / "manifest.csv").write_text(sheet.getvalue())
    return DimmedWindow(target, count, dark)


def _translated(label: Path, class_ids: ClassTargets) -> bytes:
    """A YOLO label file with its class ids translated. Lines of unknown classes stay, those of no damage go."""

    def line(match: re.Match[bytes]) -> bytes:
        source = str(int(float(match[2])))
        if source not in class_ids:
            return match[0]
        to = class_ids[source]
        return match[1] + str(to).encode() + match[3] if isinstance(to, int) else b""

    pattern = rb"((?:\A(?:\xef\xbb\xbf)?|(?<=[\r\n]))[ \t]*)(\d{1,9}(?:\.0+)?)(?=[ \t])([^\r\n]*[\r\n]*)"
    return re.sub(pattern, line, label.read_bytes())


def _groups(source: Path, images: Path) -> dict[str, str]:
    """File name below images/ -> its group in manifest.csv."""
    for sheet in (source / "manifest.csv", images / "manifest.csv"):
        if sheet.is_file():
            with sheet.open(newline="", encoding="utf-8-sig") as rows:
                return {
                    str(row.get("file", "")).removeprefix("images/"): str(row.get("group") or row.get("listing") or "")
                    for row in csv.DictReader(rows)
                    if row.get("group") or row.get("listing")
                }
    return {}
