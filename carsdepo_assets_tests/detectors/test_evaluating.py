"""The judge reads original bytes, keeps to the split, and takes the threshold from the model's card."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from carsdepo_assets.detectors import stored
from carsdepo_assets.detectors.evaluating import NothingToScore, choose_threshold, evaluate_model, predict_split
from carsdepo_assets.detectors.training_set import EmptyTrainingSet, training_set
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.models import ModelCard
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets_tests.training.tiny import ORIGINAL, PROCESSED, tiny_dataset


class DarkestRectangle:
    """Finds what is darker than the ground: exact on the drawn photographs, in whatever pixels it is given."""

    def __init__(self, score: float = 0.8) -> None:
        self.score = score
        self.sizes: list[tuple[int, int]] = []

    def predict(self, images: Sequence[np.ndarray], min_score: float = 0.001) -> list[Detections]:
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Detections:
        self.sizes.append((image.shape[1], image.shape[0]))
        ys, xs = np.nonzero(image[..., 1] < 100)
        if not len(ys):
            return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float64)
        red = image[ys[0], xs[0], 0] > 100
        return Detections(box, np.array([self.score]), np.array([0 if red else 1]))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path))


@pytest.fixture
def model(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> DarkestRectangle:
    predictor = DarkestRectangle()

    def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[DarkestRectangle, ModelCard]:
        return predictor, ModelCard(
            digest=digest,
            weights="weights.pt",
            detector="yolov8n",
            class_names=("scratch", "dent"),
            image_size=64,
            threshold=0.9,
            threshold_from="test",
            dataset_version="d",
            recipe={},
        )

    monkeypatch.setattr(stored, "load_model", load_model)
    return predictor


def test_a_perfect_detector_is_perfect_on_originals(lake: Lake, model: DarkestRectangle) -> None:
    version = tiny_dataset(lake)
    told: list[tuple[int, int]] = []
    model.score = 0.95
    judged = evaluate_model(lake, version, "aaaa", Policy(), progress=lambda done, of: told.append((done, of)))
    assert judged.evaluation.map50_95 == pytest.approx(1.0)
    assert (judged.evaluation.precision, judged.evaluation.recall) == (1.0, 1.0)
    assert judged.evaluation.n_images == 3
    assert {row["split"] for row in judged.scored.rows} == {"test"}
    assert model.sizes == [ORIGINAL] * 3 == judged.scored.sizes
    assert told[-1] == (3, 3)


def test_the_cards_threshold_counts_not_the_best_one(lake: Lake, model: DarkestRectangle) -> None:
    version = tiny_dataset(lake)  # scores are 0.8, the card says 0.9
    evaluation = evaluate_model(lake, version, "aaaa", Policy()).evaluation
    assert evaluation.map50 == pytest.approx(1.0)
    assert evaluation.recall == 0.0
    assert evaluation.threshold == 0.9


def test_the_threshold_is_chosen_on_val(lake: Lake) -> None:
    version = tiny_dataset(lake)
    predictor = DarkestRectangle(score=0.6)
    threshold, said = choose_threshold(lake, version, predictor, ("scratch", "dent"), Policy())
    assert 0 < threshold <= 0.6
    assert said == "best F1 on 3 val photographs with 2 boxes"
    assert len(predictor.sizes) == 3


def test_an_empty_split_is_an_error(lake: Lake, model: DarkestRectangle) -> None:
    version = tiny_dataset(lake)
    assert predict_split(lake, version, "golden", model, Policy()).rows == []
    with pytest.raises(NothingToScore, match="split golden"):
        evaluate_model(lake, version, "aaaa", Policy(), split="golden")


def test_a_missing_original_or_dataset_is_an_error(lake: Lake, model: DarkestRectangle) -> None:
    version = tiny_dataset(lake)
    with pytest.raises(LakeError):
        evaluate_model(lake, "absent", "aaaa", Policy())
    lake.delete("raw/uploads/test0.png")
    with pytest.raises(LakeError, match="test0"):
        evaluate_model(lake, version, "aaaa", Policy())


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
