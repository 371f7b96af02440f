"""imaging/serving.py: one set of limits for whatever decodes as the service does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import decode
from carsdepo_assets.imaging.decodings import Limits
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput, letterboxed
from carsdepo_assets.imaging.serving import MAX_PIXELS_OTHER, decode_as_served, is_beyond_limits, serving_limits
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
    assert serving_limits(policy) == Limits(1000, 200, 7, MAX_PIXELS_OTHER)


def test_whole_photographs_are_given_to_a_predictor_that_does_not_say_what_it_takes() -> None:
    whole = decode(PHOTO, max_bytes=2**24, max_pixels=10**7, min_side=1)
    decoded, image = decode_as_served(PHOTO, Policy())
    assert image is decoded.rgb
    assert np.array_equal(decoded.rgb, whole.rgb)


@pytest.mark.parametrize(
    ("size", "kind", "side", "decoded_at"),
    [
        ((320, 240), "JPEG", 160, (320, 240)),  # smaller than what is measured
        ((1280, 960), "JPEG", 160, (640, 480)),  # what is measured is enough
        ((1280, 960), "JPEG", 640, (640, 480)),
        ((1280, 960), "JPEG", 704, (1280, 960)),  # the network sees more than what is measured
        ((4000, 3000), "JPEG", 320, (1500, 1125)),  # what is measured comes from the processed image of 1280
        ((1280, 960), "PNG", 160, (1280, 960)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_one_decoding_serves_network_and_measurement(
    size: tuple[int, int], kind: str, side: int, decoded_at: tuple[int, int], turned: bool
) -> None:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    data = saved(scene(*size), kind, **({"exif": orientation} if turned else {}))
    if turned:
        size, decoded_at = size[::-1], decoded_at[::-1]
        if kind == "JPEG" and max(size) == 1280:  # must be encoded anew, so that every pixel is decoded
            decoded_at = size
    decoded, image = decode_as_served(data, Policy(), NetworkInput(side, 32))
    assert isinstance(image, Letterboxed)
    assert (decoded.width, decoded.height) == (image.width, image.height) == size
    assert decoded.rgb.shape[1::-1] == decoded_at
    assert max(image.pixels.shape) == side
    assert all(n % 32 == 0 for n in image.pixels.shape[:2])
    assert image.scale == side / max(size)


def test_what_is_decoded_at_a_reduced_scale_shows_the_same_at_the_same_place() -> None:
    data, network = saved(scene(4000, 3000)), NetworkInput(320, 32)
    _, image = decode_as_served(data, Policy(), network)
    assert isinstance(image, Letterboxed)
    whole = letterboxed(decode(data, max_bytes=2**26, max_pixels=10**8, min_side=1).rgb, network)
    assert (image.scale, image.offset, image.width, image.height) == (
        whole.scale,
        whole.offset,
        whole.width,
        whole.height,
    )
    assert np.abs(image.pixels.astype(int) - whole.pixels).mean() < 2


@pytest.mark.parametrize(
    ("data", "policy", "beyond"),
    [
        (PHOTO, Policy(inference=InferencePolicy(max_photograph_bytes=len(PHOTO) - 1)), True),
        (PHOTO, Policy(inference=InferencePolicy(max_pixels=320 * 240 - 1)), True),
        (PHOTO, Policy(data=DataPolicy(min_side_px=241)), True),
        (jpeg_claiming(30000, 30000), Policy(), True),
        (PHOTO[:-3], Policy(), False),
        (b"no photograph", Policy(), False),
        (b"", Policy(), False),
    ],
    ids=["bytes", "pixels", "side", "header", "truncated", "text", "empty"],
)
def test_what_is_beyond_the_limits_is_told_from_what_is_damaged(data: bytes, policy: Policy, beyond: bool) -> None:
    with pytest.raises(BadImage) as refusal:
        decode_as_served(data, policy, NetworkInput(96, 32))
    assert is_beyond_limits(refusal.value) is beyond


def test_at_the_limit_it_is_decoded() -> None:
    limits = InferencePolicy(max_photograph_bytes=len(PHOTO), max_pixels=320 * 240)
    decoded, _ = decode_as_served(PHOTO, Policy(inference=limits, data=DataPolicy(min_side_px=240)))
    assert (decoded.width, decoded.height) == (320, 240)
