"""data/importing.py: a user's folder is imported whole, once and resumably, or refused with what to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets.data import importing
from carsdepo_assets.data.batches import plan_batches, read_manifest
from carsdepo_assets.data.importing import ClassesUnknown, ImportRefused, import_folder
from carsdepo_assets.data.ingest import build_images, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.data.photographs import NOW, photograph

RULES = Policy()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def cars(folder: Path, **more: str | bytes) -> Path:
    return write(
        folder,
        {
            "images/a.jpg": photograph(1),
            "images/b.jpg": photograph(2),
            "labels/a.txt": "0 .5 .5 .1 .1\n",
            "labels/b.txt": "",
            "classes.txt": "scratch\ndent\n",
            "manifest.csv": "file,group\na.jpg,g1\nb.jpg,g2\n",
            "README.md": "x",
            **more,
        },
    )


def coco(categories: dict[int, str], used: list[int]) -> str:
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": c, "bbox": [1, 1, 5, 5]} for i, c in enumerate(used)
            ],
            "categories": [{"id": i, "name": n} for i, n in categories.items()],
        }
    )


def raw(lake: Lake) -> list[str]:
    return sorted(o.key.removeprefix("raw/") for o in lake.list("raw/"))


def test_a_folder_becomes_photographs_with_their_groups(lake: Lake, tmp_path: Path) -> None:
    result = import_folder(lake, cars(tmp_path / "my cars"), "yolo", {}, RULES, NOW, origin="sample")
    assert raw(lake) == [
        "labels/my-cars/a.txt",
        "labels/my-cars/b.txt",
        "uploads/my-cars/a.jpg",
        "uploads/my-cars/b.jpg",
        "uploads/my-cars/manifest.csv",
    ]
    (batch,) = result.upload_batches
    ingest_uploads(lake, batch, RULES)
    assert build_images(lake, batch, RULES).rows["group_hint"].to_pylist() == ["g1", "g2"]
    (labels,) = plan_batches(lake, "labels", RULES, NOW)
    assert (labels.origin, labels.options) == (
        "sample",
        {"import": "my-cars", "format": "yolo", "class_ids": {"0": 0, "1": 1}},
    )


def test_a_second_import_copies_nothing_and_names_the_same_batches(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars")
    first = import_folder(lake, folder, "auto", {}, RULES, NOW)
    again = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert (first.copied, again.copied, again.reused) == (5, 0, 5)
    assert again.upload_batches == first.upload_batches


def test_a_corrected_label_is_a_new_object_and_a_changed_photograph_refused(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars")
    import_folder(lake, folder, "auto", {}, RULES, NOW)
    plan_batches(lake, "labels", RULES, NOW, close_all=True)
    write(folder, {"labels/a.txt": "1 .5 .5 .2 .2\n"})
    assert import_folder(lake, folder, "auto", {}, RULES, NOW).copied == 1
    (labels,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    assert [o.key for o in labels.objects] == ["raw/labels/cars/a.txt"]
    write(folder, {"images/a.jpg": photograph(3)})
    with pytest.raises(ImportRefused, match="never replaced"):
        import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert lake.get("raw/uploads/cars/a.jpg") == photograph(1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"a.jpg": b"1", "a.txt": "", "notes.txt": "hello", "classes.txt": "scratch\ndent\n"},
            ["labels/x/a.txt", "uploads/x/a.jpg"],
        ),
        (
            {"train/images/a.jpg": b"1", "train/labels/a.txt": "", "data.yaml": "names: [scratch, dent]"},
            ["labels/x/train/a.txt", "uploads/x/train/a.jpg"],
        ),
        (
            {"images/a.xyz": b"1", "images/.hidden.jpg": b"1", "labels/lonely.txt": ""},
            ["labels/x/lonely.txt", "uploads/x/a.xyz"],
        ),
        ({"a.jpg": b"1", "a.json": "{}", "b.json": "{}"}, ["uploads/x/a.jpg", "uploads/x/a.json"]),
    ],
)
def test_layouts(lake: Lake, tmp_path: Path, files: dict[str, str | bytes], expected: list[str]) -> None:
    import_folder(lake, write(tmp_path / "x", files), "yolo", {}, RULES, NOW)
    assert raw(lake) == expected


@pytest.mark.parametrize(
    ("yaml", "label", "mapping", "expected"),
    [
        (None, "0 0 0 0 0", {}, {"0": 0, "1": 1}),
        ("names: [dent, scratch]", "0 0 0 0 0", {}, {"0": 1, "1": 0}),
        ("names: {0: dent, 5: rust}", "0 0 0 0 0", {}, {"0": 1}),  # rust is declared and never used
        ("names: [rust]", "0 0 0 0 0", {"rust": "dent"}, {"0": 1}),
        (None, "7 0 0 0 0", {"7": "scratch"}, {"0": 0, "1": 1, "7": 0}),
        (None, "nan 0 0 0 0\nword", {}, {"0": 0, "1": 1}),  # ingestion's to quarantine
        ("names: [rust, dent]", "0 0 0 0 0\n0 0 0 0 0", {}, r"rust \(2 boxes\)"),
        (None, "7 0 0 0 0\n9 0 0 0 0", {}, r"7 \(1 boxes\), 9 \(1 boxes\)"),
        (None, "0 0 0 0 0", {"rust": "hole"}, "hole, and the classes are scratch, dent"),
        ("names: [", "", {}, "not YAML"),
    ],
)
def test_yolo_classes(
    lake: Lake, tmp_path: Path, yaml: str | None, label: str, mapping: dict[str, str], expected: dict[str, int] | str
) -> None:
    folder = cars(tmp_path / "cars", **{"labels/a.txt": label}, **({"data.yaml": yaml} if yaml else {}))
    if yaml:
        (folder / "classes.txt").unlink()
    check_classes(lake, folder, "yolo", mapping, expected)


@pytest.mark.parametrize(
    ("categories", "used", "mapping", "expected"),
    [
        ({3: "dent", 8: "scratch"}, [3, 8], {}, {"3": 1, "8": 0}),
        ({1: "Delle"}, [1], {"Delle": "dent"}, {"1": 1}),
        ({1: "lamp", 2: "dent"}, [1, 2], {}, r"lamp \(1 boxes\)"),
        ({2: "dent"}, [4], {}, r"4 \(1 boxes\)"),
    ],
)
def test_coco_classes(
    lake: Lake,
    tmp_path: Path,
    categories: dict[int, str],
    used: list[int],
    mapping: dict[str, str],
    expected: dict[str, int] | str,
) -> None:
    folder = write(tmp_path / "cars", {"images/a.jpg": photograph(1), "annotations.json": coco(categories, used)})
    check_classes(lake, folder, "coco", mapping, expected)


def check_classes(lake: Lake, folder: Path, form: str, mapping: dict[str, str], expected: dict[str, int] | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(ImportRefused, match=expected):
            import_folder(lake, folder, form, mapping, RULES, NOW)
        assert raw(lake) == []
        return
    import_folder(lake, folder, form, mapping, RULES, NOW)
    (labels,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    assert labels.options["class_ids"] == expected


@pytest.mark.parametrize(
    ("files", "form", "message"),
    [
        ({}, "yolo", "no photographs"),
        ({"images/a.jpg": b"1"}, "coco", "no COCO file"),
        ({"a.jpg": b"1"}, "voc", "not known"),
        ({"images/a.jpg": b"1", "images/images/a.jpg": b"2"}, "yolo", None),
    ],
)
def test_refusals(lake: Lake, tmp_path: Path, files: dict[str, str | bytes], form: str, message: str | None) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    write(folder, files)
    if message is None:
        assert import_folder(lake, folder, form, {}, RULES, NOW).photographs == 2
        return
    with pytest.raises(ImportRefused, match=message):
        import_folder(lake, folder, form, {}, RULES, NOW)
    assert raw(lake) == []


_KILLED = """
import itertools, os, signal, sys
from datetime import datetime, UTC
from pathlib import Path
from carsdepo_assets.data.importing import import_folder
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
plain, numbers = Lake.put, itertools.count(1)
def deadly(self, key, data):
    if next(numbers) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    plain(self, key, data)
