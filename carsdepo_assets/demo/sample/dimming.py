"""Windows of traffic out of a user's own photographs: some as they are, some as they would be in less light.

A darkened photograph shows the same car, so its labels hold. It stands for dusk or night where none was photographed,
and every report on it says that it is simulated.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carsdepo_assets.policy import DataPolicy

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
GAMMA = 2.2
READ_NOISE = 2.5  # grey levels of 255, before the light is lowered: what gain makes visible
SHOT_NOISE = 0.02  # share of the square root of the signal, in linear light
JPEG_QUALITY = 88


@dataclass(frozen=True)
class DimmedWindow:
    """folder: images/, labels/, manifest.csv. darkened: how many of the photographs."""

    folder: Path
    photographs: int
    darkened: int


def darken(rgb: np.ndarray, stops: float, rng: np.random.Generator) -> np.ndarray:
    """HxWx3 uint8 with the light lowered by `stops` (halvings), in linear light, with the noise that remains."""
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
    class_ids: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DimmedWindow:
    """Writes at most `photographs` of source/images, whole groups in seeded order, `dark_share` of the groups darkened.

    Those left as they are keep their bytes. Labels are copied where there are any. Files that cannot be decoded are
    left out. class_ids: the source's class id, as text -> the one in the copied labels; None: the same. progress:
    called with the photographs written and all that may be. Raises ValueError for a folder without photographs.
    """
    import cv2

    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.decode import decode
    from carsdepo_assets.imaging.encode import encode_jpeg

    images = source / "images" if (source / "images").is_dir() else source
    files = sorted(p for p in images.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{source} has no photographs.")
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
        turn = dark < dark_share * (count + len(members[group]) / 2)
        for file in members[group][: photographs - count]:
            data = file.read_bytes()
            name = file.relative_to(images).as_posix().replace("/", "_")
            if turn:
                try:
                    found = decode(
                        data, max_bytes=policy.max_bytes, max_pixels=policy.max_pixels, min_side=policy.min_side_px
                    )
                except (BadImage, cv2.error):
                    continue
                data, name = encode_jpeg(darken(found.rgb, stops, rng), JPEG_QUALITY), f"{Path(name).stem}_dark.jpg"
                dark += 1
            count += 1
            (target / "images" / name).write_bytes(data)
            label = source / "labels" / file.relative_to(images).with_suffix(".txt")
            if label.is_file():
                copy = (target / "labels" / name).with_suffix(".txt")
                copy.write_bytes(label.read_bytes() if class_ids is None else _translated(label, class_ids))
            writer.writerow((name, group, "simulated dark" if turn else ""))
            if progress is not None:
                progress(count, min(photographs, len(files)))
    (target / "manifest.csv").write_text(sheet.getvalue())
    return DimmedWindow(target, count, dark)


def _translated(label: Path, class_ids: Mapping[str, int]) -> bytes:
    """The lines of a YOLO file with the class ids translated; a line whose class is not among them stays as it is."""

    def line(match: re.Match[bytes]) -> bytes:
        to = class_ids.get(str(int(float(match[2]))))
        return match[0] if to is None else match[1] + str(to).encode()

    return re.sub(rb"((?:\A(?:\xef\xbb\xbf)?|(?<=[\r\n]))[ \t]*)(\d{1,9}(?:\.0+)?)(?=[ \t])", line, label.read_bytes())


def _groups(source: Path, images: Path) -> dict[str, str]:
    """File below images/ -> its group, as manifest.csv says."""
    for sheet in (source / "manifest.csv", images / "manifest.csv"):
        if sheet.is_file():
            with sheet.open(newline="", encoding="utf-8-sig") as rows:
                return {
                    str(row.get("file", "")).removeprefix("images/"): str(row.get("group") or row.get("listing") or "")
                    for row in csv.DictReader(rows)
                    if row.get("group") or row.get("listing")
                }
    return {}
