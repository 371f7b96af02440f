"""scoring/evaluation.py, matching.py, average_precision.py, confusion.py: figures by hand and against pycocotools."""

import numpy as np
import pytest

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.evaluation import Evaluation, evaluate, evaluate_slices
from carsdepo_assets.scoring.matching import ScoringError, flatten, match
from carsdepo_assets_tests.scoring.cases import detected, pycocotools_precision, random_images, truth, with_crowds

NAMES = ["scratch", "dent"]
NOTHING = (truth(), detected())


def _means(precision: np.ndarray) -> dict[str, list[float | None]]:
    """Per class AP of pycocotools' table, None for -1."""
    has_truth = precision[0, 0, :] >= 0
    ap = precision.mean(axis=1)
    return {
        "ap50": [float(a) if k else None for a, k in zip(ap[0], has_truth, strict=True)],
        "ap75": [float(a) if k else None for a, k in zip(ap[5], has_truth, strict=True)],
        "ap50_95": [float(a) if k else None for a, k in zip(ap.mean(axis=0), has_truth, strict=True)],
    }


@pytest.mark.parametrize("whole", [False, True], ids=["float boxes", "boxes on a grid: overlaps of exactly .5"])
@pytest.mark.parametrize("classes", [(0, 1), (0,), (1,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_pycocotools(seed: int, classes: tuple[int, ...], whole: bool) -> None:
    truths, detections = random_images(seed, 40, classes, whole=whole)
    names = ["a", "b", "c"]
    result = evaluate(truths, detections, names, [(640, 640)] * 40, threshold=0.5)
    precision = pycocotools_precision(truths, detections, 3)
    for key, expected in _means(precision).items():
        assert [getattr(result.per_class[n], key) for n in names] == pytest.approx(expected, abs=1e-12)
    assert result.map50_95 == pytest.approx(precision[precision > -1].mean(), abs=1e-12)
    for c, name in enumerate(names):  # our own matching draws the curves: it must be COCO's
        if name in result.curves:
            assert result.curves[name].precision == pytest.approx(precision[0, :, c].tolist(), abs=1e-12)
        else:
            assert (precision[0, :, c] == -1).all()


@pytest.mark.parametrize("whole", [False, True], ids=["float boxes", "boxes on a grid: overlaps of exactly .5"])
@pytest.mark.parametrize("seed", range(6))
def test_crowd_regions_count_as_in_pycocotools(seed: int, whole: bool) -> None:
    truths, detections = random_images(seed, 40, (0, 1, 2), whole=whole)
    truths, names = with_crowds(seed, truths), ["a", "b", "c"]
    result = evaluate(truths, detections, names, threshold=0.0)
    assert result.n_crowds
    assert result.n_in_crowds
    precision = pycocotools_precision(truths, detections, 3)
    for key, expected in _means(precision).items():
        assert [getattr(result.per_class[n], key) for n in names] == pytest.approx(expected, abs=1e-12)
    for c, name in enumerate(names):
        assert result.curves[name].precision == pytest.approx(precision[0, :, c].tolist(), abs=1e-12)
    assert result.tp + result.fp + result.n_in_crowds == result.n_detections
    assert evaluate_slices(truths, detections, names, ["all"] * 40, threshold=0.0)[0].counts.fp == result.fp


def test_a_crowd_region_by_hand() -> None:
    """In the region lie a detection of its class, one of another class, one by half, and one on a labelled box."""
    labels = truth((0, 0, 100, 100, 0), (10, 10, 20, 20, 0))
    labels = Truth(labels.xyxy, labels.classes, np.array([True, False]))
    found = detected(
        (50, 50, 60, 60, 0, 0.9), (50, 50, 60, 60, 1, 0.9), (95, 0, 106, 10, 0, 0.9), (10, 10, 20, 20, 0, 0.8)
    )
    result = evaluate([labels], [found], NAMES, threshold=0.5)
    assert (result.n_boxes, result.n_crowds, result.n_in_crowds, result.n_detections) == (1, 1, 1, 4)
    assert (result.tp, result.fp, result.fn) == (1, 2, 0)
    assert result.confusion == [[1, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert evaluate([labels], [detected()], NAMES, threshold=0.5).fn == 1
    only_crowd = evaluate([Truth(labels.xyxy[:1], labels.classes[:1], np.array([True]))], [found], NAMES)
    assert (only_crowd.map50, only_crowd.recall, only_crowd.tp, only_crowd.n_boxes) == (None, None, 0, 0)


@pytest.mark.parametrize("most", [1, 3, 20])
def test_most_detections_as_pycocotools(most: int) -> None:
    truths, detections = random_images(7, 25, noise_up_to=30)
    result = evaluate(truths, detections, NAMES, max_detections=most, threshold=0.5)
    # pycocotools cuts at max(maxDets), so the two smaller limits must not exceed the one asked for
    precision = pycocotools_precision(truths, [_first(d, most) for d in detections], 2)
    assert result.map50_95 == pytest.approx(precision.mean(), abs=1e-12)


def _first(d: Detections, most: int) -> Detections:
    """The `most` best of each class, cut by hand."""
    keep = np.concatenate(
        [np.flatnonzero(d.classes == c)[np.argsort(-d.scores[d.classes == c], kind="stable")][:most] for c in (0, 1)]
    )
    return Detections(d.xyxy[keep], d.scores[keep], d.classes[keep])


def test_matching_by_hand() -> None:
    # 0.9 takes the right truth, 0.8 finds it taken, 0.7 takes the other one, 0.6 is of the wrong class
    truths = [truth((0, 0, 10, 10, 0), (20, 0, 30, 10, 0))]
    detections = [
        detected((0, 0, 10, 9, 0, 0.8), (0, 0, 10, 10, 0, 0.9), (20, 0, 30, 10, 1, 0.6), (20, 0, 30, 8, 0, 0.7))
    ]
    flat = flatten(truths, detections, 2)
    assert flat.det_row.tolist() == [1, 0, 3, 2]
    assert match(flat, 0.5).det_truth.tolist() == [0, -1, 1, -1]
    assert match(flat, 0.85).det_truth.tolist() == [0, -1, -1, -1]


ONE = (0, 0, 9, 9, 0)


@pytest.mark.parametrize(
    ("truths", "detections", "expected"),
    [
        ([], [], {"map50": None, "precision": None, "recall": None, "f1": None, "n_images": 0}),
        ([truth()], [detected()], {"map50": None, "precision": None, "recall": None, "f1": None, "n_images": 1}),
        ([truth((0, 0, 9, 9, 0))], [detected()], {"map50": 0.0, "precision": None, "recall": 0.0, "f1": 0.0}),
        ([truth()], [detected((0, 0, 9, 9, 0, 0.9))], {"map50": None, "precision": 0.0, "recall": None, "f1": 0.0}),
        ([truth(ONE)], [detected((*ONE, 0.9))], {"map50": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}),
        ([truth(ONE)], [detected((*ONE, 0.4))], {"map50": 1.0, "precision": None, "recall": 0.0, "f1": 0.0}),
        ([truth(ONE)], [detected((0, 0, 9, 9, 1, 0.9))], {"map50": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}),
        ([truth((0, 0, 9, 9, 0))], [detected((0, 0, 9, 0, 0, 0.9))], {"map50": 0.0, "tp": 0, "fp": 1, "fn": 1}),
    ],
    ids=["no images", "nothing", "no predictions", "no truths", "right", "under the threshold", "class", "no area"],
)
def test_edges(truths: list[Truth], detections: list[Detections], expected: dict[str, float | None]) -> None:
    result = evaluate(truths, detections, NAMES, threshold=0.5)
    assert {key: getattr(result, key) for key in expected} == pytest.approx(expected)


def test_a_class_without_truth_has_no_ap_and_leaves_the_mean_alone() -> None:
    result = evaluate([truth(ONE)], [detected((*ONE, 0.9), (30, 30, 50, 50, 1, 0.9))], NAMES, threshold=0.5)
    assert result.per_class["dent"].ap50 is None
    assert result.per_class["dent"].ap50_95 is None
    assert result.map50 == pytest.approx(1.0)
    assert "dent" not in result.curves
    assert result.per_class["dent"].counts.precision == 0.0
    assert result.per_class["dent"].counts.recall is None


def test_it_survives_json() -> None:
    result = evaluate(*random_images(3, 10), NAMES, threshold=0.5)
    assert Evaluation.model_validate_json(result.model_dump_json()) == result


def test_figures_hang_together() -> None:
    truths, detections = random_images(11, 60)
    result = evaluate(truths, detections, NAMES, threshold=0.4)
    table = np.array(result.confusion)
    per_class = [result.per_class[n] for n in NAMES]
    assert [s.counts.tp for s in per_class] == table.diagonal()[:2].tolist()
    assert [s.counts.tp + s.counts.fp for s in per_class] == table[:, :2].sum(axis=0).tolist()
    assert [s.n_boxes for s in per_class] == table[:2].sum(axis=1).tolist()
    assert result.n_boxes == result.tp + result.fn == sum(len(t) for t in truths)
    assert next(p for p in result.sweep if p.threshold == 0.4).model_dump(exclude={"threshold"}) == {
        key: getattr(result, key) for key in ("tp", "fp", "fn", "precision", "recall", "f1")
    }


def test_confusion_by_hand() -> None:
    truths = [truth((0, 0, 10, 10, 0), (20, 0, 30, 10, 1), (60, 0, 70, 10, 1)), truth()]
    detections = [
        # a dent where the scratch is, scored above the scratch that is right: the scratch keeps its own
        detected((0, 0, 10, 10, 1, 0.95), (0, 0, 10, 9, 0, 0.9), (20, 0, 30, 10, 0, 0.8), (60, 0, 70, 10, 1, 0.2)),
        detected((5, 5, 9, 9, 0, 0.7)),
    ]
    result = evaluate(truths, detections, NAMES, threshold=0.5)
    assert result.confusion == [[1, 0, 0], [1, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("truths", "detections", "message"),
    [
        ([truth()], [], "1 images have truths and 0 have detections"),
        ([truth((0, 0, float("nan"), 9, 0))], [detected()], "image 0: truth: box 0 .* is not finite"),
        ([truth(), truth()], [detected(), detected((0, 0, 9, 9, 0, 1.5))], "image 1: detection 0 has score 1.5"),
        ([truth()], [detected((0, 0, 9, 9, 0, float("nan")))], "score nan"),
        ([truth((0, 0, 9, 9, 2))], [detected()], "class 2; there are 2"),
        ([truth()], [detected((9, 0, 0, 9, 0, 0.5))], "inverted"),
        ([Truth(np.zeros((2, 4)), np.zeros(1, int))], [detected()], r"shape \(2, 4\) for 1 classes"),
        ([truth()], [Detections(np.zeros((1, 4)), np.zeros(2), np.zeros(1, int))], "2 scores for 1 detections"),
        ([Truth(np.ones((1, 4)), np.zeros(1, int), np.zeros(2, bool))], [detected()], "2 marks of crowd regions for 1"),
    ],
)
def test_bad_input_is_named(truths: list[Truth], detections: list[Detections], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        evaluate(truths, detections, NAMES, threshold=0.5)


def test_bad_names_and_sizes() -> None:
    with pytest.raises(ScoringError, match="only once"):
        evaluate([], [], ["dent", "dent"])
    with pytest.raises(ScoringError, match="1 images, but 2 sizes"):
        evaluate([truth()], [detected()], NAMES, [(9, 9), (9, 9)])


def test_slices_are_the_parts() -> None:
    truths, detections = random_images(5, 30)
    by = ["night", "day", None] * 10
    slices = evaluate_slices(truths, detections, NAMES, by, threshold=0.4)
    assert [s.name for s in slices] == ["day", "night", "unknown"]
    whole = evaluate(truths, detections, NAMES, threshold=0.4)
    assert sum(s.counts.tp for s in slices) == whole.tp
    assert sum(s.n_boxes for s in slices) == whole.n_boxes
    night = evaluate(truths[0::3], detections[0::3], NAMES, threshold=0.4)
    assert slices[1].map50 == night.map50
    assert slices[1].n_images == 10
    with pytest.raises(ScoringError, match="2 slice names"):
        evaluate_slices(truths, detections, NAMES, ["a", "b"], threshold=0.4)


def test_a_slice_without_damage_has_no_map() -> None:
    assert evaluate_slices([NOTHING[0]], [NOTHING[1]], NAMES, ["day"], threshold=0.5)[0].map50 is None
