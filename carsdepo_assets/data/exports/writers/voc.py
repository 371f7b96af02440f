"""Writes Pascal VOC: JPEGImages, Annotations with an XML file a photograph, and ImageSets/Main with a list a split.

Coordinates are pixels from 0, with decimals where a box has them, as CVAT and Datumaro write them; readers that follow
the challenge of 2012 to the letter count from 1. labelmap.txt names the classes, also those that have no box. A clean
photograph has a file without objects, an unlabelled one has none.
"""

from __future__ import annotations

from xml.etree import ElementTree

from carsdepo_assets.data.exports.writers.exported import (
    ExportedDataset,
    ExportedPhotograph,
    LabelFiles,
    Writer,
    labelled,
    number,
)
from carsdepo_assets.data.exports.writers.xml_text import add, add_all, document

_FOLDER = "JPEGImages"


def image_path(photograph: ExportedPhotograph) -> str:
    """Where a photograph lies below the export's folder."""
    return f"{_FOLDER}/{photograph.name}"


def write(dataset: ExportedDataset) -> LabelFiles:
    """The lists, the names of the classes and a file for each photograph."""
    for split, photographs in dataset.splits().items():
        yield f"ImageSets/Main/{split}.txt", "".join(f"{p.stem}\n" for p in photographs).encode()
    lines = ["# label:color_rgb:parts:actions", *(f"{name}:::" for name in dataset.class_names)]
    yield "labelmap.txt", "".join(f"{line}\n" for line in lines).encode()
    for photograph in labelled(dataset.photographs):
        yield f"Annotations/{photograph.stem}.xml", _document(photograph, dataset)


def _document(photograph: ExportedPhotograph, dataset: ExportedDataset) -> bytes:
    root = ElementTree.Element("annotation")
    add_all(root, {"folder": _FOLDER, "filename": photograph.name})
    add(add(root, "source"), "database", f"carsdepo dataset {dataset.version}")
    add_all(add(root, "size"), {"width": photograph.width, "height": photograph.height, "depth": 3})
    add(root, "segmented", 0)
    for class_id, box in photograph.boxes:
        shape = add(root, "object")
        facts = {"name": dataset.class_names[class_id], "pose": "Unspecified", "truncated": 0, "difficult": 0}
        add_all(shape, facts)
        add_all(add(shape, "bndbox"), dict(zip(("xmin", "ymin", "xmax", "ymax"), map(number, box), strict=True)))
    return document(root)


WRITER = Writer(
    image_path,
    write,
    "The folder is one year's folder of VOCdevkit. CVAT takes it zipped as `PASCAL VOC 1.1`. Coordinates count from 0 "
    "and may have decimals.",
)
