"""imaging/augmentation.py: boxes move with their pixels, and chance hangs on seed, epoch and photograph alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from carsdepo_assets.imaging.augmentation import AugmentedSquare, LabelledPixels, augmented, chance_of
from carsdepo_assets.imaging.resize import letterbox
from carsdepo_assets.policy_augmentation import GREY, AugmentationSettings

SIDE = 96
EVERY_CHANCE = {
    "flip": 0.5, "crop": 0.5, "scale": 0.5, "translate": 0.2, "mosaic": 0.5, "brightness": 0.3, "contrast": 0.3,
    "saturation": 0.5, "hue": 0.1, "blur": 0.5, "noise": 0.5, "jpeg": 0.5, "min_visible": 0.3,
}  # fmt: skip


def photograph(width: int = 160, height: int = 120, boxes: Any = ((40, 30, 100, 70),), tint: int = 200) -> Any:
    """Bright, with a black rectangle where each box is."""
    rgb = np.full((height, width, 3), tint, np.uint8)
    for x1, y1, x2, y2 in boxes:
        rgb[y1:y2, x1:x2] = 0
    return LabelledPixels(rgb, np.array(boxes, float).reshape(-1, 4), np.arange(len(boxes), dtype=np.int64))


def varied(image: LabelledPixels, seed: int = 0, **settings: float) -> AugmentedSquare:
    others = [photograph(100, 140, ((10, 20, 60, 90),)), photograph(boxes=()), photograph(80, 80, ((5, 5, 75, 75),))]
    how = AugmentationSettings(**settings)
    return augmented(image, SIDE, how, chance_of(0, seed, "a"), lambda share: others[int(share * len(others))])


def colourful(seed: int = 0) -> LabelledPixels:
    rgb = np.random.default_rng(seed).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    return LabelledPixels(rgb, np.zeros((0, 4)), np.zeros(0, np.int64))


@pytest.mark.parametrize(("width", "height"), [(160, 120), (60, 91), (96, 96), (500, 20)])
def test_nothing_declared_is_what_serving_sees(width: int, height: int) -> None:
    image = photograph(width, height, boxes=((10, 5, 40, 18),))
    served, scale, offset = letterbox(image.rgb, SIDE)
    got = varied(image)
    assert np.array_equal(got.rgb, served)
    assert got.xyxy == pytest.approx(image.xyxy * scale + np.array([*offset, *offset]), abs=0.5)
    assert (got.classes.tolist(), got.dropped) == ([0], 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": 1.0},
        {"crop": 1.0, "crop_min": 0.4},
        {"scale": 0.5},
        {"translate": 0.4},
        {"mosaic": 1.0},
        {"mosaic": 1.0, "scale": 0.5, "translate": 0.2, "flip": 0.5},
        {"flip": 0.5, "crop": 0.5, "scale": 0.4, "translate": 0.2, "brightness": 0.2, "contrast": 0.2},
    ],
)
def test_boxes_surround_the_damage_and_nothing_else(settings: dict[str, float]) -> None:
    """A pixel beside each side may be mixed of both."""
    pictures = set()
    for seed in range(40):
        got = varied(photograph(), seed, **settings)
        dark = got.rgb.max(axis=2) < 60
        inside = np.zeros_like(dark)
        for x1, y1, x2, y2 in got.xyxy:
            assert 0 <= x1 < x2 <= SIDE
            assert 0 <= y1 < y2 <= SIDE
            a, b, c, d = (round(v) for v in (x1, y1, x2, y2))
            assert dark[b + 1 : d - 1, a + 1 : c - 1].all()
            inside[max(0, b - 1) : d + 1, max(0, a - 1) : c + 1] = True
        assert not (dark & ~inside).any()
        pictures.add(got.rgb.tobytes())
    assert len(pictures) > (20 if settings != {"flip": 1.0} else 0)


def test_a_flip_is_exact() -> None:
    plain, mirrored = varied(photograph(96, 96)), varied(photograph(96, 96), flip=1.0)
    assert np.array_equal(mirrored.rgb, plain.rgb[:, ::-1])
    assert plain.xyxy.tolist() == [[40, 30, 96, 70]]
    assert mirrored.xyxy.tolist() == [[0, 30, 56, 70]]


def test_what_is_seen_too_little_is_dropped_and_counted() -> None:
    boxes = ((0, 0, 30, 30), (60, 40, 100, 80), (130, 90, 160, 120))
    dropped = 0
    for seed in range(60):
        shared = {"scale": 0.5, "translate": 0.3}
        every, kept = (varied(photograph(boxes=boxes), seed, **shared, min_visible=v) for v in (0.0, 0.5))
        assert np.array_equal(every.rgb, kept.rgb)
        whole = {int(c): float((b[2] - b[0]) * (b[3] - b[1])) for c, b in zip(every.classes, every.xyxy, strict=True)}
        scale = 1 + 0.5 * (2 * chance_of(0, seed, "a").random(7)[6] - 1)  # the draw of the size
        area = {n: (x2 - x1) * (y2 - y1) * (scale * SIDE / 160) ** 2 for n, (x1, y1, x2, y2) in enumerate(boxes)}
        clear = {n for n in range(3) if whole.get(n, 0) > 0.53 * area[n]}
        lost = {n for n in range(3) if whole.get(n, 0) < 0.47 * area[n]}
        assert clear <= set(kept.classes.tolist()) <= {0, 1, 2} - lost
        assert len(kept.classes) + kept.dropped == 3
        dropped += kept.dropped
    assert dropped > 10


@pytest.mark.parametrize("beyond", [1e-9, 5e-5])
def test_a_whole_box_at_the_edge_is_wholly_seen(beyond: float) -> None:
    """Label files have eight decimals, and ultralytics' boxes single precision."""
    image = photograph()
    boxes = np.array([(-beyond, 30, 40, 70), (120, 60, 160 + beyond, 120 + beyond), (-0.5, 30, 40, 70)])
    got = varied(LabelledPixels(image.rgb, boxes, np.arange(3)), min_visible=1.0)
    assert (got.classes.tolist(), got.dropped) == ([0, 1], 1)


