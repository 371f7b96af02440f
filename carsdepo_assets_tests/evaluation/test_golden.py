"""evaluation/golden.py and prediction_cache.py: champion and challenger meet the same photographs.

What the cache gives back is what was predicted.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from carsdepo_assets.detectors import catalogue
from carsdepo_assets.evaluation import golden as module
from carsdepo_assets.evaluation import prediction_cache
from carsdepo_assets.evaluation.golden import evaluate_on_golden, golden_scores
from carsdepo_assets.evaluation.predict import NothingToScore, Scored, predict_split
from carsdepo_assets.evaluation.prediction_cache import CachedPredictions
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle, card, made_up_model
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> DarkestRectangle:
    predictor = DarkestRectangle()

    def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[DarkestRectangle, ModelCard]:
        return predictor, read_card(lake, digest)

    monkeypatch.setattr(catalogue, "load_model", load_model)
    return predictor


def same(a: Sequence[Detections], b: Sequence[Detections]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(getattr(x, k), getattr(y, k)) and getattr(x, k).dtype == getattr(y, k).dtype
        for x, y in zip(a, b, strict=True)
        for k in ("xyxy", "scores", "classes")
    )


def ids(scored: Scored) -> list[str]:
    return [row["image_id"] for row in scored.rows]


def test_before_a_golden_set_the_test_split_is_scored(lake: Lake, model: DarkestRectangle) -> None:
    version, digest = tiny_dataset(lake), made_up_model(lake, b"one")
    evaluated = evaluate_on_golden(lake, digest, version, Policy())
    assert ids(evaluated.scored) == ["test0", "test1", "test2"]
    assert evaluated.evaluation.map50_95 == pytest.approx(1.0)


def test_the_cache_gives_back_what_was_predicted(lake: Lake, model: DarkestRectangle) -> None:
    version, digest = tiny_dataset(lake), made_up_model(lake, b"one")
    model.score = 0.1 + 0.2  # no short decimal
    fresh = golden_scores(lake, digest, version, Policy())
    assert len(model.sizes) == 3
    progress_calls: list[tuple[int, int]] = []
    cached = golden_scores(lake, digest, version, Policy(), progress=lambda n, of: progress_calls.append((n, of)))
    assert len(model.sizes) == 3  # nothing was predicted again
    assert same(fresh.detections, cached.detections)
    assert same(fresh.detections, predict_split(lake, version, "test", model, Policy()).detections)
    assert (fresh.sizes, ids(fresh)) == (cached.sizes, ids(cached))
    assert sum(map(len, cached.detections)) == 2  # one of the three has no damage
    assert progress_calls == [(3, 3)]


def test_another_model_and_another_way_to_decode_have_scores_of_their_own(lake: Lake, model: DarkestRectangle) -> None:
    version, one, two = tiny_dataset(lake), made_up_model(lake, b"one"), made_up_model(lake, b"two")
    golden_scores(lake, one, version, Policy())
    model.score = 0.3
    assert {s for d in golden_scores(lake, two, version, Policy()).detections for s in d.scores} == {0.3}
    strict = Policy(data=DataPolicy(min_side_px=33))
    assert {s for d in golden_scores(lake, one, version, strict).detections for s in d.scores} == {0.3}
    assert {s for d in golden_scores(lake, one, version, Policy()).detections for s in d.scores} == {0.8}
    assert prediction_cache.settings(card(image_size=64), Policy()) != prediction_cache.settings(
        card(image_size=96), Policy()
    )


def test_a_longer_golden_set_predicts_only_what_is_new(lake: Lake, model: DarkestRectangle) -> None:
    version, digest = tiny_dataset(lake), made_up_model(lake, b"one")
    golden.write(lake, Golden(1, ("test0", "test2")))
    assert ids(golden_scores(lake, digest, version, Policy())) == ["test0", "test2"]
    golden.write(lake, Golden(2, ("test0", "test1", "test2")))
    progress_calls: list[tuple[int, int]] = []
    longer = golden_scores(lake, digest, version, Policy(), progress=lambda n, of: progress_calls.append((n, of)))
    assert ids(longer) == ["test0", "test1", "test2"]
    assert (len(model.sizes), progress_calls) == (3, [(3, 3)])
    first = golden_scores(lake, digest, version, Policy(), of=golden.read(lake, 1))
    assert same(first.detections, [longer.detections[0], longer.detections[2]])


def test_a_dataset_that_lacks_golden_photographs_is_refused(lake: Lake, model: DarkestRectangle) -> None:
    version, digest = tiny_dataset(lake), made_up_model(lake, b"one")
    golden.write(lake, Golden(1, ("test0", "elsewhere", "nowhere")))
    with pytest.raises(NothingToScore, match="lacks 2 of the 3 photographs of golden set 1"):
        golden_scores(lake, digest, version, Policy())
    assert model.sizes == []


def test_nothing_to_score_is_an_error(lake: Lake, model: DarkestRectangle) -> None:
    version, digest = tiny_dataset(lake, splits={"train": 2}), made_up_model(lake, b"one")
    with pytest.raises(NothingToScore, match="split test"):
        golden_scores(lake, digest, version, Policy())


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: _flipped(b)])
def test_a_damaged_part_is_predicted_again(lake: Lake, model: DarkestRectangle, damage: object) -> None:
    assert callable(damage)
    version, digest = tiny_dataset(lake), made_up_model(lake, b"one")
    fresh = golden_scores(lake, digest, version, Policy())
    [part] = [o.key for o in lake.list("scores")]
    whole = lake.get(part)
    lake.put(part, damage(whole))
    again = golden_scores(lake, digest, version, Policy())
    assert same(fresh.detections, again.detections)
    assert len(model.sizes) == 6
    assert [o.key for o in lake.list("scores")] == [part]
    assert lake.get(part) == whole


def _flipped(data: bytes) -> bytes:
    """One bit of the first page, which only its checksum tells."""
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


def test_parts_hold_photographs_without_boxes_and_none_at_all(lake: Lake) -> None:
    empty = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    prediction_cache.write(
        lake, "scores/a/b", {"x": CachedPredictions(empty, (4, 3)), "w": CachedPredictions(empty, (5, 6))}
    )
    prediction_cache.write(lake, "scores/a/b", {})
    predictions = prediction_cache.read(lake, "scores/a/b")
    assert {k: f.size for k, f in predictions.items()} == {"x": (4, 3), "w": (5, 6)}
    assert same([predictions["x"].detections], [empty])
    assert prediction_cache.read(lake, "scores/a/c") == {}


_KILLED = """
import os, signal, sys
import carsdepo_assets.lake.objects as objects
from carsdepo_assets.detectors import catalogue
from carsdepo_assets.evaluation import golden as module
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_card
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle
root, digest, version = sys.argv[1:]
module._PART = 1
catalogue.load_model = lambda lake, digest: (DarkestRectangle(), read_card(lake, digest))
replace, calls = os.replace, []
def deadly(source, target):  # the second part's bytes are written, not yet under its name
    calls.append(target)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(source, target)
objects.os.replace = deadly
module.golden_scores(Lake.open(root), digest, version, Policy())
"""


def test_what_was_kept_before_a_kill_is_not_predicted_again(
    lake: Lake, model: DarkestRectangle, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, digest = tiny_dataset(lake), made_up_model(lake, b"one")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, lake.url, digest, version],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert lake.root is not None
    assert len([p for p in lake.root.rglob("scores/**/*") if p.is_file()]) == 2  # a part, and half of another
    monkeypatch.setattr(module, "_PART", 1)
    after = golden_scores(lake, digest, version, Policy())
    assert len(model.sizes) == 2
    assert same(after.detections, predict_split(lake, version, "test", model, Policy()).detections)
