"""Cases of whole imports about photographs: groups, splits, names, and what comes late; see import_cases.py."""

from __future__ import annotations

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
    A,
    B,
    C,
    Case,
    Files,
    edited,
    labelled,
    pictures,
    with_list,
)
from carsdepo_assets_tests.data.real_layouts import yolo
from carsdepo_assets_tests.data.small_lake import car

_SHEET = "file,group\na.jpg,car1\nb.jpg,car1\nc.jpg,car2\n"
_GROUPED = "a of car1: scratch; b of car1: dent; c of car2: clean"
_SHEETS: dict[str, str | bytes] = {
    "separated by commas": _SHEET,
    "separated by `;`": _SHEET.replace(",", ";"),
    "separated by tabs": _SHEET.replace(",", "\t"),
    "with `sep=;` above": "sep=;\n" + _SHEET.replace(",", ";"),
    "in UTF-16": _SHEET.encode("utf-16"),
    "in cp1252": (_SHEET.replace("group", "group,region") + "d.jpg,car9,Köln\n").encode("cp1252"),
    "with the columns `filename` and `group_id`": _SHEET.replace("file,group", "filename,group_id"),
    "with the columns `Image` and `Car_ID`": _SHEET.replace("file,group", "Image,Car_ID"),
    "with names without suffix": _SHEET.replace(".jpg", ""),
    "with names in capitals": _SHEET.replace(".jpg", ".JPG").replace("\nb", "\nB"),
    "with absolute paths": _SHEET.replace("\n", "\n/home/ann/cars/images/", 3),
    "with Windows' paths": _SHEET.replace("\n", "\nC:\\\\cars\\\\images\\\\".replace("\\\\", "\\"), 3),
}
_RF = "_jpg.rf.0123456789abcdef0123456789abcde"


def augmented(first: str, second: str) -> Files:
    """Two of Roboflow's copies of one photograph in two folders, and another photograph in each."""
    files: Files = {f"{first}/images/a{_RF}0.jpg": A, f"{second}/images/a{_RF}1.jpg": car(1, quality=80)}
    files |= {f"{first}/images/b.jpg": B, f"{second}/images/c.jpg": C}
    labels = {path.replace("images", "labels").replace(".jpg", ".txt"): "" for path in files}
    return with_list({**files, **labels})


_SPLIT = with_list({
    "train/images/a.jpg": A, "train/labels/a.txt": LINE, "valid/images/b.jpg": B,
    "valid/labels/b.txt": yolo("b", NAMES), "test/images/c.jpg": C, "test/labels/c.txt": "",
})  # fmt: skip
GROUPS = [
    *(Case(f"`manifest.csv` {given}", {**with_list(labelled()), "manifest.csv": sheet}, _GROUPED)
      for given, sheet in _SHEETS.items()),
    Case("no `manifest.csv`", with_list(labelled()), RIGHT,
         says=["no photograph has a group", "'with_a_group': 0, 'groups': 0"]),
    Case("`manifest.csv` with one car of two photographs", {**with_list(labelled()), "manifest.csv":
         "file,group\na.jpg,car1\nb.jpg,car1\n"}, "a of car1: scratch; b of car1: dent; c: clean",
         says=["'with_a_group': 2, 'groups': 1"]),
    Case("`manifest.csv` without a column of files", {**with_list(labelled()), "manifest.csv":
         "photo,car\na.jpg,car1\n"}, RIGHT, says=["'state': 'not used', 'reason': \"no column 'file'; "
         "there are photo, car\"", "no photograph has a group"]),
    Case("`manifest.csv` of other photographs", {**with_list(labelled()), "manifest.csv":
         "file,group\nx.jpg,car1\ny.jpg,car1\n"}, RIGHT, says=["'state': 'not used', 'reason': "
         "\"no photograph is called as its rows say, the first of them 'x.jpg'\""]),
    Case("`manifest.csv` of which two rows fit nothing", {**with_list(labelled()), "manifest.csv":
         "file,group\na.jpg,car1\nx.jpg,car1\ny.jpg,car1\n"}, "a of car1: scratch; b: dent; c: clean",
         says=["manifest.csv: 2 of its 3 rows fit no photograph of the import, such as 'x.jpg'"]),
    Case("`manifest.csv` with a name that two photographs have", with_list({"x/a.jpg": A, "x/a.txt": LINE, "y/a.jpg": B,
         "y/a.txt": yolo("b", NAMES), "c.jpg": C, "c.txt": "", "manifest.csv": "file,group\na.jpg,car1\nc.jpg,car2\n"}),
         "x/a.jpg: scratch; y/a.jpg: dent; c of car2: clean",
         says=["manifest.csv: 2 photographs without a row that is certain: the row of 'a.jpg' fits 2 photographs"]),
    Case("`manifest.csv` with a name that is a path, and also the end of another", with_list({"a.jpg": A,
         "a.txt": LINE, "y/a.jpg": B, "y/a.txt": yolo("b", NAMES), "manifest.csv": "file,group\na.jpg,car1\n"}),
         "a.jpg of car1: scratch; y/a.jpg: dent"),
    Case("`manifest.csv` with a column `split`", {**with_list(labelled()), "manifest.csv":
         "file,group,split\na.jpg,car1,train\nb.jpg,car2,validation\nc.jpg,car3,\n"},
         "a of car1 in train: scratch; b of car2 in val: dent; c of car3: clean"),
    Case("`manifest.csv` corrected, and imported again", {**with_list(labelled()), "manifest.csv": _SHEET},
         "a of car1: scratch; b of car3: dent; c of car2: clean; 3 label files unchanged",
         then=[{"manifest.csv": _SHEET.replace("b.jpg,car1", "b.jpg,car3")}]),
    Case("photographs with accents in macOS's form, and in `manifest.csv`, `train.txt` and `val.txt` in the other",
         with_list({"e\u0301.jpg": A, "e\u0301.txt": LINE, "u\u0308.jpg": B, "u\u0308.txt": yolo("b", NAMES),
                    "manifest.csv": "file,group\né.jpg,car1\n", "train.txt": "é.jpg\n", "val.txt": "ü.jpg\n"}),
         "é of car1 in train: scratch; ü in val: dent; train.txt not used: says which photograph "
         "is in which split; val.txt not used: says which photograph is in which split"),
    Case("the export's own train, valid and test", _SPLIT, "a in train: scratch; b in val: dent; c in test: clean",
         says=["1 train, 1 val, 1 test"]),
    Case("the export's own splits, and `--resplit`", _SPLIT, RIGHT, options={"resplit": True}),
    Case("a car in two splits", {**_SPLIT, "manifest.csv": "file,group\na.jpg,VW 1\nb.jpg,VW 1\n"},
         "stops: VW 1 (train: train/a.jpg, val: valid/b.jpg)"),
    Case("a car in two splits, and `--resplit`", {**_SPLIT, "manifest.csv": "file,group\na.jpg,VW 1\nb.jpg,VW 1\n"},
         "a of VW 1: scratch; b of VW 1: dent; c: clean", options={"resplit": True}),
    Case("Roboflow's copies of one photograph in one split", augmented("train", "train"),
         "a_jpg.rf.0… of a: clean; a_jpg.rf.0… of a: clean; b: clean; c: clean"),
    Case("Roboflow's copies of one photograph in two splits", augmented("train", "valid"), "stops: --resplit"),
    Case("everything is called `train`", with_list(labelled("train/images/{}.jpg", "train/labels/{}.txt")), RIGHT,
         says=["which is no split"]),
]  # fmt: skip

