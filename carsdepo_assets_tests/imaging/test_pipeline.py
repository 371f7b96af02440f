"""imaging/pipeline.py, imaging/encode.py: copied and encoded scans, order, refusals, real photographs."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import decode
from carsdepo_assets.imaging.decodings import Decodings
from carsdepo_assets.imaging.pipeline import Processed, measure, pipeline_limits, process, process_many
from carsdepo_assets.policy import DataPolicy
from carsdepo_assets_tests.imaging.files import saved, scene

POLICY = DataPolicy(longest_side_px=256)


def with_gps(pixels: np.ndarray, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x0110] = "SECRET-CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    return saved(pixels, exif=exif, comment=b"SECRET-COMMENT", icc_profile=b"SECRET-PROFILE" * 10) + b"SECRET-TRAILER"


def test_a_photograph_that_fits_keeps_its_scan_and_loses_its_metadata() -> None:
    data = with_gps(scene(256, 192))
    processed = process(data, POLICY)
    assert b"SECRET" not in processed.jpeg
    assert processed.facts.camera == "SECRET-CAMERA"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(processed.jpeg))), np.asarray(Image.open(io.BytesIO(data))))
    assert (processed.width, processed.height, processed.scale) == (256, 192, 1.0)
    assert processed.sha256 == hashlib.sha256(data).hexdigest()
    assert processed.jpeg_sha256 == hashlib.sha256(processed.jpeg).hexdigest()


@pytest.mark.parametrize(
    ("data", "size", "scale"),
    [
        (with_gps(scene(512, 384)), (256, 192), 0.5),
        (with_gps(scene(512, 384), orientation=6), (192, 256), 0.5),
        (with_gps(scene(256, 192), orientation=8), (192, 256), 1.0),
        (saved(scene(256, 192), progressive=True), (256, 192), 1.0),
        (saved(scene(256, 192), "PNG"), (256, 192), 1.0),
        (saved(Image.fromarray(scene(256, 192)).convert("CMYK")), (256, 192), 1.0),
        (saved(Image.fromarray(scene(256, 192)).convert("L")), (256, 192), 1.0),
        (saved(scene(256, 192))[:-2] + b"\0\0\xff\xd9", (256, 192), 1.0),
    ],
    ids=["large", "large, turned", "turned", "progressive", "png", "cmyk", "grey", "padded"],
)
def test_everything_else_is_encoded_upright(data: bytes, size: tuple[int, int], scale: float) -> None:
    processed = process(data, POLICY)
    assert (processed.width, processed.height) == size
    assert processed.scale == scale
    assert b"SECRET" not in processed.jpeg
    out = Image.open(io.BytesIO(processed.jpeg))
    assert (out.size, out.mode) == (size, "RGB")
    original = decode(data, max_bytes=2**24, max_pixels=10**7, min_side=1).rgb
    expected = np.asarray(Image.fromarray(original).resize(size, Image.Resampling.BOX), int)
    assert np.abs(np.asarray(out, int) - expected).mean() < 4


@pytest.mark.parametrize(
    "data",
    [
        with_gps(scene(256, 192)),
        with_gps(scene(900, 700)),
        with_gps(scene(2000, 1500), orientation=6),
        with_gps(scene(256, 192), orientation=8),
        saved(scene(700, 500), progressive=True),
        saved(scene(256, 192), "PNG"),
        saved(Image.fromarray(scene(256, 192)).convert("CMYK")),
        saved(Image.fromarray(scene(256, 192)).convert("L")),
        saved(scene(256, 192))[:-2] + b"\0\0\xff\xd9",
    ],
    ids=["copied", "large", "larger, turned", "turned", "progressive", "png", "cmyk", "grey", "padded"],
)
@pytest.mark.parametrize("first", [None, 64, 640, 900])
def test_measured_to_the_last_bit_whatever_was_decoded_before(data: bytes, first: int | None) -> None:
    for policy in (POLICY, DataPolicy()):
        decodings = Decodings(data, pipeline_limits(policy))
        decodings.at_least(first)
        assert measure(decodings, policy) == process(data, policy).features


def test_the_same_bytes_give_the_same_result() -> None:
    for data in (with_gps(scene(256, 192)), with_gps(scene(500, 400), 3)):
        assert process(data, POLICY) == process(data, POLICY)


def test_metadata_changes_the_identity_but_not_the_processed_image() -> None:
    one, two = process(with_gps(scene(200, 150)), POLICY), process(saved(scene(200, 150)), POLICY)
    assert one.sha256 != two.sha256
    assert one.jpeg_sha256 == two.jpeg_sha256
    assert one.phash == two.phash


def test_process_many_keeps_order_and_gives_refusals_as_values() -> None:
    good = [saved(scene(100 + i, 80, i)) for i in range(9)]
    items = [*good[:4], b"", *good[4:], b"text"]
    results = list(process_many(items, POLICY, threads=3))
    assert [r.reason if isinstance(r, BadImage) else r.width for r in results] == [
        100,
        101,
        102,
        103,
        "empty",
        104,
        105,
        106,
        107,
        108,
        "not_an_image",
    ]
    assert list(process_many([], POLICY)) == []


def test_process_many_reads_no_further_than_it_works() -> None:
    taken = 0

    def items() -> Iterator[bytes]:
        nonlocal taken
        for i in range(50):
            taken = i + 1
            yield saved(scene(64, 64))

    results = process_many(items(), POLICY, threads=2)
    assert isinstance(next(results), Processed)
    assert taken <= 4
    results.close()  # type: ignore[attr-defined]


def test_process_many_raises_what_is_no_refusal() -> None:
    with pytest.raises(TypeError):
        list(process_many([None], POLICY))  # type: ignore[list-item]


@pytest.mark.real
@pytest.mark.skipif("CARSDEPO_REAL_DATA" not in os.environ, reason="CARSDEPO_REAL_DATA is unset")
def test_real_photographs_all_come_through() -> None:
    paths = sorted(Path(os.environ["CARSDEPO_REAL_DATA"]).glob("*/images/*.jpg"))[::25]
    assert paths
    for path, processed in zip(paths, process_many((p.read_bytes() for p in paths), DataPolicy()), strict=True):
        assert isinstance(processed, Processed), f"{path.name}: {processed}"
        assert (
            np.array_equal(
                np.asarray(Image.open(path).convert("RGB")),
                decode(path.read_bytes(), max_bytes=2**26, max_pixels=10**8, min_side=1).rgb,
            )
            or processed.facts.orientation != 1
        )
        assert 0 < processed.features["luma_mean"] < 255
