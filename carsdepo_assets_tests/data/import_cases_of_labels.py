"""Cases of whole imports about labels: names of classes, formats, layouts and lines; see import_cases.py."""

from __future__ import annotations

import json

from carsdepo_assets_tests.data import label_documents
from carsdepo_assets_tests.data.import_case_folders import (
    LINE,
    LIST,
    NAMES,
    NOTES,
    OF_200,
    RIGHT,
    TOOLS,
    WIDE,
    YAML,
    A,
    B,
    C,
    Case,
    Files,
    Link,
    edited,
    labelled,
    notes,
    one_class,
    pictures,
    with_list,
)
from carsdepo_assets_tests.data.real_layouts import PHOTOGRAPHS, coco, yolo
from carsdepo_assets_tests.data.small_lake import car, turned

_NAMES_FILES: dict[str, tuple[str, str | bytes]] = {
    "`data.yaml`": ("data.yaml", YAML),
    "`data.YAML`": ("data.YAML", YAML),
    "a `.yaml` of any name (Ultralytics)": ("damage-2024.yaml", "names:\n  0: dent\n  1: scratch\n"),
    "`obj.names` (CVAT YOLO 1.1)": ("obj.names", LIST),
    "`_darknet.labels` in a split's folder (Roboflow Darknet)": ("train/_darknet.labels", LIST),
    "`notes.json` (Label Studio); c's empty file may be of an unfinished task": ("notes.json", NOTES),
    "`predefined_classes.txt` (labelImg)": ("predefined_classes.txt", LIST),
    "`labels/train/classes.txt`": ("labels/train/classes.txt", LIST),
    "`classes.txt` in the folder above": ("../classes.txt", LIST),
    "`data.yaml` in the folder above": ("../data.yaml", YAML),
    "`classes.txt` that begins with a BOM": ("classes.txt", "\ufeffdent\r\nscratch\r\n"),
    "`classes.txt` in UTF-16": ("classes.txt", LIST.encode("utf-16")),
    "`classes.txt` in UTF-16 without a BOM": ("classes.txt", LIST.encode("utf-16-le")),
    "`classes.txt` in cp1252, with a class that nothing has": (
        "classes.txt",
        "dent\nscratch\nbeule-ä\n".encode("cp1252"),
    ),
    "`data.yaml` in UTF-16": ("data.yaml", YAML.encode("utf-16")),
    "names in other capitals, with spaces around": ("classes.txt", " Dent \n  SCRATCH\n"),
}

CLASS_NAMES = [
    *(
        Case(f"names in {given}" if given[0] in "`a" else given, with_list(labelled(), *file),
             RIGHT.replace("clean", "unreviewed") if "notes" in given else RIGHT)
        for given, file in _NAMES_FILES.items()
    ),
    Case("names nowhere", labelled(), "stops: --classes scratch,dent"),
    Case("names nowhere, and `--classes dent,scratch`", labelled(), RIGHT, options={"classes": "dent,scratch"}),
    Case("two lists that disagree", {**with_list(labelled()), "labels/classes.txt": "scratch\ndent\n"},
         "stops: disagree"),
    Case("a list that is in none of the encodings", with_list(labelled(), content=b"\x81\x8d\xff"), "stops: cp1252"),
    Case("`raw/labels/b/classes.txt`, dropped beside the labels",
         {"raw/uploads/b/a.jpg": A, "raw/labels/b/a.txt": LINE, "raw/labels/b/classes.txt": LIST}, "a: scratch"),
    Case("labels dropped into `raw/` without names", {"raw/uploads/a.jpg": A, "raw/labels/a.txt": LINE},
         "a: no label; a.txt quarantined: classes_unknown", says=["carsdepo import FOLDER --classes scratch,dent"]),
]  # fmt: skip

