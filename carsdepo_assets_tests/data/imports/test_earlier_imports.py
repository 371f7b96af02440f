"""data/imports/earlier_imports.py: what the earlier import of a name said of its classes, and this one does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.commands.import_questions import ImportOptions, settled
from carsdepo_assets.data.imports.importing import ImportRefused, import_folder
from carsdepo_assets.data.labels.import_records import read_import_record, write_import_record
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.data.imports.small_folders import coco, raw, write
from carsdepo_assets_tests.data.photograph_files import NOW, photograph

RULES = Policy()
TWO = "0 .3 .5 .2 .2\n1 .6 .5 .2 .2\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def cars(place: Path, names: str | None, labels: str = TWO, **more: str) -> Path:
    lists = {} if names is None else {"classes.txt": names}
    return write(place / "cars", {"a.jpg": photograph(1), "a.txt": labels, **lists, **more})


def imported(lake: Lake, place: Path, mapping: Mapping[str, str], **options: Any) -> tuple[str, ...]:
    return import_folder(lake, place, "auto", mapping, RULES, NOW, **options).notes


@pytest.mark.parametrize(
    ("names", "first", "classes", "flags"),
    [
        ("scratch\nglass\n", {"glass": "-"}, None, "--map glass=-"),
        ("scratch\nold dent\n", {"old dent": "dent"}, None, "--map 'old dent=dent'"),
        (None, {"0": "scratch", "1": "-"}, None, "--map 0=scratch --map 1=-"),
        (None, {}, "scratch,dent", "--classes scratch,dent"),
    ],
)
@pytest.mark.parametrize("annotator", [None, "Bob"])
def test_a_class_without_a_meaning_stops_and_the_earlier_option_is_named(
    lake: Lake,
    tmp_path: Path,
    names: str | None,
    first: dict[str, str],
    classes: str | None,
    flags: str,
    annotator: str | None,
) -> None:
    imported(lake, cars(tmp_path / "1", names), first, classes=classes)
    before = raw(lake)
    with pytest.raises(ImportRefused) as refusal:
        imported(lake, cars(tmp_path / "2", names, TWO + TWO.replace(".5", ".7")), {}, annotator=annotator)
    assert f"The earlier import of cars had {flags}, and this one has not" in str(refusal.value)
    assert raw(lake) == before


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"dent": "-"}, {}, "dent was left out and is dent now. The earlier import of cars had --map dent=-, and"),
        ({"dent": "shadow"}, {}, "dent was shadow (no damage) and is dent now. The earlier import"),
        ({}, {"dent": "-"}, "dent was dent and is left out now"),
        ({"1": "-"}, {"dent": "scratch"}, "dent was left out and is scratch now"),
    ],
)
def test_a_class_that_means_something_else_now_is_said(
    lake: Lake, tmp_path: Path, first: dict[str, str], second: dict[str, str], said: str
) -> None:
    place = cars(tmp_path, "scratch\ndent\n")
    assert not any("another meaning" in note for note in imported(lake, place, first))
    (note,) = (note for note in imported(lake, place, second) if "another meaning" in note)
    assert said in note
    assert not any("another meaning" in note for note in imported(lake, place, second))


def test_an_option_is_remembered_while_its_class_is_not_there(lake: Lake, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"a.jpg": photograph(1)}
    glass, none = coco({0: "scratch", 1: "glass"}, [0, 1]), coco({0: "scratch"}, [0])
    imported(lake, write(tmp_path / "cars", {**files, "all.json": glass}), {"glass": "-"})
    imported(lake, write(tmp_path / "cars", {"all.json": none}), {})
    with pytest.raises(ImportRefused, match="--map glass=-"):
        imported(lake, write(tmp_path / "cars", {"all.json": glass}), {})


def test_the_same_option_again_and_records_of_earlier_releases_say_nothing(lake: Lake, tmp_path: Path) -> None:
    place = cars(tmp_path, "scratch\nglass\n")
    imported(lake, place, {"glass": "-"})
    assert imported(lake, place, {"GLASS": "-"}) == ()
    record = read_import_record(lake, "cars")
    assert record is not None
    write_import_record(lake, "cars", {name: value for name, value in record.items() if name != "asked"})
    with pytest.raises(ImportRefused) as refusal:
        imported(lake, place, {})
    assert "earlier import" not in str(refusal.value)


def test_on_a_terminal_the_earlier_option_is_said_before_the_question(lake: Lake, tmp_path: Path) -> None:
    place, lines = cars(tmp_path, "scratch\nglass\n"), list[str]()
    imported(lake, place, {"glass": "-"})

    def ask(question: str, answers: object) -> str:
        assert lines == [
            "The earlier import of cars had --map glass=-, and this one has not: give it again, or say what is right "
            "now."
        ]
        return "-"

    assert settled(lake, place, ImportOptions(), RULES, ask, lines.append).mapping == {"glass": "-"}
