"""detectors/postprocess.py: suppression in numpy gives what ultralytics' gives, to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from carsdepo_assets.detectors.postprocess import boxes_of_head, suppress
from carsdepo_assets.detectors.yolov8.detector import NMS_IOU


def reference(head: np.ndarray, min_score: float, max_boxes: int = 100) -> np.ndarray:
    import torch

    from carsdepo_assets.detectors.yolov8.ultralytics_settings import ultralytics

    ultralytics()
    import torchvision  # noqa: F401  ultralytics takes its nms where it is imported, as with every detector here
    from ultralytics.utils.nms import non_max_suppression

    rows = non_max_suppression(
        torch.from_numpy(head.copy())[None],
        min_score,
        NMS_IOU,
        multi_label=True,
        max_det=max_boxes,
        max_time_img=math.inf,
    )[0]
    return np.asarray(rows.numpy())


def check(head: np.ndarray, min_score: float, max_boxes: int = 100) -> int:
    boxes, scores, classes = boxes_of_head(head, min_score, NMS_IOU, max_boxes)
    expected = reference(head, min_score, max_boxes)
    np.testing.assert_array_equal(np.column_stack((boxes, scores, classes.astype(np.float32))), expected)
    return len(scores)


def random_head(random: np.random.Generator, anchors: int, classes: int, side: float = 320) -> np.ndarray:
    centres = random.uniform(0, side, (2, anchors))
    sizes = random.uniform(1, side / 2, (2, anchors))
    scores = random.beta(0.6, 3, (classes, anchors))
    return np.concatenate((centres, sizes, scores)).astype(np.float32)


@pytest.mark.slow
def test_random_heads() -> None:
    random = np.random.default_rng(1)
    counts = [
        check(random_head(random, int(random.integers(7, 900)), int(random.integers(1, 5))), min_score)
        for _ in range(60)
        for min_score in (0.001, 0.05, 0.5)
    ]
    assert max(counts) == 100
    assert any(0 < n < 100 for n in counts)


@pytest.mark.slow
def test_crowds_of_near_copies_and_equal_scores() -> None:
    random = np.random.default_rng(2)
    for _ in range(40):
        head = random_head(random, 400, 2)
        head[:4] = head[:4, random.integers(0, 12, 400)] + random.integers(-2, 3, (4, 400))
        head[4:] = np.round(head[4:], 1)  # eleven values: most are ties
        assert check(head, 0.05) > 0


def test_overlaps_at_the_threshold() -> None:
    """Integer boxes whose IoU is 7/10 exactly, in all positions: rounding decides, and must decide alike."""
    for shift in range(40):
        width = np.float32(10 + shift)
        head = np.array(
            [[50 + width / 2, 50 + 0.7 * width / 2], [60, 60], [width, 0.7 * width], [9, 9], [0.9, 0.8], [0.1, 0.2]],
            np.float32,
        )
        head = np.concatenate((head, head + np.float32(0.37) * (np.arange(6) < 2)[:, None]), axis=1)
        check(np.concatenate((head, head), axis=1), 0.05)


@pytest.mark.parametrize("max_boxes", [1, 100, 300])
def test_more_boxes_than_are_kept(max_boxes: int) -> None:
    columns, rows = np.meshgrid(np.arange(30), np.arange(20))
    apart = np.stack((columns.ravel() * 10, rows.ravel() * 10, np.full(600, 8), np.full(600, 8)))
    scores = np.random.default_rng(3).uniform(0.1, 1, (2, 600))
    assert check(np.concatenate((apart, scores)).astype(np.float32), 0.05, max_boxes) == max_boxes


def test_nothing_above_the_score_and_extreme_values() -> None:
    random = np.random.default_rng(4)
    head = random_head(random, 50, 2)
    assert check(head * 0, 0.05) == 0
    head[4:] = 0.05  # above, not at
    assert check(head, 0.05) == 0
    head[4:] = 1.0
    assert check(head, 0.999) > 0
    head[4:] = np.finfo(np.float32).tiny
    assert check(head, 0.0) > 0
    head[2:4, :20] = 0  # no area
    head[4:] = random.uniform(0, 1, (2, 50))
    assert check(head, 0.001) > 0
    head[2:4, 20:30] = 1e20  # areas beyond float32
    assert check(head, 0.001) > 0
    assert check(head[:, :0].reshape(6, 0), 0.001) == 0


@pytest.mark.slow
def test_more_candidates_than_are_looked_at() -> None:
    head = random_head(np.random.default_rng(5), 16_000, 2)
    head[4:] = np.random.default_rng(6).permutation(32_000).reshape(2, -1) / 32_000
    assert check(head, 0.001) == 100


def test_suppress_keeps_the_first_of_equals() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.5, 0.5], np.float32), 0.7, 100).tolist() == [0, 2]
