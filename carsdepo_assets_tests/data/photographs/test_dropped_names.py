"""data/photographs/ingest.py, data/labels/label_revisions.py, data/folders/photograph_names.py: dropped files under
long and odd names."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest

from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.folders.photograph_names import RowsOfStems, stem_key
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car

# Every photograph but the last two has a label file of its stem, which is as long where it can be.
NAMES = [
    "x" * 251 + ".jpg",  # 255 bytes: with .json, of its metadata, it would be longer than file systems allow
    "y" * 250 + ".jpeg",
    "\u65e5" * 83 + ".jpg",
    "\u00e9" * 125 + ".jpg",
    " .jpg",
    "a b .jpg",
    "dots...jpg",
    "-",
    "a#1.jpg",
    "%2e%2e.jpg",
    "what?.jpg",
    "back\\slash.jpg",
    "colon:.jpg",
    "quote's.jpg",
    'quote"s.jpg',
    "\u202egpj.jpg",
    "\U0001f697.jpg",
    "[1].jpg",
    "{a}.jpg",
    "con.jpg",
    "z" * 255,
    "tab\t.jpg",
]


def test_one_odd_name_stops_no_other(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    for folder in ("uploads", "labels"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    (tmp_path / "raw/labels/classes.txt").write_text("scratch\ndent\n")
    for seed, name in enumerate(NAMES):
        (tmp_path / "raw/uploads" / name).write_bytes(car(seed))
        if seed < len(NAMES) - 2:
            (tmp_path / "raw/labels" / f"{Path(name).stem}.txt").write_text("0 .5 .5 .5 .5\n")
    (uploads,) = plan_batches(lake, "uploads", RULES, NOW, close_all=True)
    ingest_uploads(lake, uploads.batch_id, RULES)
    images = build_images(lake, uploads.batch_id, RULES)
    build_processed(lake, uploads.batch_id, RULES)
    # A control character makes no key: the file is left out, with a warning in the log.
    assert {key.removeprefix("raw/uploads/") for key in images.rows["key"].to_pylist()} == set(NAMES[:-1])
    assert images.quarantined.num_rows == 0
    (labels,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    result = ingest_labels(lake, labels.batch_id, RULES, NOW)
    assert result.quarantined.to_pylist() == []
    assert result.rows.num_rows == len(NAMES) - 2


@pytest.mark.parametrize("name", ["x" * 250 + ".jpg", "\u65e5" * 83 + ".jpg"])
def test_metadata_of_a_long_name_is_looked_for_where_it_may_be(tmp_path: Path, name: str) -> None:
    lake = Lake.open(tmp_path)
    lake.put(f"raw/uploads/{name}", car(1))
    lake.put(f"raw/uploads/{Path(name).stem}.json", b'{"group": "g1"}')
    (uploads,) = plan_batches(lake, "uploads", RULES, NOW, close_all=True)
    ingest_uploads(lake, uploads.batch_id, RULES)
    assert build_images(lake, uploads.batch_id, RULES).rows["group_hint"].to_pylist() == ["g1"]


@pytest.mark.parametrize("letter", list("\u00e9\u00c9\u00df\u1e9e\u0130\u0390\u1fb3\u304c\u00c5"))
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_with_marks_are_found_among_many_keys(letter: str, form: Literal["NFC", "NFD"]) -> None:
    key = f"raw/uploads/x/car{unicodedata.normalize(form, letter)}.jpg"
    rows = pa.table({"key": [key, "raw/uploads/y.jpg"]})
    (stem,) = {stem_key(f"car{letter}.txt"), stem_key(f"car{unicodedata.normalize('NFD', letter)}.txt")}
    assert RowsOfStems({stem})(rows)["key"].to_pylist() == [key]
