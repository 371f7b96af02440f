"""data/exports/exporting.py, export_photographs.py, export_papers.py: a dataset as a folder that other tools read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.data.exports.export_photographs import DatasetExportError
from carsdepo_assets.data.exports.exporting import ExportResult, export_dataset, resolve_version
from carsdepo_assets.data.exports.whole_folder import TargetError
from carsdepo_assets.data.exports.writers import EXPORT_FORMATS, WRITERS, ExportFormat
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import HEIGHT, RULES, WIDTH, car, dataset, label, turned, upload

GROUPS = {"a b.jpg": "one", "sub/a b.jpg": "two", "R&D 100%.png": "three", "turned.jpg": "four"}


def png(seed: int) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(car(seed))) as image:
        image.save(out, "PNG")
    return out.getvalue()


PHOTOGRAPHS = {"a b.jpg": car(1), "sub/a b.jpg": car(2), "R&D 100%.png": png(3), "turned.jpg": turned(4)}
LABELS = {"a b.txt": "0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.1 0.1", "sub/a b.txt": "", "R&D 100%.txt": "1 0.5 0.5 0.2 0.2"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Four photographs: one with two damages, one clean, a PNG, and one that EXIF turns."""
    lake = Lake.open(tmp_path_factory.mktemp("lake"))
    upload(lake, PHOTOGRAPHS, GROUPS)
    label(lake, {**LABELS, "turned.txt": "0 0.75 0.25 0.1 0.1"})
    dataset(lake)
    return lake


def exported(lake: Lake, folder: Path, format: ExportFormat = "coco", **options: Any) -> ExportResult:
    version = resolve_version(lake, "latest")
    return export_dataset(lake, version, format, folder / "out", policy=RULES, now=NOW, **options)


