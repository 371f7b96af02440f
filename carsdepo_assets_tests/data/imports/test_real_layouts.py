"""data/imports/importing.py, import_accounts.py, import_states.py: ten exports of tools, from folder to boxes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.batches.batches import list_batches, plan_batches
from carsdepo_assets.data.imports.account import ImportAccount
from carsdepo_assets.data.imports.import_accounts import account_of, store_account
from carsdepo_assets.data.imports.importing import import_folder
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.imports.test_layouts import write
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.real_layouts import BOXES, LAYOUTS, PHOTOGRAPHS, Files
from carsdepo_assets_tests.data.small_lake import RULES, car

IDS = {"scratch": 0, "dent": 1}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@dataclass
class Import:
    """Imports folders as the command does, without Dagster; each at a later time."""

    lake: Lake
    now: datetime = NOW

    def __call__(self, folder: Path, **options: Any) -> ImportAccount:
        self.now += timedelta(minutes=1)
        form, mapping = options.pop("form", "auto"), options.pop("mapping", {})
        imported = import_folder(self.lake, folder, form, mapping, RULES, self.now, **options)
        plan_batches(self.lake, "uploads", RULES, self.now, close_all=True)
        for batch in list_batches(self.lake, "uploads"):
            ingest_uploads(self.lake, batch, RULES)
            build_images(self.lake, batch, RULES)
        plan_batches(self.lake, "labels", RULES, self.now, close_all=True)
        for batch in list_batches(self.lake, "labels"):
            ingest_labels(self.lake, batch, RULES, self.now)
        account = account_of(self.lake, imported, RULES, self.now)
        store_account(self.lake, account)
        assert account.adds_up
        assert account.files == sum(1 for path in folder.rglob("*") if path.is_file() or path.is_symlink())
        return account


def boxes(lake: Lake) -> dict[str, list[tuple[int, list[float]]]]:
    """(class id, corners) of each photograph that has labels, by the stem of its content's name."""
    names = {row["image_id"]: row["key"] for row in lake.read("images").to_pylist()}
    of_bytes = {data: stem for stem, data in PHOTOGRAPHS.items()}
    return {
        of_bytes.get(lake.get(names[row["image_id"]]), names[row["image_id"]]): [
            (box["class_id"], [round(box[side], 1) for side in ("x1", "y1", "x2", "y2")]) for box in row["boxes"]
        ]
        for row in latest_revisions(lake.read("annotations")).to_pylist()
    }


def lines(account: ImportAccount) -> dict[tuple[str, str], int]:
    """The number of files by what they are and what became of them."""
    return {(line.kind, line.state): account.count(line.kind, line.state) for line in account.lines}


EXPECTED = {stem: [(IDS[BOXES[stem][0]], list(BOXES[stem][1]))] if stem in BOXES else [] for stem in PHOTOGRAPHS}
# Tools with a file for all photographs have fewer label files.
DOCUMENTS = {"roboflow_coco": 2, "cvat_xml": 1, "label_studio_json": 1, "ground_truth": 1}
FORMATS = {
    "roboflow_coco": "coco", "cvat_xml": "cvat", "label_studio_json": "labelstudio", "voc": "voc",
    "ground_truth": "groundtruth",
}  # fmt: skip


@pytest.mark.parametrize("tool", LAYOUTS)
def test_an_export_comes_in_with_its_boxes_and_classes(lake: Lake, tmp_path: Path, tool: str) -> None:
    bring = Import(lake)
    folder = write(tmp_path / tool, LAYOUTS[tool]())
    account = bring(folder)
    clean = tool != "label_studio_yolo"  # its empty files may be of unfinished tasks
    assert boxes(lake) == {stem: damage for stem, damage in EXPECTED.items() if damage or clean}
    assert (account.format, account.failures) == (FORMATS.get(tool, "yolo"), ())
    counts = lines(account)
    assert counts["photograph", "accepted"] == 3
    assert counts["label file", "accepted"] == DOCUMENTS.get(tool, 3)
    assert {state for _, state in counts} <= {"accepted", "not used"}
    unreviewed = 0 if clean else 1
    labelled = {"with_damage": 2, "clean": 1 - unreviewed, "unreviewed": unreviewed, "unlabelled": 0}
    assert account.figures == {**labelled, "boxes": 2, "with_a_group": 0, "groups": 0}
    assert account.next[-1] == "`carsdepo train` learns from the labels of now"
    assert len(account.next) == (1 if clean else 2)
    # Nothing changes when it is imported again.
    again = bring(folder)
    assert {state for _, state in lines(again)} <= {"unchanged", "not used"}
    assert again.count("label file", "unchanged") == counts["label file", "accepted"]
    assert lake.read("annotations").num_rows == 3


def test_the_split_of_an_export_is_in_the_account_and_in_the_keys(lake: Lake, tmp_path: Path) -> None:
    account = Import(lake)(write(tmp_path / "cars", LAYOUTS["roboflow_yolov8"]()))
    assert "2 train, 1 val" in account.splits
    keys = sorted(lake.read("images")["key"].to_pylist())
    assert [key.split("/")[3] for key in keys] == ["train", "train", "valid"]


