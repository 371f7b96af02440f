"""Folders as tools export them, each with the same three photographs: a scratch, a dent, and one without damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from carsdepo_assets_tests.data.small_lake import HEIGHT, WIDTH, car

Files = dict[str, str | bytes]
SCRATCH, DENT = (12.0, 9.0, 48.0, 36.0), (24.0, 18.0, 72.0, 54.0)  # (x1, y1, x2, y2) in pixels
PHOTOGRAPHS = {"a": car(1), "b": car(2), "c": car(3)}
BOXES = {"a": ("scratch", SCRATCH), "b": ("dent", DENT)}


def yolo(stem: str, names: list[str]) -> str:
    """The label file of a photograph; the names' order gives the ids."""
    if stem not in BOXES:
        return ""
    name, (x1, y1, x2, y2) = BOXES[stem]
    shares = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
    return f"{names.index(name)} {' '.join(f'{share:.6f}' for share in shares)}\n"


def coco(stems: list[str], name: Callable[[str], str]) -> str:
    """A COCO file; as Roboflow's, with a category 0 that nothing has."""
    ids = {"damage": 0, "dent": 1, "scratch": 2}
    annotations = [
        {"id": i, "image_id": i, "category_id": ids[BOXES[s][0]], "bbox": _xywh(s), "area": 972.0, "iscrowd": 0}
        for i, s in enumerate(stems)
        if s in BOXES
    ]
    return json.dumps(
        {
            "info": {"year": "2026"},
            "images": [{"id": i, "file_name": name(s), "width": WIDTH, "height": HEIGHT} for i, s in enumerate(stems)],
            "annotations": annotations,
            "categories": [{"id": i, "name": n, "supercategory": "none"} for n, i in ids.items()],
        }
    )


def _xywh(stem: str) -> list[float]:
    x1, y1, x2, y2 = BOXES[stem][1]
    return [x1, y1, x2 - x1, y2 - y1]


def roboflow_yolov8() -> Files:
    names = ["dent", "scratch"]
    files: Files = {
        "data.yaml": f"train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: {names}\n",
        "README.roboflow.txt": "cars - v1\n============\nIt includes 3 images.\n",
    }
    for stem, split in (("a", "train"), ("b", "train"), ("c", "valid")):
        name = f"{stem}_jpg.rf.0123456789abcdef0123456789abcde{ord(stem) % 10}"
        files[f"{split}/images/{name}.jpg"] = PHOTOGRAPHS[stem]
        files[f"{split}/labels/{name}.txt"] = yolo(stem, names)
    return files


def roboflow_coco() -> Files:
    def name(stem: str) -> str:
        return f"{stem}_jpg.rf.0123456789abcdef0123456789abcdef.jpg"

    return {
        **{f"train/{name(stem)}": PHOTOGRAPHS[stem] for stem in "ab"},
        f"valid/{name('c')}": PHOTOGRAPHS["c"],
        "train/_annotations.coco.json": coco(["a", "b"], name),
        "valid/_annotations.coco.json": coco(["c"], name),
        "README.dataset.txt": "# cars > 2026-01-01\n",
    }


def ultralytics() -> Files:
    names = ["scratch", "dent"]
    files: Files = {
        "damage.yaml": "path: ../cars\ntrain: images/train\nval: images/val\nnames:\n  0: scratch\n  1: dent\n",
        "train.txt": "./images/train/a.jpg\n./images/train/b.jpg\n",
        "labels/train.cache": b"\x93NUMPY",
    }
    for stem, split in (("a", "train"), ("b", "train"), ("c", "val")):
        files[f"images/{split}/{stem}.jpg"] = PHOTOGRAPHS[stem]
        files[f"labels/{split}/{stem}.txt"] = yolo(stem, names)
    return files


def cvat_yolo() -> Files:
    names = ["dent", "scratch"]
    files: Files = {
        "obj.names": "dent\nscratch\n",
        "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
        "train.txt": "".join(f"data/obj_train_data/{stem}.jpg\n" for stem in PHOTOGRAPHS),
    }
    for stem, data in PHOTOGRAPHS.items():
        files[f"obj_train_data/{stem}.jpg"] = data
        files[f"obj_train_data/{stem}.txt"] = yolo(stem, names)
    return files


def cvat_xml() -> Files:
    images = ""
    for i, stem in enumerate(PHOTOGRAPHS):
        box = ""
        if stem in BOXES:
            label, (x1, y1, x2, y2) = BOXES[stem]
            box = f'<box label="{label}" source="manual" occluded="0" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/>'
        images += f'<image id="{i}" name="{stem}.jpg" width="{WIDTH}" height="{HEIGHT}">{box}</image>'
    labels = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in ("scratch", "dent"))
    meta = f"<meta><job><id>1</id><state>completed</state><labels>{labels}</labels></job></meta>"
    text = f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{meta}{images}</annotations>'
    return {"annotations.xml": text, **{f"images/{stem}.jpg": data for stem, data in PHOTOGRAPHS.items()}}


