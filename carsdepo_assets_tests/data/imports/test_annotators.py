"""data/imports/importing.py, earlier_imports.py, lake/annotator_folders.py: labels of several people stand together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.batches.batches import open_batches, plan_batches
from carsdepo_assets.data.imports.account import ImportAccount
from carsdepo_assets.data.imports.import_accounts import account_of
from carsdepo_assets.data.imports.import_names import annotator_name
from carsdepo_assets.data.imports.importing import ImportRefused, import_folder
from carsdepo_assets.data.labels.label_agreement import label_agreement
from carsdepo_assets.data.labels.label_history import find_photograph, label_history
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.objects.object_states import mark_ingested
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake.annotator_folders import annotator_folder, import_of, photographs_path
from carsdepo_assets.lake.label_conflicts import labels_that_count
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.imports.small_folders import raw, write
from carsdepo_assets_tests.data.photograph_files import NOW, photograph

RULES = Policy()
ONE, OTHER, FAR = "0 .3 .5 .2 .2\n", "0 .32 .5 .2 .2\n", "1 .8 .5 .2 .2\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def folder(place: Path, **labels: str) -> Path:
    files: dict[str, str | bytes] = {"images/a.jpg": photograph(1), "images/b.jpg": photograph(2)}
    texts = {f"labels/{name}.txt": text for name, text in labels.items()}
    return write(place / "cars", {**files, **texts, "classes.txt": "scratch\ndent\n"})


def bring_in(lake: Lake, place: Path, annotator: str | None = None, **options: Any) -> ImportAccount:
    """Imports and ingests as the command does."""
    result = import_folder(lake, place, "auto", options.pop("mapping", {}), RULES, NOW, annotator=annotator, **options)
    for batch in open_batches(lake, "uploads"):
        ingest_uploads(lake, batch, RULES)
        build_images(lake, batch, RULES)
        build_processed(lake, batch, RULES)
        mark_ingested(lake, "uploads", batch, NOW)
    plan_batches(lake, "labels", RULES, NOW, close_all=True)
    for batch in open_batches(lake, "labels"):
        ingest_labels(lake, batch, RULES, NOW)
        mark_ingested(lake, "labels", batch, NOW)
    return account_of(lake, result, RULES, NOW)


def states(account: ImportAccount) -> dict[str, int]:
    return {line.state: line.files for line in account.lines if line.kind == "label file"}


def who(lake: Lake, name: str) -> list[tuple[str, int]]:
    """(annotator, boxes) of each revision of a photograph, in order."""
    told = label_history(lake, find_photograph(lake, name), RULES)["revisions"]
    return [(revision["by"], len(revision["boxes"])) for revision in told]


def counting(lake: Lake, conflicts: str) -> dict[str, int]:
    """The number of boxes that count, by photograph; disputed ones are left out."""
    policy = Policy(data=DataPolicy(conflicts=conflicts))
    rows = labels_that_count(lake.read("annotations"), policy).rows.to_pylist()
    ids = {find_photograph(lake, f"{name}.jpg"): name for name in "ab"}
    return {ids[row["image_id"]]: len(row["boxes"]) for row in rows}


def test_two_people_label_the_same_photographs_and_both_are_kept(lake: Lake, tmp_path: Path) -> None:
    ann, bob = folder(tmp_path / "1", a=ONE, b=""), folder(tmp_path / "2", a=OTHER, b=FAR)
    bring_in(lake, ann, "Ann")
    account = bring_in(lake, bob, "Bob")
    assert (states(account), account.annotators) == ({"accepted": 2}, ("Bob: 2 by --annotator",))
    assert (who(lake, "a.jpg"), who(lake, "b.jpg")) == ([("Ann", 1), ("Bob", 1)], [("Ann", 0), ("Bob", 1)])
    (pair,) = label_agreement(lake, RULES).by_pair
    assert (pair.annotators, pair.photographs, pair.matched, pair.first, pair.second) == (("Ann", "Bob"), 2, 1, 1, 2)
    assert pair.f1 == pytest.approx(2 / 3)
    assert counting(lake, "latest") == {"a": 1, "b": 1}
    assert counting(lake, "exclude") == {"a": 1}
    assert counting(lake, "majority") == {"a": 1}
    assert sum(key.endswith(".jpg") for key in raw(lake)) == 2


def test_the_same_labels_of_an_annotator_again_are_unchanged(lake: Lake, tmp_path: Path) -> None:
    ann, bob = folder(tmp_path / "1", a=ONE, b=""), folder(tmp_path / "2", a=OTHER, b=FAR)
    for place, name in ((ann, "Ann"), (bob, "Bob"), (ann, " ann  ")):
        account = bring_in(lake, place, name)
    assert (states(account), account.annotators) == ({"unchanged": 2}, ("Ann: 2 by --annotator",))
    assert who(lake, "b.jpg") == [("Ann", 0), ("Bob", 1)]


def test_corrected_labels_replace_those_of_their_own_annotator_alone(lake: Lake, tmp_path: Path) -> None:
    bring_in(lake, folder(tmp_path / "1", a=ONE, b=""), "Ann")
    bring_in(lake, folder(tmp_path / "2", a=OTHER, b=FAR), "Bob")
    account = bring_in(lake, folder(tmp_path / "1", a=ONE, b=FAR + ONE), "Ann")
    assert states(account) == {"replaced": 1, "unchanged": 1}
    assert who(lake, "b.jpg") == [("Ann", 0), ("Bob", 1), ("Ann", 2)]
    assert who(lake, "a.jpg") == [("Ann", 1), ("Bob", 1)]
    bring_in(lake, folder(tmp_path / "1", a=ONE, b=""), "Ann")  # back to what it was: that is a correction, too
    assert who(lake, "b.jpg")[-1] == ("Ann", 0)
    assert label_agreement(lake, RULES).by_pair[0].one_clean == 1


def test_an_annotator_whose_labels_are_read_again_unchanged_does_not_speak_last(lake: Lake, tmp_path: Path) -> None:
    ann, bob = folder(tmp_path / "1", a=ONE, b=""), folder(tmp_path / "2", a=OTHER, b=FAR)
    bring_in(lake, ann, "Ann")
    bring_in(lake, bob, "Bob")
    account = bring_in(lake, ann, "Ann", mapping={"dent": "-"})  # Ann has drawn no dent
    assert states(account) == {"read again": 2}
    assert who(lake, "b.jpg") == [("Ann", 0), ("Bob", 1)]
    assert counting(lake, "latest") == {"a": 1, "b": 1}


def test_labels_that_stay_since_their_correction_is_refused_are_in_the_account(lake: Lake, tmp_path: Path) -> None:
    for name in ("Ann", "Bob"):
        account = bring_in(lake, folder(tmp_path, a=ONE, b=FAR), name)
    assert not any("still count" in note for note in account.notes)
    account = bring_in(lake, folder(tmp_path, a="0 .3 .5\n", b=FAR + ONE), "Bob")
    (note,) = (note for note in account.notes if "still count" in note)
    of_bob = min(row["batch_id"] for row in lake.read("annotations").to_pylist() if row["annotator"] == "Bob")
    assert note == (
        f"in quarantine: labels/a.txt: the labels of {NOW:%Y-%m-%d} (batch {of_bob}) that this file would have "
        "replaced still count"
    )


@pytest.mark.parametrize("name", ["cars", "other"])
def test_labels_of_nobody_and_of_an_annotator_stand_together(lake: Lake, tmp_path: Path, name: str) -> None:
    bring_in(lake, folder(tmp_path / "1", a=ONE))
    account = bring_in(lake, folder(tmp_path / "2", a=OTHER), "Bob", name=name)
    assert who(lake, "a.jpg") == [("yolo", 1), ("Bob", 1)]
    said = any("named no annotator" in note for note in account.notes)
    assert said == (name == "cars")
    forgotten = bring_in(lake, folder(tmp_path / "3", a=FAR), name=name)
    assert any("had --annotator (Bob)" in note for note in forgotten.notes)
    assert who(lake, "a.jpg")[-1] == ("yolo", 1)


def task(person: str | None, x: float) -> dict[str, Any]:
    value = {"x": x, "y": 40, "width": 20, "height": 20, "rectanglelabels": ["scratch"]}
    drawn = {"type": "rectanglelabels", "from_name": "l", "to_name": "i", "original_width": 64, "original_height": 48}
    annotation = {"id": int(x), "result": [{**drawn, "value": value}], "was_cancelled": False}
    return {**annotation, **({} if person is None else {"completed_by": {"email": person}})}


def test_the_files_own_word_wins_and_the_option_names_the_rest(lake: Lake, tmp_path: Path) -> None:
    tasks = [
        {"id": 1, "data": {"image": "a.jpg"}, "annotations": [task("ann@example.com", 10), task(None, 50)]},
        {"id": 2, "data": {"image": "b.jpg"}, "annotations": [task(None, 30)]},
    ]
    files: dict[str, str | bytes] = {"a.jpg": photograph(1), "b.jpg": photograph(2), "tasks.json": json.dumps(tasks)}
    account = bring_in(lake, write(tmp_path / "cars", files), "Bob")
    assert account.annotators == ("Bob: 2 by --annotator", "ann@example.com: 1 by the label files")
    assert sorted(who(lake, "a.jpg")) == [("Bob", 1), ("ann@example.com", 1)]
    assert who(lake, "b.jpg") == [("Bob", 1)]


def coco(classes: dict[int, str], boxes: dict[int, int]) -> str:
    """boxes: x by category."""
    annotations = [{"id": c, "image_id": 1, "category_id": c, "bbox": [x, 5, 9, 9]} for c, x in boxes.items()]
    image = {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}
    categories = [{"id": i, "name": name} for i, name in classes.items()]
    return json.dumps({"images": [image], "annotations": annotations, "categories": categories})


def test_files_of_a_class_each_of_one_annotator_are_united(lake: Lake, tmp_path: Path) -> None:
    parts = {"s.json": coco({0: "scratch"}, {0: 5}), "d.json": coco({1: "dent"}, {1: 30})}
    bring_in(lake, write(tmp_path / "cars", {"a.jpg": photograph(1), **parts}), "Ann")
    assert who(lake, "a.jpg") == [("Ann", 2)]


def test_predictions_are_no_labels_whoever_is_named(lake: Lake, tmp_path: Path) -> None:
    account = bring_in(lake, folder(tmp_path, a="0 .3 .5 .2 .2 .91\n"), "Ann")
    assert account.failures
    assert lake.read("annotations").num_rows == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [("", "empty"), (" \u00a0", "empty"), ("x" * 101, "101 characters"), ("An\nn", "control"),
     ("An\x1b[1mn", "control"), ("Ann\u202ebob", "control"), ("An\udcffn", "control")],
)  # fmt: skip
def test_what_is_no_name_is_refused_before_anything_is_copied(
    lake: Lake, tmp_path: Path, given: str, words: str
) -> None:
    with pytest.raises(ImportRefused, match=words):
        import_folder(lake, folder(tmp_path, a=ONE), "auto", {}, RULES, NOW, annotator=given)
    assert raw(lake) == []


@pytest.mark.parametrize(
    ("name", "taken"),
    [(" Ann  Lee ", "Ann Lee"), ("山田", "山田"), ("ann@example.com", "ann@example.com"), ("x" * 100, "x" * 100),
     ("a/b:c", "a/b:c"), ("e\u0301va", "éva"), ("👩‍🔧", "👩‍🔧")],
)  # fmt: skip
def test_names_of_all_scripts_have_a_folder_each(name: str, taken: str) -> None:
    assert annotator_name(name) == taken
    place = annotator_folder("cars", taken)
    assert (place.count("/"), len(place.encode()) < 100) == (0, True)
    assert (import_of(place), photographs_path(f"{place}/x/a.txt")) == ("cars", "cars/x/a.txt")
    assert annotator_folder("cars", f"{taken}2") != place


@pytest.mark.parametrize("path", ["a.txt", "me@by-mail/a.txt", "cars/x@by-y-01234567/a.txt"])
def test_other_folders_stand_for_themselves(path: str) -> None:
    assert photographs_path(path) == path


TABLE = [
    {"a": ONE, "b": FAR},
    {"a": "0 .3 .5\n", "b": FAR},
    {"a": "0 .3 .5 .2 x\n", "b": "0 0,3 .5 .2 .2\n"},
    {"a": ONE, "b": "5 .3 .5 .2 .2\n"},
]


@pytest.mark.parametrize("labels", TABLE)
def test_a_dry_run_counts_label_files_as_the_import_does(lake: Lake, tmp_path: Path, labels: dict[str, str]) -> None:
    place = folder(tmp_path, **labels)
    seen = import_folder(lake, place, "auto", {}, RULES, NOW, dry_run=True)
    foreseen = account_of(lake, seen, RULES, NOW, dry_run=True)
    account = bring_in(lake, place)

    def refused(of: ImportAccount) -> dict[tuple[str, str], int]:
        return {(one.state, one.reason): one.files for one in of.lines if one.kind == "label file" and one.reason}

    assert refused(foreseen) == refused(account)
    assert bool(foreseen.failures) == bool(account.failures)
    again = import_folder(lake, place, "auto", {}, RULES, NOW, dry_run=True)
    assert states(account_of(lake, again, RULES, NOW, dry_run=True)).keys() <= {"unchanged", "quarantined"}
    assert refused(account_of(lake, again, RULES, NOW, dry_run=True)) == refused(account)
