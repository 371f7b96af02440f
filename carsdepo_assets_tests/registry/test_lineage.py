"""registry/lineage.py and registry/source_digest.py: what lineage.json says of data and code."""

from pathlib import Path

import pyarrow as pa
import pytest

from carsdepo_assets.lake.datasets import summary_key
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.registry.lineage import build_lineage, describe_data, read_lineage
from carsdepo_assets.registry.source_digest import source_digest
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset


def test_data_is_counted_by_batch_and_origin() -> None:
    box = {"class_id": 0, "x1": 0.0, "y1": 0.0, "x2": 1.0, "y2": 1.0}
    names = ("split", "upload_batch", "label_batch", "origin", "revision_id", "boxes")
    rows = [
        ("train", "u1", "l1", "yolo", "a", [box]),
        ("train", "u2", "l1", "yolo", "b", []),
        ("test", "u2", "l2", "coco", "c", [box, box]),
    ]
    manifest = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    data = describe_data("v", manifest)
    assert data.splits == {"test": 1, "train": 2}
    assert data.upload_batches == {"u1": 1, "u2": 2}
    assert data.label_batches == {"l1": 2, "l2": 1}
    assert data.revisions_by_origin == {"coco": 1, "yolo": 2}
    assert data.boxes == 3
    assert describe_data("v", manifest.slice(0, 2)).revisions_digest != data.revisions_digest
    assert describe_data("v", manifest.slice(0, 0)).boxes == 0


def test_source_digest_sees_content_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "notes.txt").write_text("one")
    first = source_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("two")
    assert source_digest(tmp_path) == first
    (tmp_path / "a.py").write_text("x = 2\n")
    second = source_digest(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    third = source_digest(tmp_path)
    assert len({first, second, third}) == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "c.py").write_text("x = 3\n")
    assert source_digest(tmp_path) != third
    assert source_digest(tmp_path, ["b.py"]) == third
    assert source_digest(tmp_path, ["b.py", "other"]) == source_digest(tmp_path)


def test_lineage_is_read_back_as_written(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path))
    version = tiny_dataset(lake)
    lake.put(summary_key(version), b'{"content_digest": "0123456789abcdef"}')
    lineage = build_lineage(
        lake,
        digest="d",
        dataset_version=version,
        detector="yolov8n",
        recipe={"epochs": 1},
        recipe_digest="r",
        policy_digest="p",
        environment={"gpu": "none"},
        mlflow_run_id="m",
        dagster_run_id="g",
    )
    lake.put("models/d/lineage.json", lineage.model_dump_json().encode())
    assert read_lineage(lake, "d") == lineage
    assert lineage.environment["gpu"] == "none"
    assert lineage.environment["python"].startswith("3.")
    assert lineage.code.version
    assert lineage.data.content_digest == "0123456789abcdef"
    assert lineage.data.splits == {"test": 3, "train": 8, "val": 3}
    with pytest.raises(LakeError):
        read_lineage(lake, "absent")