Lake.put = deadly
import_folder(Lake.open(sys.argv[1]), Path(sys.argv[2]), "yolo", {}, Policy(), datetime(2030, 1, 1, tzinfo=UTC))
"""


@pytest.mark.parametrize("n", [1, 3, 6, 7])  # the record, among the photographs, the last label, the batch's manifest
def test_killed_half_way_the_next_import_finishes(lake: Lake, tmp_path: Path, n: int) -> None:
    folder = cars(tmp_path / "cars")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, lake.url, str(folder), str(n)],
        timeout=120,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert len(raw(lake)) == 5
    listed = [o.key for batch in result.upload_batches for o in read_manifest(lake, "uploads", batch).objects]
    assert sorted(listed) == ["raw/uploads/cars/a.jpg", "raw/uploads/cars/b.jpg"]


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif("CARSDEPO_REAL_DATA" not in os.environ, reason="CARSDEPO_REAL_DATA is not set")
def test_the_real_photographs(lake: Lake) -> None:
    folder = Path(os.environ["CARSDEPO_REAL_DATA"], "cardamage")
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert (result.photographs, result.labels) == (534, 534)
    (batch,) = result.upload_batches
    assert ingest_uploads(lake, batch, RULES).count("new") == 534
    images = build_images(lake, batch, RULES)
    assert (len(images.rows), len(images.quarantined)) == (534, 0)
    assert len(set(images.rows["group_hint"].to_pylist())) == 109


def test_it_tells_how_far_it_is_and_what_the_classes_became(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars", **{"classes.txt": "rust\nscratch\n"})
    steps: list[tuple[int, int]] = []
    result = import_folder(
        lake, folder, "yolo", {"rust": "dent"}, RULES, NOW, progress=lambda *step: steps.append(step)
    )
    assert steps == [(n, 5) for n in range(1, 6)]
    assert result.class_ids == {"0": 1, "1": 0}
    steps.clear()
    again = import_folder(lake, folder, "yolo", {"rust": "dent"}, RULES, NOW, progress=lambda *step: steps.append(step))
    assert (again.copied, steps) == (0, [])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"categories": ["scratch", "dent"]}, "categories must be a list of objects with id and name"),
        ({"categories": [{"name": "scratch"}]}, "categories must be a list of objects with id and name"),
        ({"categories": None}, "categories must be a list"),
        ({"annotations": 3}, "annotations must be a list of objects"),
        ({"annotations": [3]}, "annotations must be a list of objects"),
        ({"images": {}}, "images must be a list of objects"),
    ],
)
def test_coco_of_another_shape_is_refused(lake: Lake, tmp_path: Path, wrong: dict[str, object], words: str) -> None:
    document = {**json.loads(coco({0: "scratch"}, [0])), **wrong}
    folder = write(tmp_path / "cars", {"images/a.jpg": photograph(1), "x.json": json.dumps(document)})
    with pytest.raises(ImportRefused, match=words) as error:
        import_folder(lake, folder, "coco", {}, RULES, NOW)
    assert "x.json" in str(error.value)
    assert raw(lake) == []


@pytest.mark.parametrize("place", ["images/a\nb.jpg", "labels/a\tb.txt", "images/a\x7f.jpg"])
def test_a_name_that_cannot_be_a_key_is_refused_before_anything_is_copied(
    lake: Lake, tmp_path: Path, place: str
) -> None:
    folder = write(cars(tmp_path / "cars"), {place: photograph(3) if place.endswith("jpg") else ""})
    with pytest.raises(ImportRefused, match=r"control character\. Rename it") as error:
        import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert repr(str(folder / place)) in str(error.value)
    assert raw(lake) == []
    assert list(lake.list("batches/")) == []


def test_without_names_it_says_how_to_give_them_and_copies_nothing(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars", **{"labels/b.txt": "1 .5 .5 .1 .1\n1 .2 .2 .1 .1\n"})
    (folder / "classes.txt").unlink()
    with pytest.raises(ClassesUnknown, match=r"0 \(1 boxes\), 1 \(2 boxes\).*--classes scratch,dent"):
        import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert raw(lake) == []
    named = import_folder(lake, folder, "yolo", {}, RULES, NOW, classes="Dent, scratch")
    assert named.class_ids == {"0": 1, "1": 0}
    assert named.summary.endswith("names of classes: --classes")


@pytest.mark.parametrize("classes", ["dent,", "dent,Dent", ","])
def test_a_wrong_list_of_classes_is_named(lake: Lake, tmp_path: Path, classes: str) -> None:
    with pytest.raises(ImportRefused, match=f"--classes {classes}"):
        import_folder(lake, cars(tmp_path / "cars"), "yolo", {}, RULES, NOW, classes=classes)


def test_names_differ_neither_by_case_nor_by_spaces(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars", **{"classes.txt": " Dent \nDeep  Scratch\n", "labels/b.txt": "1 .5 .5 .1 .1"})
    result = import_folder(lake, folder, "yolo", {"deep scratch": "SCRATCH"}, RULES, NOW)
    assert result.class_ids == {"0": 1, "1": 0}
    assert result.summary.endswith(f"names of classes: {folder / 'classes.txt'}")


def test_coco_that_changes_while_it_is_read_is_refused(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "cars", {"images/a.jpg": photograph(1), "x.json": "[]"})
    monkeypatch.setattr(importing, "_is_coco", lambda path: True)
    with pytest.raises(ImportRefused, match=r"x\.json: it changed while it was read"):
        import_folder(lake, folder, "coco", {}, RULES, NOW)
    assert raw(lake) == []


@pytest.mark.parametrize(
    ("file", "content", "form", "words"),
    [
        ("labels/a.txt", "0 .5 .5 .1 .1\n" + "9" * 400 + " .5 .5 .1 .1\n", "yolo", "line 2: class 99.* 400 digits"),
        ("labels/a.txt", "\ufeff7 .5 .5 .1 .1\n", "yolo", r"unknown classes: 7 \(1 boxes\)"),
        ("notes.json", "[" * 200_000, "coco", "nested too deeply"),
        ("notes.json", '{"images": [' + "9" * 5000 + "]}", "coco", "cannot be read: .*digits"),
        ("data.yaml", "[" * 5000, "yolo", "nested too deeply"),
        ("data.yaml", "names: [scratch]\ndate: 2026-13-45\n", "yolo", "not YAML: month must be in 1..12"),
        ("data.yaml", "names: [scratch]\nyear: " + "9" * 5000, "yolo", "not YAML: .*digits"),
        ("data.yaml", "names: [scratch]\nday: !!timestamp today\n", "yolo", "not YAML"),
    ],
)
def test_a_hostile_file_is_named_and_nothing_is_copied(
    lake: Lake, tmp_path: Path, file: str, content: str, form: str, words: str
) -> None:
    folder = cars(tmp_path / "cars", **{"x.json": coco({0: "scratch"}, [0]), file: content})
    with pytest.raises(ImportRefused, match=words) as error:
        import_folder(lake, folder, form, {}, RULES, NOW)
    assert str(folder / file if "unknown classes" not in words else folder) in str(error.value)
    assert raw(lake) == []
