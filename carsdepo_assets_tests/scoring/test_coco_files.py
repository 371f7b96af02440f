"""scoring/coco_files.py: COCO files read, written and refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carsdepo_assets.commands.predicting import predict
from carsdepo_assets.scoring.coco_files import (
    CocoFileError,
    check_place,
    evaluate_files,
    load_ground_truth,
    load_results,
    save_ground_truth,
    save_results,
)
from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.scoring.cases import random_images

TRUTH: dict[str, Any] = {
    "images": [{"id": 7, "width": 100, "height": 80, "file_name": "a.jpg"}, {"id": 9, "width": 50, "height": 50}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20]}],
    "categories": [{"id": 3, "name": "dent"}, {"id": 2, "name": "scratch"}],
}
RESULT: dict[str, Any] = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "score": 0.5}


def _write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_reading(tmp_path: Path) -> None:
    truth = load_ground_truth(_write(tmp_path / "t.json", TRUTH))
    assert truth.image_ids == [7, 9]
    assert truth.file_names == ["a.jpg", "9"]
    assert truth.image_sizes == [(100, 80), (50, 50)]
    assert truth.class_names == ["scratch", "dent"]
    assert truth.category_ids == [2, 3]
    assert truth.truths[0].xyxy.tolist() == [[1, 2, 11, 22]]
    assert truth.truths[0].classes.tolist() == [1]
    assert truth.truths[1].xyxy.shape == (0, 4)
    detections = load_results(_write(tmp_path / "r.json", [RESULT]), truth)
    assert detections[0].scores.tolist() == [0.5]
    assert detections[0].classes.tolist() == [1]
    assert len(detections[1]) == 0
    assert evaluate_files(tmp_path / "t.json", tmp_path / "r.json", threshold=0.5).map50 == pytest.approx(1.0)
    assert evaluate_files(tmp_path / "t.json", _write(tmp_path / "none.json", []), threshold=0.5).map50 == 0.0


def test_round_trip(tmp_path: Path) -> None:
    truths, detections = random_images(1, 12)
    files = [f"{n}.jpg" for n in range(12)]
    written = save_ground_truth(tmp_path / "sub/t.json", truths, ["scratch", "dent"], [(640, 640)] * 12, files)
    n_rows = save_results(tmp_path / "r.json", detections, written.image_ids, written.file_names)
    assert n_rows == sum(len(d) for d in detections)
    read = load_ground_truth(tmp_path / "sub/t.json")
    assert (read.image_ids, read.file_names, read.image_sizes, read.class_names, read.category_ids) == (
        written.image_ids,
        written.file_names,
        written.image_sizes,
        written.class_names,
        written.category_ids,
    )
    for a, b in zip(read.truths, truths, strict=True):
        np.testing.assert_allclose(a.xyxy, b.xyxy, rtol=1e-12)
        assert a.classes.tolist() == b.classes.tolist()
    first = json.loads((tmp_path / "r.json").read_text())[0]
    assert set(first) == {"image_id", "file_name", "category_id", "bbox", "score"}
    direct = evaluate(truths, detections, ["scratch", "dent"], threshold=0.4)
    assert evaluate_files(tmp_path / "sub/t.json", tmp_path / "r.json", threshold=0.4) == direct


def test_results_keep_foreign_category_ids(tmp_path: Path) -> None:
    truth = load_ground_truth(_write(tmp_path / "t.json", TRUTH))
    detections = load_results(_write(tmp_path / "r.json", [RESULT]), truth)
    save_results(tmp_path / "again.json", detections, truth.image_ids, truth.file_names, truth.category_ids)
    assert json.loads((tmp_path / "again.json").read_text()) == [{**RESULT, "file_name": "a.jpg"}]


def _changed(part: str, **values: Any) -> dict[str, Any]:
    """TRUTH with the first entry of `part` changed; a value of ... takes the key away."""
    first = {k: v for k, v in {**TRUTH[part][0], **values}.items() if v is not ...}
    return {**TRUTH, part: [first, *TRUTH[part][1:]]}


def _runs(counts: Any) -> dict[str, Any]:
    return {"size": [10, 10], "counts": counts}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "this is a list. Is it a results file"),
        ({"images": []}, '"annotations" is missing'),
        ({**TRUTH, "categories": []}, "categories is empty"),
        (_changed("categories", id=2), r"categories\[1\]: category 2 \(scratch\) is there twice"),
        (_changed("categories", id=None), "id None is neither a whole number nor a text"),
        (_changed("categories", id=2.5), "id 2.5 is neither a whole number nor a text"),
        (_changed("categories", name=7), "name must be a text"),
        (_changed("categories", name=...), '"name" is missing; it has id'),
        (_changed("images", id=9), r"images\[1\]: image id 9 is there twice"),
        (_changed("images", id=True), "id True is neither"),
        (_changed("images", height=0), "height 0 is not a number of pixels"),
        ({**TRUTH, "images": [3]}, "expected an object, not 3"),
        (_changed("annotations", image_id=8), r"annotations\[0\]: image_id 8 is not among the 2 images .*\(7, 9"),
        (_changed("annotations", image_id=None), "image_id None is neither"),
        (_changed("annotations", category_id=1), r"category_id 1 is not among the categories \[2, 3\]"),
        (_changed("annotations", bbox=...), '"bbox" is missing'),
        (_changed("annotations", bbox=[1, 2, 3]), r"is not \[x, y, width, height\]"),
        (_changed("annotations", bbox=[1, 2, float("nan"), 4]), "bbox nan is not a finite number"),
        (_changed("annotations", bbox=[1, 2, True, 4]), "bbox True is not a finite number"),
        (_changed("annotations", bbox=[9, 9, -3, 4]), "negative side"),
        (_changed("annotations", bbox=[9, 9, 0, 4]), "has no area"),
        (_changed("annotations", iscrowd="yes"), "iscrowd 'yes' is neither 0 nor 1"),
        (
            _changed("annotations", bbox=[], segmentation=[[1, 2, 3]]),
            "no bbox, and of the segmentation a polygon is not",
        ),
        (_changed("annotations", bbox=..., segmentation=[[1, 2, 3, 4, 5, "x"]]), "a value that is no number"),
        (_changed("annotations", bbox=..., segmentation=[[1, 2, 10**400, 4, 5, 6]]), "a value that is not finite"),
        (_changed("annotations", bbox=..., segmentation="a"), "neither a list of polygons nor an object"),
        (_changed("annotations", bbox=..., segmentation={"counts": [1]}), r"size None is not \[height, width\]"),
        (_changed("annotations", bbox=..., segmentation=_runs([90, 20])), "do not fit 10 x 10 pixels"),
        (_changed("annotations", bbox=..., segmentation=_runs([1, -2, 4])), "neither a text nor a list of whole"),
        (_changed("annotations", bbox=..., segmentation=_runs("\x00")), "not COCO's text of runs"),
        (_changed("annotations", bbox=..., segmentation=_runs("oooooooooooo")), "not COCO's text of runs"),
        (_changed("annotations", bbox=..., segmentation=_runs("P")), "end within a number"),
        (_changed("annotations", bbox=..., segmentation=_runs([100])), "segmentation has no area"),
        ("[" * 200_000, "nested too deeply"),
        (_changed("images", width=10**400), "is not a number of pixels"),
        (_changed("annotations", bbox=[1, 2, 10**400, 4]), "bbox 10+ is not a finite number"),
    ],
)
def test_bad_ground_truth(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(CocoFileError, match=message) as error:
        load_ground_truth(_write(tmp_path / "t.json", content))
    assert "t.json" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TRUTH, "this is a dict. Is it a ground truth file"),
        ([RESULT, {**RESULT, "image_id": "7"}], r"\[1\]: image_id '7' is not among .*: 7 and not '7'"),
        ([{**RESULT, "category_id": "3"}], r"category_id '3' is not among .*: 3 and not '3'"),
        ([{**RESULT, "score": float("nan")}], "score nan is not a finite number"),
        ([{**RESULT, "score": 51.0}], "outside 0..1"),
        ([{**RESULT, "bbox": [float("inf"), 0, 1, 1]}], "bbox inf"),
        ([{**RESULT, "category_id": 0}], "category_id 0 is not among"),
        ([{k: v for k, v in RESULT.items() if k != "score"}], '"score" is missing'),
        ([[1, 2]], "expected an object"),
        ("[" * 200_000, r"r\.json: nested too deeply"),
        (f'[{{"image_id": {"9" * 5000}}}]', r"r\.json: not JSON: .*digits"),
        ([{**RESULT, "bbox": [0, 0, 10**400, 1]}], r"r\.json: \[0\]: bbox 10+ is not a finite number"),
        ([{**RESULT, "score": 10**400}], "score 10+ is not a finite number"),
        ([{**RESULT, "bbox": [1e308, 0, 1e308, 1]}], "is too large"),
        ([{**RESULT, "bbox": [0, 0, 1e200, 1e200]}], "is too large"),
    ],
)
def test_bad_results(tmp_path: Path, content: Any, message: str) -> None:
    truth = load_ground_truth(_write(tmp_path / "t.json", TRUTH))
    with pytest.raises(CocoFileError, match=message):
        load_results(_write(tmp_path / "r.json", content), truth)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CocoFileError, match=r"none\.json: cannot be read: No such file"):
        load_ground_truth(tmp_path / "none.json")


def test_a_place_that_cannot_be_written_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    for place, words in (
        ("folder", r"folder is a folder\. Name the file to write"),
        ("file/r.json", "file is a file and no folder"),
    ):
        with pytest.raises(CocoFileError, match=words):
            check_place(tmp_path / place)
        with pytest.raises(CocoFileError, match=words):
            save_results(tmp_path / place, [], [], [])
    check_place(tmp_path / "file")
    check_place(tmp_path / "new/deep/r.json")
    monkeypatch.setattr(Path, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_results(tmp_path / "file", [], [], [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"


def test_predict_refuses_a_folder_to_write_to_before_it_looks_for_a_model(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs/a.jpg").write_bytes(b"")
    with pytest.raises(CocoFileError, match="out is a folder"):
        predict(Settings.read(home=tmp_path / "home"), tmp_path / "photographs", "latest", tmp_path / "out")
    assert not (tmp_path / "home/lake").exists()
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "out.part").exists()
