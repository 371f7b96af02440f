"""data/datasets/dataset.py: datasets of a lake that grows, of a copied lake, and of builds that are killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.datasets.dataset import Dataset, build_dataset
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import LATEST, latest
from carsdepo_assets.lake.datasets import read_manifest as read_dataset
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import CLASS_NAMES
from carsdepo_assets_tests.imaging.files import saved, scene

pytestmark = pytest.mark.slow

RULES = Policy(data=DataPolicy(longest_side_px=64))


def label(seed: int) -> bytes:
    return f"{seed % 2} 0.5 0.5 0.{1 + seed % 8} 0.25\n".encode()


def deliver(lake: Lake, cars: dict[str, list[int]], day: int = 0) -> None:
    """Photographs with labels and their car: a group hint by manifest.csv, {car: seeds}."""
    folder = f"d{day}"
    rows = ["file,group"]
    lake.put("raw/labels/classes.txt", CLASS_NAMES)
    for car, seeds in cars.items():
        for seed in seeds:
            rows.append(f"{seed}.jpg,{car}")
            lake.put(f"raw/uploads/{folder}/{seed}.jpg", saved(scene(96, 64, seed)))
            lake.put(f"raw/labels/{folder}/{seed}.txt", label(seed))
    lake.put(f"raw/uploads/{folder}/manifest.csv", "\n".join(rows).encode())
    take(lake, day)


def take(lake: Lake, day: int = 0) -> None:
    now = NOW + timedelta(days=day)
    for batch in plan_batches(lake, "uploads", RULES, now, close_all=True):
        for step in (ingest_uploads, build_images, build_processed):
            step(lake, batch.batch_id, RULES)
    for batch in plan_batches(lake, "labels", RULES, now, close_all=True):
        ingest_labels(lake, batch.batch_id, RULES, now)


def build(lake: Lake, day: int = 0) -> Dataset:
    return build_dataset(lake, RULES, NOW + timedelta(days=day, hours=1))


FIRST = {f"car{i}": [10 * i + j for j in range(1 + i % 3)] for i in range(8)}
SECOND = {f"later{i}": [500 + 10 * i + j for j in range(2)] for i in range(6)} | {"car1": [901], "car2": [902, 903]}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, list[Dataset]]:
    lake = Lake.open(tmp_path_factory.mktemp("grown") / "lake")
    deliver(lake, FIRST)
    first = build(lake)
    deliver(lake, SECOND, day=1)
    second = build(lake, day=1)
    lake.put("raw/labels/d0/0.txt", b"1 0.5 0.5 0.125 0.125\n")
    lake.put("raw/labels/d0/10.txt", b"")
    take(lake, day=2)
    return lake, [first, second, build(lake, day=2)]


def test_what_has_a_split_keeps_it_and_a_version_keeps_its_rows(grown: tuple[Lake, list[Dataset]]) -> None:
    lake, built = grown
    assert len({d.version for d in built}) == 3
    assert latest(lake) == built[-1].version
    for earlier, later in pairwise(built):
        before = {r["image_id"]: (r["split"], r["group_id"]) for r in earlier.manifest.to_pylist()}
        after = {r["image_id"]: (r["split"], r["group_id"]) for r in later.manifest.to_pylist()}
        assert before.items() <= after.items()
        assert read_dataset(lake, earlier.version).equals(earlier.manifest)


def test_the_same_input_gives_the_same_version_also_elsewhere(tmp_path: Path) -> None:
    versions, splits = [], []
    for name in ("one", "two"):
        lake = Lake.open(tmp_path / name)
        deliver(lake, FIRST)
        built = build(lake)
        again = build(lake, day=9)
        assert (again.version, again.new, built.new) == (built.version, False, True)
        assert again.manifest.equals(built.manifest)
        splits.append({r["image_id"]: (r["split"], r["group_id"]) for r in built.manifest.to_pylist()})
        versions.append([r["boxes"] for r in built.manifest.to_pylist()])
    assert splits[0] == splits[1]
    assert versions[0] == versions[1]


def test_labels_come_back_to_what_they_were_as_a_new_revision(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    deliver(lake, {"a": [1], "b": [2], "c": [3]})
    seen = [build(lake)]
    for day, text in ((1, b""), (2, b""), (3, label(1))):
        lake.put("raw/labels/d0/1.txt", text)
        take(lake, day)
        seen.append(build(lake, day))
    versions = [d.version for d in seen]
    assert versions[0] != versions[1] == versions[2] != versions[3]
    boxes = [next(r["boxes"] for r in d.manifest.to_pylist() if r["key"].endswith("/1.jpg")) for d in seen]
    assert [len(b) for b in boxes] == [1, 0, 0, 1]
    assert boxes[3] == boxes[0]


_KILLED = """
import itertools, os, signal, sys
from datetime import timedelta
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.datasets.test_dataset_over_time import build
root, method, when, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
plain, numbers = getattr(Lake, method), itertools.count(1)
def deadly(self, *args):
    number = next(numbers)
    if number == n and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = plain(self, *args)
    if number == n:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(Lake, method, deadly)
build(Lake.open(root))
"""


# One append (splits); puts in order: golden set, summary, data.yaml, manifest, pointer.
@pytest.mark.parametrize(
    ("method", "when", "n"), [("append", "before", 1), ("put", "after", 1), ("put", "after", 4), ("put", "after", 5)]
)
def test_a_killed_build_is_finished_by_the_next(tmp_path: Path, method: str, when: str, n: int) -> None:
    lake = Lake.open(tmp_path / "lake")
    deliver(lake, FIRST)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, lake.url, method, when, str(n)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    pointed = latest(lake)
    assert pointed is None or read_dataset(lake, pointed).num_rows > 0  # never a name without its dataset
    stood = {r["image_id"]: r["split"] for r in lake.read("splits").to_pylist()}
    built = build(lake, day=1)
    rows = lake.read("splits").to_pylist()
    assert len(rows) == len({r["image_id"] for r in rows}) == sum(map(len, FIRST.values()))
    assert stood.items() <= {r["image_id"]: r["split"] for r in rows}.items()
    assert [o.key for o in lake.list("datasets") if not o.key.startswith(f"datasets/{built.version}/")] == [LATEST]
    assert latest(lake) == built.version
    assert json.loads(lake.get(golden.key(1)))["images"] == sorted(r["image_id"] for r in rows if r["split"] == "test")
    assert build(lake, day=2).version == built.version