def coco_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Image entries of all splits by file name, each with its boxes and its path."""
    images: dict[str, dict[str, Any]] = {}
    for file in folder.glob("annotations/*.json"):
        document = json.loads(file.read_text())
        for image in document["images"]:
            notes = [n for n in document["annotations"] if n["image_id"] == image["id"]]
            path = folder / "images" / file.stem.removeprefix("instances_") / image["file_name"]
            images[image["file_name"]] = image | {"boxes": [n["bbox"] for n in notes], "path": path}
    return images


def test_photographs_are_upright_and_boxes_lie_in_them(filled: Lake, tmp_path: Path) -> None:
    result = exported(filled, tmp_path)
    assert result.files == {"copied": 3, "encoded": 1}
    images = coco_of(result.folder)
    first = {name: image for name, image in images.items() if name.startswith("a b-")}
    assert len(first) == 2  # both were called a b.jpg
    assert {len(image["boxes"]) for image in first.values()} == {0, 2}
    assert images["R&D 100%.png"]["path"].read_bytes() == PHOTOGRAPHS["R&D 100%.png"]
    with Image.open(images["turned.jpg"]["path"]) as image:
        assert image.size == (WIDTH, HEIGHT)
        assert image.getexif().get(0x0112) is None
        with Image.open(io.BytesIO(car(4))) as wanted:
            assert np.abs(np.asarray(image, float) - np.asarray(wanted, float)).mean() < 3
    assert images["turned.jpg"]["boxes"] == [[67.2, 14.4, 9.6, 7.2]]


def test_original_bytes_keep_their_ids(filled: Lake, tmp_path: Path) -> None:
    result = exported(filled, tmp_path, pixels="original")
    assert result.files == {"copied": 4}
    written = {hashlib.sha256(image["path"].read_bytes()).digest() for image in coco_of(result.folder).values()}
    assert written == {hashlib.sha256(data).digest() for data in PHOTOGRAPHS.values()}


def test_processed_copies_have_scaled_boxes(filled: Lake, tmp_path: Path) -> None:
    images = coco_of(exported(filled, tmp_path, pixels="processed").folder)
    side = RULES.data.longest_side_px
    for image in images.values():
        with Image.open(image["path"]) as opened:
            assert opened.size == (image["width"], image["height"]) == (side, side * HEIGHT // WIDTH)
    assert images["turned.jpg"]["boxes"][0] == pytest.approx([0.7 * 64, 0.2 * 48, 6.4, 4.8], abs=1e-3)


def test_links_show_the_lakes_files_except_where_a_tool_would_repair_them(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    upload(lake, {"whole.jpg": car(1), "longer.jpg": car(2) + b"\0\0", "turned.jpg": turned(3)})
    label(lake, dict.fromkeys(("whole.txt", "longer.txt", "turned.txt"), ""))
    dataset(lake)
    result = exported(lake, tmp_path, images="link")
    assert result.files == {"linked": 1, "copied": 1, "encoded": 1}
    links = [p for p in result.folder.rglob("*") if p.is_symlink()]
    assert [link.name for link in links] == ["whole.jpg"]
    assert links[0].read_bytes() == car(1)


def test_labels_alone(filled: Lake, tmp_path: Path) -> None:
    result = exported(filled, tmp_path, images="none")
    assert not result.files
    assert len(coco_of(result.folder)) == 4
    assert not list(result.folder.rglob("*.jpg"))


def test_papers_name_groups_and_provenance(filled: Lake, tmp_path: Path) -> None:
    result = exported(filled, tmp_path, "voc")
    with (result.folder / "manifest.csv").open(newline="") as file:
        rows = {row["upload_key"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {f"raw/uploads/{name}" for name in PHOTOGRAPHS}
    assert len({row["group"] for row in rows.values()}) == 4
    for row in rows.values():
        assert row["image_id"] in {hashlib.sha256(data).hexdigest() for data in PHOTOGRAPHS.values()}
        assert (result.folder / "JPEGImages" / row["file"]).is_file()
        listed = (result.folder / "ImageSets" / "Main" / f"{row['split']}.txt").read_text().splitlines()
        assert row["file"].rpartition(".")[0] in listed
    provenance = json.loads((result.folder / "provenance.json").read_text())
    assert provenance["dataset"] == result.version
    assert provenance["without_damage"] == 1
    assert sum(provenance["photographs"].values()) == 4


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_every_format_has_its_photographs_where_its_writer_says(
    filled: Lake, tmp_path: Path, format: ExportFormat
) -> None:
    result = exported(filled, tmp_path, format)
    files = {str(p.relative_to(result.folder)) for p in result.folder.rglob("*") if p.is_file()}
    photographs = {f for f in files if f.endswith((".jpg", ".png"))}
    assert len(photographs) == 4
    assert {"manifest.csv", "provenance.json", "README.md"} <= files
    assert WRITERS[format].use in (result.folder / "README.md").read_text()


def test_splits_can_be_chosen_and_what_is_left_out_is_counted(filled: Lake, tmp_path: Path) -> None:
    every = exported(filled, tmp_path / "all", images="none").photographs
    split = next(iter(every))
    result = exported(filled, tmp_path, images="none", splits=[split])
    assert result.photographs == {split: every[split]}
    assert result.left_out == {name: count for name, count in every.items() if name != split}
    with pytest.raises(DatasetExportError, match=rf"no split nothing; it has .*{split}"):
        exported(filled, tmp_path / "no", splits=["nothing"])
    assert not (tmp_path / "no" / "out").exists()


def test_an_existing_folder_is_left_alone(filled: Lake, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(TargetError, match="is there already"):
        exported(filled, tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_replaced_or_removed_bytes_stop_the_export_and_leave_nothing(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    upload(lake, {"a.jpg": car(1)})
    label(lake, {"a.txt": ""})
    dataset(lake)
    lake.put("raw/uploads/a.jpg", car(9))
    with pytest.raises(DatasetExportError, match=r"a\.jpg holds other bytes .*--pixels processed"):
        exported(lake, tmp_path)
    lake.delete("raw/uploads/a.jpg")
    with pytest.raises(LakeError, match=r"a\.jpg"):
        exported(lake, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["lake"]
    assert exported(lake, tmp_path, pixels="processed").files == {"copied": 1}


def test_versions_are_named_by_their_first_digits(filled: Lake) -> None:
    newest = resolve_version(filled, "latest")
    assert resolve_version(filled, newest[:6]) == newest
    with pytest.raises(DatasetExportError, match=f"no dataset 'zz'; there are {newest}"):
        resolve_version(filled, "zz")
    with pytest.raises(DatasetExportError):
        resolve_version(filled, "")