def label_studio_json() -> Files:
    tasks: list[dict[str, Any]] = []
    for i, stem in enumerate(PHOTOGRAPHS):
        result = []
        if stem in BOXES:
            label, (x1, y1, x2, y2) = BOXES[stem]
            value = {
                "x": 100 * x1 / WIDTH, "y": 100 * y1 / HEIGHT, "width": 100 * (x2 - x1) / WIDTH,
                "height": 100 * (y2 - y1) / HEIGHT, "rotation": 0, "rectanglelabels": [label],
            }  # fmt: skip
            result = [
                {
                    "id": f"r{i}", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": value,
                    "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
                }
            ]  # fmt: skip
        annotation = {"id": i, "completed_by": 1, "was_cancelled": False, "result": result}
        upload = f"/data/upload/1/1a2b3c4{i}-{stem}.jpg"
        tasks.append({"id": i, "annotations": [annotation], "predictions": [], "data": {"image": upload}})
    return {
        "project-1-at-2026-01-01.json": json.dumps(tasks),
        **{f"images/{stem}.jpg": data for stem, data in PHOTOGRAPHS.items()},
    }


def label_studio_yolo() -> Files:
    names = ["dent", "scratch"]
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    files: Files = {
        "classes.txt": "dent\nscratch\n",
        "notes.json": json.dumps({"categories": categories, "info": {"year": 2026, "contributor": "Label Studio"}}),
    }
    for i, (stem, data) in enumerate(PHOTOGRAPHS.items()):
        files[f"images/1a2b3c4{i}-{stem}.jpg"] = data
        files[f"labels/1a2b3c4{i}-{stem}.txt"] = yolo(stem, names)
    return files


def voc() -> Files:
    files: Files = {"ImageSets/Main/train.txt": "a\nb\n", "ImageSets/Main/val.txt": "c\n", "labelmap.txt": "# label\n"}
    for stem, data in PHOTOGRAPHS.items():
        objects = ""
        if stem in BOXES:
            name, (x1, y1, x2, y2) = BOXES[stem]
            box = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            objects = f"<object><name>{name}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>"
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        files[f"JPEGImages/{stem}.jpg"] = data
        files[f"Annotations/{stem}.xml"] = (
            f"<annotation><folder>VOC</folder><filename>{stem}.jpg</filename>{size}{objects}</annotation>"
        )
    return files


def label_img() -> Files:
    names = ["dog", "scratch", "dent"]  # labelImg writes its own first names too, which nothing uses
    files: Files = {"images/classes.txt": "dog\nscratch\ndent\n"}
    for stem, data in PHOTOGRAPHS.items():
        files[f"images/{stem}.jpg"] = data
        files[f"images/{stem}.txt"] = yolo(stem, names)
    return files


def ground_truth() -> Files:
    lines = []
    for stem in PHOTOGRAPHS:
        annotations = []
        if stem in BOXES:
            name, (x1, y1, x2, y2) = BOXES[stem]
            annotations = [
                {
                    "class_id": ["dent", "scratch"].index(name),
                    "left": x1,
                    "top": y1,
                    "width": x2 - x1,
                    "height": y2 - y1,
                }
            ]
        lines.append(
            {
                "source-ref": f"s3://bucket/cars/{stem}.jpg",
                "damage": {
                    "annotations": annotations,
                    "image_size": [{"width": WIDTH, "height": HEIGHT, "depth": 3}],
                },
                "damage-metadata": {
                    "objects": [{"confidence": 0.0}] * len(annotations),
                    "class-map": {str(a["class_id"]): ["dent", "scratch"][int(a["class_id"])] for a in annotations},
                    "type": "groundtruth/object-detection",
                    "human-annotated": "yes",
                    "creation-date": "2026-01-01T00:00:00.000000",
                    "job-name": "labeling-job/damage",
                },
            }
        )
    return {
        "manifests/output/output.manifest": "".join(f"{json.dumps(line)}\n" for line in lines),
        **{f"{stem}.jpg": data for stem, data in PHOTOGRAPHS.items()},
    }


LAYOUTS: dict[str, Callable[[], Files]] = {
    "roboflow_yolov8": roboflow_yolov8,
    "roboflow_coco": roboflow_coco,
    "ultralytics": ultralytics,
    "cvat_yolo": cvat_yolo,
    "cvat_xml": cvat_xml,
    "label_studio_json": label_studio_json,
    "label_studio_yolo": label_studio_yolo,
    "voc": voc,
    "label_img": label_img,
    "ground_truth": ground_truth,
}
