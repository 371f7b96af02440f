"""evaluation/predict.py: it reads original bytes, keeps to the split, and takes the threshold from the model's card."""

from pathlib import Path

import numpy as np
import pytest

from carsdepo_assets.detectors.training_set import EmptyTrainingSet, training_set
from carsdepo_assets.evaluation.predict import choose_threshold, evaluate_split, predict_split
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import ClassMap, Policy
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle, card
from carsdepo_assets_tests.training.tiny_dataset import ORIGINAL, PROCESSED, tiny_dataset


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path))


def test_a_perfect_detector_is_perfect_on_originals(lake: Lake) -> None:
    version = tiny_dataset(lake)
    progress_calls: list[tuple[int, int]] = []
    model = DarkestRectangle(score=0.95)
    scored = predict_split(
        lake, version, "test", model, Policy(), progress=lambda n, of: progress_calls.append((n, of))
    )
    evaluation = evaluate_split(scored, card(threshold=0.9), Policy()).evaluation
    assert evaluation.map50_95 == pytest.approx(1.0)
    assert (evaluation.precision, evaluation.recall) == (1.0, 1.0)
    assert evaluation.n_images == 3
    assert {row["split"] for row in scored.rows} == {"test"}
    assert model.sizes == [ORIGINAL] * 3 == scored.sizes
    assert progress_calls[-1] == (3, 3)


def test_the_cards_threshold_counts_not_the_best_one(lake: Lake) -> None:
    version = tiny_dataset(lake)  # scores are 0.8, the card says 0.9
    scored = predict_split(lake, version, "test", DarkestRectangle(score=0.8), Policy())
    evaluation = evaluate_split(scored, card(threshold=0.9), Policy()).evaluation
    assert evaluation.map50 == pytest.approx(1.0)
    assert evaluation.recall == 0.0
    assert evaluation.threshold == 0.9


def test_a_model_that_is_older_than_a_class_never_names_it(lake: Lake) -> None:
    version = tiny_dataset(lake)
    scored = predict_split(lake, version, "test", DarkestRectangle(), Policy())
    later = Policy(class_map=ClassMap(version=2, names=("scratch", "dent", "rust")))
    evaluation = evaluate_split(scored, card(threshold=0.5), later).evaluation
    assert (evaluation.per_class["rust"].n_boxes, evaluation.per_class["rust"].ap50) == (0, None)
    assert evaluation.map50 == pytest.approx(1.0)


def test_the_threshold_is_chosen_on_val(lake: Lake) -> None:
    version = tiny_dataset(lake)
    predictor = DarkestRectangle(score=0.6)
    threshold, reason = choose_threshold(lake, version, predictor, ("scratch", "dent"), Policy())
    assert 0 < threshold <= 0.6
    assert reason == "best F1 on 3 val photographs with 2 boxes"
    assert len(predictor.sizes) == 3


def test_a_split_without_photographs_is_empty(lake: Lake) -> None:
    assert predict_split(lake, tiny_dataset(lake), "golden", DarkestRectangle(), Policy()).rows == []


def test_a_missing_original_or_dataset_is_an_error(lake: Lake) -> None:
    version = tiny_dataset(lake)
    with pytest.raises(LakeError):
        predict_split(lake, "absent", "test", DarkestRectangle(), Policy())
    lake.delete("raw/uploads/test0.png")
    with pytest.raises(LakeError, match="test0"):
        predict_split(lake, version, "test", DarkestRectangle(), Policy())


def test_training_boxes_are_in_processed_pixels(lake: Lake) -> None:
    version = tiny_dataset(lake)
    data = training_set(lake, version, class_names=("scratch", "dent"))
    assert (len(data.split("train")), len(data.split("val")), len(data.split("test"))) == (8, 3, 0)
    truth = {r["image_id"]: r["boxes"] for r in read_manifest(lake, version).to_pylist()}
    for image in data.images:
        assert (image.width, image.height) == PROCESSED
        assert image.path.is_file()
        expected = [[b["x1"] / 2, b["y1"] / 2, b["x2"] / 2, b["y2"] / 2] for b in truth[image.image_id]]
        np.testing.assert_allclose(image.xyxy, np.array(expected).reshape(-1, 4))
    assert any(len(i.classes) == 0 for i in data.images)
    with pytest.raises(EmptyTrainingSet, match="split golden"):
        training_set(lake, version, ("golden",), class_names=("scratch",))


def test_latest_dataset(lake: Lake) -> None:
    assert latest(lake) is None
    version = tiny_dataset(lake)
    assert latest(lake) == version
