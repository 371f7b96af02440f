"""imaging/colour.py, colour_tags.py, icc.py: whatever colours a file declares, its pixels come out as sRGB.

The right values follow from the published matrices and curves and not from lcms. Lossy formats are held to a flat
chart at their best quality.
"""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.imaging import icc
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.colour import MAX_PROFILE_BYTES, Declared, conversion
from carsdepo_assets.imaging.decode import Decoded, decode
from carsdepo_assets.imaging.icc import ADOBE_RGB, DISPLAY_P3, RgbSpace, rgb_profile
from carsdepo_assets.imaging.pipeline import process
from carsdepo_assets.imaging.resize import NetworkInput
from carsdepo_assets.imaging.serving import decode_as_served
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.imaging.coloured import (
    bmp_with_profile,
    chart,
    cmyk_profile,
    iccp,
    in_srgb,
    inks_in_srgb,
    jpeg_with_parts,
    light_to_srgb,
    png_with,
    profile,
    srgb_to_light,
)
from carsdepo_assets_tests.imaging.files import LIMITS, saved

P3, ADOBE, SRGB = profile("Display P3"), profile("Adobe RGB"), profile("sRGB IEC61966-2.1")
BEST: dict[str, Any] = {"quality": 100, "subsampling": 0}
CHART = chart()


def decoded(data: bytes, **more: Any) -> Decoded:
    return decode(data, **LIMITS, **more)


def exif(space: int | None, index: str | None) -> Image.Exif:
    """EXIF data with ColorSpace and an interoperability index."""
    made = Image.Exif()
    made[0x0112] = 1
    if space is not None:
        made.get_ifd(0x8769)[0xA001] = space
    if index is not None:
        made.get_ifd(0x8769)[0xA005] = {1: index}
    return made


def halves(content: bytes) -> list[bytes]:
    return [content[:700], content[700:]]


def cicp(primaries: int, transfer: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, 1])


P3_CHRM = b"".join(v.to_bytes(4, "big") for v in (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))

