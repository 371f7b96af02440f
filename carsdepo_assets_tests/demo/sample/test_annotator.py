"""demo/sample/annotator.py: labels a queue from what the renderer wrote, and real intake takes these labels."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest

from carsdepo_assets.demo.sample.annotator import ANNOTATOR, AnnotatorError, annotate
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW, photograph
from carsdepo_assets_tests.data.small_lake import RULES, upload

QUEUE = "drift-r1"
TRUTH = {1: "0 0.500000 0.500000 0.250000 0.250000\n", 2: "", 3: "1 0.200000 0.200000 0.100000 0.100000\n"}


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    folder = tmp_path / "window"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for seed, text in TRUTH.items():
        (folder / "images" / f"car_{seed}.jpg").write_bytes(photograph(seed))
        (folder / "labels" / f"car_{seed}.txt").write_text(text)
    (folder / "images" / "unlabelled.jpg").write_bytes(photograph(4))
    return folder


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with a queue of photographs 1 to 5; 4 has no label file in the folder, 5 is not in it."""
    lake = Lake.open(tmp_path / "lake")
    photographs = []
    for seed in range(1, 6):
        image_id = image(seed)
        key = f"raw/uploads/queue/{QUEUE}/{image_id}.jpg"
        lake.put(key, photograph(seed))
        photographs.append({"image_id": image_id, "upload_key": key})
    lake.put(f"queues/{QUEUE}/queue.json", json.dumps({"queue_id": QUEUE, "photographs": photographs}).encode())
    return lake


def image(seed: int) -> str:
    return hashlib.sha256(photograph(seed)).hexdigest()


def label_key(seed: int) -> str:
    return f"raw/labels/queue/{QUEUE}/{image(seed)}.txt"


def test_known_photographs_get_their_truth_and_unknown_ones_nothing(lake: Lake, truth: Path) -> None:
    annotated = annotate(lake, QUEUE, [truth], NOW)
    assert annotated.labelled == (image(1), image(2), image(3))
    assert annotated.unknown == (image(4), image(5))
    assert {seed: lake.get(label_key(seed)).decode() for seed in TRUTH} == TRUTH
    assert not lake.exists(label_key(4))
    assert not lake.exists(label_key(5))


def test_intake_knows_who_labelled(lake: Lake, truth: Path) -> None:
    from carsdepo_assets.data.batches.batches import plan_batches
    from carsdepo_assets.data.labels.label_revisions import ingest_labels

    annotate(lake, QUEUE, [truth], NOW)
    upload(lake, {})
    (batch,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    rows = ingest_labels(lake, batch.batch_id, RULES, NOW).rows.to_pylist()
    assert {(r["origin"], r["annotator"]) for r in rows} == {("annotator", ANNOTATOR)}
    boxes = {r["image_id"]: [(b["class_id"], b["x1"], b["y2"]) for b in r["boxes"]] for r in rows}
    assert boxes == {image(1): [(0, 24.0, 30.0)], image(2): [], image(3): [(1, 9.6, pytest.approx(12.0))]}


def test_again_changes_nothing(lake: Lake, truth: Path) -> None:
    annotate(lake, QUEUE, [truth], NOW)
    before = list(lake.list())
    again = annotate(lake, QUEUE, [truth], NOW + timedelta(hours=1))
    assert again.labelled == ()
    assert again.standing == (image(1), image(2), image(3))
    assert list(lake.list()) == before


def test_killed_halfway_the_next_call_finishes(lake: Lake, truth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lake.put

    def put(key: str, data: bytes) -> None:
        if key == label_key(2):
            raise KeyboardInterrupt
        whole(key, data)

    monkeypatch.setattr(lake, "put", put)
    with pytest.raises(KeyboardInterrupt):
        annotate(lake, QUEUE, [truth], NOW)
    monkeypatch.undo()
    annotated = annotate(lake, QUEUE, [truth], NOW)
    assert (annotated.standing, annotated.labelled) == ((image(1),), (image(2), image(3)))
    assert json.loads(lake.get(f"queues/{QUEUE}/annotation.json"))["labels"] == 3


def test_a_persons_labels_stay(lake: Lake, truth: Path) -> None:
    lake.put(label_key(1), b"1 0.5 0.5 0.1 0.1\n")
    annotated = annotate(lake, QUEUE, [truth], NOW)
    assert image(1) in annotated.standing
    assert lake.get(label_key(1)) == b"1 0.5 0.5 0.1 0.1\n"


def test_no_queue_and_no_photographs_are_errors(lake: Lake, truth: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotatorError, match="drift-r2"):
        annotate(lake, "drift-r2", [truth], NOW)
    with pytest.raises(AnnotatorError, match="no photographs"):
        annotate(lake, QUEUE, [tmp_path / "nowhere"], NOW)
    assert not lake.exists(label_key(1))
