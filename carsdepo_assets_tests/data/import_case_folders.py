"""What a case of an import is, and the folders of the cases: photographs a, b and c with labels in several formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from carsdepo_assets_tests.data.real_layouts import PHOTOGRAPHS, coco, yolo
from carsdepo_assets_tests.data.small_lake import car


class Link(NamedTuple):
    """A symbolic link in a folder; where it leads is relative to the folder around the imported one."""

    to: str


Files = dict[str, "str | bytes | Link"]


@dataclass(frozen=True)
class Case:
    """One import, or several of the same name one after the other."""

    given: str
    """What lies there, for a person."""
    files: Files
    """By path in the folder; `../` is the folder above. With raw/uploads/ and raw/labels/: dropped into the lake."""
    gives: str
    """What becomes of each photograph, then of files that were not taken. `stops: WORDS`: the import is refused before
    it copies, and its message holds the words."""
    says: Sequence[str] = ()
    """Words that the account or the notes of the batch hold."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `import_folder`."""
    then: Sequence[Files] = ()
    """Files that are written over these, each before the folder is imported again."""
    gone: Sequence[str] = ()
    """Files that are removed before the last import."""
    folder: str = "cars"


RIGHT = "a: scratch; b: dent; c: clean"
NAMES = ["dent", "scratch"]
LIST = "dent\nscratch\n"
YAML = "names: [dent, scratch]\n"
NOTES = json.dumps({"categories": [{"id": 1, "name": "scratch"}, {"id": 0, "name": "dent"}], "info": {}})
A, B, C = (PHOTOGRAPHS[stem] for stem in "abc")
LINE = yolo("a", NAMES)  # the scratch of a


def pictures(place: str = "images/{}.jpg", stems: str = "abc") -> Files:
    """The photographs at a place."""
    return {place.format(stem): PHOTOGRAPHS[stem] for stem in stems}


def labelled(
    place: str = "images/{}.jpg", labels: str = "labels/{}.txt", stems: str = "abc", **more: str | bytes
) -> Files:
    """The photographs at a place and their YOLO labels at another, without names of classes."""
    return {**pictures(place, stems), **{labels.format(stem): yolo(stem, NAMES) for stem in stems}, **more}


def with_list(files: Files, name: str = "classes.txt", content: str | bytes = LIST) -> Files:
    """The files and a list of names of classes."""
    return {**files, name: content}


def edited(stems: Sequence[str] = ("a", "b", "c"), name: str = "{}.jpg", **changes: Any) -> str:
    """The COCO file of the photographs with other values at its top."""
    document = json.loads(coco(list(stems), name.format)) | changes
    return json.dumps({key: value for key, value in document.items() if value != "left out"})


def notes(**changes: Any) -> list[dict[str, Any]]:
    """The annotations of the COCO file, each with other values."""
    return [note | changes for note in json.loads(coco(["a", "b", "c"], "{}.jpg".format))["annotations"]]


def one_class(name: str, stems: Sequence[str] = ("a", "b", "c")) -> str:
    """A COCO file that has one of the classes only."""
    document = json.loads(coco(list(stems), "{}.jpg".format))
    document["categories"] = [c for c in document["categories"] if c["name"] == name]
    ids = {c["id"] for c in document["categories"]}
    document["annotations"] = [n for n in document["annotations"] if n["category_id"] in ids]
    return json.dumps(document)


OF_200 = "a: scratch 80 30 120 70, dent 20 10 60 50"
TOOLS = {
    "yolo": "YOLO", "coco": "COCO", "voc": "Pascal VOC", "cvat": "CVAT XML", "labelme": "LabelMe",
    "labelstudio": "Label Studio's JSON", "groundtruth": "a Ground Truth manifest", "datumaro": "Datumaro",
}  # fmt: skip
WIDE = car(5, width=200, height=100)
