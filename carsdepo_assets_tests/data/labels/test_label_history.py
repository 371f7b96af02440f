"""data/labels/label_history.py, label_agreement.py: who labelled what and when, what changed, and how far they
agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.data.datasets.dataset import NoLabelledPhotographs, build_dataset
from carsdepo_assets.data.labels.label_agreement import label_agreement
from carsdepo_assets.data.labels.label_history import NoSuchPhotograph, changes, find_photograph, label_history
from carsdepo_assets.lake.label_conflicts import truth_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload

EXCLUDE = Policy(data=DataPolicy(longest_side_px=64, conflicts="exclude"))


def by(annotator: str, *lines: str, name: str = "a.jpg") -> bytes:
    """A Label Studio export of one task that this person finished; lines as in YOLO, with class names."""
    result = []
    for line in lines:
        kind, x, y, w, h = line.split()
        cx, cy, width, height = (100 * float(v) for v in (x, y, w, h))
        value = {"x": cx - width / 2, "y": cy - height / 2, "width": width, "height": height, "rotation": 0}
        value |= {"rectanglelabels": [kind]}
        result.append({"type": "rectanglelabels", "original_width": 96, "original_height": 72, "value": value})
    annotation = {"result": result, "completed_by": {"email": annotator}, "created_at": "2029-01-01T00:00:00Z"}
    return json.dumps([{"id": 1, "data": {"image": name}, "annotations": [annotation]}]).encode()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """a.jpg was labelled by anna, corrected by her, and labelled by ben; b.jpg by both alike; c.jpg by nobody."""
    lake = Lake.open(tmp_path / "lake")
    upload(lake, {"x/a.jpg": car(1), "x/b.jpg": car(2), "x/c.jpg": car(3)})
    label(lake, {"x/1.json": by("anna", "scratch 0.5 0.5 0.5 0.5"), "x/2.json": by("anna", name="b.jpg")})
    label(lake, {"x/3.json": by("anna", "scratch 0.5 0.5 0.4 0.5", "dent 0.1 0.1 0.1 0.1")})
    label(lake, {"x/4.json": by("ben", "dent 0.5 0.5 0.4 0.5"), "x/5.json": by("ben", name="b.jpg")})
    return lake


def id_of(lake: Lake, name: str) -> str:
    return find_photograph(lake, name)


def test_every_revision_says_who_and_what_changed(lake: Lake) -> None:
    built = dataset(lake)
    told = label_history(lake, id_of(lake, "a.jpg"), RULES)
    assert [(r["by"], r["key"], r["counts"]) for r in told["revisions"]] == [
        ("anna", "raw/labels/x/1.json", False),
        ("anna", "raw/labels/x/3.json", False),
        ("ben", "raw/labels/x/4.json", True),
    ]
    first, second, third = (r["change"] for r in told["revisions"])
    assert [b["class"] for b in first["added"]] == ["scratch"]
    assert [(b["class"], b["iou"]) for b in second["moved"]] == [("scratch", 0.8)]
    assert [b["class"] for b in second["added"]] == ["dent"]
    assert [(b["before"], b["class"]) for b in third["renamed"]] == [("scratch", "dent")]
    assert [b["class"] for b in third["removed"]] == ["dent"]
    (held,) = told["datasets"]
    assert held == {
        "version": built.version,
        "split": held["split"],
        "revisions": [told["revisions"][2]["revision_id"]],
        "newest": True,
    }
    assert told["keys"] == ["raw/uploads/x/a.jpg"]


def test_an_annotator_who_agrees_is_kept_once(lake: Lake) -> None:
    told = label_history(lake, id_of(lake, "b.jpg"), RULES)
    assert [(r["by"], len(r["boxes"]), r["counts"]) for r in told["revisions"]] == [
        ("anna", 0, False),
        ("ben", 0, True),
    ]
    assert label(lake, {"x/6.json": by("anna", name="b.jpg"), "x/7.json": by("ben", name="b.jpg")}).rows.num_rows == 0


def test_a_photograph_without_labels(lake: Lake) -> None:
    told = label_history(lake, id_of(lake, "c.jpg"), RULES)
    assert (told["revisions"], told["datasets"], told["disputed"]) == ([], [], None)


@pytest.mark.parametrize("name", ["a.jpg", "x/a.jpg", "raw/uploads/x/a.jpg"])
def test_photographs_are_found_by_name_key_and_id(lake: Lake, name: str) -> None:
    image_id = id_of(lake, name)
    assert id_of(lake, image_id) == id_of(lake, image_id[:8]) == image_id


def test_a_name_of_none_or_of_several_is_told(lake: Lake) -> None:
    upload(lake, {"y/a.jpg": car(7)})
    with pytest.raises(NoSuchPhotograph, match=r"2 photographs are called a\.jpg: .*raw/uploads/x/a\.jpg"):
        id_of(lake, "a.jpg")
    assert id_of(lake, "y/a.jpg") != id_of(lake, "x/a.jpg")
    for name in ("zzz.jpg", "", "abcdef"):
        with pytest.raises(NoSuchPhotograph, match="no photograph"):
            id_of(lake, name)
    with pytest.raises(NoSuchPhotograph, match=r"Is it raw/uploads/x/a\.jpg or raw/uploads/y/a\.jpg\?"):
        id_of(lake, "a")


def test_agreement_by_hand(lake: Lake) -> None:
    report = label_agreement(lake, RULES)
    assert report.photographs == 2
    assert report.annotators == {"anna": 2, "ben": 2}
    (pair,) = report.by_pair
    assert pair.annotators == ("anna", "ben")
    assert (pair.photographs, pair.matched, pair.first, pair.second, pair.f1) == (2, 0, 2, 1, 0.0)
    assert (pair.both_clean, pair.one_clean, pair.other_class) == (1, 0, 1)
    assert report.overall.f1 == 0.0
    assert {name: (c.first, c.second) for name, c in report.by_class.items()} == {"scratch": (1, 0), "dent": (1, 1)}
    assert [(p.key, p.agreement) for p in report.least] == [("raw/uploads/x/a.jpg", 0.0), ("raw/uploads/x/b.jpg", 1.0)]
    assert len(label_agreement(lake, RULES, least=1).least) == 1


def test_disputed_photographs_are_left_out_of_the_dataset_and_named(lake: Lake) -> None:
    built = build_dataset(lake, EXCLUDE, NOW)
    disputed = id_of(lake, "a.jpg")
    assert built.manifest["image_id"].to_pylist() == [id_of(lake, "b.jpg")]
    assert built.summary["disputed"] == {disputed: "anna and ben agree by 0.00, less than 0.5"}
    assert any("1 labelled photographs are left out" in note for note in built.summary["notes"])
    assert label_history(lake, disputed, EXCLUDE)["disputed"] == built.summary["disputed"][disputed]
    assert dataset(lake).manifest.num_rows == 2  # the default: the latest counts


def test_a_lake_of_disputes_alone_says_so(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    upload(lake, {"x/a.jpg": car(1)})
    label(lake, {"x/1.json": by("anna", "dent 0.5 0.5 0.5 0.5")})
    label(lake, {"x/2.json": by("ben")})
    with pytest.raises(NoLabelledPhotographs, match="labels agreement"):
        build_dataset(lake, EXCLUDE, NOW)


def run(lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *call: str) -> Any:
    monkeypatch.setenv("CARSDEPO_LAKE", lake.url)
    return CliRunner().invoke(app, [*call, "--home", str(tmp_path / "home")])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            ["labels", "history", "a.jpg"],
            ["2. ", "anna", "~ scratch (24, 18, 72, 54) -> (28.8, 18, 67.2, 54), IoU 0.80"],
        ),
        (["labels", "history", "b.jpg"], ["no damage", "ben  <- counts", "the same boxes"]),
        (["labels", "history", "c.jpg"], ["It has no labels.", "No dataset holds it."]),
        (
            ["labels", "agreement"],
            ["anna / ben: F1 0.000 on 2 photographs, 0 matched of 2 + 1", "x/a.jpg  boxes: anna 2"],
        ),
    ],
)
@pytest.mark.slow
def test_the_commands_print_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Sequence[str], words: list[str]
) -> None:
    printed = run(lake, monkeypatch, tmp_path, *call)
    assert printed.exit_code == 0, printed.output
    for part in words:
        assert part in printed.output
    as_json = run(lake, monkeypatch, tmp_path, *call, "--json")
    assert json.loads(as_json.output)


def test_a_wrong_name_ends_with_1(lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    printed = run(lake, monkeypatch, tmp_path, "labels", "history", "zzz")
    assert printed.exit_code == 1
    assert "no photograph" in printed.stderr


def test_the_command_exports(lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = run(lake, monkeypatch, tmp_path, "export", "--format", "coco")
    assert missing.exit_code == 1
    assert "has no dataset yet" in missing.stderr
    built = dataset(lake)
    monkeypatch.chdir(tmp_path)
    printed = run(lake, monkeypatch, tmp_path, "export", "--format", "coco", "--dataset", built.version[:5])
    assert printed.exit_code == 0, printed.output
    assert f"Dataset {built.version}: 2 photographs" in printed.output
    assert (tmp_path / f"carsdepo-coco-{built.version}" / "manifest.csv").is_file()
    again = run(lake, monkeypatch, tmp_path, "export", "--format", "coco")
    assert again.exit_code == 1
    assert "is there already" in again.stderr


def test_what_did_not_change_is_no_change() -> None:
    box = {"class_id": 0, "x1": 1.0, "y1": 1.0, "x2": 5.0, "y2": 5.0}
    same = truth_of({"boxes": [box]})
    assert not any(changes(same, same, RULES).values())
