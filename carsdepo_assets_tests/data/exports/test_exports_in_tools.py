"""data/exports/writers/yolo.py, data/exports/writers/coco.py: Ultralytics and pycocotools read what is exported."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from carsdepo_assets.data.exports.exporting import export_dataset, resolve_version
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, WIDTH, car, dataset, label, upload


@pytest.fixture
def filled(tmp_path: Path) -> Lake:
    """Six cars, so that every split has one; the last is clean."""
    lake = Lake.open(tmp_path / "lake")
    names = [f"R&D {number} 100%" for number in range(6)]
    upload(lake, {f"{name}.jpg": car(n) for n, name in enumerate(names)}, {f"{n}.jpg": n for n in names})
    lines = "0 0.5 0.5 0.5 0.5\n1 0.95 0.95 0.1 0.1\n"
    label(lake, {f"{name}.txt": "" if name == names[-1] else lines for name in names})
    dataset(lake)
    return lake


def test_pycocotools_reads_it(filled: Lake, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    version = resolve_version(filled, "latest")
    export_dataset(filled, version, "coco", tmp_path / "out", policy=RULES, now=NOW)
    boxes, images = 0, 0
    for file in (tmp_path / "out" / "annotations").iterdir():
        coco = COCO(str(file))
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["scratch", "dent"]
        boxes, images = boxes + len(coco.getAnnIds()), images + len(coco.getImgIds())
        for note in coco.loadAnns(coco.getAnnIds(catIds=[1])):
            assert note["bbox"] == [24, 18, 48, 36]
    assert (images, boxes) == (6, 10)


@pytest.mark.slow
def test_ultralytics_verifies_it(filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    version = resolve_version(filled, "latest")
    for format, task in (("yolo", "detect"), ("yolo-segment", "segment"), ("yolo-obb", "obb")):
        out = tmp_path / format
        export_dataset(filled, version, format, out, policy=RULES, now=NOW)  # type: ignore[arg-type]
        elsewhere = tmp_path / f"moved {task}"
        shutil.move(out, elsewhere)
        monkeypatch.chdir(os.sep)
        description = check_det_dataset(str(elsewhere / "data.yaml"), autodownload=False)
        assert description["names"] == {0: "scratch", 1: "dent"}
        labels = []
        for split in ("train", "val", "test"):
            read = YOLODataset(img_path=description[split], data=description, task=task, imgsz=WIDTH)
            labels += read.labels
        assert len(labels) == 6
        assert sorted(len(one["cls"]) for one in labels) == [0, 2, 2, 2, 2, 2]