@pytest.mark.parametrize("place", ["images/{}", "Photos/{}", "train/images/{}", "train_images/{}", "front/img/{}"])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.slow
def test_groups_are_carried(lake: Lake, tmp_path: Path, place: str, whole: bool) -> None:
    """Rows name the photographs as they lie in the folder, or by their names alone."""
    rows = "".join(f"{place.format(name) if whole else name},car-{name}\n" for name in ("a.jpg", "b.jpg"))
    files: Files = {place.format(f"{stem}.jpg"): PHOTOGRAPHS[stem] for stem in "ab"}
    account = Import(lake)(write(tmp_path / "cars", {**files, "manifest.csv": f"file,group\n{rows}"}))
    assert account.count("metadata", "accepted") == 1
    assert sorted(lake.read("images")["group_hint"].to_pylist()) == ["car-a.jpg", "car-b.jpg"]


def test_every_file_is_in_one_line(lake: Lake, tmp_path: Path) -> None:
    files: Files = {
        **LAYOUTS["ultralytics"](),
        "images/train/twin.jpg": PHOTOGRAPHS["a"],
        "images/train/broken.jpg": car(9)[:300],
        "labels/train/broken.txt": "",
        "labels/train/lonely.txt": "0 .5 .5 .1 .1\n",
        "images/train/slip.jpg": car(8),
        "labels/train/slip.txt": "7 .5 .5 .1 .1\n",
        "images/val/open.jpg": car(7),
        "extra.json": '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": ',
        ".DS_Store": b"\0",
    }
    account = Import(lake)(write(tmp_path / "cars", files))
    assert [(line.kind, line.state, line.reason.partition(":")[0], line.files) for line in account.lines] == [
        ("photograph", "accepted", "", 5),
        ("photograph", "duplicate", "the same bytes as another photograph", 1),
        ("photograph", "quarantined", "truncated", 1),
        ("label file", "accepted", "", 3),
        ("label file", "quarantined", "no_photograph", 2),
        ("label file", "quarantined", "unknown_class", 1),
        ("label file", "refused", "it looks like coco and cannot be read", 1),
        ("list of names", "not used", "says how classes are called", 1),
        ("other file", "not used", "a list of photographs", 1),
        ("other file", "not used", "hidden, or a system's own file", 1),
        ("other file", "not used", "neither a photograph nor labels", 1),
    ]
    assert account.notes[0].startswith("class 7 has no name: 1 box in 1 file: labels/train/slip.txt (line 1).")
    assert account.failures[0].startswith("1 label file refused: it looks like coco and cannot be read, first extra.js")
    assert account.figures["unlabelled"] == 2
    (row,) = lake.read("imports").to_pylist()
    assert (row["name"], row["format"], row["folder"]) == ("cars", "yolo", "cars")
    assert '"quarantined": 3' in row["counts"]


def test_labels_of_which_none_was_read_are_a_failure(lake: Lake, tmp_path: Path) -> None:
    account = Import(lake)(write(tmp_path / "cars", {"a.jpg": car(1), "a.txt": "0 .5 .5 .1\n"}), classes="scratch")
    assert account.failures == ("1 label file there, and none was read",)


def test_what_is_left_out_and_what_is_no_damage(lake: Lake, tmp_path: Path) -> None:
    files: Files = {"a.jpg": PHOTOGRAPHS["a"], "a.txt": "0 .5 .5 .1 .1\n1 .5 .5 .2 .2\n2 .5 .5 .5 .5\n"}
    files["classes.txt"] = "glass\nglare\nscratch\n"
    bring, folder = Import(lake), write(tmp_path / "cars", files)
    account = bring(folder, mapping={"glass": "-", "glare": "reflection"})
    assert account.classes == ("0 glass -> left out", "1 glare -> reflection (no damage)", "2 scratch -> scratch")
    (row,) = latest_revisions(lake.read("annotations")).to_pylist()
    assert [box["class_id"] for box in row["boxes"]] == [0]
    assert [box["cause"] for box in row["negatives"]] == ["reflection"]


def test_corrected_names_are_read_anew(lake: Lake, tmp_path: Path) -> None:
    bring = Import(lake)
    folder = write(tmp_path / "cars", {**LAYOUTS["cvat_yolo"](), "obj.names": "scratch\ndent\n"})
    bring(folder)
    assert boxes(lake)["a"][0][0] == IDS["dent"]
    write(folder, {"obj.names": "dent\nscratch\n"})
    account = bring(folder)
    assert boxes(lake) == EXPECTED
    assert (account.count("label file", "read again"), account.count("label file", "unchanged")) == (3, 0)
    bring(folder, mapping={"scratch": "dent"})
    assert boxes(lake)["a"][0][0] == IDS["dent"]