_PREFIXED = {**pictures(), "labels/20481937-a.txt": LINE, "labels/0a1b2c3d-b.txt": yolo("b", NAMES)}
PREFIXES = [
    Case("Label Studio's export: a prefix of decimal digits alone",
         with_list({**_PREFIXED, "labels/33333333-c.txt": ""}, "notes.json", NOTES),
         RIGHT.replace("clean", "unreviewed")),
    Case("the same without `notes.json`: all names have a prefix, and one of them a letter",
         with_list({**_PREFIXED, "labels/33333333-c.txt": ""}), RIGHT),
    Case("the same, and some name has no prefix", with_list({**_PREFIXED, "labels/c.txt": ""}),
         "a: no label; b: dent; c: clean; 20481937-a.txt quarantined: no_photograph"),
    Case("Label Studio's export, and another file labels the photograph",
         with_list({**_PREFIXED, "labels/a.txt": LINE}, "notes.json", NOTES),
         "a: scratch; b: dent; c: no label; 20481937-a.txt quarantined: no_photograph"),
    Case("Label Studio's export, and two names are the same without their prefix",
         with_list({**_PREFIXED, "labels/11111111-a.txt": ""}, "notes.json", NOTES),
         "a: no label; b: dent; c: no label; 11111111-a.txt quarantined: no_photograph; "
         "20481937-a.txt quarantined: no_photograph"),
    Case("a date before a name", with_list({**pictures(), "labels/20240101-a.txt": LINE, "labels/c.txt": ""}),
         "a: no label; b: no label; c: clean; 20240101-a.txt quarantined: no_photograph"),
    Case("dropped beside `notes.json` of Label Studio", {"raw/uploads/b/a.jpg": A, "raw/labels/b/20481937-a.txt": LINE,
         "raw/labels/b/notes.json": NOTES}, "a: scratch"),
    Case("dropped beside `classes.txt`", {"raw/uploads/b/a.jpg": A, "raw/labels/b/20240101-a.txt": LINE,
         "raw/labels/b/classes.txt": LIST}, "a: no label; 20240101-a.txt quarantined: no_photograph"),
]  # fmt: skip


def _ground_truth() -> str:
    """Lines of a, with a scratch, of b, whose job failed, and of c, which has none."""
    boxes = label_documents.manifest_line((0, 10, 20, 40, 20))
    lines = [boxes | {"source-ref": f"s3://bucket/{stem}.jpg"} for stem in "abc"]
    for line in lines:
        line["damage"] = line["damage"] | {"image_size": [{"width": 96, "height": 72, "depth": 3}]}
    del lines[1]["damage"], lines[2]["damage"], lines[2]["damage-metadata"]
    lines[1]["damage-metadata"] = {"type": "groundtruth/object-detection", "failure-reason": "ClientError: too large"}
    return label_documents.groundtruth(*lines).decode()


