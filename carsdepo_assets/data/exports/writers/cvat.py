"""Writes CVAT's XML 1.1 for images: annotations.xml with the subset of each image, and images.

A clean photograph is an image without shapes, an unlabelled one is not in the file. CVAT itself writes two decimals of
a pixel and reads any number.
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


def image_path(photograph: ExportedPhotograph) -> str:
    """Where a photograph lies below the export's folder."""
    return f"images/{photograph.name}"


def write(dataset: ExportedDataset) -> LabelFiles:
    """One file."""
    photographs = labelled(dataset.photographs)
    root = ElementTree.Element("annotations")
    add(root, "version", "1.1")
    meta = add(root, "meta")
    task = add(meta, "task")
    add_all(task, {"name": f"carsdepo dataset {dataset.version}", "size": len(photographs), "mode": "annotation"})
    labels = add(task, "labels")
    for name in dataset.class_names:
        label = add(labels, "label")
        add_all(label, {"name": name, "type": "rectangle", "attributes": None})
    add(meta, "dumped", dataset.at.isoformat())
    for image_id, p in enumerate(photographs):
        image = add(root, "image", id=image_id, name=p.name, subset=p.split, width=p.width, height=p.height)
        for class_id, box in p.boxes:
            edges = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(number, box), strict=True))
            add(image, "box", label=dataset.class_names[class_id], source="manual", occluded=0, **edges, z_order=0)
    yield "annotations.xml", document(root)


WRITER = Writer(
    image_path,
    write,
    "CVAT: create a task with the labels of annotations.xml and the photographs of images/, then upload "
    "annotations.xml as `CVAT 1.1`.",
)