_IDS_FROM_ONE = "1 0.5 0.5 0.25 0.5\n"
CLASS_MAP = [
    Case("names corrected, and imported again", with_list(labelled(), "obj.names", "scratch\ndent\n"),
         f"{RIGHT}; 3 label files read again", then=[{"obj.names": LIST}]),
    Case("names corrected in another file", with_list(labelled(), "data.yaml", "names: [scratch, dent]"),
         f"{RIGHT}; 3 label files read again", then=[{"data.yaml": YAML}]),
    Case("imported again without a change", with_list(labelled()), f"{RIGHT}; 3 label files unchanged", then=[{}]),
    Case("names of a COCO file corrected", {**pictures(), "all.json": coco(list("abc"), "{}.jpg".format).replace(
        '"dent"', '"x"').replace('"scratch"', '"dent"').replace('"x"', '"scratch"')},
        f"{RIGHT}; 1 label file replaced", then=[{"all.json": coco(list("abc"), "{}.jpg".format)}]),
]  # fmt: skip

_ONE_FILE_A_CLASS = {"scratch.json": one_class("scratch"), "dent.json": one_class("dent")}
_CUT = coco(["a", "b", "c"], "{}.jpg".format)[:-40]
_LYING = json.dumps({
    "images": [{"id": 1, "file_name": "a.jpg", "width": 72, "height": 96}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 50, 20, 40]}],
    "categories": [{"id": 1, "name": "dent"}],
})  # fmt: skip
_CROWD = {"iscrowd": 1, "segmentation": {"size": [72, 96], "counts": [0, 1]}}
COCO = [
    Case("one file a class over the same photographs", {**pictures(), **_ONE_FILE_A_CLASS}, RIGHT),
    Case("one file a class, of which the second came later", {**pictures(), "scratch.json": one_class("scratch")},
         f"{RIGHT}; 1 label file read again", then=[{"dent.json": one_class("dent")}]),
    Case("two files with both classes that differ about a and b",
         {**pictures(), "1.json": edited(), "2.json": edited(annotations=notes(bbox=[1, 2, 30, 30]))},
         "a: no label; b: no label; c: clean; 1.json accepted in part: contradiction; "
         "2.json quarantined: contradiction"),
    Case("two files with both classes that agree", {**pictures(), "1.json": edited(), "2.json": edited()}, RIGHT),
    Case("a second file that is cut off", {**pictures(), "1.json": edited(), "2.json": _CUT},
         f"{RIGHT}; 2.json refused: it looks like coco and cannot be read; exit 1"),
    Case("a second file without categories", {**pictures(), "1.json": edited(["a"]),
         "2.json": edited(["b", "c"], categories="left out")}, RIGHT,
         says=["2.json has no names of classes: read by those of 1.json, of the same export"]),
    Case("a second file without categories, in the folder of another split",
         {**pictures(), "train/1.json": edited(["a"]), "valid/1.json": edited(["b", "c"], categories="left out")},
         RIGHT,
         says=["valid/1.json has no names of classes: read by those of train/1.json"]),
    Case("a second file without categories, in another folder",
         {**pictures(), "old/1.json": edited(["a"]), "new/2.json": edited(["b", "c"], categories="left out")},
         "stops: mean: 1 (1 box in 1 file: new/2.json)"),
    Case("a second file without categories, whose info is of another export",
         {**pictures(), "1.json": edited(["a"], info={"contributor": "CVAT"}),
          "2.json": edited(["b", "c"], categories="left out", info={"contributor": "ann"})},
         "stops: --map 1=scratch"),
    Case("a second file without categories, whose ids the first has not",
         {**pictures(), "1.json": one_class("scratch", ["a"]), "2.json": edited(["b", "c"], categories="left out")},
         "stops: --map 1=scratch"),
    Case("a second file without categories in another folder, and `--map 1=dent --map 2=scratch`",
         {**pictures(), "old/1.json": edited(["a"]), "new/2.json": edited(["b", "c"], categories="left out")}, RIGHT,
         options={"mapping": {"1": "dent", "2": "scratch"}}),
    Case("the only file without categories", {**pictures(), "1.json": edited(categories="left out")},
         "stops: --map 1=scratch"),
    Case("`categories` is null", {**pictures(), "1.json": edited(categories=None)}, "stops: --map 1=scratch"),
    Case("`categories` is a dict of names by id",
         {**pictures(), "1.json": edited(categories={"1": "dent", "2": "scratch"})}, RIGHT),
    Case("`categories` is a dict of ids by name",
         {**pictures(), "1.json": edited(categories={"dent": 1, "scratch": 2})}, RIGHT),
    Case("categories without names", {**pictures(), "1.json": edited(categories=[{"id": 1}, {"id": 2}])},
         "stops: --map 1=scratch"),
    Case("categories without names, and `--map 1=dent --map 2=scratch`",
         {**pictures(), "1.json": edited(categories=[{"id": 1}, {"id": 2}])}, RIGHT,
         options={"mapping": {"1": "dent", "2": "scratch"}}),
    Case("`annotations` is null", {**pictures(), "1.json": edited(annotations=None)},
         "a: no label; b: no label; c: no label; 1.json refused: it looks like coco and cannot be read; exit 1",
         says=["annotations is []"]),
    Case("`image_id` is a float", {**pictures(), "1.json": edited(
        annotations=[n | {"image_id": float(n["image_id"])} for n in notes()])}, RIGHT),
    Case("`image_id` is text", {**pictures(), "1.json": edited(
        annotations=[n | {"image_id": str(n["image_id"])} for n in notes()])}, RIGHT),
    Case("`category_id` is text", {**pictures(), "1.json": edited(
        annotations=[n | {"category_id": str(n["category_id"])} for n in notes()])}, RIGHT),
    Case("an annotation of no image: who has none may be its own",
         {**pictures(), "1.json": edited(annotations=[*notes(), notes()[0] | {"id": 9, "image_id": 77}])},
         "a: scratch; b: dent; c: unreviewed; 1.json accepted in part: no_photograph"),
    Case("exported by Label Studio, whose unfinished tasks look like clean ones",
         {**pictures(), "1.json": edited(info={"contributor": "Label Studio"})}, RIGHT.replace("clean", "unreviewed")),
    Case("`iscrowd: 1` with RLE and a bbox (CVAT's masks)",
         {**pictures(), "1.json": edited(annotations=notes(**_CROWD))}, RIGHT),
    Case("names of files as URLs with `%20`",
         {**pictures("images/my {}.jpg"), "1.json": edited(name="https://x.org/my%20{}.jpg")},
         "my a: scratch; my b: dent; my c: clean"),
    Case("an image that is stored lying, and whose boxes are those of the stored one",
         {"a.jpg": turned(5), "1.json": _LYING}, "a: dent 6 10 46 30"),
    Case("width and height that are not the photograph's", {"a.jpg": car(5), "1.json": _LYING},
         "a: no label; 1.json quarantined: size_differs; exit 1"),
    Case("names of files with accents in macOS's form", {**pictures("images/{}e\u0301.jpg"),
         "1.json": edited(name="{}é.jpg")}, "aé: scratch; bé: dent; cé: clean"),
    Case("names of files with backslashes", {**pictures(), "1.json": edited(name="C:\\cars\\images\\{}.jpg")}, RIGHT),
    Case("names of files with Label Studio's prefix",
         {**pictures(), "1.json": edited(name="images/0a1b2c3d-{}.jpg")}, RIGHT),
    Case("Label Studio's export, whose prefixes may be decimal digits alone",
         {**pictures(), "1.json": edited(name="images/20481937-{}.jpg", info={"contributor": "Label Studio"})},
         RIGHT.replace("clean", "unreviewed")),
    Case("a date before the names of files", {**pictures(), "1.json": edited(name="20240101-{}.jpg")},
         "a: no label; b: no label; c: no label; 1.json quarantined: no_photograph; exit 1"),
    Case("names of files as paths of another machine",
         {**pictures(), "1.json": edited(name="/home/ann/cars/images/{}.jpg")}, RIGHT),
    Case("names of files in capitals", {**pictures(), "1.json": edited(name="{}.JPG")}, RIGHT),
]  # fmt: skip

