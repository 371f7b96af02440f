"""data/datasets/declared_splits.py, split_files.py: the split of an export is found, or refused where it leaks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from carsdepo_assets.data.datasets.declared_splits import (
    DeclaredSplits,
    SplitLeaks,
    declared_of,
    find_declared_splits,
    write_declared_splits,
)
from carsdepo_assets.data.datasets.split_files import split_of_name
from carsdepo_assets.lake.lake import Lake

Files = Mapping[str, str]


def coco(*names: str) -> str:
    return json.dumps({"images": [{"id": i, "file_name": name} for i, name in enumerate(names)]})


def find(folder: Path, files: Files, resplit: bool = False) -> DeclaredSplits:
    """Photographs are the files in jpg; they keep their path below the folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    photographs = {name: folder / name for name in files if name.lower().endswith((".jpg", ".png"))}
    sidecars = {name: folder / name for name in files if PurePosixPath(name).name == "manifest.csv"}
    return find_declared_splits(folder, photographs, sidecars, resplit)


FLAT = dict.fromkeys(("images/a.jpg", "images/b.jpg", "images/c.jpg"), "")
VAL_OF_FLAT = {"images/a.jpg": "train", "images/b.jpg": "val", "images/c.jpg": "test"}


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        # Folders, in either order, by any of their names.
        (["train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg"], "train val test"),
        (["images/train/a.jpg", "images/val/b.jpg", "images/test/c.jpg"], "train val test"),
        (["Training/a.jpg", "Validation/b.jpg", "TESTING/c.jpg"], "train val test"),
        (["train2017/a.jpg", "val2017/b.jpg", "test-set/c.jpg"], "train val test"),
        (["obj_Train_data/a.jpg", "obj_Validation_data/b.jpg", "obj_Test_data/c.jpg"], "train val test"),
        (["export/images/train/dent/a.jpg", "export/images/val/dent/b.jpg"], "train val"),
        (["train/a.jpg", "val/b.jpg", "more/c.jpg"], "train val -"),
        (["test/train/a.jpg", "test/val/b.jpg"], "train val"),  # a folder of any name around the export
        (["test/a.jpg", "test/b.jpg"], "test test"),
        # What is no split.
        (["a.jpg", "images/b.jpg"], "- -"),
        (["train/a.jpg", "train/b.jpg"], "- -"),
        (["obj_train_data/a.jpg"], "-"),
        (["trains/a.jpg", "validated/b.jpg", "crash test/c.jpg"], "- - -"),
        (["train.jpg", "val.jpg"], "- -"),
    ],
)
def test_folders(tmp_path: Path, files: list[str], splits: str) -> None:
    found = find(tmp_path, dict.fromkeys(files, ""))
    assert [found.splits.get(file, "-") for file in files] == splits.split()


@pytest.mark.parametrize(
    "files",
    [
        {"train.txt": "images/a.jpg\n", "val.txt": "images/b.jpg\n", "test.txt": "images/c.jpg\n"},
        {"train.txt": "data/x/a.jpg", "valid.txt": "C:\\data\\b.jpg\r\n", "test.txt": "\n./images/C.JPG\n"},
        {"autosplit_train.txt": "./images/a.jpg", "autosplit_val.txt": "./images/b.jpg", "test.txt": "c.jpg"},
        {f"ImageSets/Main/{s}.txt": n for s, n in (("train", "a"), ("val", "b"), ("test", "c"), ("trainval", "a\nb"))},
        {f"{s}.json": coco(n) for s, n in (("train", "a.jpg"), ("val", "b.jpg"), ("test", "images/c.jpg"))},
        {
            "annotations/instances_train2017.json": coco("a.jpg"),
            "annotations/instances_val2017.json": coco("b.jpg"),
            "annotations/image_info_test2017.json": coco("c.jpg"),
        },
        {"data.yaml": "train: lists/1.txt\nval: lists/2.txt\ntest: [lists/3.txt]\n", "lists/1.txt": "../images/a.jpg",
         "lists/2.txt": "../images/b.jpg", "lists/3.txt": "../images/c.jpg"},
        # CVAT writes train.txt with all photographs, whatever their subset; so do people.
        {"train.txt": "a.jpg\nb.jpg\nc.jpg\n", "train.json": coco("a.jpg"), "val.json": coco("b.jpg"),
         "test.json": coco("c.jpg")},
    ],
)  # fmt: skip
def test_files_that_name_the_photographs_of_a_split(tmp_path: Path, files: Files) -> None:
    assert find(tmp_path, {**FLAT, **files}).splits == VAL_OF_FLAT


@pytest.mark.parametrize(
    ("yaml", "names"),
    [
        ("train: images/one\nval: images/two\ntest: images/three\n", "one two three"),
        ("path: ../datasets/cars\ntrain: images/one\nval: images/two\ntest: images/three\n", "one two three"),
        ("train: /home/me/cars/images/one\nval: /home/me/cars/images/two\ntest: D:\\x\\images\\three", "one two three"),
        ("train: ../images/one\nval: ../images/two\ntest: ''\n", "one two"),
        ("train: images\nval: images\n", ""),  # a small example that validates on what it trains on
        ("train: ../one/images\nval: ../two/images\n", ""),  # not there: `images` alone is not meant
        ("train: 5\nval: {a: 1}\ntest:\n", ""),
        ("train: [", ""),
    ],
)
def test_folders_of_any_name_that_a_yaml_names(tmp_path: Path, yaml: str, names: str) -> None:
    photographs = {f"images/{name}/{name}.jpg": "" for name in ("one", "two", "three")}
    expected = {f"images/{n}/{n}.jpg": s for n, s in zip(names.split(), ("train", "val", "test"), strict=False)}
    assert find(tmp_path, {**photographs, "data.yaml": yaml}).splits == expected


