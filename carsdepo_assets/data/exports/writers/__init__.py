"""Writers of label formats, one module for each: a dataset's photographs and boxes in, files out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from carsdepo_assets.data.exports.writers import coco, cvat, datumaro, groundtruth, labelme, labelstudio, voc, yolo
from carsdepo_assets.data.exports.writers.exported import ExportedDataset, ExportedPhotograph, Writer

__all__ = ["EXPORT_FORMATS", "WRITERS", "ExportFormat", "ExportedDataset", "ExportedPhotograph", "Writer"]

ExportFormat = Literal[
    "yolo", "yolo-segment", "yolo-obb", "coco", "voc", "cvat", "labelme", "labelstudio", "groundtruth", "datumaro"
]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
WRITERS: Mapping[ExportFormat, Writer] = {
    "yolo": yolo.DETECT,
    "yolo-segment": yolo.SEGMENT,
    "yolo-obb": yolo.ORIENTED,
    "coco": coco.WRITER,
    "voc": voc.WRITER,
    "cvat": cvat.WRITER,
    "labelme": labelme.WRITER,
    "labelstudio": labelstudio.WRITER,
    "groundtruth": groundtruth.WRITER,
    "datumaro": datumaro.WRITER,
}
