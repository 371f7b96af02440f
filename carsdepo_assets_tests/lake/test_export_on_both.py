"""data/exports/exporting.py: an export from a lake in a folder and from one on S3 has the same files."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.data.exports.export_photographs import DatasetExportError
from carsdepo_assets.data.exports.exporting import export_dataset, resolve_version
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload


@pytest.mark.slow
def test_a_lake_anywhere_is_exported_alike(lake: Lake, tmp_path: Path) -> None:
    upload(lake, {"ä b.jpg": car(1), "c.jpg": car(2)})
    label(lake, {"ä b.txt": "0 0.5 0.5 0.5 0.5", "c.txt": ""})
    dataset(lake)
    version, out = resolve_version(lake, "latest"), tmp_path / "out"
    export_dataset(lake, version, "yolo", out, policy=RULES, now=NOW)
    files = {p.name: p.read_bytes() for p in out.rglob("*") if p.suffix in (".jpg", ".txt")}
    assert files == {"ä b.jpg": car(1), "c.jpg": car(2), "ä b.txt": b"0 0.5 0.5 0.5 0.5\n", "c.txt": b""}
    if lake.root is None:
        with pytest.raises(DatasetExportError, match="is not in a folder of this machine"):
            export_dataset(lake, version, "yolo", tmp_path / "links", policy=RULES, now=NOW, images="link")
