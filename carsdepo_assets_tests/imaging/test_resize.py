"""imaging/resize.py: sizes, padding, and boxes mapped back to the original."""

from __future__ import annotations

import numpy as np
import pytest

from carsdepo_assets.imaging.resize import fit_longest, fitted_size, letterbox, shrink, unletterbox
from carsdepo_assets_tests.imaging.files import scene


@pytest.mark.parametrize(
    ("size", "px", "expected"),
    [
        ((1280, 960), 1280, (1280, 960)),
        ((4032, 3024), 1280, (1280, 960)),
        ((3024, 4032), 1280, (960, 1280)),
        ((100, 50), 1280, (100, 50)),
        ((5000, 1), 1280, (1280, 1)),
        ((1281, 33), 1280, (1280, 33)),
    ],
)
def test_fitted_size(size: tuple[int, int], px: int, expected: tuple[int, int]) -> None:
    assert fitted_size(*size, px) == expected


def test_fit_longest_shrinks_and_never_enlarges() -> None:
    smaller, scale = fit_longest(scene(400, 300), 100)
    assert smaller.shape == (75, 100, 3)
    assert scale == 0.25
    same, scale = fit_longest(scene(40, 30), 100)
    assert same.shape == (30, 40, 3)
    assert scale == 1.0


@pytest.mark.parametrize("factor", [1.1, 1.29, 1.31, 2, 2.7, 5])
def test_shrinking_keeps_the_mean_and_stripes_do_not_alias(factor: float) -> None:
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    side = round(600 / factor)
    smaller = shrink(stripes, side, side)
    assert smaller.mean() == pytest.approx(127.5, abs=2)
    if factor >= 2:
        assert smaller.std() < 30  # nearest neighbours would leave 127


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(1280, 960, 640), (960, 1280, 640), (640, 640, 640), (333, 517, 640), (1920, 37, 416), (32, 32, 640)],
)
def test_letterbox_is_inverted_to_half_a_target_pixel(width: int, height: int, size: int) -> None:
    image, scale, (dx, dy) = letterbox(scene(width, height), size)
    assert image.shape == (size, size, 3)
    corners = np.array([[0, 0, width, height], [width / 4, height / 4, width / 2, height / 3]])
    there = corners * scale + [dx, dy, dx, dy]
    assert np.allclose(unletterbox(there, scale, (dx, dy), width, height), corners)
    # Where the picture really ends in the square, as painted:
    painted = letterbox(np.zeros((height, width, 3), np.uint8), size)[0][..., 0] == 0
    rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
    ends = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(ends - there[0]).max() <= 0.5


@pytest.mark.parametrize(
    ("size", "side", "canvas"),
    [
        ((1280, 960), 640, (640, 480)),
        ((960, 1280), 640, (480, 640)),
        ((1600, 900), 640, (640, 384)),  # 360 rows and a border of 12 above and below
        ((500, 500), 160, (160, 160)),
        ((5000, 3), 640, (640, 32)),
        ((100, 97), 100, (100, 100)),  # a side that is no multiple bounds the other
    ],
)
def test_a_stride_leaves_out_what_the_photograph_does_not_need(
    size: tuple[int, int], side: int, canvas: tuple[int, int]
) -> None:
    rgb = scene(*size)
    image, scale, (dx, dy) = letterbox(rgb, side, stride=32)
    square, square_scale, _ = letterbox(rgb, side)
    assert image.shape == (*canvas[::-1], 3)
    assert scale == square_scale
    left, top = (side - canvas[0]) // 2, (side - canvas[1]) // 2
    assert np.array_equal(image, square[top : top + canvas[1], left : left + canvas[0]])
    corners = np.array([[0.0, 0, *size]])
    assert np.allclose(unletterbox(corners * scale + [dx, dy, dx, dy], scale, (dx, dy), *size), corners)


def test_letterbox_fills_and_unletterbox_clips() -> None:
    image, _, (dx, dy) = letterbox(scene(200, 100), 64, fill=7)
    assert (dx, dy) == (0, 16)
    assert (image[:16] == 7).all()
    assert (image[48:] == 7).all()
    boxes = unletterbox(np.array([[-5, 0, 70, 64]]), 0.32, (0, 16), 200, 100)
    assert boxes.tolist() == [[0, 0, 200, 100]]
    assert unletterbox(np.zeros((0, 4)), 1, (0, 0), 10, 10).shape == (0, 4)
