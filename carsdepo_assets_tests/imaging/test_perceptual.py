"""imaging/perceptual.py: the hash survives what users do to photographs, and differs between scenes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.imaging.perceptual import hamming, phash
from carsdepo_assets.imaging.resize import fit_longest
from carsdepo_assets.policy import DataPolicy
from carsdepo_assets_tests.imaging.files import saved, scene

NEAR = DataPolicy().duplicate_hamming


@pytest.mark.parametrize("seed", range(6))
def test_resizing_and_recompression_stay_near(seed: int) -> None:
    original = scene(1280, 960, seed)
    for changed in (
        np.asarray(Image.open(io.BytesIO(saved(original, quality=30)))),
        fit_longest(original, 640)[0],
        fit_longest(original, 333)[0],
        np.clip(original.astype(int) + 12, 0, 255).astype(np.uint8),
    ):
        assert hamming(phash(original), phash(changed)) <= NEAR


def test_different_scenes_are_far() -> None:
    hashes = [phash(scene(320, 240, seed)) for seed in range(12)]
    distances = [hamming(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 3 * NEAR


def test_plain_pictures_hash_alike_whatever_their_noise() -> None:
    rng = np.random.default_rng(0)
    grey = np.full((200, 300, 3), 90, np.uint8)
    assert hamming(phash(grey), phash(grey + rng.integers(0, 2, grey.shape, np.uint8))) <= 2


def test_form_and_grey_input() -> None:
    value = phash(scene())
    assert len(value) == 16
    assert int(value, 16) >= 0
    assert hamming(phash(np.asarray(Image.fromarray(scene()).convert("L"))), value) <= 1


@pytest.mark.parametrize(
    ("a", "b", "bits"),
    [
        ("0" * 16, "0" * 16, 0),
        ("0" * 16, "f" * 16, 64),
        ("0" * 15 + "1", "0" * 16, 1),
    ],
)
def test_hamming(a: str, b: str, bits: int) -> None:
    assert hamming(a, b) == hamming(b, a) == bits


@pytest.mark.parametrize("bad", ["", "0" * 15, "g" * 16])
def test_hamming_refuses(bad: str) -> None:
    with pytest.raises(ValueError):
        hamming(bad, "0" * 16)
