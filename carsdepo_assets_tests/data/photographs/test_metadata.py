"""data/photographs/metadata.py: which source of metadata counts for a photograph, and that a bad one costs only its
own values."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carsdepo_assets.data.photographs.metadata import Metadata, MetadataReader
from carsdepo_assets.lake.lake import Lake

KEY = "raw/uploads/shop/day/a.jpg"
TAKEN = datetime(2024, 5, 31, 16, 20, tzinfo=UTC)


def read(tmp_path: Path, files: dict[str, str | bytes], **exif: object) -> Metadata:
    lake = Lake.open(tmp_path)
    for name, text in files.items():
        lake.put(f"raw/uploads/{name}", text.encode() if isinstance(text, str) else text)
    return MetadataReader(lake).read(KEY, exif)


@pytest.mark.parametrize("file", ["day/a.jpg", "a.jpg", "images/day/a.jpg", "./day/a.jpg", "day\\a.jpg"])
def test_a_row_is_found_however_it_names_the_file(tmp_path: Path, file: str) -> None:
    metadata = read(tmp_path, {"shop/manifest.csv": f"file,group,year,camera\n{file},g1,2019.0,X100\n"})
    assert metadata.problems == ()
    assert {k: v for k, v in metadata.values.items() if v is not None} == {
        "group_hint": "g1",
        "year": 2019,
        "camera": "X100",
    }


def test_the_nearest_manifest_counts(tmp_path: Path) -> None:
    files = {"shop/day/manifest.csv": "File,Group\na.jpg,near\n", "manifest.csv": "file,group\na.jpg,far\n"}
    assert read(tmp_path, files).values["group_hint"] == "near"


def test_sidecar_before_manifest_before_exif_field_by_field(tmp_path: Path) -> None:
    metadata = read(
        tmp_path,
        {"shop/day/a.json": json.dumps({"make": "Fiat"}), "shop/manifest.csv": "file,make,camera\nday/a.jpg,Seat,\n"},
        camera="Apple iPhone 12",
        captured_at=TAKEN,
    )
    assert [metadata.values[name] for name in ("make", "camera", "captured_at")] == ["Fiat", "Apple iPhone 12", TAKEN]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-31T18:20:00+02:00", TAKEN),
        ("2024-05-31 16:20:00", TAKEN),
        ("2024:05:31 16:20:00", TAKEN),
    ],
)
def test_times_become_utc(tmp_path: Path, text: str, expected: datetime) -> None:
    assert read(tmp_path, {"shop/manifest.csv": f"file,captured_at\na.jpg,{text}\n"}).values["captured_at"] == expected


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"shop/manifest.csv": "file,year\na.jpg,soon\n"}, "year 'soon'"),
        ({"shop/manifest.csv": "file,year\na.jpg,1492\n"}, "year '1492'"),
        ({"shop/manifest.csv": "file,year\na.jpg,inf\n"}, "year 'inf'"),
        ({"shop/manifest.csv": "file,captured_at\na.jpg,32 May\n"}, "captured_at '32 May'"),
        ({"shop/manifest.csv": "name,year\na.jpg,2000\n"}, "no column 'file'"),
        ({"shop/manifest.csv": b"\x81\x8d,group"}, "not CSV"),
        ({"shop/day/a.json": "{broken"}, "not JSON"),
        ({"shop/day/a.json": "[1]"}, "not an object"),
        ({"shop/day/a.json": '{"make": ["x"]}'}, "make is not text"),
    ],
)
def test_what_cannot_be_understood_is_said(tmp_path: Path, files: dict[str, str | bytes], problem: str) -> None:
    metadata = read(tmp_path, files, camera="X")
    assert [problem in problem_text for problem_text in metadata.problems] == [True]
    assert {k for k, v in metadata.values.items() if v is not None} == {"camera"}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"shop/manifest.csv": ""},
        {"shop/manifest.csv": "file,year\nb.jpg,2000\n"},
        {"shop/manifest.csv": "file,year\na.jpg,NaN\n"},
    ],
)
def test_nobody_says_anything(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    assert set(read(tmp_path, files).values.values()) == {None}


@pytest.mark.parametrize(
    ("sidecar", "problem"),
    [
        ("[" * 200_000, "not JSON"),
        ('{"year": ' + "9" * 400 + "}", "is not a year"),
        ('{"captured_at": "0001-01-01T00:00:00+14:00"}', "is not a time"),
    ],
)
def test_a_hostile_sidecar_costs_its_values_only(tmp_path: Path, sidecar: str, problem: str) -> None:
    metadata = read(tmp_path, {"shop/day/a.json": sidecar}, camera="X100")
    assert metadata.values["camera"] == "X100"
    (told,) = metadata.problems
    assert problem in told
    assert len(told) < 200


def test_half_a_surrogate_pair_becomes_text_that_a_table_takes(tmp_path: Path) -> None:
    assert read(tmp_path, {"shop/day/a.json": '{"make": "Fi\\ud800at"}'}).values["make"] == "Fi?at"
