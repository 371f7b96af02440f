"""commands/reproduction/rebuilding.py, photographs.py, labels.py: what a dataset was made of, compared byte by byte."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carsdepo_assets.commands.reproduction.rebuilding import Rebuilt, rebuild
from carsdepo_assets.data.datasets.dataset import Dataset
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import manifest_key
from carsdepo_assets.lake.evaluations import EvaluationRecord
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.commands.reproducible_lake import BOX, CARS, lineage_of, photographs_and_labels
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload

OTHER_BOX = BOX.replace("0.4", "0.3", 1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    folder = tmp_path_factory.mktemp("template") / "lake"
    return folder, photographs_and_labels(Lake.open(folder))


@pytest.fixture
def lake(tmp_path: Path, template: tuple[Path, Dataset]) -> Lake:
    shutil.copytree(template[0], tmp_path / "lake")
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def made(template: tuple[Path, Dataset]) -> Dataset:
    return template[1]


def evaluated(made: Dataset) -> EvaluationRecord:
    return EvaluationRecord(
        evaluation_id="e",
        at=NOW,
        digest="d" * 16,
        dataset=made.version,
        golden=1,
        photographs=1,
        boxes=1,
        report_key="r",
    )


def rebuilt(tmp_path: Path, lake: Lake, made: Dataset) -> Rebuilt:
    clean = Lake.open(tmp_path / "clean")
    return rebuild(lake, clean, lineage_of(lake, made), evaluated(made), RULES, lambda text: None)


def states(built: Rebuilt) -> dict[str, str]:
    return {f.name: f.state for f in built.fields}


def listing(lake: Lake) -> dict[str, bytes]:
    return {o.key: lake.get(o.key) for o in lake.list()}


def test_what_is_as_it_was_gives_the_same_dataset_and_leaves_the_lake_alone(
    tmp_path: Path, lake: Lake, made: Dataset
) -> None:
    before = listing(lake)
    built = rebuilt(tmp_path, lake, made)
    assert set(states(built).values()) == {"same"}
    assert built.version == made.version
    assert built.notes == []
    assert listing(lake) == before
    clean = Lake.open(tmp_path / "clean")
    used = [r for r in made.manifest.to_pylist() if r["split"] != "excluded"]
    assert all(clean.get(row["key"]) == lake.get(row["key"]) for row in used)
    learnt = [r for r in used if r["split"] in ("train", "val")]
    assert all(clean.get(row["object_key"]) == lake.get(row["object_key"]) for row in learnt)
    assert golden.read(clean, 1) == golden.read(lake, 1)


def test_labels_and_photographs_that_came_since_change_nothing(tmp_path: Path, lake: Lake, made: Dataset) -> None:
    upload(lake, {"later.jpg": car(50)})
    label(lake, {"later.txt": BOX, "car0.txt": OTHER_BOX})  # a correction that was read
    assert dataset(lake).version != made.version
    built = rebuilt(tmp_path, lake, made)
    assert built.version == made.version
    assert set(states(built).values()) == {"same"}
    assert built.notes == [
        "raw/labels/car0.txt was replaced since: its labels are taken from the table, where their digests hold."
    ]


def one_byte_of_a_label(lake: Lake, made: Dataset) -> None:
    lake.put("raw/labels/car1.txt", BOX.replace("0.5", "0.6", 1).encode())


def no_label_any_more(lake: Lake, made: Dataset) -> None:
    lake.put("raw/labels/car1.txt", b"0 x\n")


def one_byte_of_a_photograph(lake: Lake, made: Dataset) -> None:
    data = lake.get("raw/uploads/car1.jpg")
    lake.put("raw/uploads/car1.jpg", data[:-1] + bytes([data[-1] ^ 1]))


def an_erased_photograph(lake: Lake, made: Dataset) -> None:
    lake.delete("raw/uploads/car1.jpg")


def a_box_in_the_table(lake: Lake, made: Dataset) -> None:
    rows = lake.read("annotations").to_pylist()
    rows[1]["boxes"] = [{**rows[1]["boxes"][0], "x1": 1.0}]
    changed = pa.Table.from_pylist(rows, schema=lake.read("annotations").schema)
    assert lake.root is not None
    shutil.rmtree(lake.root / "tables" / "annotations")
    Lake.open(lake.root).append("annotations", changed, "changed")


def the_manifest(lake: Lake, made: Dataset) -> None:
    rows = made.manifest.to_pylist()
    rows[0]["boxes"] = []
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=made.manifest.schema), sink)
    lake.put(manifest_key(made.version), sink.getvalue())


def the_golden_set(lake: Lake, made: Dataset) -> None:
    lake.delete(golden.key(1))


@pytest.mark.parametrize(
    ("change", "field", "state", "note"),
    [
        (one_byte_of_a_label, "labels of photograph", "differs", "revision digest differs, as the file's bytes"),
        (no_label_any_more, "labels of photograph", "differs", "cannot be read any more"),
        (one_byte_of_a_photograph, "photograph raw/uploads/car1.jpg", "differs", "not those of its digest"),
        (an_erased_photograph, "photograph raw/uploads/car1.jpg", "missing", "erased"),
        (a_box_in_the_table, "labels of photograph raw/uploads/car", "differs", "the table annotations was changed"),
        (the_manifest, "manifest of dataset", "differs", "manifest was changed"),
        (the_golden_set, "golden set 1", "missing", "golden/1.json"),
    ],
)
def test_what_was_changed_is_named(
    change: Callable[[Lake, Dataset], None],
    field: str,
    state: str,
    note: str,
    tmp_path: Path,
    lake: Lake,
    made: Dataset,
) -> None:
    change(lake, made)
    built = rebuilt(tmp_path, Lake.open(tmp_path / "lake"), made)
    named = [f for f in built.fields if f.name.startswith(field)]
    assert named
    assert named[0].state == state
    assert note in named[0].note
    if change is one_byte_of_a_label:
        assert "car1.txt" in named[0].name
        assert states(built)["content digest"] == states(built)["dataset version"] == "differs"


def test_bytes_that_lie_elsewhere_too_are_found_there(tmp_path: Path, lake: Lake, made: Dataset) -> None:
    upload(lake, {"again.jpg": car(1)})
    lake.delete("raw/uploads/car1.jpg")
    assert set(states(rebuilt(tmp_path, lake, made)).values()) == {"same"}


def test_a_label_file_that_is_gone_and_a_copy_that_is_made_otherwise_are_said(
    tmp_path: Path, lake: Lake, made: Dataset
) -> None:
    """Both are still in the lake, under digests that hold: the dataset is the same."""
    lake.delete("raw/labels/car0.txt")
    other = RULES.model_copy(update={"data": RULES.data.model_copy(update={"jpeg_quality": 60})})
    clean = Lake.open(tmp_path / "clean")
    built = rebuild(lake, clean, lineage_of(lake, made), None, other, lambda text: None)
    assert set(states(built).values()) == {"same"}
    assert [note.split(":")[0] for note in built.notes] == [
        "raw/labels/car0.txt is gone",
        f"{len([r for r in made.manifest.to_pylist() if r['split'] in ('train', 'val')])} processed copies are made "
        "otherwise now than when they were stored (another library, or another policy)",
    ]
    assert built.photographs == CARS
