"""detectors/yolov8/: it learns, resumes, keeps to its folder, and its weights are no pickle."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import pytest

from carsdepo_assets.detectors.base import Recipe, TrainingSet
from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, DetectorError, fingerprint, write_torch
from carsdepo_assets.detectors.yolov8.detector import CHECKPOINT_KEYS, YoloV8
from carsdepo_assets_tests.detectors.detector_contract import check_predictions, kill_and_resume, map50, rgb, same
from carsdepo_assets_tests.detectors.scenes import scenes

NAMES = ("scratch", "dent")


def recipe(**values: object) -> Recipe:
    return Recipe.model_validate({"image_size": 96, "batch": 4, "epochs": 1, "extra": {"threads": 1}, **values})


def repeated(data: TrainingSet, times: int) -> TrainingSet:
    """Each training image `times` over: more steps an epoch, fewer epochs' overhead."""
    images = [dataclasses.replace(i, image_id=f"{i.image_id}-{n}") for i in data.split("train") for n in range(times)]
    return TrainingSet(data.class_names, images)


@pytest.mark.slow
def test_learns_eight_images_by_heart_and_says_so_everywhere(tmp_path: Path, empty_cwd: Path) -> None:
    data = scenes(tmp_path / "images", 8, 0)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "images").iterdir()}
    rows: list[dict[str, float]] = []
    settings = recipe(epochs=6, batch=8, lr=0.002, extra={"threads": 1, "scale": 0.1, "translate": 0.05, "fliplr": 0.0})
    trained = YoloV8().train(repeated(data, 24), settings, tmp_path / "out", rows.append)
    predictor = YoloV8().load(trained.weights, NAMES, 96)
    assert map50(predictor, data.images) > 0.5
    assert rows == trained.history
    assert [r["epoch"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert "val_map50" not in rows[0]  # the set has no val
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "images").iterdir()} == before  # nothing beside the data
    assert list(empty_cwd.iterdir()) == []  # no runs/, mlflow.db or weights in the working folder
    check_predictions(predictor)
    again = YoloV8().load(trained.weights, NAMES, 96)
    assert same(again.predict([rgb(data.images[0])])[0], predictor.predict([rgb(data.images[0])])[0])


@pytest.mark.slow
def test_resumes_after_a_kill_and_finishes_once(tmp_path: Path) -> None:
    rows, history, data, weights = kill_and_resume(YoloV8(), tmp_path)
    assert [r["epoch"] for r in rows] == [2, 3]
    assert [r["epoch"] for r in history] == [1, 2, 3]
    assert all("val_map50" in r and r["seconds"] > 0 for r in history)
    assert history[1]["seconds"] > history[0]["seconds"]
    from carsdepo_assets_tests.detectors.killed_training import RECIPES

    weights.unlink()  # killed after the last epoch, before the weights: nothing is trained again
    again: list[dict[str, float]] = []
    trained = YoloV8().train(data, RECIPES["yolov8n"], tmp_path / "out", again.append)
    assert again == []
    assert trained.weights.exists()
    assert trained.history == history


@pytest.mark.slow
def test_empty_images_minutes_and_starting_from_a_file(tmp_path: Path) -> None:
    data = scenes(tmp_path / "images", 2, 1, n_empty=2, width=128, height=64)
    first = YoloV8().train(data, recipe(epochs=9, minutes=0.0001), tmp_path / "a", lambda row: None)
    assert len(first.history) == 1  # the epoch that passes the minutes is the last
    second = YoloV8().train(data, recipe(init=str(first.weights), lr=1e-9), tmp_path / "b", lambda row: None)
    import torch

    states = [torch.load(t.weights, weights_only=True)["state"] for t in (first, second)]
    key = "model.0.conv.weight"
    assert torch.allclose(states[0][key], states[1][key], atol=1e-4)
    assert not torch.equal(states[0][key], YoloV8().load(first.weights, NAMES, 96).model.state_dict()[key])  # fused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init": "imagenet"}, "not for yolov8n"),
        ({"init": "champion"}, "weights file"),
        ({"init": "/nowhere.pt"}, "no such file"),
        ({"extra": {"epochs": 3}}, "may not set epochs"),
    ],
)
def test_refuses_what_it_cannot_do(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(DetectorError, match=message):
        YoloV8().train(scenes(tmp_path / "images", 2, 0), recipe(**values), tmp_path / "out", lambda row: None)


def test_refuses_a_set_without_training_images(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="split 'train'"):
        YoloV8().train(scenes(tmp_path / "images", 0, 2), recipe(), tmp_path / "out", lambda row: None)


@pytest.mark.slow
def test_a_checkpoint_of_another_network_begins_the_training_anew(tmp_path: Path) -> None:
    """As of another release of ultralytics: its keys are there, and its tensors are others."""
    data, settings, out = scenes(tmp_path / "images", 4, 0), recipe(image_size=64, steps=1), tmp_path / "out"
    out.mkdir()
    state = {"epoch": 0, "batches": 0, "steps": 7, "planned_steps": 9, "planned": 9, "seconds": 1.0, "finished": False}
    mark = {"format": CHECKPOINT_FORMAT, "fingerprint": fingerprint(data, settings)}
    rest = {**dict.fromkeys(CHECKPOINT_KEYS, None), "losses": {}, "history": [], "model": {}}
    write_torch(out / "checkpoint.pt", {**rest, **state, **mark})
    trained = YoloV8().train(data, settings, out, lambda row: None)
    assert (trained.steps, trained.planned_steps) == (1, 1)
    assert (out / "checkpoint.pt.unreadable").exists()


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from carsdepo_assets.detectors.yolov8.ultralytics_settings import ultralytics

    ultralytics()
    from ultralytics.utils import downloads

    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setenv("CARSDEPO_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "safe_download", refuse)
    with pytest.raises(DetectorError, match="Go online, put the file at"):
        YoloV8().train(scenes(tmp_path / "images", 2, 0), recipe(init="yolov8n"), tmp_path / "out", lambda row: None)


def test_a_file_of_pickled_objects_is_not_loaded(tmp_path: Path) -> None:
    import torch

    class Armed:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Armed()}, tmp_path / "evil.pt")
    assert zipfile.is_zipfile(tmp_path / "evil.pt")
    with pytest.raises(DetectorError, match="not a file of tensors"):
        YoloV8().load(tmp_path / "evil.pt", NAMES, 96)
    assert not (tmp_path / "ran").exists()