_TWINS = {
    "images/a.jpg": A,
    "images/copy.jpg": A,
    "images/b.jpg": B,
    "labels/b.txt": yolo("b", NAMES),
    "classes.txt": LIST,
}
TWICE = [
    Case("the same bytes under two names with different labels",
         {**_TWINS, "labels/a.txt": LINE, "labels/copy.txt": yolo("b", NAMES)},
         "a: no label; b: dent; copy: no label; copy.jpg duplicate; a.txt quarantined: contradiction; "
         "copy.txt quarantined: contradiction"),
    Case("the same bytes under two names, one of them labelled clean",
         {**_TWINS, "labels/a.txt": LINE, "labels/copy.txt": ""},
         "a: no label; b: dent; copy: no label; copy.jpg duplicate; a.txt quarantined: contradiction; "
         "copy.txt quarantined: contradiction"),
    Case("the same bytes under two names with the same labels",
         {**_TWINS, "labels/a.txt": LINE, "labels/copy.txt": LINE},
         "a: scratch; b: dent; copy: scratch; copy.jpg duplicate"),
    Case("the same bytes under two names, one with labels", {**_TWINS, "labels/copy.txt": LINE},
         "a: scratch; b: dent; copy: scratch; copy.jpg duplicate"),
    Case("two label files of one photograph that differ",
         {**_TWINS, "labels/a.txt": LINE, "labels_v2/a.txt": ""},
         "a: no label; b: dent; copy: no label; copy.jpg duplicate; "
         "a.txt refused: another file labels the same photograph otherwise; "
         "a.txt refused: another file labels the same photograph otherwise; exit 1"),
]  # fmt: skip

