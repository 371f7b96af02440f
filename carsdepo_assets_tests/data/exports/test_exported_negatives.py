"""data/exports/exporting.py, export_photographs.py: hard negatives go out as classes by an option, and come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.data.exports.export_photographs import DatasetExportError
from carsdepo_assets.data.exports.exporting import ExportResult, export_dataset
from carsdepo_assets.data.exports.writers import EXPORT_FORMATS, ExportFormat
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.imports.test_real_layouts import Import
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, WIDTH, car, dataset, label, upload

DENT, GLARE, DIRT = "1 0.25 0.25 0.1 0.1\n", "2 0.5 0.5 0.5 0.5\n", "3 0.75 0.75 0.2 0.1\n"
LABELS = {"x/a.txt": DENT + GLARE + DIRT, "x/b.txt": GLARE, "x/c.txt": ""}
RECORD = {"origin": "yolo", "options": {"class_ids": {"0": 0, "1": 1, "2": "reflection", "3": "dirt"}}}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three photographs: a damage with two hard negatives, a clean one with one, a clean one without."""
    lake = Lake.open(tmp_path_factory.mktemp("home") / "lake")
    upload(lake, {f"x/{name}.jpg": car(i) for i, name in enumerate("abc")})
    label(lake, LABELS, RECORD)
    dataset(lake)
    return lake


def exported(lake: Lake, folder: Path, format: ExportFormat = "yolo", **options: Any) -> ExportResult:
    return export_dataset(lake, dataset(lake).version, format, folder / "out", policy=RULES, now=NOW, **options)


def labelled(lake: Lake) -> dict[str, tuple[Any, Any]]:
    """Boxes and negatives by photograph."""
    rows = latest_revisions(lake.read("annotations")).to_pylist()
    return {row["image_id"]: (row["boxes"], ordered(row["negatives"])) for row in rows}


def ordered(negatives: list[dict[str, Any]] | None) -> list[tuple[Any, ...]]:
    return sorted(tuple(one.values()) for one in negatives or [])


@pytest.mark.parametrize("format", EXPORT_FORMATS)
@pytest.mark.slow
def test_they_come_back_as_what_they_were(filled: Lake, tmp_path: Path, format: ExportFormat) -> None:
    result = exported(filled, tmp_path, format, negatives=True, pixels="original")
    other = Lake.open(tmp_path / "other")
    account = Import(other)(result.folder)
    assert account.failures == ()
    assert labelled(other) == labelled(filled)
    assert len(labelled(other)) == 3


def test_without_the_option_they_are_left_out_and_that_is_said(filled: Lake, tmp_path: Path) -> None:
    result = exported(filled, tmp_path)
    assert "Hard negatives (1 dirt, 2 reflection): left out: --negatives" in result.summary
    assert yaml.safe_load((result.folder / "data.yaml").read_text())["names"] == {0: "scratch", 1: "dent"}
    lines = [file.read_text() for file in (result.folder / "labels").rglob("*.txt")]
    assert sorted(line[:2] for text in lines for line in text.splitlines()) == ["1 "]
    assert (result.boxes, result.clean) == (1, 2)
    assert json.loads((result.folder / "provenance.json").read_text())["negatives"] == {
        "written": False,
        "boxes": {"dirt": 1, "reflection": 2},
    }


def test_with_the_option_they_are_classes_behind_the_others_and_no_damage(filled: Lake, tmp_path: Path) -> None:
    result = exported(filled, tmp_path, negatives=True)
    names = yaml.safe_load((result.folder / "data.yaml").read_text())["names"]
    assert names == {0: "scratch", 1: "dent", 2: "dirt", 3: "reflection"}
    lines = [file.read_text() for file in (result.folder / "labels").rglob("*.txt")]
    assert sorted(int(line.split()[0]) for text in lines for line in text.splitlines()) == [1, 2, 3, 3]
    assert (result.boxes, result.clean) == (1, 2)
    assert "Hard negatives (1 dirt, 2 reflection): as classes of their own" in result.summary
    assert "none (hard negatives): dirt, reflection." in (result.folder / "README.md").read_text()


def test_in_processed_copies_they_are_scaled(filled: Lake, tmp_path: Path) -> None:
    result = exported(filled, tmp_path, "coco", negatives=True, pixels="processed")
    notes = [
        note
        for file in result.folder.glob("annotations/*.json")
        for note in json.loads(file.read_text())["annotations"]
    ]
    scale = RULES.data.longest_side_px / WIDTH
    glare = [note["bbox"] for note in notes if note["category_id"] == 4]
    assert glare == [pytest.approx([24 * scale, 18 * scale, 48 * scale, 36 * scale])] * 2


def test_a_cause_that_is_a_class_too_is_refused(filled: Lake, tmp_path: Path) -> None:
    version = dataset(filled).version
    other = Lake.open(tmp_path / "other")
    for info in filled.list(""):
        other.put(info.key, filled.get(info.key))
    other.put(f"datasets/{version}/data.yaml", b"names: {0: scratch, 1: dent, 2: ' Dirt'}")
    with pytest.raises(DatasetExportError, match=r"dirt is a class and also the cause .* without --negatives"):
        export_dataset(other, version, "yolo", tmp_path / "out", policy=RULES, now=NOW, negatives=True)
    assert not (tmp_path / "out").exists()


def test_the_command_has_the_option(filled: Lake, tmp_path: Path) -> None:
    assert filled.root is not None
    arguments = ["export", "--format", "yolo", "--images", "none", "--home", str(filled.root.parent)]
    for option, said in (([], "left out: --negatives"), (["--negatives"], "as classes of their own")):
        to = tmp_path / f"out{len(option)}"
        told = CliRunner().invoke(app, [*arguments, *option, "--to", str(to)])
        assert told.exit_code == 0, told.output
        assert said in told.output
