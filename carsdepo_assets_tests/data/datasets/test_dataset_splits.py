"""data/datasets/dataset.py: splits that imports declare, and what a corrected group does to photographs that have
theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.batches.batches import list_batches, plan_batches
from carsdepo_assets.data.datasets.corrected_groups import IN_GOLDEN
from carsdepo_assets.data.datasets.dataset import Dataset
from carsdepo_assets.data.datasets.splitting import EXCLUDED, POOL
from carsdepo_assets.data.imports.importing import ImportRefused, import_folder
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import content_digest_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload

BOX = "0 0.5 0.5 0.25 0.5\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def export(folder: Path, photographs: dict[str, bytes], **files: str) -> Path:
    """A YOLO export: {"train/a.jpg": bytes} with a label for each."""
    texts = {"classes.txt": "scratch\ndent\n", **files}
    for name, data in photographs.items():
        split, file = name.split("/")
        (folder / split / "images").mkdir(parents=True, exist_ok=True)
        (folder / split / "images" / file).write_bytes(data)
        texts[f"{split}/labels/{Path(file).stem}.txt"] = BOX
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def take(lake: Lake, folder: Path, resplit: bool = False) -> Dataset:
    import_folder(lake, folder, "yolo", {}, RULES, NOW, resplit=resplit)
    for batch_id in list_batches(lake, "uploads"):  # those that are ingested already change nothing
        ingest_uploads(lake, batch_id, RULES)
        build_images(lake, batch_id, RULES)
        build_processed(lake, batch_id, RULES)
    for batch in plan_batches(lake, "labels", RULES, NOW, close_all=True):
        ingest_labels(lake, batch.batch_id, RULES, NOW)
    return dataset(lake)


def by_name(built: Dataset) -> dict[str, dict[str, Any]]:
    return {r["key"].split("/", 3)[-1]: r for r in built.manifest.to_pylist()}


def splits(built: Dataset) -> dict[str, str]:
    return {name: row["split"] for name, row in by_name(built).items()}


EXPORT = {"train/a.jpg": car(1), "train/b.jpg": car(2), "valid/c.jpg": car(3), "test/d.jpg": car(4)}
DECLARED = {"train/a.jpg": "train", "train/b.jpg": "train", "valid/c.jpg": "val", "test/d.jpg": "test"}


def test_an_exports_own_split_is_the_datasets(lake: Lake, tmp_path: Path) -> None:
    built = take(lake, export(tmp_path / "rf", EXPORT))
    assert splits(built) == DECLARED
    assert built.summary["declared"] == {
        s: {"kept": n, "excluded": 0} for s, n in (("test", 1), ("train", 2), ("val", 1))
    }
    assert built.summary["notes"] == []
    (closed,) = [golden.current(lake)]
    assert closed is not None
    assert closed.images == (by_name(built)["test/d.jpg"]["image_id"],)
    more = take(lake, export(tmp_path / "more", {"train/e.jpg": car(5), "test/f.jpg": car(6)}))
    assert {n: s for n, s in splits(more).items() if n[-5:] in ("e.jpg", "f.jpg")} == {
        "train/e.jpg": "train",
        "test/f.jpg": POOL,
    }


def test_an_export_without_test_photographs_is_kept_and_said(lake: Lake, tmp_path: Path) -> None:
    built = take(lake, export(tmp_path / "rf", {n: b for n, b in EXPORT.items() if not n.startswith("test")}))
    assert set(splits(built).values()) == {"train", "val"}
    (note,) = built.summary["notes"]
    assert note.startswith("No photographs for test")
    assert "--resplit" in note


def test_near_duplicates_across_declared_splits_are_excluded_and_counted(lake: Lake, tmp_path: Path) -> None:
    again = car(4, quality=60)
    built = take(lake, export(tmp_path / "rf", {**EXPORT, "train/again.jpg": again}))
    assert splits(built) == {**DECLARED, "train/again.jpg": EXCLUDED}
    assert built.summary["declared"]["train"] == {"kept": 2, "excluded": 1}
    assert built.summary["notes"][0].startswith("1 photographs are excluded although their import declares a split")


def test_one_file_in_two_splits_is_one_photograph_of_the_test_side(lake: Lake, tmp_path: Path) -> None:
    built = take(lake, export(tmp_path / "rf", {**EXPORT, "train/d2.jpg": EXPORT["test/d.jpg"]}))
    (row,) = [r for r in built.manifest.to_pylist() if r["key"].endswith(("/d.jpg", "/d2.jpg"))]
    assert row["split"] == "test"


COPY = "_jpg.rf.0123456789abcdef0123456789abcdef.jpg"


@pytest.mark.parametrize(
    ("photographs", "files"),
    [
        ({"train/a.jpg": car(1), "test/b.jpg": car(2)}, {"manifest.csv": "file,group\na.jpg,g\nb.jpg,g\n"}),
        ({f"train/a{COPY}": car(1), f"test/a{COPY.replace('0', '9')}": car(2)}, {}),
    ],
)
def test_a_split_that_leaks_is_refused_before_anything_is_copied(
    lake: Lake, tmp_path: Path, photographs: dict[str, bytes], files: dict[str, str]
) -> None:
    folder = export(tmp_path / "rf", photographs, **files)
    with pytest.raises(ImportRefused, match="--resplit"):
        take(lake, folder)
    assert list(lake.list("raw/")) == []
    built = take(lake, folder, resplit=True)
    assert len({r["split"] for r in built.manifest.to_pylist()}) == 1
    assert len({r["group_id"] for r in built.manifest.to_pylist()}) == 1
    assert built.summary["declared"] == {}
    (batch,) = list(lake.list("batches/labels/"))
    assert json.loads(lake.get(batch.key))["options"]["resplit"] is True


def test_copies_of_one_source_are_one_group_wherever_they_lie(lake: Lake) -> None:
    names = [f"rf/{n}{c}" for n in ("a", "b", "c", "d") for c in (COPY, COPY.replace("0", "9"))]
    upload(lake, {name: car(10 + i) for i, name in enumerate(names)})
    label(lake, {f"{name.removesuffix('.jpg')}.txt": BOX for name in names})
    rows = by_name(dataset(lake))
    groups = [{rows[f"{n}{c}"]["group_id"] for c in (COPY, COPY.replace("0", "9"))} for n in ("a", "b", "c", "d")]
    assert [len(group) for group in groups] == [1, 1, 1, 1]
    assert len(set.union(*groups)) == 4


def filled(lake: Lake) -> dict[str, str]:
    """Eight cars of one photograph each, and their splits."""
    names = [f"c{n}.jpg" for n in range(8)]
    upload(lake, {name: car(100 + n) for n, name in enumerate(names)}, {name: name for name in names})
    label(lake, {f"c{n}.txt": BOX for n in range(8)})
    return {r["key"].split("/")[-1]: r["split"] for r in dataset(lake).manifest.to_pylist()}


def regroup(lake: Lake, joined: set[str]) -> Dataset:
    rows = "".join(f"c{n}.jpg,{'joined' if f'c{n}.jpg' in joined else n}\n" for n in range(8))
    lake.put("raw/uploads/manifest.csv", f"file,group\n{rows}".encode())
    return dataset(lake)


def test_a_corrected_group_across_the_golden_set_excludes_the_other_side_and_says_so(lake: Lake) -> None:
    before = filled(lake)
    train, test = (next(n for n, s in before.items() if s == split) for split in ("train", "test"))
    closed = golden.current(lake)
    built = regroup(lake, {train, test})
    after = {r["key"].split("/")[-1]: r for r in built.manifest.to_pylist()}
    assert {n: r["split"] for n, r in after.items()} == {**before, train: EXCLUDED}
    assert built.summary["excluded"] == {after[train]["image_id"]: IN_GOLDEN}
    assert "their figures on the golden set flatter" in built.summary["notes"][0]
    assert golden.current(lake) == closed
    again = dataset(lake)
    assert (again.version, again.new) == (built.version, False)
    back = regroup(lake, set())  # nothing that was excluded comes back
    assert {r["key"].split("/")[-1]: r["split"] for r in back.manifest.to_pylist()}[train] == EXCLUDED


def test_a_corrected_group_within_a_split_is_one_group(lake: Lake) -> None:
    before = filled(lake)
    train = [n for n, s in before.items() if s == "train"][:3]
    built = regroup(lake, set(train))
    after = {r["key"].split("/")[-1]: r for r in built.manifest.to_pylist()}
    assert {n: r["split"] for n, r in after.items()} == before
    assert len({after[n]["group_id"] for n in train}) == 1
    assert len({r["group_id"] for r in after.values()}) == 6
    rows = lake.version("splits")
    assert dataset(lake).version == built.version
    assert lake.version("splits") == rows


def test_a_new_photograph_follows_the_corrected_group(lake: Lake) -> None:
    before = filled(lake)
    upload(lake, {"new.jpg": car(900)})
    label(lake, {"new.txt": BOX})
    val = next(n for n, s in before.items() if s == "val")
    lake.put("raw/uploads/manifest.csv", f"file,group\nnew.jpg,{val}\n{val},{val}\n".encode())
    after = {r["key"].split("/")[-1]: r["split"] for r in dataset(lake).manifest.to_pylist()}
    assert after["new.jpg"] == "val"


def test_the_content_digest_is_apart_from_provenance(lake: Lake, tmp_path: Path) -> None:
    first = take(lake, export(tmp_path / "rf", EXPORT))
    other = Lake.open(tmp_path / "other")
    flat = {f"{n.split('/')[1]}": b for n, b in EXPORT.items()}
    upload(other, flat)
    label(other, {f"{Path(n).stem}.txt": BOX for n in flat})
    second = dataset(other)
    assert second.version != first.version
    assert second.summary["content_digest"] == first.summary["content_digest"] != ""
    assert content_digest_of(lake, first.version) == first.summary["content_digest"]
    label(other, {"a.txt": ""})
    assert dataset(other).summary["content_digest"] != first.summary["content_digest"]
    assert content_digest_of(other, "0" * 16) is None
