"""data/imports/folder_recognition.py, layouts.py, layout_targets.py, photograph_index.py: what a file is for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from carsdepo_assets.data.imports.folder_recognition import read_layout
from carsdepo_assets.data.imports.import_refusals import FormatsConflict, ImportRefused
from carsdepo_assets.data.imports.layouts import FileKind, Layout

JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
BOX = "0 .5 .5 .1 .1\n"
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 1, "name": "dent"}],
    }
)
Files = dict[str, str | bytes]


def write(folder: Path, files: Files) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def targets(layout: Layout) -> dict[str, str]:
    """The target of each file by its path; in brackets why it has none."""
    return {use.path: use.target or f"({use.reason})" for use in layout.uses}


def check(layout: Layout, expected: dict[str, str]) -> None:
    """`expected`: target by path; in brackets the beginning of the reason why there is none."""
    seen = targets(layout)
    for path, target in expected.items():
        assert seen[path].startswith(target) if target.startswith("(") else seen[path] == target, (path, seen[path])


# Photographs and labels of each photograph get one path, whatever the folders are called.
@pytest.mark.parametrize(
    ("photograph", "label"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("Images/a.jpg", "Labels/a.txt"),
        ("image/a.jpg", "label/a.txt"),
        ("images/a.jpg", "annotations/a.txt"),
        ("images/a.jpg", "labels_v2/a.txt"),
        ("images/a.jpg", "labels-final/a.txt"),
        ("images/a.jpg", "yolo_labels/a.txt"),
        ("JPEGImages/a.jpg", "Annotations/a.txt"),
        ("img/a.jpg", "ann/a.txt"),
        ("image_2/a.jpg", "label_2/a.txt"),
        ("photos/a.jpg", "txt/a.txt"),
        ("pics/a.jpg", "marks/a.txt"),  # all photographs below one, all labels below the other
        ("Fotos/vorn/a.jpg", "Etiketten/vorn/a.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("train_images/a.jpg", "train_labels/a.txt"),
        ("trainImages/a.jpg", "trainLabels/a.txt"),
        ("images/train2017/a.jpg", "labels/train2017/a.txt"),
        ("images/val/a.jpg", "labels/valid/a.txt"),
        ("images/train/a.jpg", "labels/a.txt"),
        ("images/a.jpg", "labels/train/a.txt"),
        ("export/images/a.jpg", "export/labels/a.txt"),
        ("obj_train_data/a.jpg", "obj_train_data/a.txt"),
        ("images/a.jpg", "obj_train_data/a.txt"),
        ("a.jpg", "a.txt"),
        ("a.jpg", "labels/a.txt"),
        ("images/a.jpg", "images/a.txt"),
        ("images/a.jpg", "a.txt"),
        ("a.JPG", "a.TXT"),
        ("A.jpg", "labels/a.txt"),
        ("a.jpg", "a.jpg.txt"),
        ("a.jfif", "a.txt"),
        ("a.mpo", "a.txt"),
        ("a.heif", "a.txt"),
        ("a.JPEG", "a.txt"),
        ("a.photo", "a.txt"),  # a JPEG by its content
        ("images/cafe\u0301.jpg", "labels/caf\u00e9.txt"),
        ("front.jpg", "labels/1a2b3c4d-front.txt"),
        ("train.jpg", "train.txt"),
        ("images/classes2.jpg", "labels/classes2.txt"),
        ("dir.with.dots/a.b.jpg", "dir.with.dots/a.b.txt"),
    ],
)
def test_a_label_finds_its_photograph(tmp_path: Path, photograph: str, label: str) -> None:
    layout = read_layout(write(tmp_path / "x", {photograph: JPEG, label: BOX}))
    (picture,) = layout.of(FileKind.PHOTOGRAPH)
    (marked,) = layout.of(FileKind.LABELS)
    assert (picture.path, marked.path, layout.formats) == (photograph, label, ["yolo"])
    assert picture.target is not None
    assert marked.target == str(Path(picture.target).with_suffix(".txt"))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # The split of the export stays in the path.
        (
            {"train/images/a.jpg": JPEG, "valid/images/b.jpg": JPEG, "valid/labels/b.txt": BOX},
            {
                "train/images/a.jpg": "train/a.jpg",
                "valid/images/b.jpg": "valid/b.jpg",
                "valid/labels/b.txt": "valid/b.txt",
            },
        ),
        # A label of one split is not that of another's photograph of the same name.
        (
            {"images/train/a.jpg": JPEG, "images/val/b.jpg": JPEG, "labels/val/a.txt": BOX, "labels/val/b.txt": BOX},
            {"labels/val/a.txt": "val/a.txt", "labels/val/b.txt": "val/b.txt"},
        ),
        # Half of the labels beside the photographs, half in labels/.
        (
            {"images/a.jpg": JPEG, "images/b.jpg": JPEG, "images/a.txt": BOX, "labels/b.txt": BOX},
            {"images/a.txt": "a.txt", "labels/b.txt": "b.txt"},
        ),
        # An empty label says "no damage" among labels only.
        (
            {"images/a.jpg": JPEG, "labels/a.txt": "", "labels/b.txt": "", "todo.txt": ""},
            {"labels/a.txt": "a.txt", "labels/b.txt": "b.txt", "todo.txt": "(an empty text"},
        ),
        ({"pics/a.jpg": JPEG, "pics/b.jpg": JPEG, "marks/a.txt": BOX, "marks/b.txt": ""}, {"marks/b.txt": "b.txt"}),
        # Names decide only where one photograph can be meant.
        (
            {"images/front/a.jpg": JPEG, "images/rear/a.jpg": JPEG, "labels/a.txt": BOX},
            {"labels/a.txt": "(several photographs could be meant"},
        ),
        (
            {"carA/1.jpg": JPEG, "carA/1.txt": BOX, "carB/2.txt": BOX},
            {"carA/1.txt": "carA/1.txt", "carB/2.txt": "carB/2.txt"},
        ),
        # Two label files of one photograph.
        (
            {"images/a.jpg": JPEG, "labels/a.txt": BOX, "labels_v2/a.txt": BOX + BOX},
            {"labels/a.txt": "(another file labels", "labels_v2/a.txt": "(another file labels"},
        ),
        (
            {"images/a.jpg": JPEG, "labels/a.txt": BOX, "backup/labels/a.txt": BOX},
            {"labels/a.txt": "a.txt", "backup/labels/a.txt": "(the same labels as another"},
        ),
        (
            {"images/a.jpg": JPEG, "labels/a.txt": BOX, "images/a.txt": BOX},
            {"labels/a.txt": "(the same labels as another", "images/a.txt": "a.txt"},
        ),
        # Two photographs never get one place.
        (
            {"images/a.jpg": JPEG, "a.jpg": JPEG, "images/b.txt": BOX},
            {"a.jpg": "a.jpg", "images/a.jpg": "images/a.jpg"},
        ),
        ({"front_images/1.jpg": JPEG, "rear_images/1.jpg": JPEG}, {"front_images/1.jpg": "front_images/1.jpg"}),
        # Masks and pictures among labels are no photographs.
        (
            {
                "JPEGImages/a.jpg": JPEG,
                "SegmentationClass/a.png": JPEG,
                "masks/a.png": JPEG,
                "labels/a.jpg": JPEG,
                "labels/a.txt": BOX,
            },
            {
                "SegmentationClass/a.png": "(a mask",
                "masks/a.png": "(a mask",
                "labels/a.jpg": "(a picture among labels",
                "labels/a.txt": "a.txt",
            },
        ),
        ({"labels/a.jpg": JPEG, "labels/a.txt": BOX}, {"labels/a.jpg": "labels/a.jpg", "labels/a.txt": "labels/a.txt"}),
        # What is neither, and why.
        (
            {
                "a.jpg": JPEG,
                "train.txt": "data/images/a.jpg\ndata/images/b.jpg\n",
                "ImageSets/Main/val.txt": "a\n",
                "README.md": "x",
                "readme.txt": "Cars of 2024.",
                ".DS_Store": "x",
                "Thumbs.db": "x",
                "__MACOSX/._a.jpg": JPEG,
                ".git/HEAD": "x",
                "a.jpg~": JPEG,
                "b.jpg.part": JPEG,
                "labels.cache": "x",
                "prices.csv": "car,price\n1,2\n",
                "settings.json": "{}",
                "page.xml": "<page/>",
                "mkdocs.yml": "nav: []",
            },
            {
                "train.txt": "(a list of photographs",
                "ImageSets/Main/val.txt": "(a text",
                "README.md": "(neither a photograph nor labels: .md",
                "readme.txt": "(a text",
                ".DS_Store": "(hidden",
                "Thumbs.db": "(hidden",
                "__MACOSX/._a.jpg": "(hidden",
                ".git/HEAD": "(hidden",
                "a.jpg~": "(a backup",
                "b.jpg.part": "(an unfinished copy",
                "labels.cache": "(neither",
                "prices.csv": "(a table",
                "settings.json": "(JSON without labels",
                "page.xml": "(XML without labels",
                "mkdocs.yml": "(no names of classes",
            },
        ),
        (
            {"a.jpg": JPEG, "classes.txt": "scratch\ndent\n", "data.yaml": "names: [scratch, dent]"},
            {"classes.txt": "(says how classes", "data.yaml": "(says how classes"},
        ),
        # Metadata lies beside its photograph; what is called like it and holds labels is none.
        (
            {"images/a.jpg": JPEG, "images/a.json": "{}", "images/manifest.csv": "file,group\n", "Manifest.CSV": "x"},
            {
                "images/a.json": "a.json",
                "Manifest.CSV": "manifest.csv",
                "images/manifest.csv": "(another file has its place",
            },
        ),
        ({"a.jpg": JPEG, "a.json": COCO}, {"a.json": "a.json"}),
        # COCO: the document lies with the photographs of its split.
        (
            {"train2017/a.jpg": JPEG, "val2017/a.jpg": JPEG, "annotations/instances_train2017.json": COCO},
            {"annotations/instances_train2017.json": "train2017/instances_train2017.json"},
        ),
        ({"images/a.jpg": JPEG, "annotations/all.json": COCO}, {"annotations/all.json": "all.json"}),
        (
            {"train/a.jpg": JPEG, "train/_annotations.coco.json": COCO},
            {"train/_annotations.coco.json": "train/_annotations.coco.json"},
        ),
    ],
)  # fmt: skip
def test_what_each_file_is(tmp_path: Path, files: Files, expected: dict[str, str]) -> None:
    check(read_layout(write(tmp_path / "x", files)), expected)


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({"a.jpg": JPEG, "labels.json": COCO[:40]}, "labels.json"),
        ({"a.jpg": JPEG, "labels.json": "[" * 100_000}, "labels.json"),
        ({"a.jpg": JPEG, "a.json": '{"make": '}, "a.json"),
        ({"a.jpg": JPEG, "a.xml": "<annotation><object>"}, "a.xml"),
        ({"a.jpg": JPEG, "boxes.csv": "filename,xmin,ymin,xmax,ymax,class\na.jpg,1,2,3,4,dent\n"}, "boxes.csv"),
        ({"a.jpg": JPEG, "a.txt": "0 .5 .5 .1 .1 .9\n"}, "a.txt"),  # a score: a prediction
        ({"images/a\nb.jpg": JPEG, "images/a.jpg": JPEG}, "images/a\nb.jpg"),
        ({"images/a.jpg": JPEG, f"images/{'x' * 251}.jpg": JPEG, f"labels/{'x' * 251}.txt": BOX}, None),
        ({"readme.jpg": JPEG, "readme.txt": BOX}, "readme.txt"),
    ],
)
def test_what_should_have_come_in_is_refused_by_name_and_the_rest_comes_in(
    tmp_path: Path, files: Files, refused: str | None
) -> None:
    layout = read_layout(write(tmp_path / "x", {**files, "good.jpg": JPEG, "good.txt": BOX}))
    assert [use.path for use in layout.uses if use.refused] == ([refused] if refused else [])
    assert all(use.reason for use in layout.uses if use.target is None)
    assert {"good.jpg", "good.txt"} <= {use.path for use in layout.uses if use.target is not None}


def test_names_that_are_no_text_are_refused_by_themselves(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"good.jpg": JPEG})
    with open(os.fsencode(folder) + b"/bad\xff.jpg", "wb") as file:
        file.write(JPEG)
    layout = read_layout(folder)
    (bad,) = [use for use in layout.uses if use.refused]
    assert (bad.path, "not UTF-8" in bad.reason) == ("bad\udcff.jpg", True)


def test_links_are_followed_once_and_circles_are_not(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "disk", {"a.txt": BOX})
    folder = write(tmp_path / "x", {"images/a.jpg": JPEG})
    (folder / "labels").symlink_to(elsewhere)
    (folder / "images" / "up").symlink_to(folder)
    (folder / "again").symlink_to(elsewhere)
    (folder / "lost.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.jpg")
    layout = read_layout(folder)
    check(layout, {"images/a.jpg": "a.jpg"})
    assert layout.listing.no_files == {
        "images/up": "a link that leads back to a folder above",
        "labels": "a link to a folder that was read already",
        "lost.jpg": "a link that leads nowhere",
        "pipe.jpg": "neither a file nor a folder",
    }
    assert layout.listing.links == [f"again leads to {elsewhere}"]
    (folder / "again").unlink()
    assert targets(read_layout(folder))["labels/a.txt"] == "a.txt"


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "x", {"images/a.jpg": JPEG, "labels/a.txt": BOX})
    scandir = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("labels"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert read_layout(folder).listing.unreadable == ["labels (Permission denied)"]


def test_formats_that_label_the_same_photographs_are_asked_for(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"images/a.jpg": JPEG, "labels/a.txt": BOX, "all.json": COCO})
    with pytest.raises(FormatsConflict, match=r"such as a\.\w+, .*coco \(1 file\), yolo \(1 file\).*--format coco"):
        read_layout(folder)
    check(read_layout(folder, "yolo"), {"labels/a.txt": "a.txt", "all.json": "(labels in the format coco, and"})
    check(read_layout(folder, "coco"), {"all.json": "all.json", "labels/a.txt": "(labels in the format yolo, and"})


def test_formats_of_different_photographs_are_both_taken(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"a.jpg": JPEG, "b.jpg": JPEG, "b.txt": "5 .5 .5 .1 .1", "all.json": COCO})
    layout = read_layout(folder)
    assert (layout.formats, sorted(layout.classes), layout.clashing_names) == (["coco", "yolo"], ["5", "dent"], {})
    write(folder, {"b.txt": "1 .5 .5 .1 .1"})  # COCO's id of dent
    layout = read_layout(folder)
    assert (sorted(layout.classes), layout.clashing_names) == (["1", "dent"], {})
    write(folder, {"all.json": COCO.replace('"dent"', '"1"')})
    assert "class 1 is another in yolo than in coco" in read_layout(folder).clashing_names["1"]


@pytest.mark.parametrize(
    ("form", "words"), [("coco", "no label file in the format coco. There is yolo"), ("vox", "'vox' is not known")]
)
def test_a_format_that_is_not_there_is_refused(tmp_path: Path, form: str, words: str) -> None:
    folder = write(tmp_path / "x", {"a.jpg": JPEG, "a.txt": BOX})
    with pytest.raises(ImportRefused, match=words):
        read_layout(folder, form)


def test_the_layout_is_said(tmp_path: Path) -> None:
    files: Files = {f"{s}/images/{i}.jpg": JPEG for s in ("train", "valid") for i in range(2)}
    layout = read_layout(write(tmp_path / "x", {**files, "train/labels/0.txt": BOX}))
    assert layout.describe() == "photographs in train/images/ (2), valid/images/ (2); labels in train/labels/ (1)"


VIA = {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": [{"shape_attributes": {"name": "rect", "x": 1}}]}}
CREATE_ML = [{"image": "a.jpg", "annotations": [{"label": "dent", "coordinates": {"x": 1, "y": 2, "width": 3}}]}]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("via.json", json.dumps(VIA)),
        ("createml.json", json.dumps(CREATE_ML)),
        ("boxes.json", json.dumps({"a.jpg": [{"BoundingBox": {"left": 1}}]})),
        ("other.xml", "<d:Set xmlns:d='u'><d:Picture name='a.jpg'><d:Box left='1'/></d:Picture></d:Set>"),
        ("boxes.csv", "a.jpg,10,20,30,40,dent\n"),
        ("boxes.csv", "photos/a.jpg;10.5;20;30;40\n"),
        ("train.txt", "photos/a.jpg 10,20,30,40,0 50,60,70,80,1\n"),
    ],
)
def test_labels_in_a_format_that_is_not_read_are_refused(tmp_path: Path, name: str, data: str) -> None:
    layout = read_layout(write(tmp_path / "cars", {"a.jpg": JPEG, name: data}))
    (use,) = [use for use in layout.uses if use.path == name]
    assert (use.kind, use.refused, use.target) == (FileKind.LABELS, True, None)
    assert "no format that is read" in use.reason


def test_beside_labels_that_are_read_other_boxes_are_said_and_stop_nothing(tmp_path: Path) -> None:
    files: Files = {"a.jpg": JPEG, "a.txt": BOX, "scenes.json": json.dumps({"a": {"boxes": [{"x": 1}]}})}
    (use,) = [use for use in read_layout(write(tmp_path / "cars", files)).uses if use.path == "scenes.json"]
    assert (use.refused, use.reason) == (False, "JSON with boxes, which is no format that is read")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("settings.json", json.dumps({"width": 4, "shapes": [], "boxes": 3})),
        ("sales.xml", "<sales><car photo='a.jpg'><price>9000</price></car></sales>"),
        ("sales.csv", "photo,price,year\na.jpg,9000,2019\n"),
        ("sales.csv", "a.jpg,9000,2019,120000\n"),
        ("notes.txt.txt", "a.jpg was taken in 2019\n"),
    ],
)
def test_other_files_are_not_taken_for_labels(tmp_path: Path, name: str, data: str) -> None:
    layout = read_layout(write(tmp_path / "cars", {"a.jpg": JPEG, name: data}))
    (use,) = [use for use in layout.uses if use.path == name]
    assert (use.kind, use.refused, use.target) == (FileKind.OTHER, False, None)


@pytest.mark.parametrize("name", ["more.zip", "more.TAR.GZ", "in/more.7z"])
def test_an_archive_in_a_folder_is_no_silence(tmp_path: Path, name: str) -> None:
    layout = read_layout(write(tmp_path / "cars", {"a.jpg": JPEG, name: b"PK"}))
    (use,) = [use for use in layout.uses if use.path == name]
    assert use.refused
    assert "unpack it" in use.reason