def test_a_crop_that_would_lose_every_box_is_not_made() -> None:
    corner = photograph(boxes=((150, 110, 160, 120),))
    found = [varied(corner, seed, crop=1.0, crop_min=0.3, min_visible=0.9) for seed in range(30)]
    assert all(len(one.classes) == 1 and one.dropped == 0 for one in found)
    empty = [varied(photograph(boxes=()), seed, crop=1.0, crop_min=0.3) for seed in range(30)]
    assert any(not np.array_equal(one.rgb, empty[0].rgb) for one in empty)  # where there is none to lose it is


@pytest.mark.parametrize("at_edge", [((0, 0, 1, 1),), ((159, 119, 160, 120),), ((0, 0, 160, 120),), ()])
@pytest.mark.parametrize(("width", "height"), [(160, 120), (1, 1), (1, 300)])
def test_odd_boxes_and_sizes(at_edge: Any, width: int, height: int) -> None:
    boxes = [(min(a, width - 1), min(b, height - 1), min(c, width), min(d, height)) for a, b, c, d in at_edge]
    for seed in range(20):
        got = varied(photograph(width, height, boxes), seed, **EVERY_CHANCE)
        assert got.rgb.shape == (SIDE, SIDE, 3)
        assert got.xyxy.shape == (len(got.classes), 4)
        assert ((got.xyxy[:, 2:] - got.xyxy[:, :2]) >= 1).all()
        assert (got.xyxy >= 0).all()
        assert (got.xyxy <= SIDE).all()


def test_the_same_seed_epoch_and_photograph_give_the_same_picture() -> None:
    def picture(seed: int, epoch: int, name: str) -> bytes:
        how = AugmentationSettings(**EVERY_CHANCE | {"mosaic": 0.0})
        return augmented(colourful(), SIDE, how, chance_of(seed, epoch, name)).rgb.tobytes()

    one = picture(1, 2, "a")
    assert one == picture(1, 2, "a")
    assert one not in (picture(2, 2, "a"), picture(1, 3, "a"), picture(1, 2, "b"))


def test_another_setting_leaves_what_the_others_do() -> None:
    """The flip, crop and move of a photograph are the same with and without noise, light and mosaics of chance 0."""
    moved = {"flip": 0.5, "crop": 0.5, "scale": 0.3, "translate": 0.2}
    for seed in range(20):
        first = varied(photograph(), seed, **moved)
        second = varied(photograph(), seed, **moved, brightness=0.5, noise=1.0, hue=0.2, jpeg=1.0)
        assert np.array_equal(first.xyxy, second.xyxy)


@pytest.mark.parametrize("field", sorted(EVERY_CHANCE.keys() - {"min_visible"}))
def test_each_field_changes_pictures_by_itself(field: str) -> None:
    """What is declared is applied, and not only passed on."""
    plain = varied(colourful())
    found = [varied(colourful(), seed, **{field: 1.0 if field in WHOLE else 0.3}) for seed in range(8)]
    assert any(not np.array_equal(one.rgb, plain.rgb) for one in found)


WHOLE = {"flip", "crop", "mosaic", "blur", "noise", "jpeg"}


@pytest.mark.parametrize("field", ["brightness", "contrast", "saturation", "hue", "blur", "noise", "jpeg"])
def test_light_and_faults_leave_the_grey_beside_photographs(field: str) -> None:
    got = varied(colourful(), 3, **{field: 1.0 if field in WHOLE else 0.4})
    assert (got.rgb[:16] == GREY).all()
    assert (got.rgb[-16:] == GREY).all()


def test_light_stays_in_its_declared_range() -> None:
    flat = photograph(96, 96, boxes=(), tint=100)
    levels = [int(varied(flat, seed, brightness=0.4).rgb[0, 0, 0]) for seed in range(60)]
    assert (min(levels) < 70, max(levels) > 130) == (True, True)
    assert all(60 <= level <= 140 for level in levels)
    for seed in range(20):
        assert (varied(flat, seed, contrast=0.9, saturation=1.0, hue=0.5).rgb == 100).all()  # grey has none of them
        halves = photograph(96, 96, boxes=(), tint=120)
        halves.rgb[:, :48] = 80
        spread = varied(halves, seed, contrast=0.5).rgb
        assert abs(float(spread.mean()) - 100) < 1
        assert 18 <= int(np.ptp(spread)) <= 62


@pytest.mark.parametrize("field", ["flip", "crop", "mosaic", "blur", "noise", "jpeg"])
def test_a_chance_is_the_share_of_photographs(field: str) -> None:
    plain = {seed: varied(colourful(), seed).rgb for seed in range(200)}
    changed = [not np.array_equal(varied(colourful(), s, **{field: 0.3}).rgb, plain[s]) for s in plain]
    assert 0.2 < np.mean(changed) < 0.4
