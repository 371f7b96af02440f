"""imaging/serving.py: one set of limits for whatever decodes as the service does."""

from __future__ import annotations

import numpy as np
import pytest

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import decode
from carsdepo_assets.imaging.serving import decode_as_served, is_beyond_limits, serving_limits
from carsdepo_assets.policy import DataPolicy, InferencePolicy, Policy
from carsdepo_assets_tests.imaging.files import jpeg_claiming, saved, scene

PHOTO = saved(scene())


@pytest.mark.parametrize(
    ("service", "pipeline"),
    [((1000, 200), (2000, 300)), ((2000, 300), (1000, 200)), ((1000, 300), (2000, 200))],
    ids=["the service's are narrower", "the pipeline's are narrower", "one of each"],
)
def test_the_narrower_limit_counts(service: tuple[int, int], pipeline: tuple[int, int]) -> None:
    policy = Policy(
        inference=InferencePolicy(max_photograph_bytes=service[0], max_pixels=service[1]),
        data=DataPolicy(max_bytes=pipeline[0], max_pixels=pipeline[1], min_side_px=7),
    )
    assert serving_limits(policy) == {"max_bytes": 1000, "max_pixels": 200, "min_side": 7}


def test_pixels_are_those_of_the_full_decode() -> None:
    whole = decode(PHOTO, max_bytes=2**24, max_pixels=10**7, min_side=1)
    assert np.array_equal(decode_as_served(PHOTO, Policy()).rgb, whole.rgb)


@pytest.mark.parametrize(
    ("data", "policy", "beyond"),
    [
        (PHOTO, Policy(inference=InferencePolicy(max_photograph_bytes=len(PHOTO) - 1)), True),
        (PHOTO, Policy(inference=InferencePolicy(max_pixels=320 * 240 - 1)), True),
        (PHOTO, Policy(data=DataPolicy(min_side_px=241)), True),
        (jpeg_claiming(30000, 30000), Policy(), True),
        (PHOTO[:-2], Policy(), False),
        (b"no photograph", Policy(), False),
        (b"", Policy(), False),
    ],
    ids=["bytes", "pixels", "side", "header", "truncated", "text", "empty"],
)
def test_what_is_beyond_the_limits_is_told_from_what_is_damaged(data: bytes, policy: Policy, beyond: bool) -> None:
    with pytest.raises(BadImage) as refusal:
        decode_as_served(data, policy)
    assert is_beyond_limits(refusal.value) is beyond


def test_at_the_limit_it_is_decoded() -> None:
    limits = InferencePolicy(max_photograph_bytes=len(PHOTO), max_pixels=320 * 240)
    decoded = decode_as_served(PHOTO, Policy(inference=limits, data=DataPolicy(min_side_px=240)))
    assert (decoded.width, decoded.height) == (320, 240)
