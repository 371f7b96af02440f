"""data/imports/licence_claims.py: the licences that a folder states, and who claims them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.imports.importing import ImportRefused, ImportResult, import_folder
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import CLASS_NAMES, RULES, car

BY, BY_NC = "https://creativecommons.org/licenses/by/4.0/", "http://creativecommons.org/licenses/by-nc/2.0/"
COCO = {
    "licenses": [
        {"id": 1, "name": "CC BY 4.0", "url": BY},
        {"id": 2, "name": "Attribution-NonCommercial", "url": BY_NC},
    ],
    "categories": [{"id": 1, "name": "scratch"}],
    "annotations": [],
}


def folder_of(tmp_path: Path, files: dict[str, str]) -> Path:
    folder = tmp_path / "cars"
    for i in range(2):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{i}.jpg").write_bytes(car(i))
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def imported(tmp_path: Path, files: dict[str, str], **options: str) -> tuple[Lake, ImportResult]:
    lake = Lake.open(tmp_path / "lake")
    return lake, import_folder(lake, folder_of(tmp_path, files), "auto", {}, RULES, NOW, **options)  # type: ignore[arg-type]


def stated(lake: Lake) -> list[tuple[str, str, str]]:
    rows = lake.read("licences").to_pylist()
    return sorted((row["scope"], row["licence"], row["claimed_by"]) for row in rows)


def coco(*licences: int | None, **changes: Any) -> str:
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 96, "height": 72} for i in range(2)]
    for image, licence in zip(images, licences, strict=False):
        if licence is not None:
            image["license"] = licence
    return json.dumps({**COCO, "images": images, **changes})


PHOTOGRAPHS = "raw/uploads/cars/"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"README.txt": "A set.\nLicense: CC BY 4.0\n"}, [(PHOTOGRAPHS, "CC-BY-4.0", "README.txt")]),
        (
            {"README.dataset.txt": "Provided by a Roboflow user\nLicense: CC BY-NC 4.0\n"},
            [(PHOTOGRAPHS, "CC-BY-NC-4.0", "README.dataset.txt")],
        ),
        ({"README.md": "| licence | CC BY 4.0 (every file) |\n"}, [(PHOTOGRAPHS, "CC-BY-4.0", "README.md")]),
        ({"README.md": "Nothing about it.\n"}, []),
        # The largest README that is read; hours, if each space were a start of the line's end.
        ({"README.md": f"License: CC BY{' ' * (2**20 - 20)}4.0"}, [(PHOTOGRAPHS, "CC-BY-4.0", "README.md")]),
        ({"README.md": "# Licence\n\nLicense: ask us\n"}, [(PHOTOGRAPHS, "ask us", "README.md")]),
        ({"LICENSE": "SPDX-License-Identifier: mit\n"}, [(PHOTOGRAPHS, "MIT", "LICENSE")]),
        (
            {"data.yaml": "names: [scratch]\nroboflow:\n  license: CC BY 4.0\n"},
            [(PHOTOGRAPHS, "CC-BY-4.0", "data.yaml")],
        ),
        ({"data.yaml": "names: [scratch]\nlicense: 5\n"}, []),
        (
            {"manifest.csv": "file,licence\nimages/0.jpg,CC BY 4.0\nimages/1.jpg,CC BY-NC 4.0\n"},
            [
                (f"{PHOTOGRAPHS}0.jpg", "CC-BY-4.0", "manifest.csv"),
                (f"{PHOTOGRAPHS}1.jpg", "CC-BY-NC-4.0", "manifest.csv"),
            ],
        ),
        (
            {"manifest.csv": "file,license\n0.jpg,CC BY 4.0\n1.jpg,CC BY 4.0\n"},
            [(PHOTOGRAPHS, "CC-BY-4.0", "manifest.csv")],
        ),
        ({"manifest.csv": "file,license\n0.jpg,\n1.jpg,unknown\n"}, []),
        (
            {"a.json": coco(1, 1)},
            [("raw/labels/cars/", "CC-BY-4.0", "a.json"), (PHOTOGRAPHS, "CC-BY-4.0", "a.json")],
        ),
        (
            {"a.json": coco(1, 2)},
            [(f"{PHOTOGRAPHS}0.jpg", "CC-BY-4.0", "a.json"), (f"{PHOTOGRAPHS}1.jpg", "CC-BY-NC-2.0", "a.json")],
        ),
        (
            {"a.json": coco(None, None)},
            [
                ("raw/labels/cars/", "several: CC-BY-4.0; CC-BY-NC-2.0", "a.json"),
                (PHOTOGRAPHS, "several: CC-BY-4.0; CC-BY-NC-2.0", "a.json"),
            ],
        ),
        (
            {"a.json": coco(1, 2, licenses=[{"id": i, "name": "CC", "url": u} for i, u in ((1, BY), (2, BY_NC))])},
            [(f"{PHOTOGRAPHS}0.jpg", "CC-BY-4.0", "a.json"), (f"{PHOTOGRAPHS}1.jpg", "CC-BY-NC-2.0", "a.json")],
        ),
    ],
)
def test_what_files_state(files: dict[str, str], expected: list[tuple[str, str, str]], tmp_path: Path) -> None:
    lake, result = imported(tmp_path, files)
    found = stated(lake)
    assert [(scope.replace("images/", ""), licence, by) for scope, licence, by in found] == expected
    assert len([note for note in result.notes if note.startswith("licence ")]) == len({e[1:] for e in expected})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.json": coco(1, 1, licenses=[{"id": [1], "name": "CC BY 4.0"}, {"id": 1}, 7])}, []),
        ({"a.json": coco(1, 1, licenses=[{"id": 1, "name": "ours \ud800"}])}, ["ours ?"]),
        ({"data.yaml": 'names: [scratch]\nlicense: "ours \\ud800"\n'}, ["ours ?"]),
        ({"other.yml": "license: !!timestamp soon\n"}, []),
        ({"README\udcff.md": "License: MIT\n"}, ["MIT"]),
    ],
)
def test_what_no_table_takes_stops_no_import(files: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    lake, _ = imported(tmp_path, files)
    assert sorted({licence for _, licence, _ in stated(lake)}) == expected


def test_what_a_person_says_stands_beside_it(tmp_path: Path) -> None:
    files = {"README.md": "License: CC BY-NC 4.0\n", "labels/0.txt": "", "classes.txt": CLASS_NAMES.decode()}
    lake, result = imported(tmp_path, files, licence="cc-by-4.0", claimed_by="Anna of Sales")
    assert stated(lake) == sorted(
        (scope, licence, by)
        for scope in ("raw/labels/cars/", PHOTOGRAPHS)
        for licence, by in (("CC-BY-4.0", "Anna of Sales"), ("CC-BY-NC-4.0", "README.md"))
    )
    assert "licence CC-BY-4.0, claimed by Anna of Sales: 2 photographs" in result.notes
    import_folder(lake, tmp_path / "cars", "auto", {}, RULES, NOW, licence="CC-BY-4.0", claimed_by="Anna of Sales")
    assert len(stated(lake)) == 4
    import_folder(lake, tmp_path / "cars", "auto", {}, RULES, NOW, licence="MIT")  # somebody says something later
    assert len(stated(lake)) == 6
    assert stated(lake)[0][2] != ""


def test_a_dry_run_says_it_and_writes_nothing(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    folder = folder_of(tmp_path, {})
    result = import_folder(lake, folder, "auto", {}, RULES, NOW, dry_run=True, licence="Ours", claimed_by="us")
    assert "licence Ours, claimed by us: 2 photographs" in result.notes
    assert stated(lake) == []


def test_no_licence_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="names no licence"):
        imported(tmp_path, {}, licence="unknown")
