"""Writes YOLO's folders: images/SPLIT, labels/SPLIT with a text file a photograph, and Ultralytics' data.yaml.

A box is `class x_center y_center width height`, a polygon or an oriented box the class and its four corners, all as
shares of the upright photograph. Ten decimals of a share put an edge off by less than 1e-5 px in the largest photograph
that intake takes, so that boxes come back as the lake has them. A clean photograph has an empty file, an unlabelled one
has none.
"""

from __future__ import annotations

from carsdepo_assets.data.exports.writers.exported import (
    ExportedDataset,
    ExportedPhotograph,
    LabelFiles,
    Writer,
    Xyxy,
    labelled,
    number,
)

_SHARE_DECIMALS = 10


def image_path(photograph: ExportedPhotograph) -> str:
    """Where a photograph lies below the export's folder."""
    return f"images/{photograph.split}/{photograph.name}"


def write_boxes(dataset: ExportedDataset) -> LabelFiles:
    """Labels for detection: five numbers a line."""
    return _write(dataset, corners=False)


def write_corners(dataset: ExportedDataset) -> LabelFiles:
    """Labels for segmentation and oriented boxes: each box as its four corners, clockwise from the upper left."""
    return _write(dataset, corners=True)


def _write(dataset: ExportedDataset, corners: bool) -> LabelFiles:
    import yaml

    splits = dataset.splits()
    folders = {name: f"images/{name}" for name in splits}
    # No `path`: Ultralytics then takes the folder of this file, wherever it was moved.
    description = folders | {"names": dict(enumerate(dataset.class_names))}
    yield "data.yaml", yaml.safe_dump(description, sort_keys=False, allow_unicode=True).encode()
    for name, photographs in splits.items():
        for photograph in labelled(photographs):
            lines = [_line(c, box, photograph, corners) for c, box in photograph.boxes]
            yield f"labels/{name}/{photograph.stem}.txt", "".join(lines).encode()


def _line(class_id: int, box: Xyxy, photograph: ExportedPhotograph, corners: bool) -> str:
    x1, x2 = (x / photograph.width for x in box[::2])
    y1, y2 = (y / photograph.height for y in box[1::2])
    shares = (x1, y1, x2, y1, x2, y2, x1, y2) if corners else ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return " ".join([str(class_id), *(number(share, _SHARE_DECIMALS) for share in shares)]) + "\n"


_USE = "Ultralytics: `yolo {task} train data=data.yaml`, with the path of data.yaml."
DETECT = Writer(image_path, write_boxes, _USE.format(task="detect"))
SEGMENT = Writer(image_path, write_corners, _USE.format(task="segment") + " Each box is a polygon of four corners.")
ORIENTED = Writer(image_path, write_corners, _USE.format(task="obb") + " Each box is written as its four corners.")