@pytest.mark.parametrize(
    "files",
    [
        {"labels/train.txt": "0 .5 .5 .1 .1\n", "labels/val.txt": ""},  # labels of train.jpg and val.jpg
        {"car_train.txt": "a 1\nb -1\n", "car_val.txt": "c 1\n"},  # VOC's lists of one class
        {"train.json": "[", "val.json": "{}", "test.json": '{"images": [1, {"file_name": 5}]}'},
        {"train.txt": "x.jpg\ny.jpg\n", "val.txt": "z.jpg\n"},
    ],
)
def test_files_that_only_look_like_it(tmp_path: Path, files: Files) -> None:
    assert find(tmp_path, {**FLAT, "images/train.jpg": "", "images/val.jpg": "", **files}) == DeclaredSplits()


def test_a_name_in_two_folders_is_found_by_the_rest_of_its_path(tmp_path: Path) -> None:
    files = {"one/a.jpg": "", "two/a.jpg": "", "train.txt": "data/one/a.jpg\n", "val.txt": "/x/two/a.jpg\n"}
    assert find(tmp_path, files).splits == {"one/a.jpg": "train", "two/a.jpg": "val"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"train/a.jpg": "", "valid/b.jpg": "", "test/c.jpg": ""},
            "splits as declared by test/, train/, valid/: 1 train, 1 val, 1 test",
        ),
        (
            {"train/a.jpg": "", "val/b.jpg": "", "c.jpg": ""},
            "splits as declared by train/, val/: 1 train, 1 val; 1 photograph in none, to be dealt; none "
            "for test: import some, or give --resplit to deal all anew by car",
        ),
        ({"train/a.jpg": ""}, "train/: all of it is called train, which is no split: photographs are dealt by car"),
        (
            {"train/a.jpg": "", "val/b.jpg": "", "test/c.jpg": "", "x.yaml": "train: train\nval: val\n"},
            "splits as declared by x.yaml (train:), x.yaml (val:) and test/, train/, val/: 1 train, 1 val, 1 test",
        ),
        (
            {"train/a.jpg": "", "val/b.jpg": "", "test/c.jpg": "", "x.yaml": "train: train\nval: val\ntest: test\n"},
            "splits as declared by x.yaml (test:), x.yaml (train:), x.yaml (val:): 1 train, 1 val, 1 test",
        ),
        ({"a.jpg": ""}, ""),
    ],
)
def test_what_was_found_is_said(tmp_path: Path, files: Files, said: str) -> None:
    assert find(tmp_path, files).sentence == said


RF = "_jpg.rf.0123456789abcdef0123456789abcdef.jpg"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train/a.jpg": "", "test/b.jpg": "", "manifest.csv": "file;group\ntrain/a.jpg;VW 1\ntest/b.jpg;VW 1\n"},
            r"1 car .* VW 1 \(train: train/a.jpg, test: test/b.jpg\).*--resplit",
        ),
        (
            {"train/a.jpg": "", "val/b.jpg": "", "manifest.csv": "file,listing\na.jpg,L\nb.jpg,L\n"},
            r"L \(train: train/a.jpg, val: val/b.jpg\)",
        ),
        ({f"train/a{RF}": "", f"valid/a{RF.replace('0', '9')}": ""}, r"1 car or augmented photograph in .* a \(train"),
        ({f"train/a{RF}": "", "valid/a.jpg": ""}, r"augmented"),
        (
            {**FLAT, "train.txt": "a.jpg\nb.jpg\n", "val.txt": "b.jpg\n"},
            r"images/b.jpg is train by train.txt and val by val.txt",
        ),
        (
            {"train/a.jpg": "", "val/b.jpg": "", "train.txt": "b.jpg", "val.txt": "a.jpg"},
            r"a.jpg is val by val.txt and train by train/",
        ),
    ],
)
def test_a_split_that_leaks_is_refused_unless_it_is_dealt_anew(tmp_path: Path, files: Files, message: str) -> None:
    with pytest.raises(SplitLeaks, match=message):
        find(tmp_path, files)
    again = find(tmp_path, files, resplit=True)
    assert (again.splits, again.sentence) == ({}, "all photographs are dealt to splits anew (--resplit)")


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("VAL", "val"), ("valid_images", "val"), ("trainval", None), ("train_val", None), ("", None)],
)
def test_a_name_says_one_split_and_nothing_else(name: str, split: str | None) -> None:
    assert split_of_name(name) == split


def test_what_is_stored_is_asked_for_by_photograph(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    write_declared_splits(lake, "one", DeclaredSplits({"train/a.jpg": "train", "val/b.jpg": "val"}), {"train/a.jpg"})
    write_declared_splits(lake, "two", DeclaredSplits({"a.jpg": "test"}), {"a.jpg"})
    uploads = {"one/train/a.jpg": "A", "one/val/b.jpg": "B", "two/a.jpg": "A", "two/c.jpg": "C", "d.jpg": "D"}
    lake.append("uploads", [{"key": f"raw/uploads/{k}", "sha256": s, "batch_id": "1"} for k, s in uploads.items()], "u")
    assert declared_of(lake, "ABCD") == {"A": "test", "B": "val"}
    write_declared_splits(lake, "two", DeclaredSplits(), {"a.jpg"})  # imported again, with --resplit
    assert declared_of(lake, "ABCD") == {"A": "train", "B": "val"}
    write_declared_splits(lake, "one", DeclaredSplits({"train/a.jpg": "val"}), {"train/a.jpg"})  # only this one
    assert declared_of(lake, "AB") == {"A": "val", "B": "val"}
