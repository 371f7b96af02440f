"""data/imports/importing.py, import_names.py, class_mapping.py: a folder is imported whole, once and resumably."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets.data.batches.batches import list_batches, plan_batches, read_manifest
from carsdepo_assets.data.imports.account import ImportState
from carsdepo_assets.data.imports.import_names import import_name
from carsdepo_assets.data.imports.importing import ImportRefused, ImportResult, import_folder
from carsdepo_assets.data.labels.import_records import read_import_record
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.data.imports.small_folders import cars, coco, raw, write
from carsdepo_assets_tests.data.photograph_files import NOW, photograph

RULES = Policy()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def refusals(result: ImportResult) -> dict[str, str]:
    return {o.path: o.reason for o in result.outcomes if o.state is ImportState.REFUSED}


def ingest_photographs(lake: Lake) -> None:
    for batch in list_batches(lake, "uploads"):
        ingest_uploads(lake, batch, RULES)
        build_images(lake, batch, RULES)


def test_a_folder_becomes_photographs_with_their_groups(lake: Lake, tmp_path: Path) -> None:
    import_folder(lake, cars(tmp_path / "my cars"), "yolo", {}, RULES, NOW, origin="sample")
    assert raw(lake) == [
        "labels/my-cars/a.txt",
        "labels/my-cars/b.txt",
        "uploads/my-cars/a.jpg",
        "uploads/my-cars/b.jpg",
        "uploads/my-cars/manifest.csv",
    ]
    (batch,) = list_batches(lake, "uploads")
    ingest_uploads(lake, batch, RULES)
    assert build_images(lake, batch, RULES).rows["group_hint"].to_pylist() == ["g1", "g2"]
    (labels,) = plan_batches(lake, "labels", RULES, NOW)
    assert (labels.origin, labels.options) == (
        "sample",
        {"import": "my-cars", "format": "yolo", "class_ids": {"0": 0, "1": 1}},
    )


def test_a_second_import_copies_nothing(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars")
    first = import_folder(lake, folder, "auto", {}, RULES, NOW)
    again = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert (first.copied, again.copied, again.reused) == (5, 0, 5)
    assert len(list_batches(lake, "uploads")) == 1


def test_a_corrected_label_is_a_new_object(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars")
    import_folder(lake, folder, "auto", {}, RULES, NOW)
    plan_batches(lake, "labels", RULES, NOW, close_all=True)
    write(folder, {"labels/a.txt": "1 .5 .5 .2 .2\n"})
    assert import_folder(lake, folder, "auto", {}, RULES, NOW).copied == 1
    (labels,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    assert [o.key for o in labels.objects] == ["raw/labels/cars/a.txt"]


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_a_changed_photograph_is_refused_with_its_label_and_the_rest_comes_in(
    lake: Lake, tmp_path: Path, form: str
) -> None:
    folder = cars(tmp_path / "cars")
    if form == "coco":
        for label in ("labels/a.txt", "labels/b.txt"):
            (folder / label).unlink()
        write(folder, {"all.json": coco({0: "scratch"}, [0])})
    label = "all.json" if form == "coco" else "labels/a.txt"
    import_folder(lake, folder, "auto", {}, RULES, NOW)
    ingest_photographs(lake)
    changed = coco({0: "scratch"}, [0, 0]) if form == "coco" else "1 .5 .5 .2 .2\n"
    write(folder, {"images/a.jpg": photograph(3), label: changed, "images/c.jpg": photograph(4)})
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert refusals(result) == {
        "images/a.jpg": "differs from the photograph imported before under this name: import with --name",
        label: "labels a photograph that was refused: import with --name",
    }
    assert (result.copied, lake.get("raw/uploads/cars/a.jpg")) == (1, photograph(1))
    assert lake.get(f"raw/labels/cars/{label.removeprefix('labels/')}") != changed.encode()
    assert refusals(import_folder(lake, folder, "auto", {}, RULES, NOW, name="other")) == {}


def test_a_photograph_that_was_half_copied_and_is_whole_now_comes_in(lake: Lake, tmp_path: Path) -> None:
    folder = write(cars(tmp_path / "cars"), {"images/a.jpg": photograph(1)[:500]})
    import_folder(lake, folder, "auto", {}, RULES, NOW)
    ingest_photographs(lake)
    write(folder, {"images/a.jpg": photograph(1)})
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert (refusals(result), result.copied) == ({}, 1)
    assert lake.get("raw/uploads/cars/a.jpg") == photograph(1)


def test_what_the_folder_has_no_more_is_said_and_stays(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars")
    import_folder(lake, folder, "auto", {}, RULES, NOW)
    for path in ("images/b.jpg", "labels/b.txt"):
        (folder / path).unlink()
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert result.gone == ["raw/labels/cars/b.txt", "raw/uploads/cars/b.jpg"]
    assert all(lake.exists(key) for key in result.gone)


def test_a_file_that_cannot_be_read_is_refused_by_itself(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cars(tmp_path / "cars")
    read_bytes = Path.read_bytes

    def locked(self: Path) -> bytes:
        if self.name in ("a.jpg", "b.txt"):
            raise PermissionError(13, "Permission denied")
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", locked)
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert refusals(result) == {"images/a.jpg": "cannot be read", "labels/b.txt": "cannot be read"}


def test_a_dry_run_writes_nothing(lake: Lake, tmp_path: Path) -> None:
    folder = cars(tmp_path / "cars")
    for place in (None, lake):
        result = import_folder(place, folder, "auto", {}, RULES, NOW, dry_run=True)
        assert (result.photographs, result.labels, result.copied, list(lake.list(""))) == (2, 2, 0, [])


def test_photographs_alone_leave_the_record_of_the_labels_as_it_is(lake: Lake, tmp_path: Path) -> None:
    import_folder(lake, cars(tmp_path / "cars"), "auto", {}, RULES, NOW)
    record = read_import_record(lake, "cars")
    folder = write(tmp_path / "more", {"images/z.jpg": photograph(9)})
    import_folder(lake, folder, "auto", {}, RULES, NOW, name="cars")
    assert read_import_record(lake, "cars") == record
    # And labels alone come to photographs that are there.
    folder = write(tmp_path / "labels only", {"labels/z.txt": "", "classes.txt": "scratch\ndent\n"})
    assert import_folder(lake, folder, "auto", {}, RULES, NOW, name="cars").labels == 1


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("my cars", None, "my-cars"),
        ("\u8eca\u4e21", None, "\u8eca\u4e21"),
        ("fu\u0308r Autos", None, "f\u00fcr-Autos"),
        ("x", "a/b", "a-b"),
        ("(!)", None, r"'\(!\)' gives no name.*--name cars"),
        ("x", "...", r"--name \.\.\. gives no name"),
        ("x", "queue", "labelling queue's"),
    ],
)
def test_names_of_imports(lake: Lake, tmp_path: Path, folder: str, name: str | None, expected: str) -> None:
    place = cars(tmp_path / folder)
    if " " in expected or "'" in expected:
        with pytest.raises(ImportRefused, match=expected):
            import_folder(lake, place, "auto", {}, RULES, NOW, name=name)
        return
    assert import_folder(lake, place, "auto", {}, RULES, NOW, name=name).name == expected
    assert f"uploads/{expected}/a.jpg" in raw(lake)


def test_a_long_name_is_cut_and_stays_apart_from_others(lake: Lake, tmp_path: Path) -> None:
    names = {import_name("\u8eca" * 80 + end, tmp_path) for end in "ab"}
    assert len(names) == 2
    assert all(len(name.encode()) <= 100 for name in names)


@pytest.mark.parametrize(
    ("files", "form", "message"),
    [
        ({}, "auto", "no photographs"),
        ({"images/a.jpg": b"1"}, "coco", "no label file in the format coco"),
        ({"a.jpg": b"1"}, "vox", "not known"),
        ({"images/a.jpg": b"1", "images/images/a.jpg": b"2"}, "auto", None),
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
from carsdepo_assets.data.imports.importing import import_folder
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


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 3, 6, 7])  # the record, among the photographs, the last label, the batch's manifest
def test_killed_half_way_the_next_import_finishes(lake: Lake, tmp_path: Path, n: int) -> None:
    folder = cars(tmp_path / "cars")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, lake.url, str(folder), str(n)],
        timeout=120,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert len(raw(lake)) == 5
    listed = [o.key for batch in list_batches(lake, "uploads") for o in read_manifest(lake, "uploads", batch).objects]
    assert sorted(listed) == ["raw/uploads/cars/a.jpg", "raw/uploads/cars/b.jpg"]


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif("CARSDEPO_REAL_DATA" not in os.environ, reason="CARSDEPO_REAL_DATA is not set")
def test_the_real_photographs(lake: Lake) -> None:
    folder = Path(os.environ["CARSDEPO_REAL_DATA"], "cardamage")
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert (result.photographs, result.labels) == (534, 534)
    (batch,) = list_batches(lake, "uploads")
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


@pytest.mark.parametrize("place", ["images/a\nb.jpg", "labels/a\tb.txt", "images/a\x7f.jpg"])
def test_a_name_that_cannot_be_a_key_is_refused_by_itself(lake: Lake, tmp_path: Path, place: str) -> None:
    folder = write(cars(tmp_path / "cars"), {place: photograph(3) if place.endswith("jpg") else "0 .5 .5 .1 .1"})
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert refusals(result) == {place: "it cannot be kept under its name: it has a control character. Rename it"}
    assert len(raw(lake)) == 5


@pytest.mark.parametrize("content", ["[" * 200_000, '{"images": [' + "9" * 5000 + "]}", '{"categories": 3}'])
def test_a_hostile_document_is_refused_by_itself(lake: Lake, tmp_path: Path, content: str) -> None:
    folder = cars(tmp_path / "cars", **{"notes2.json": content.replace("categories", "images"), "b.json": content})
    result = import_folder(lake, folder, "auto", {}, RULES, NOW)
    assert set(refusals(result)) <= {"notes2.json", "b.json"}
    assert result.labels == 2


@pytest.mark.parametrize("overlapping", [True, False])
def test_yolo_and_coco_of_different_photographs_in_one_folder(lake: Lake, tmp_path: Path, overlapping: bool) -> None:
    ids = {0: "scratch", 1: "dent"} if overlapping else {7: "scratch", 8: "dent"}
    photographs = {"a.jpg": photograph(1), "b.jpg": photograph(2)}
    labels = {"classes.txt": "dent\nscratch\n", "b.txt": "0 .5 .5 .5 .5", "all.json": coco(ids, list(ids))}
    import_folder(lake, write(tmp_path / "both", {**photographs, **labels}), "auto", {}, RULES, NOW)
    ingest_photographs(lake)
    (manifest,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    rows = ingest_labels(lake, manifest.batch_id, RULES, NOW).rows.to_pylist()
    read = {row["key"].rpartition("/")[2]: sorted(box["class_id"] for box in row["boxes"]) for row in rows}
    assert read == {"all.json": [0, 1], "b.txt": [1]}


@pytest.mark.parametrize(("place", "refused"), [("cars/home/lake", True), ("cars/.carsdepo/lake", False)])
def test_a_folder_that_holds_the_lake_is_not_imported_into_it(tmp_path: Path, place: str, refused: bool) -> None:
    folder, lake = cars(tmp_path / "cars"), Lake.open(tmp_path / place)
    if refused:
        with pytest.raises(ImportRefused, match="holds the lake of this installation"):
            import_folder(lake, folder, "auto", {}, RULES, NOW)
        assert raw(lake) == []
    else:
        assert import_folder(lake, folder, "auto", {}, RULES, NOW).copied == 5
