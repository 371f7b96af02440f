"""imaging/features.py: images whose features are known, and how features change with an image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from carsdepo_assets.imaging.decode import decode
from carsdepo_assets.imaging.features import features
from carsdepo_assets.lake.data_schemas import IMAGES
from carsdepo_assets_tests.imaging.files import LIMITS, saved, scene


def plain(*rgb: int) -> np.ndarray:
    return np.full((120, 160, 3), rgb, np.uint8)


RAMP = np.repeat(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 64, 0), 3, 2)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (
            plain(0, 0, 0),
            {"luma_mean": 0, "luma_std": 0, "luma_p95": 0, "sharpness": 0, "saturation": 0, "colour_cast": 0},
        ),
        (plain(255, 255, 255), {"luma_mean": 255, "luma_p95": 255, "sharpness": 0, "saturation": 0, "colour_cast": 0}),
        (plain(128, 128, 128), {"luma_mean": 128, "luma_std": 0, "luma_p95": 128, "saturation": 0, "colour_cast": 0}),
        (plain(255, 0, 0), {"luma_mean": 76, "saturation": 255, "colour_cast": 104.55}),  # CIE: red is a*=80.1, b*=67.2
        (RAMP, {"luma_mean": 127.5, "luma_std": 73.9, "luma_p95": 243, "saturation": 0, "aspect": 4}),
    ],
    ids=["black", "white", "grey", "red", "gradient"],
)
def test_known_images(image: np.ndarray, expected: dict[str, float]) -> None:
    measured = features(image, 1000)
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, abs=0.1), name


def test_columns_are_the_tables_and_shape_facts_are_the_originals() -> None:
    measured = features(scene(160, 120), 6000, width=1600, height=1200)
    names = IMAGES.names
    assert list(measured) == names[names.index("luma_mean") : names.index("bits_per_pixel") + 1]
    assert measured["aspect"] == pytest.approx(4 / 3)
    assert measured["megapixels"] == 1.92
    assert measured["bits_per_pixel"] == pytest.approx(8 * 6000 / 1.92e6)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    luma = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY)
    assert features(scene(), 1)["sharpness"] == pytest.approx(cv2.Laplacian(luma, cv2.CV_64F).var(), rel=1e-9)


def test_they_move_the_way_their_names_say() -> None:
    base = features(scene(), 1)
    assert features(scene() // 3, 1)["luma_p95"] < base["luma_p95"] / 2
    assert features(cv2.GaussianBlur(scene(), (0, 0), 3), 1)["sharpness"] < base["sharpness"] / 3
    warm = np.clip(scene() * np.array([1.3, 1.0, 0.6]), 0, 255).astype(np.uint8)
    assert features(warm, 1)["colour_cast"] > base["colour_cast"] + 5
    grey = np.repeat(cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    assert features(grey, 1)["saturation"] == 0


@pytest.mark.parametrize("at_least", [640, 1280])
def test_no_skew_between_decoding_scales(at_least: int) -> None:
    """The pipeline measures JPEGs decoded at half scale; the service may measure them whole."""
    data = saved(scene(1280, 960), quality=88)
    whole = features(decode(data, **LIMITS).rgb, 1)
    reduced = features(decode(data, **LIMITS, at_least=at_least).rgb, 1)
    for name in ("luma_mean", "luma_std", "luma_p95", "sharpness", "saturation", "colour_cast"):
        assert reduced[name] == pytest.approx(whole[name], rel=0.02, abs=0.5), name