_PLACES = {
    "`Images/` and `Labels/`": ("Images/{}.jpg", "Labels/{}.txt"),
    "`image/` and `label/`": ("image/{}.jpg", "label/{}.txt"),
    "`images/` and `annotations/`": ("images/{}.jpg", "annotations/{}.txt"),
    "`images/` and `labels_v2/`": ("images/{}.jpg", "labels_v2/{}.txt"),
    "`train/images/` and `train/labels/`": ("train/images/{}.jpg", "train/labels/{}.txt"),
    "`images/train/` and `labels/train/`": ("images/train/{}.jpg", "labels/train/{}.txt"),
    "`obj_train_data/` with both": ("obj_train_data/{}.jpg", "obj_train_data/{}.txt"),
    "two folders of any names": ("Fotos/{}.jpg", "Etiketten/{}.txt"),
    "labels in `.TXT`": ("images/{}.JPG", "labels/{}.TXT"),
    "labels beside the photographs in `images/` (labelImg)": ("images/{}.jpg", "images/{}.txt"),
    "a flat folder": ("{}.jpg", "{}.txt"),
    "a flat folder of `.jfif`": ("{}.jfif", "{}.txt"),
    "a flat folder of `.mpo` that are JPEG": ("{}.mpo", "{}.txt"),
    "labels called `a.jpg.txt`": ("images/{}.jpg", "labels/{}.jpg.txt"),
}
LAYOUTS_OF_FOLDERS = [
    *(Case(given, with_list(labelled(*places)), RIGHT) for given, places in _PLACES.items()),
    *(
        Case(f"{TOOLS[form]} in `{name}`, no `--format`",
             with_list({"a.jpg": WIDE, name: data}, "classes.txt", "scratch\ndent\n"), OF_200)
        for form, (name, data) in label_documents.VALID.items()
    ),
    Case("half of the labels beside the photographs, half in `labels/`",
         with_list({**pictures(), "images/a.txt": LINE, "labels/b.txt": yolo("b", NAMES), "labels/c.txt": ""}), RIGHT),
    Case("`labels/` is a link to another folder", with_list({**pictures(), "labels": Link("disk"),
         **{f"../disk/{stem}.txt": yolo(stem, NAMES) for stem in "abc"}}), RIGHT),
    Case("`images/train` is a link to another folder", with_list({"images/train": Link("disk"),
         **{f"../disk/{stem}.jpg": PHOTOGRAPHS[stem] for stem in "abc"},
         **{f"labels/train/{stem}.txt": yolo(stem, NAMES) for stem in "abc"}}), RIGHT),
    Case("`train.txt` with the labels of `train.jpg`",
         with_list({"train.jpg": A, "train.txt": LINE, "b.jpg": B, "b.txt": yolo("b", NAMES)}),
         "b: dent; train: scratch"),
    Case("`train.txt` with the paths of the photographs", with_list({**labelled(), "train.txt": "images/a.jpg\n"}),
         f"{RIGHT}; train.txt not used: a list of photographs"),
    Case("YOLO and COCO of the same photographs", {**with_list(labelled()), "all.json": edited()},
         "stops: --format coco"),
    Case("YOLO and COCO of the same photographs, and `--format coco`", {**with_list(labelled()), "all.json": edited()},
         RIGHT + "".join(f"; {s}.txt not used: labels in the format yolo, and --format coco was given" for s in "abc"),
         options={"form": "coco"}),
    Case("a COCO folder and `--format yolo`", {**pictures(), "all.json": edited()}, "stops: There is coco",
         options={"form": "yolo"}),
    Case("a table of boxes", {"a.jpg": A, "boxes.csv": "filename,xmin,ymin,xmax,ymax,class\na.jpg,1,2,3,4,dent\n"},
         "a: no label; boxes.csv refused: a table of boxes, which is no format that is read; exit 1"),
    Case("labels of which none can be read", with_list({"a.jpg": A, "a.txt": "0 .5 .5 .1\n"}),
         "a: no label; a.txt quarantined: malformed; exit 1"),
    Case("photographs without labels", pictures(), "a: no label; b: no label; c: no label",
         says=["3 photographs without labels: put label files"]),
]  # fmt: skip


