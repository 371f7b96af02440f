"""data/labels/import_records.py, data/imports/importing.py: no label file is read with the class ids of another folder
or time."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from carsdepo_assets.data.batches import batches
from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.imports.importing import ImportRefused, import_folder
from carsdepo_assets.data.labels.import_records import import_record_key
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car

OURS, SWAPPED = "scratch\ndent\n", "dent\nscratch\n"
BOX = " .5 .5 .5 .5\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def folder(place: Path, seeds: list[int], classes: str, source_class: int = 0) -> Path:
    """One photograph and one label file with one box a seed."""
    for part in ("images", "labels"):
        (place / part).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (place / "images" / f"{seed}.jpg").write_bytes(car(seed))
        (place / "labels" / f"{seed}.txt").write_text(f"{source_class}{BOX}")
    (place / "classes.txt").write_text(classes)
    return place


def ingest(lake: Lake) -> None:
    """Reads every batch of an import, photographs first."""
    for batch in batches.list_batches(lake, "uploads"):
        ingest_uploads(lake, batch, RULES)
        build_images(lake, batch, RULES)
    plan_batches(lake, "labels", RULES, NOW, close_all=True)
    for batch in batches.list_batches(lake, "labels"):
        ingest_labels(lake, batch, RULES, NOW)


def classes(lake: Lake) -> dict[str, list[int]]:
    """File name of a label -> the class ids that count now."""
    rows = latest_revisions(lake.read("annotations")).to_pylist()
    return {r["key"].rpartition("/")[2]: [b["class_id"] for b in r["boxes"]] for r in rows}


@pytest.mark.parametrize("ingested", [False, True])
def test_a_folder_with_the_name_of_another_and_other_class_ids_is_refused(
    lake: Lake, tmp_path: Path, ingested: bool
) -> None:
    import_folder(lake, folder(tmp_path / "a/photos", [1, 2], OURS), "yolo", {}, RULES, NOW)
    if ingested:
        ingest(lake)
    before = sorted(o.key for o in lake.list("raw/"))
    second = folder(tmp_path / "b/photos", [3], SWAPPED)
    with pytest.raises(ImportRefused) as error:
        import_folder(lake, second, "yolo", {}, RULES, NOW)
    for words in (
        "2 label files under 'photos', first raw/labels/photos/1.txt",
        f"came from elsewhere than {second}",
        "there 0 is scratch, 1 is dent; here 0 is dent, 1 is scratch",
        "rename this folder",
    ):
        assert words in str(error.value)
    assert sorted(o.key for o in lake.list("raw/")) == before
    second.rename(tmp_path / "b/more")
    import_folder(lake, tmp_path / "b/more", "yolo", {}, RULES, NOW)
    ingest(lake)
    assert classes(lake) == {"1.txt": [0], "2.txt": [0], "3.txt": [1]}


def test_a_folder_with_the_name_of_another_and_the_same_class_ids_is_taken(lake: Lake, tmp_path: Path) -> None:
    import_folder(lake, folder(tmp_path / "a/photos", [1], SWAPPED), "yolo", {}, RULES, NOW)
    import_folder(lake, folder(tmp_path / "b/photos", [2], SWAPPED, 1), "yolo", {}, RULES, NOW)
    ingest(lake)
    assert classes(lake) == {"1.txt": [1], "2.txt": [0]}


def test_a_corrected_list_of_classes_counts_for_the_labels_that_wait(lake: Lake, tmp_path: Path) -> None:
    place = folder(tmp_path / "photos", [1], OURS)
    import_folder(lake, place, "yolo", {}, RULES, NOW)
    import_folder(lake, folder(place, [2], SWAPPED), "yolo", {}, RULES, NOW)
    ingest(lake)
    assert classes(lake) == {"1.txt": [1], "2.txt": [1]}


def test_label_files_wait_while_a_correction_of_them_is_broken_off(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(tmp_path / "photos", [1, 2], OURS, 0)
    import_folder(lake, place, "yolo", {}, RULES, NOW)
    folder(place, [1, 2], SWAPPED, 1)  # the same damage under its new number
    put = Lake.put

    def full(self: Lake, key: str, data: bytes) -> None:
        if key == "raw/labels/photos/2.txt":
            raise OSError("no space left on device")
        put(self, key, data)

    monkeypatch.setattr(Lake, "put", full)
    with pytest.raises(OSError, match="no space"):
        import_folder(lake, place, "yolo", {}, RULES, NOW)
    monkeypatch.undo()
    ingest(lake)
    assert classes(lake) == {}
    with pytest.raises(ImportRefused, match=r"broken off.*Run that import again"):
        import_folder(lake, folder(tmp_path / "b/photos", [3], SWAPPED), "yolo", {}, RULES, NOW)
    import_folder(lake, place, "yolo", {}, RULES, NOW)
    ingest(lake)
    assert classes(lake) == {"1.txt": [0], "2.txt": [0]}


def test_a_batch_closed_before_a_correction_does_not_read_the_new_files(lake: Lake, tmp_path: Path) -> None:
    place = folder(tmp_path / "photos", [1], OURS, 0)
    import_folder(lake, place, "yolo", {}, RULES, NOW)
    (old,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    import_folder(lake, folder(place, [1], SWAPPED, 1), "yolo", {}, RULES, NOW)
    (upload,) = batches.list_batches(lake, "uploads")
    ingest_uploads(lake, upload, RULES)
    build_images(lake, upload, RULES)
    result = ingest_labels(lake, old.batch_id, RULES, NOW)
    assert (result.rows.num_rows, result.quarantined.num_rows) == (0, 0)
    assert "a later one reads it" in result.notes["raw/labels/photos/1.txt"][0]
    ingest(lake)
    assert classes(lake) == {"1.txt": [0]}


def test_a_record_that_changes_while_a_batch_is_closed_is_read_again(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(tmp_path / "photos", [1], OURS, 0)
    import_folder(lake, place, "yolo", {}, RULES, NOW)
    hashed = batches.hashed

    def import_first(lake: Lake, objects: list[batches.BatchObject]) -> list[batches.BatchObject]:
        monkeypatch.undo()
        import_folder(lake, folder(place, [1], SWAPPED, 1), "yolo", {}, RULES, NOW)
        return hashed(lake, objects)

    monkeypatch.setattr(batches, "hashed", import_first)
    assert plan_batches(lake, "labels", RULES, NOW, close_all=True) == []
    (later,) = plan_batches(lake, "labels", RULES, NOW + timedelta(minutes=1), close_all=True)
    assert later.options["class_ids"] == {"0": 1, "1": 0}
    ingest(lake)
    assert classes(lake) == {"1.txt": [0]}


@pytest.mark.parametrize(
    ("file", "classes", "words"),
    [
        ("mine.txt", SWAPPED, "there 0 is scratch, 1 is dent"),
        ("mine.txt", OURS, None),
        ("mine.json", OURS, "by the names of their own categories"),
        ("classes.txt", SWAPPED, None),  # no label file
    ],
)
def test_label_files_put_there_by_hand_keep_their_class_ids(
    lake: Lake, tmp_path: Path, file: str, classes: str, words: str | None
) -> None:
    lake.put(f"raw/labels/photos/{file}", f"0{BOX}".encode())
    place = folder(tmp_path / "photos", [1], classes)
    if words is None:
        import_folder(lake, place, "yolo", {}, RULES, NOW)
        return
    with pytest.raises(ImportRefused, match=words):
        import_folder(lake, place, "yolo", {}, RULES, NOW)
    assert not lake.exists(import_record_key("photos"))


def test_the_labelling_queues_name_is_not_for_imports(lake: Lake, tmp_path: Path) -> None:
    record = json.dumps({"origin": "annotator", "options": {"annotator": "me"}}).encode()
    lake.put(import_record_key("queue"), record)
    with pytest.raises(ImportRefused, match=r"is the labelling queue's\. Rename"):
        import_folder(lake, folder(tmp_path / "queue", [1], SWAPPED), "yolo", {}, RULES, NOW)
    assert lake.get(import_record_key("queue")) == record
    assert list(lake.list("raw/")) == []