# name: file, space, note, largest mean error of 255
CONVERTED = {
    "jpeg, Display P3": (saved(CHART, icc_profile=P3, **BEST), "Display P3", "Display P3 to sRGB", 1.0),
    "jpeg, Adobe RGB": (saved(CHART, icc_profile=ADOBE, **BEST), "Adobe RGB", "Adobe RGB to sRGB", 1.0),
    "jpeg, ProPhoto": (
        saved(CHART, icc_profile=profile("ProPhoto RGB"), **BEST),
        "ProPhoto RGB",
        "ProPhoto RGB to sRGB",
        1.0,
    ),
    "jpeg, version 4 profile": (
        saved(CHART, icc_profile=rgb_profile(DISPLAY_P3), **BEST),
        "Display P3",
        "Display P3 to sRGB",
        1.0,
    ),
    "progressive jpeg": (
        saved(CHART, icc_profile=P3, progressive=True, **BEST),
        "Display P3",
        "Display P3 to sRGB",
        1.0,
    ),
    "jpeg, profile in two segments": (
        jpeg_with_parts(CHART, [(n + 1, 2, part) for n, part in enumerate(halves(P3))]),
        "Display P3",
        "Display P3 to sRGB",
        1.0,
    ),
    "jpeg, segments in reverse": (
        jpeg_with_parts(CHART, [(2, 2, halves(P3)[1]), (1, 2, halves(P3)[0])]),
        "Display P3",
        "Display P3 to sRGB",
        1.0,
    ),
    "jpeg, EXIF ColorSpace 2": (
        saved(CHART, exif=exif(2, None), **BEST),
        "Adobe RGB",
        "Adobe RGB to sRGB by EXIF",
        1.0,
    ),
    "jpeg, EXIF R03": (
        saved(CHART, exif=exif(0xFFFF, "R03"), **BEST),
        "Adobe RGB",
        "Adobe RGB to sRGB by EXIF",
        1.0,
    ),
    "jpeg, profile before EXIF": (
        saved(CHART, exif=exif(0xFFFF, "R03"), icc_profile=P3, **BEST),
        "Display P3",
        "Display P3 to sRGB",
        1.0,
    ),
    "png": (saved(CHART, "PNG", icc_profile=P3), "Display P3", "Display P3 to sRGB", 0.6),
    "png, transparent": (
        saved(np.dstack([CHART, np.full(CHART.shape[:2], 255, np.uint8)]), "PNG", icc_profile=P3),
        "Display P3",
        "alpha, Display P3 to sRGB",
        0.6,
    ),
    "png, EXIF": (saved(CHART, "PNG", exif=exif(2, None)), "Adobe RGB", "Adobe RGB to sRGB by EXIF", 0.6),
    "png, chromaticities": (
        png_with(CHART, (b"gAMA", (45455).to_bytes(4, "big")), (b"cHRM", P3_CHRM)),
        "Display P3",
        "gamma and chromaticities to sRGB by PNG",
        0.6,
    ),
    "png, code points": (
        png_with(CHART, cicp(12, 13)),
        "Display P3",
        "Display P3 to sRGB by code points",
        0.6,
    ),
    "png, code points before profile": (
        png_with(CHART, cicp(12, 13), iccp(ADOBE)),
        "Display P3",
        "Display P3 to sRGB by code points",
        0.6,
    ),
    "webp": (
        saved(CHART, "WEBP", lossless=True, icc_profile=ADOBE),
        "Adobe RGB",
        "Adobe RGB to sRGB",
        0.6,
    ),
    "tiff": (saved(CHART, "TIFF", icc_profile=P3), "Display P3", "Display P3 to sRGB", 0.6),
    "bmp of version 5": (bmp_with_profile(CHART, P3), "Display P3", "Display P3 to sRGB", 0.6),
    "avif": (
        saved(CHART, "AVIF", quality=100, subsampling="4:4:4", icc_profile=P3),
        "Display P3",
        "Display P3 to sRGB",
        1.0,
    ),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_declared_colours_come_out_as_srgb(name: str) -> None:
    data, space, note, most = CONVERTED[name]
    result = decoded(data)
    assert result.notes == note
    right = in_srgb(CHART, space)
    assert np.abs(result.rgb - right).mean() < most
    assert np.abs(CHART - right).mean() > 2  # it matters


# name: file, notes
LEFT_ALONE = {
    "sRGB, version 2": (saved(CHART, "PNG", icc_profile=SRGB), ""),
    "sRGB, version 4": (saved(CHART, "PNG", icc_profile=rgb_profile(icc.SRGB)), ""),
    "no word of colours": (saved(CHART, "PNG"), ""),
    "png, sRGB chunk before gamma": (png_with(CHART, (b"sRGB", b"\0"), (b"gAMA", (100000).to_bytes(4, "big"))), ""),
    "png, gamma of sRGB": (png_with(CHART, (b"gAMA", (45455).to_bytes(4, "big"))), ""),
    "png, code points of sRGB": (png_with(CHART, cicp(1, 13), iccp(ADOBE)), ""),
    "png, code points of video": (png_with(CHART, cicp(1, 1)), ""),
    "EXIF says sRGB": (saved(CHART, "PNG", exif=exif(1, "R98")), ""),
    "EXIF, uncalibrated": (saved(CHART, "PNG", exif=exif(0xFFFF, None)), ""),
    "EXIF, sRGB against R03": (saved(CHART, "PNG", exif=exif(1, "R03")), ""),
    "text for a profile": (saved(CHART, "PNG", icc_profile=b"no profile" * 30), "colour profile unreadable"),
    "half a profile": (saved(CHART, "TIFF", icc_profile=P3[: len(P3) // 2]), "colour profile unreadable"),
    "profile of zeros": (saved(CHART, "TIFF", icc_profile=P3[:300] + b"\0" * 3000), "colour profile unreadable"),
    "a curve that is black": (
        saved(CHART, "PNG", icc_profile=P3.replace(P3[P3.index(b"curv") + 12 :][:2048], b"\0" * 2048)),
        "colour profile unreadable",
    ),
    "CMYK profile of RGB": (saved(CHART, "PNG", icc_profile=cmyk_profile()), "colour profile of CMYK left out"),
    "grey profile of RGB": (
        saved(CHART, "PNG", icc_profile=profile("Adobe RGB", grey=True)),
        "colour profile of GRAY left out",
    ),
    "device link": (saved(CHART, "PNG", icc_profile=P3[:12] + b"link" + P3[16:]), "colour profile unreadable"),
    "png, profile that is no zlib": (png_with(CHART, (b"iCCP", b"any\0\0" + b"xyz" * 9)), "colour profile unreadable"),
    "png, profile of method 1": (png_with(CHART, (b"iCCP", b"any\0\1" + b"xyz" * 9)), "colour profile unreadable"),
    "png, profile that ends early": (png_with(CHART, (b"iCCP", iccp(P3)[1][:-9])), "colour profile unreadable"),
    "png, impossible chromaticities": (png_with(CHART, (b"cHRM", b"\xff" * 32)), "chromaticities left out"),
    "png, gamma 0": (png_with(CHART, (b"gAMA", b"\0" * 4)), "gamma left out"),
    "png, unknown code points": (png_with(CHART, cicp(77, 13)), "colours of code points 77/13 left out"),
    "bmp, profile behind its end": (bmp_with_profile(CHART, P3)[:-9], "colour profile unreadable"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_srgb_and_what_cannot_be_used_leave_the_pixels_alone(name: str) -> None:
    data, notes = LEFT_ALONE[name]
    result = decoded(data)
    assert result.notes == notes
    assert np.array_equal(result.rgb, CHART)


@pytest.mark.parametrize(
    ("parts", "note"),
    [
        ([(1, 2, P3[:700])], "colour profile unreadable"),
        ([(1, 2, P3[:700]), (3, 2, P3[700:])], "colour profile unreadable"),
        ([(1, 2, P3[:700]), (2, 3, P3[700:])], "colour profile unreadable"),
        ([(0, 0, P3)], "colour profile unreadable"),
        ([(1, 1, P3), (1, 1, ADOBE)], "colour profile unreadable"),
    ],
    ids=["one of two", "numbers", "counts", "from 0", "two of one number"],
)
def test_segments_that_make_no_profile(parts: list[tuple[int, int, bytes]], note: str) -> None:
    assert decoded(jpeg_with_parts(CHART, parts)).notes == note


def test_a_linear_png_is_brightened() -> None:
    result = decoded(png_with(CHART, (b"gAMA", (100000).to_bytes(4, "big"))))
    assert result.notes == "gamma and chromaticities to sRGB by PNG"
    assert np.abs(result.rgb - 255 * light_to_srgb(CHART / 255)).mean() < 0.6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_grey_by_its_profile(kind: str) -> None:
    grey = np.repeat(np.repeat(np.arange(0, 256, 3, dtype=np.uint8)[None, :], 48, 0), 4, 1)
    right = 255 * light_to_srgb((grey / 255) ** 1.8)
    options = {"quality": 100} if kind == "JPEG" else {}
    data = saved(Image.fromarray(grey), kind, icc_profile=profile("ProPhoto RGB", grey=True), **options)
    result = decoded(data)
    assert result.notes == "grey, ProPhoto RGB to sRGB"
    assert np.abs(result.rgb - right[..., None]).mean() < 1
    assert np.abs(grey - right).mean() > 5


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_by_its_profile(kind: str) -> None:
    inks = np.dstack([255 - CHART, np.repeat(np.linspace(0, 120, CHART.shape[1])[None], CHART.shape[0], 0)])
    inks = inks.astype(np.uint8) // 64 * 64  # where the profile's table has its points, lcms interpolates nothing
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    data = saved(Image.fromarray(inks, "CMYK"), kind, icc_profile=cmyk_profile(), **options)
    result = decoded(data)
    assert result.notes == "cmyk, press to sRGB"
    right = inks_in_srgb(inks / 255)
    assert np.abs(result.rgb - right).mean() < 1.5
    plain = decoded(saved(Image.fromarray(inks, "CMYK"), kind, **options))
    assert np.abs(plain.rgb - right).mean() > 5


def test_cmyk_whose_profile_is_of_rgb_is_read_as_without() -> None:
    inks = Image.fromarray(CHART).convert("CMYK")
    with_it, without = (decoded(saved(inks, "TIFF", **more)) for more in ({"icc_profile": P3}, {}))
    assert with_it.notes == "cmyk, colour profile of RGB left out"
    assert np.array_equal(with_it.rgb, without.rgb)


@pytest.mark.parametrize("at_least", [None, 640, 200])
def test_a_reduced_scale_is_converted_too(at_least: int | None) -> None:
    large = np.repeat(np.repeat(CHART, 10, 0), 10, 1)
    result = decoded(saved(large, icc_profile=P3, **BEST), at_least=at_least)
    step = large.shape[1] // result.rgb.shape[1]
    assert step == {None: 1, 640: 2, 200: 4}[at_least]
    assert np.abs(result.rgb - in_srgb(large, "Display P3")[::step, ::step]).mean() < 1


def test_large_ones_of_other_formats_are_converted_after_they_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carsdepo_assets.imaging.decode.LARGE_PX", 1000)
    result = decoded(saved(CHART, "PNG", icc_profile=P3), at_least=36)
    assert result.rgb.shape == (24, 36, 3)
    assert np.abs(result.rgb - in_srgb(CHART, "Display P3")[::4, ::4]).mean() < 0.6


def test_a_photograph_of_another_space_that_fits_is_encoded_anew_and_one_of_srgb_is_kept() -> None:
    policy = DataPolicy(longest_side_px=256, jpeg_quality=100)
    for content in (P3, SRGB):
        data = saved(CHART, icc_profile=content, **BEST)
        result = process(data, policy)
        kept = Image.open(io.BytesIO(result.jpeg))
        assert "icc_profile" not in kept.info
        assert result.sha256 == hashlib.sha256(data).hexdigest()
        right = in_srgb(CHART, "Display P3") if content == P3 else CHART
        assert np.abs(np.asarray(kept, int) - right).mean() < 2.5  # 4:2:0
        assert (data[-40:] == result.jpeg[-40:]) is (content == SRGB)


def test_pipeline_and_service_see_the_same_pixels() -> None:
    policy = Policy(data=DataPolicy(longest_side_px=256))
    data = saved(CHART, icc_profile=P3, **BEST)
    served, _ = decode_as_served(data, policy, NetworkInput(96, 32))
    assert np.abs(served.rgb - in_srgb(CHART, "Display P3")).mean() < 1


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_refused_by_name(transfer: int) -> None:
    with pytest.raises(BadImage, match="unsupported: HDR"):
        decoded(png_with(CHART, cicp(9, transfer)))


def test_avif_whose_code_points_say_display_p3() -> None:
    data = saved(CHART, "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    data = data[:at] + b"\x00\x0c" + data[at + 2 :]
    result = decoded(data)
    assert result.notes == "Display P3 to sRGB by code points"
    assert np.abs(result.rgb - in_srgb(CHART, "Display P3")).mean() < 1
    with pytest.raises(BadImage, match="unsupported: HDR"):
        decoded(data[: at + 2] + b"\x00\x10" + data[at + 4 :])


def test_a_name_in_a_profile_cannot_be_taken_for_a_note() -> None:
    named = rgb_profile(RgbSpace("evil, cmyk; \n\x1b[31m" + "x" * 300, (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)))
    notes = decoded(saved(CHART, "PNG", icc_profile=named)).notes
    assert notes.startswith("evil cmyk [31mxxx")
    assert notes.endswith("x to sRGB")
    assert len(notes) < 60


@pytest.mark.parametrize("size", [2 * 2**20, MAX_PROFILE_BYTES + 1, 50 * 2**20])
def test_profile_bombs(size: int) -> None:
    """A profile in a PNG that inflates to `size` bytes of nothing: it is inflated no further than one may be long."""
    data = png_with(CHART, iccp(P3 + b"\0" * (size - len(P3))))
    assert len(data) < 100_000
    tracemalloc.start()
    result = decoded(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_PROFILE_BYTES
    if size > MAX_PROFILE_BYTES:
        assert result.notes == f"colour profile of more than {MAX_PROFILE_BYTES} bytes left out"
        assert np.array_equal(result.rgb, CHART)
    else:  # a long profile, but one
        assert result.notes == "Display P3 to sRGB"


def test_a_profile_of_50_mb_is_left_out() -> None:
    data = saved(CHART, "TIFF", icc_profile=P3 + b"\0" * (50 * 2**20 - len(P3)))
    result = decode(data, max_bytes=64 * 2**20, max_pixels=10**6, min_side=32)
    assert result.notes == f"colour profile of {50 * 2**20} bytes left out"
    assert np.array_equal(result.rgb, CHART)


def test_many_different_profiles_are_not_all_kept() -> None:
    from carsdepo_assets.imaging import colour

    for n in range(colour._KEPT + 9):
        conversion(Declared(profile("Adobe RGB") + bytes([n])), 3)
    assert len(colour._transforms) == colour._KEPT


@pytest.mark.parametrize("space", [ADOBE_RGB, DISPLAY_P3])
def test_written_profiles_hold_the_published_colorants(space: RgbSpace) -> None:
    """Display P3 and Adobe RGB (1998), adapted to D50."""
    from PIL import ImageCms

    from carsdepo_assets_tests.imaging.coloured import COLORANTS

    read: Any = ImageCms.ImageCmsProfile(io.BytesIO(rgb_profile(space))).profile
    for found, right in zip(
        (read.red_colorant, read.green_colorant, read.blue_colorant), COLORANTS[space.name], strict=True
    ):
        assert np.allclose(found[0], right, atol=2e-3)


def test_the_curves_of_these_tests_are_each_others_inverse() -> None:
    levels = np.arange(256) / 255
    assert np.allclose(light_to_srgb(srgb_to_light(levels)), levels, atol=1e-6)