def one_line(line: str) -> Files:
    """One photograph and its label file."""
    return {"a.jpg": A, "a.txt": f"{line}\n", "classes.txt": "scratch\ndent\n"}


_PREDICTIONS = "refused: predictions, which are no labels"
_REFUSED_LINES = {
    "a box and a score": ("0 .5 .5 .2 .4 .93", _PREDICTIONS),
    "a box, a score and a tracker's number": ("0 .5 .5 .2 .4 .93 17", _PREDICTIONS),
    "a box and a tracker's number": ("0 .5 .5 .2 .4 3", _PREDICTIONS),
    "a tracker's number that could be a corner": ("0 .5 .5 .2 .4 .93 1", "prediction"),
    "an oriented box, a score and a number": ("0 .4 .3 .6 .3 .6 .7 .4 .7 .93 12", _PREDICTIONS),
    "three corners, or a box with a keypoint": ("0 .5 .5 .2 .4 .5 .5", "ambiguous_line"),
    "a box of 0.1 pixels": ("0 .5 .5 .001 .001", "too_small"),
    "a box 6 % over the edge": ("0 .96 .5 .2 .4", "outside_image"),
    "pixels instead of shares": ("0 48 36 20 20", "outside_image"),
    "decimal commas": ("0 0,5 0,5 0,2 0,4", "decimal_comma"),
    "a value that is no number": ("0 nan .5 .2 .4", "not_a_number"),
    "a name instead of a class id": ("scratch .5 .5 .2 .4", "malformed"),
    "too few numbers": ("0 .5 .5 .2", "malformed"),
    "no width": ("0 .5 .5 0 .2", "no_area"),
}
_TAKEN_LINES = {
    "an oriented box (8 numbers)": ("0 .4 .3 .6 .3 .6 .7 .4 .7", "oriented box, its bounding box taken"),
    "a polygon": ("0 .4 .3 .6 .3 .6 .7 .5 .6 .4 .7", "polygon, its bounding box taken"),
    "a box with keypoints and their visibility": ("0 .5 .5 .2 .4 .45 .5 2 .55 .5 1 0 0 0", "keypoints left out"),
    "the same box twice": ("0 .5 .5 .2 .4\n0 .5 .5 .2 .4", "the same box again, kept once"),
}
LINES = [
    *(Case(given, one_line(line), "a: scratch 38.4 21.6 57.6 50.4", says=[note])
      for given, (line, note) in _TAKEN_LINES.items()),
    Case("a box 2 % over the edge", one_line("0 .92 .5 .2 .4"), "a: scratch 78.72 21.6 96 50.4",
         says=["clipped to the image"]),
    *(Case(given, one_line(line), f"a: no label; a.txt {reason if ' ' in reason else 'quarantined: ' + reason}; exit 1")
      for given, (line, reason) in _REFUSED_LINES.items()),
    Case("one bad line among good ones", with_list({**labelled(), "labels/a.txt": LINE + "0 .5 .5 .2\n"}),
         "a: no label; b: dent; c: clean; a.txt quarantined: malformed", says=["line 2",
         "1 photograph without labels although there is a label file"]),
    Case("an empty label file among predictions", with_list({"a.jpg": A, "a.txt": "0 .5 .5 .2 .4 .93\n", "c.jpg": C,
         "c.txt": ""}), "a: no label; c: no label; c.txt refused: empty, which a model may have written; "
         f"a.txt {_PREDICTIONS}; exit 1",
         says=["such as a.txt"]),
    Case("COCO annotations with a confidence", {**pictures(), "1.json": edited(annotations=notes(confidence="0.9"))},
         "a: no label; b: no label; c: unreviewed; 1.json accepted in part: prediction"),
    Case("COCO annotations with a score", {**pictures(), "1.json": edited(annotations=notes(score=0.9))},
         "a: no label; b: no label; c: unreviewed; 1.json accepted in part: prediction"),
]  # fmt: skip

