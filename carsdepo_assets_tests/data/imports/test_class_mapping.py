"""data/imports/class_mapping.py: what the classes of a folder become is said by it or asked for, never assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.imports.importing import ClassesUnknown, ImportRefused, import_folder
from carsdepo_assets.data.labels.import_records import read_import_record
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.data.imports.small_folders import cars, coco, raw, write
from carsdepo_assets_tests.data.photograph_files import NOW, photograph

RULES = Policy()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.mark.parametrize(
    ("yaml", "label", "mapping", "expected"),
    [
        (None, "0 0 0 0 0", {}, {"0": 0, "1": 1}),
        (None, "0 0 0 0 0\n7 0 0 0 0", {}, {"0": 0, "1": 1}),  # a slip: its file goes to quarantine
        (None, "0 0 0 0 0\n7 0 0 0 0", {"7": "-"}, {"0": 0, "1": 1, "7": None}),
        ("names: [dent, glare]", "1 0 0 0 0", {"glare": "Reflection"}, {"0": 1, "1": "reflection"}),
        ("names: [shadow, dent]", "0 0 0 0 0", {}, {"0": "shadow", "1": 1}),
        ("names: [dent, scratch]", "1 0 0 0 0\n2 0 0 0 0", {}, "ids begin at 1.*--map 1=dent"),
        ("names: [dent, scratch]", "0 0 0 0 0", {}, {"0": 1, "1": 0}),
        ("names: {0: dent, 5: rust}", "0 0 0 0 0", {}, {"0": 1}),  # rust is declared and never used
        ("names: [rust]", "0 0 0 0 0", {"rust": "dent"}, {"0": 1}),
        (None, "7 0 0 0 0", {"7": "scratch"}, {"0": 0, "1": 1, "7": 0}),
        (None, "nan 0 0 0 0\nword", {}, {"0": 0, "1": 1}),  # ingestion's to quarantine
        (
            "names: [rust, dent]",
            "0 0 0 0 0\n0 0 0 0 0",
            {},
            r"rust \(2 boxes in 1 file: labels/a.txt \(line 1,",
        ),
        (None, "7 0 0 0 0\n9 0 0 0 0", {}, r"7 \(1 box .*; 9 \(1 box"),
        (
            None,
            "0 0 0 0 0",
            {"rust": "hole"},
            r"hole, and the .*version = 2, names = \[.*hole",
        ),
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
        ({1: "lamp", 2: "dent"}, [1, 2], {}, r"lamp \(1 box"),
        ({2: "dent"}, [4], {}, r"4 \(1 box.*--map 4=scratch"),
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


def test_without_names_it_says_how_to_give_them_and_copies_nothing(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars", **{"labels/b.txt": "1 .5 .5 .1 .1\n1 .2 .2 .1 .1\n"})
    (folder / "classes.txt").unlink()
    with pytest.raises(ClassesUnknown, match=r"0 \(1 box .*; 1 \(2 boxes .*--classes scratch,dent"):
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
    assert result.summary.endswith("names of classes: classes.txt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 1000, "nested too deeply"),
        ("names: [scratch]\ndate: 2026-13-45\n", "not YAML: month must be in 1..12"),
        ("names: [scratch]\nyear: " + "9" * 5000, "not YAML: .*digits"),
        ("names: [scratch]\nday: !!timestamp today\n", "not YAML"),
    ],
)
def test_names_that_cannot_be_read_are_named_and_nothing_is_copied(
    lake: Lake, tmp_path: Path, content: str, words: str
) -> None:
    folder = cars(tmp_path / "cars", **{"data.yaml": content})
    with pytest.raises(ImportRefused, match=words) as error:
        import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert str(folder / "data.yaml") in str(error.value)
    assert raw(lake) == []


@pytest.mark.parametrize(
    ("categories", "used", "words"),
    [
        ({1: "scratch", 2: "dent"}, [0, 1], "begin at 0. Say it by --map 0=scratch --map 1=dent"),
        ({1: "scratch", 2: "dent", 3: "dirt"}, [0, 2], "--map 0=scratch --map 2=dirt"),
        ({0: "scratch", 1: "dent"}, [1, 2], "begin at 1. Say it by --map 1=scratch --map 2=dent"),
    ],
)
def test_ids_that_begin_elsewhere_than_their_names_are_asked_for(
    lake: Lake, tmp_path: Path, categories: dict[int, str], used: list[int], words: str
) -> None:
    folder = write(tmp_path / "cars", {"a.jpg": photograph(1), "1.json": coco(categories, used)})
    with pytest.raises(ImportRefused, match=words):
        import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert raw(lake) == []
    mapping = {str(i): "dent" for i in used}
    assert import_folder(lake, folder, "auto", mapping, RULES, NOW).copied == 2


def test_a_category_without_a_name_is_no_shift(lake: Lake, tmp_path: Path) -> None:
    categories = {0: "damage", 1: "scratch", 2: ""}
    folder = write(tmp_path / "cars", {"a.jpg": photograph(1), "1.json": coco(categories, [1, 2])})
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert any("class 2 has no name" in note for note in result.mapping.notes)


@pytest.mark.parametrize(
    "mapping", [{"dent": "scratch", "DENT ": "dent"}, {"dent": "scratch", "1": "dent"}, {"1": "-", "dent": "dent"}]
)
def test_two_meanings_of_a_class_are_refused(lake: Lake, tmp_path: Path, mapping: dict[str, str]) -> None:
    folder = cars(tmp_path / "cars", **{"labels/a.txt": "1 .5 .5 .1 .1\n"})
    with pytest.raises(ImportRefused, match="--map gives"):
        import_folder(lake, folder, "auto", mapping, RULES, NOW)
    assert raw(lake) == []


def test_a_class_that_no_table_can_hold_is_imported(lake: Lake, tmp_path: Path) -> None:
    data = coco({1: "dent", 2: "half \ud83d"}, [1, 2])
    folder = write(tmp_path / "cars", {"a.jpg": photograph(1), "1.json": data})
    import_folder(lake, folder, "auto", {"2": "scratch"}, RULES, NOW)
    record = read_import_record(lake, "cars")
    assert record is not None
    assert record["options"]["class_ids"] == {"1": 1, "2": 0}
