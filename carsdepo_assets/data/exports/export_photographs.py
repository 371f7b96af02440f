"""The photographs of an export: which bytes each file has, how large it is, and where its boxes then lie.

Boxes are in the upright photograph, and tools differ in whether they turn a photograph as its EXIF says. So by default
a file has the uploaded bytes only where nothing is to be turned and where tools can open its format; the others are
turned and encoded anew, at full size.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from carsdepo_assets.data.exports.export_names import exported_name
from carsdepo_assets.data.exports.writers.exported import ExportedPhotograph, Images, Pixels, Xyxy
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.policy import DataPolicy

_OPENED = {"jpeg", "png", "webp", "bmp"}  # formats that the readers of every tool open
_QUALITY = 95  # of photographs that are encoded anew
_END_OF_JPEG = b"\xff\xd9"


class DatasetExportError(ValueError):
    """A dataset cannot be exported as asked; the message says why and what to do."""


@dataclass(frozen=True)
class PlannedPhotograph:
    """A row of a dataset's manifest, and what its exported file is made of."""

    row: Mapping[str, Any]
    """Of the manifest, with the columns orientation, format and bytes of IMAGES."""
    source: Pixels
    """original: the uploaded bytes; upright: these, turned and encoded anew; processed: the copy that trains models."""
    photograph: ExportedPhotograph

    @property
    def key(self) -> str:
        """Of the bytes in the lake that the file is made of."""
        return str(self.row["object_key" if self.source == "processed" else "key"])


def plan(
    row: Mapping[str, Any], stem: str, pixels: Pixels, causes: Mapping[str, int] = MappingProxyType({})
) -> PlannedPhotograph:
    """Decides what a photograph's file is made of.

    Args:
        row: of the manifest, with the columns orientation, format and bytes of IMAGES.
        stem: of its exported name.
        pixels: upright as described above; original: every file has the uploaded bytes; processed: every file is the
            copy that models are trained on, upright, reduced and without metadata.
        causes: the class ids with which hard negatives are written among the boxes, by their cause; others are not.
    """
    source = pixels
    if pixels == "upright" and (row["orientation"] or 1) == 1 and row["format"] in _OPENED:
        source = "original"
    if source == "processed":
        width, height, scale = row["processed_width"], row["processed_height"], row["scale"]
    else:
        width, height, scale = row["width"], row["height"], 1.0
    negatives = [(causes[n["cause"]], n) for n in row.get("negatives") or [] if n["cause"] in causes]
    labelled = [*((box["class_id"], box) for box in row["boxes"] or []), *negatives]
    boxes = tuple((class_id, _scaled(box, scale, width, height)) for class_id, box in labelled)
    name = exported_name(stem, row["key"], row["format"] if source == "original" else "jpeg")
    photograph = ExportedPhotograph(name, row["image_id"], row["split"], width, height, boxes, row["group_id"])
    return PlannedPhotograph(row, source, photograph)


def _scaled(box: Mapping[str, float], scale: float, width: int, height: int) -> Xyxy:
    x1, y1, x2, y2 = (box[edge] * scale for edge in ("x1", "y1", "x2", "y2"))
    return x1, y1, min(x2, float(width)), min(y2, float(height))


def write_photograph(lake: Lake, planned: PlannedPhotograph, path: Path, images: Images, limits: DataPolicy) -> str:
    """Writes a photograph's file.

    Args:
        lake: that holds it.
        planned: what it is made of.
        path: of the file, whose folder is there.
        images: copy or link. A link is made only where nothing would be encoded anew and no tool would repair the file
            behind it: Ultralytics writes an end marker into JPEG files that lack one.
        limits: of decoding.

    Returns:
        copied, linked or encoded.

    Raises:
        DatasetExportError: The uploaded bytes were replaced, or cannot be decoded.
        ObjectMissing: There are no such bytes any more.
    """
    if images == "link" and planned.source != "upright" and _may_be_linked(lake, planned):
        os.symlink(lake.local_path(planned.key), path)
        return "linked"
    try:
        data = lake.get(planned.key)
    except ObjectMissing as error:
        error.add_note(_INSTEAD)
        raise
    image_id = planned.photograph.image_id
    if planned.source != "processed" and hashlib.sha256(data).hexdigest() != image_id:
        raise DatasetExportError(f"{planned.key} holds other bytes than those that were labelled. {_INSTEAD}")
    if planned.source == "upright":
        path.write_bytes(_upright_jpeg(data, planned.key, limits))
        return "encoded"
    path.write_bytes(data)
    return "copied"


_INSTEAD = "`--pixels processed` exports the copies that models are trained on, `--images none` the labels alone."


def _may_be_linked(lake: Lake, planned: PlannedPhotograph) -> bool:
    path = lake.local_path(planned.key)
    if planned.source == "original" and path.stat().st_size != planned.row["bytes"]:
        return False  # replaced: copying says so
    if planned.source == "original" and planned.row["format"] != "jpeg":
        return True
    with path.open("rb") as file:
        file.seek(-min(2, path.stat().st_size), os.SEEK_END)
        return file.read() == _END_OF_JPEG


def _upright_jpeg(data: bytes, key: str, limits: DataPolicy) -> bytes:
    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.decode import decode
    from carsdepo_assets.imaging.encode import encode_jpeg

    try:
        decoded = decode(data, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels, min_side=limits.min_side_px)
    except BadImage as error:
        raise DatasetExportError(f"{key} cannot be decoded: {error}. {_INSTEAD}") from error
    return encode_jpeg(decoded.rgb, _QUALITY)


def refuse_links(lake: Lake, images: Images) -> None:
    """Raises DatasetExportError where links are asked for and the lake is not in a folder of this machine."""
    if images == "link" and lake.root is None:
        raise DatasetExportError(f"--images link: {lake.url} is not in a folder of this machine. Use --images copy.")