UNREVIEWED = [
    Case("Ground Truth: a line whose job failed, and one without a job", {**pictures(), "output.manifest":
         _ground_truth()}, "a: scratch 10 20 50 40; b: unreviewed; c: unreviewed",
         says=["1 photograph unreviewed: damage failed: ClientError: too large, first b.jpg in output.manifest",
               "1 photograph unreviewed: no labelling job has an answer for it, first c.jpg"]),
    Case("COCO of Label Studio", {**pictures(), "1.json": edited(info={"contributor": "Label Studio"})},
         RIGHT.replace("clean", "unreviewed"), says=["1 photograph unreviewed: Label Studio's COCO"]),
]  # fmt: skip


def _of_b(data: bytes) -> bytes:
    """The label file with b in the place of a."""
    return data.replace(b"a.jpg", b"b.jpg").replace(b'"id": "a"', b'"id": "b"')


LATE = [
    Case("a half-copied photograph that is whole later", {**with_list(labelled()), "images/a.jpg": A[:500]},
         f"{RIGHT}; 1 photograph replaced; 3 label files unchanged", then=[{"images/a.jpg": A}]),
    Case("a half-copied photograph beside four new ones",
         {**with_list(labelled()), "images/a.jpg": A[:500], "images/d.jpg": car(4)},
         "a: no label; b: dent; c: clean; d: no label; a.jpg quarantined: truncated; a.txt quarantined: no_photograph"),
    *(
        Case(f"{TOOLS[form]} imported before its photograph",
             with_list({"b.jpg": B, name: data}, "classes.txt", "scratch\ndent\n"),
             f"{OF_200}; b: no label; 1 label file unchanged", then=[{"a.jpg": WIDE}])
        for form, (name, data) in label_documents.VALID.items()
    ),
    Case("a label file corrected, and imported again", with_list({**labelled(), "labels/a.txt": yolo("b", NAMES)}),
         f"{RIGHT}; 2 label files unchanged; 1 label file replaced", then=[{"labels/a.txt": LINE}]),
    Case("a COCO file corrected, that names two photographs less", {**pictures(), "1.json": edited()},
         f"{RIGHT}; 1 label file replaced", then=[{"1.json": edited(["b"])}], says=["'not_named_any_more': 2",
         "1.json does not name 2 photographs any more whose labels its earlier version gave: they still count"]),
    *(
        Case(f"{TOOLS[form]} corrected, that names another photograph",
             with_list({"a.jpg": WIDE, "b.jpg": car(6, width=200, height=100), name: data}, "classes.txt",
                       "scratch\ndent\n"),
             f"{OF_200}; b{OF_200[1:]}; 1 label file replaced", then=[{name: _of_b(data)}],
             says=["does not name 1 photograph any more"])
        for form, (name, data) in label_documents.VALID.items() if form not in ("yolo", "voc", "labelme")
    ),
    Case("a label file is gone", with_list(labelled()), f"{RIGHT}; 2 label files unchanged", then=[{}],
         gone=["labels/a.txt"], says=["not in the folder any more"]),
    Case("a photograph is gone", with_list(labelled()), "b: dent; c: clean; 3 label files unchanged", then=[{}],
         gone=["images/a.jpg"], says=["not in the folder any more"]),
    Case("another photograph under the name of one that is an image", with_list(labelled()),
         "b: dent; c: clean; a.jpg refused: differs from the photograph imported before under this name; "
         "3 label files unchanged; exit 1", then=[{"images/a.jpg": car(7)}], says=["import with --name"]),
]  # fmt: skip

_LONG = "x" * 251
FILE_NAMES = [
    Case("a name of 255 bytes", with_list({**labelled(), f"images/{_LONG}.jpg": car(4), f"labels/{_LONG}.txt": LINE}),
         f"{RIGHT}; {_LONG[:10]}…: scratch"),
    Case("a folder called `車両`", with_list(labelled()), RIGHT, folder="車両"),
    Case("a folder called `(!)`", with_list(labelled()), "stops: --name cars", folder="(!)"),
    Case("a folder called `(!)`, and `--name cars-1`", with_list(labelled()), RIGHT, folder="(!)",
         options={"name": "cars-1"}),
    Case("a name with a line break", with_list({**labelled(), "images/x\ny.jpg": car(4)}),
         f"{RIGHT}; x\\ny.jpg refused: it cannot be kept under its name; exit 1"),
    Case("names in Japanese, Korean and with accents",
         with_list({"車.jpg": A, "車.txt": LINE, "가.jpg": B, "가.txt": yolo("b", NAMES), "é.jpg": C, "é.txt": ""}),
         "é: clean; 車: scratch; 가: dent"),
    Case("names with spaces, `#` and `%`",
         with_list({"a 1#.jpg": A, "a 1#.txt": LINE, "50%.jpg": B, "50%.txt": yolo("b", NAMES)}),
         "50%: dent; a 1#: scratch"),
]  # fmt: skip