_STRAY = with_list({**labelled(), "labels/c.txt": "7 .5 .5 .1 .1\n"})
_THREE = with_list({"a.jpg": A, "a.txt": f"{LINE}2 .5 .5 .1 .1\n"}, content="dent\nscratch\nglass\n")
CLASSES = [
    Case("one stray class id", _STRAY, "a: scratch; b: dent; c: no label; c.txt quarantined: unknown_class",
         says=["class 7 has no name", "labels/c.txt (line 1)"]),
    Case("one stray class id, and `--map 7=-`", _STRAY, RIGHT, options={"mapping": {"7": "-"}}),
    Case("a class that is none of ours", _THREE, "stops: glass (1 box in 1 file: a.txt (line 2))"),
    Case("`--map` leaves all labels of two photographs out", with_list({"a.jpg": A, "a.txt": LINE, "b.jpg": B,
         "b.txt": yolo("b", NAMES), "c.jpg": C, "c.txt": yolo("b", NAMES)}), "a: scratch; b: clean; c: clean",
         options={"mapping": {"dent": "-"}},
         says=["2 photographs have only labels that are left out: they count as clean"]),
    Case("`--map` leaves all labels of a COCO image out", {**pictures(), "1.json": edited()},
         "a: clean; b: dent; c: clean", options={"mapping": {"scratch": "-"}},
         says=["1 photograph has only labels that are left out: it counts as clean"]),
    Case("`--map glass=-`", _THREE, "a: scratch", options={"mapping": {"glass": "-"}}, says=["left out"]),
    Case("`--map glass=reflection`", _THREE, "a: scratch, no damage but reflection 43.2 32.4 52.8 39.6",
         options={"mapping": {"glass": "reflection"}}),
    Case("`--map glass=hole`, a new class", _THREE, "stops: [class_map], version = 2, names = [",
         options={"mapping": {"glass": "hole"}}),
    Case("`--map glass=dent`", _THREE, "a: scratch, dent 43.2 32.4 52.8 39.6", options={"mapping": {"glass": "dent"}}),
    Case("class ids that begin at 1", with_list({"a.jpg": A, "a.txt": "1 .5 .5 .1 .1\n2 .2 .2 .1 .1\n"}),
         "stops: do their ids begin at 1"),
    Case("a class that is declared and never used", with_list(labelled(), content="dent\nscratch\nrust\n"), RIGHT),
]  # fmt: skip
