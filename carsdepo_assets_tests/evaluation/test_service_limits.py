"""evaluation/predict.py, golden.py, golden_photographs.py: what the service would refuse, no model is judged on.

The pipeline's limits may be wider than the service's, so such a photograph can be labelled and in the golden set.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from carsdepo_assets.detectors import catalogue
from carsdepo_assets.evaluation.golden import golden_scores
from carsdepo_assets.evaluation.golden_photographs import golden_photographs
from carsdepo_assets.evaluation.predict import NothingToScore, predict_split
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.policy import InferencePolicy, Policy
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle, made_up_model
from carsdepo_assets_tests.imaging.files import saved
from carsdepo_assets_tests.training.tiny_dataset import ORIGINAL, tiny_dataset

NARROW = Policy(inference=InferencePolicy(max_pixels=ORIGINAL[0] * ORIGINAL[1]))
NONE_FITS = Policy(inference=InferencePolicy(max_pixels=ORIGINAL[0] * ORIGINAL[1] - 1))
KEPT = ["test0", "test2"]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Of the golden set's three photographs the second has more pixels than NARROW lets the service answer."""
    lake = Lake.open(str(tmp_path))
    tiny_dataset(lake)
    golden.write(lake, Golden(1, ("test0", "test1", "test2")))
    lake.put("raw/uploads/test1.png", saved(np.full((ORIGINAL[1], ORIGINAL[0] + 1, 3), 200, np.uint8), "PNG"))
    return lake


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> DarkestRectangle:
    predictor = DarkestRectangle()

    def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[DarkestRectangle, ModelCard]:
        return predictor, read_card(lake, digest)

    monkeypatch.setattr(catalogue, "load_model", load_model)
    return predictor


def test_a_split_is_scored_without_it(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[int, int]] = []
    version = str(latest(lake))
    with caplog.at_level(logging.WARNING):
        scored = predict_split(
            lake, version, "test", DarkestRectangle(), NARROW, progress=lambda n, of: told.append((n, of))
        )
    assert [row["image_id"] for row in scored.rows] == KEPT
    assert len(scored.truths) == len(scored.detections) == len(scored.sizes) == 2
    assert [len(t) for t in scored.truths] == [len(d) for d in scored.detections]
    assert told[-1] == (3, 3)
    assert "raw/uploads/test1.png is left out" in caplog.text
    whole = predict_split(lake, version, "test", DarkestRectangle(), Policy())
    assert [row["image_id"] for row in whole.rows] == ["test0", "test1", "test2"]


def test_the_golden_set_is_scored_without_it_from_the_cache_too(lake: Lake, model: DarkestRectangle) -> None:
    version, digest = str(latest(lake)), made_up_model(lake, b"one")
    for _ in range(2):
        scored = golden_scores(lake, digest, version, NARROW)
        assert [row["image_id"] for row in scored.rows] == KEPT
        assert len(scored.truths) == len(scored.detections) == len(scored.sizes) == 2
        assert len(model.sizes) == 2  # predicted once, kept for the second time
    assert len(golden_scores(lake, digest, version, Policy()).rows) == 3


def test_golden_photographs_are_those_without_it(lake: Lake) -> None:
    assert [p.image_id for p in golden_photographs(lake, NARROW, 3)] == KEPT


def test_where_none_is_left_the_message_names_the_policy(lake: Lake, model: DarkestRectangle) -> None:
    with pytest.raises(NothingToScore, match=r"policy\.inference"):
        golden_scores(lake, made_up_model(lake, b"one"), str(latest(lake)), NONE_FITS)


def test_a_damaged_one_is_an_error_and_not_left_out(lake: Lake) -> None:
    lake.put("raw/uploads/test1.png", lake.get("raw/uploads/test1.png")[:200])
    with pytest.raises(BadImage, match="truncated"):
        predict_split(lake, str(latest(lake)), "test", DarkestRectangle(), Policy())
