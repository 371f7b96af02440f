"""Small valid label files of each format: the same two damages on a photograph of 200 x 100 pixels."""

from __future__ import annotations

import json
from typing import Any

WIDTH, HEIGHT = 200, 100
BOXES = {"scratch": (80.0, 30.0, 120.0, 70.0), "dent": (20.0, 10.0, 60.0, 50.0)}  # x1, y1, x2, y2

YOLO = "0 0.5 0.5 0.2 0.4\n1 0.2 0.3 0.2 0.4\n"


def coco(*annotations: Any, images: Any = None, categories: Any = None, **more: Any) -> bytes:
    """A COCO file; by default of a.jpg with both damages."""
    return json.dumps(
        {
            "images": images or [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}],
            "annotations": list(annotations)
            or [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": [80, 30, 40, 40]},
                {"id": 2, "image_id": 1, "category_id": 2, "bbox": [20, 10, 40, 40]},
            ],
            "categories": [{"id": 1, "name": "scratch"}, {"id": 2, "name": "dent"}]
            if categories is None
            else categories,
            **more,
        }
    ).encode()


def voc(*objects: str, more: str = "") -> bytes:
    """A VOC file of a.jpg. objects: the content of each object; more: put before them."""
    both = [voc_object(name, box) for name, box in BOXES.items()]
    inner = "".join(f"<object>{one}</object>" for one in (objects or both))
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation><folder>x</folder><filename>a.jpg</filename>{size}{more}{inner}</annotation>".encode()


def voc_object(name: str, box: tuple[float, float, float, float]) -> str:
    """The content of a VOC object."""
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{side}>{value:g}</{side}>" for side, value in sides)
    return f"<name>{name}</name><difficult>0</difficult><bndbox>{inner}</bndbox>"


def cvat(*shapes: str, meta: str = "", **image: Any) -> bytes:
    """A CVAT file of a.jpg. shapes: elements; image: attributes of the image."""
    attributes = {"id": 0, "name": "a.jpg", "width": WIDTH, "height": HEIGHT} | image
    written = " ".join(f'{key}="{value}"' for key, value in attributes.items() if value is not None)
    both = [
        f'<box label="{name}" xtl="{b[0]}" ytl="{b[1]}" xbr="{b[2]}" ybr="{b[3]}" occluded="0" source="manual"/>'
        for name, b in BOXES.items()
    ]
    labels = "<labels><label><name>scratch</name></label><label><name>dent</name></label></labels>"
    head = f"<version>1.1</version><meta><task>{meta}{labels}</task></meta>"
    return f"<annotations>{head}<image {written}>{''.join(shapes or both)}</image></annotations>".encode()


def labelme(*shapes: Any, **more: Any) -> bytes:
    """A LabelMe file of a.jpg."""
    both = [
        {"label": name, "shape_type": "rectangle", "points": [[b[0], b[1]], [b[2], b[3]]]} for name, b in BOXES.items()
    ]
    fields = {"version": "5.4.1", "flags": {}, "imagePath": "a.jpg", "imageData": None}
    return json.dumps(
        fields | {"imageWidth": WIDTH, "imageHeight": HEIGHT, "shapes": list(shapes) or both} | more
    ).encode()


def region(label: str, x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    """A rectangle of Label Studio, in percent."""
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]} | more
    return {"type": "rectanglelabels", "original_width": WIDTH, "original_height": HEIGHT, "value": value}


REGIONS = [region("scratch", 40, 30, 20, 40), region("dent", 10, 10, 20, 40)]


def task(*annotations: Any, image: str = "/data/upload/1/0a1b2c3d-a.jpg", **more: Any) -> dict[str, Any]:
    """A task of Label Studio."""
    return {"id": 7, "data": {"image": image}, "annotations": list(annotations), **more}


def annotation(*regions: Any, by: int = 1, at: str = "2026-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    """A submitted annotation of Label Studio."""
    return {"id": 1, "completed_by": by, "result": list(regions), "created_at": at, "was_cancelled": False} | more


def labelstudio(*tasks: Any) -> bytes:
    """A JSON export of Label Studio."""
    return json.dumps(list(tasks) or [task(annotation(*REGIONS))]).encode()


def manifest_line(*boxes: tuple[int, float, float, float, float], **more: Any) -> dict[str, Any]:
    """A line of a Ground Truth manifest. boxes: class id, left, top, width, height."""
    keys = ("class_id", "left", "top", "width", "height")
    return {
        "source-ref": "s3://bucket/cars/a.jpg",
        "damage": {
            "image_size": [{"width": WIDTH, "height": HEIGHT, "depth": 3}],
            "annotations": [dict(zip(keys, box, strict=True)) for box in boxes],
        },
        "damage-metadata": {
            "objects": [{"confidence": 0.0} for _ in boxes],
            "class-map": {str(i): {0: "scratch", 5: "dent"}[i] for i, *_ in boxes if i in (0, 5)},
            "type": "groundtruth/object-detection",
            "human-annotated": "yes",
            "creation-date": "2026-01-01T00:00:00.000000",
            "job-name": "labeling-job/damage",
        },
    } | more


def groundtruth(*lines: Any) -> bytes:
    """A Ground Truth manifest."""
    rows = list(lines) or [manifest_line((0, 80, 30, 40, 40), (5, 20, 10, 40, 40))]
    return "\n".join(json.dumps(row) for row in rows).encode()


def datumaro(*annotations: Any, **item: Any) -> bytes:
    """A Datumaro file of a.jpg."""
    both = [
        {"id": i, "type": "bbox", "label_id": i, "attributes": {}, "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]}
        for i, b in enumerate(BOXES.values())
    ]
    one = {"id": "a", "annotations": list(annotations) or both, "image": {"path": "a.jpg", "size": [HEIGHT, WIDTH]}}
    labels = {"labels": [{"name": "scratch", "parent": ""}, {"name": "dent", "parent": ""}], "attributes": []}
    return json.dumps({"info": {}, "categories": {"label": labels}, "items": [one | item]}).encode()


VALID: dict[str, tuple[str, bytes]] = {
    "yolo": ("a.txt", YOLO.encode()),
    "coco": ("all.json", coco()),
    "voc": ("a.xml", voc()),
    "cvat": ("annotations.xml", cvat()),
    "labelme": ("a.json", labelme()),
    "labelstudio": ("export.json", labelstudio()),
    "groundtruth": ("output.manifest", groundtruth()),
    "datumaro": ("default.json", datumaro()),
}
"""By format: the file's name and its content."""
