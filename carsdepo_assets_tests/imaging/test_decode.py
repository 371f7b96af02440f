"""imaging/decode.py: odd files, each of which decodes to the right pixels or is refused with its reason."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.imaging.decode import BadImage, Decoded, decode, is_at_scale
from carsdepo_assets_tests.imaging.files import LIMITS, animated, jpeg_claiming, png, png16, saved, scene, without_adobe

PHOTO = saved(scene(), quality=92)
PROGRESSIVE = saved(scene(), quality=92, progressive=True)


def decode_within_limits(data: bytes) -> Decoded:
    return decode(data, **LIMITS)


REFUSED = {
    "empty": (b"", "empty"),
    "text named .jpg": (b"this is not a photograph\n" * 40, "not_an_image"),
    "one byte": (b"\xff", "not_an_image"),
    "jpeg signature only": (b"\xff\xd8\xff\xe0", "truncated"),
    "jpeg, half": (PHOTO[: len(PHOTO) // 2], "truncated"),
    "jpeg, last 3 bytes gone": (PHOTO[:-3], "truncated"),
    "jpeg, half, end marker put back": (PHOTO[: len(PHOTO) // 2] + b"\xff\xd9", "truncated"),
    "jpeg, cut in its header": (PHOTO[:100], "truncated"),
    "jpeg, no scan": (PHOTO[:2] + b"\xff\xd9", "truncated"),
    "progressive jpeg, half": (PROGRESSIVE[: len(PROGRESSIVE) // 2], "truncated"),
    "progressive jpeg of 101 scans": (
        PROGRESSIVE[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 101 + b"\xff\xd9",
        "unsupported",
    ),
    "jpeg, 1 x 1": (saved(scene()[:1, :1]), "too_small"),
    "png, 1 x 1": (saved(scene()[:1, :1], "PNG"), "too_small"),
    "31 pixels high": (saved(scene()[:31]), "too_small"),
    "jpeg header of 30,000 x 30,000": (jpeg_claiming(30000, 30000), "too_many_pixels"),
    "png header of 30,000 x 30,000": (png(30000, 30000, 8, 2), "too_many_pixels"),
    "gif header of 30,000 x 30,000": (
        b"GIF89a" + (30000).to_bytes(2, "little") * 2 + saved(scene(64, 64), "GIF")[10:],
        "too_many_pixels",
    ),
    "webp header of 16,384 x 16,384": (
        b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + b"\0" * 8,
        "too_many_pixels",
    ),
    "jpeg of height 0": (jpeg_claiming(64, 0), "too_small"),
    "animated gif": (animated("GIF"), "animated"),
    "animated png": (animated("PNG"), "animated"),
    "animated webp": (animated("WEBP"), "animated"),
    "tiff of three pages": (animated("TIFF"), "animated"),
    "png, half": ((lambda d: d[: len(d) // 2])(saved(scene(), "PNG")), "truncated"),
    "webp, half": ((lambda d: d[: len(d) // 2])(saved(scene(), "WEBP")), "truncated"),
    "gif, half": ((lambda d: d[: len(d) // 2])(saved(scene(), "GIF")), "truncated"),
    "bmp, half": ((lambda d: d[: len(d) // 2])(saved(scene(), "BMP")), "truncated"),
    "tiff, half": ((lambda d: d[: len(d) // 2])(saved(scene(), "TIFF")), "truncated"),
    "avif, half": ((lambda d: d[: len(d) // 2])(saved(scene(), "AVIF")), "truncated"),
    "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 100, "unsupported"),
    "float tiff": (saved(Image.fromarray(np.zeros((64, 64), np.float32)), "TIFF"), "unsupported"),
    "one byte too many": (PHOTO + b"\0" * (LIMITS["max_bytes"] + 1 - len(PHOTO)), "too_large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_reason(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(BadImage) as refusal:
        decode_within_limits(data)
    assert refusal.value.reason == reason, refusal.value.detail
    assert refusal.value.detail


@pytest.mark.parametrize("name", [n for n in REFUSED if "header of" in n])
def test_huge_headers_take_no_memory(name: str) -> None:
    decode_within_limits(PHOTO)
    tracemalloc.start()
    with pytest.raises(BadImage):
        decode_within_limits(REFUSED[name][0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_damaged_scan_is_refused_and_padding_is_not() -> None:
    padded = PHOTO[:-2] + b"\0\0\0\0" + PHOTO[-2:]
    decoded = decode_within_limits(padded)
    assert decoded.notes == "padded scan"
    assert np.array_equal(decoded.rgb, decode_within_limits(PHOTO).rgb)
    with pytest.raises(BadImage, match="truncated"):
        decode_within_limits(PHOTO[:-2] + b"\x12\x34\x56\x78" + PHOTO[-2:])


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 92},
        {"quality": 92, "progressive": True},
        {"quality": 60, "subsampling": 0},
        {"keep_rgb": True},
        {"quality": 92, "restart_marker_rows": 1},
    ],
    ids=str,
)
def test_jpeg_pixels_equal_pillows(options: dict[str, Any]) -> None:
    data = saved(scene(333, 217), **options)
    decoded = decode_within_limits(data)
    assert (decoded.format, decoded.notes, decoded.width, decoded.height) == ("jpeg", "", 333, 217)
    assert np.array_equal(decoded.rgb, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize(
    ("at_least", "longest"),
    [(None, 1600), (1600, 1600), (801, 1600), (800, 800), (600, 600), (640, 800), (100, 200), (5000, 1600)],
)
def test_reduced_scale_is_never_under_what_is_asked(at_least: int | None, longest: int) -> None:
    decoded = decode(saved(scene(1600, 1200)), **LIMITS, at_least=at_least)
    assert max(decoded.rgb.shape) == longest
    assert (decoded.width, decoded.height) == (1600, 1200)


EXACT = {
    "png": (saved(scene(), "PNG"), ""),
    "16-bit png": (png16(scene()), "16-bit"),
    "bmp": (saved(scene(), "BMP"), ""),
    "tiff": (saved(scene(), "TIFF"), ""),
    "webp": (saved(scene(), "WEBP", lossless=True), ""),
    "png with opaque alpha": (saved(Image.fromarray(scene()).convert("RGBA"), "PNG"), "alpha"),
}


@pytest.mark.parametrize("name", EXACT)
def test_lossless_forms_keep_their_pixels(name: str) -> None:
    data, notes = EXACT[name]
    decoded = decode_within_limits(data)
    assert decoded.notes == notes
    assert np.array_equal(decoded.rgb, scene())


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "LA", "RGBA", "CMYK", "I;16"])
def test_large_ones_of_other_formats_are_averaged_as_pillow_does(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("carsdepo_assets.imaging.decode.LARGE_PX", 700 * 600 - 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(scene(700, 600)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    data = saved(picture, "TIFF" if mode == "CMYK" else "PNG", **({} if mode == "CMYK" else {"exif": exif}))
    whole, reduced = decode_within_limits(data), decode(data, **LIMITS, at_least=200)
    assert (reduced.width, reduced.height) == (whole.width, whole.height)
    turns = 0 if mode == "CMYK" else 1  # it was turned after it was averaged
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(whole.rgb, turns)))
    assert np.array_equal(np.rot90(reduced.rgb, turns), np.asarray(stored.reduce(3)))
    assert is_at_scale(reduced, 200)
    assert not is_at_scale(reduced, None)
    assert is_at_scale(whole, 500)  # 700 // 500 is 1


@pytest.mark.parametrize("rows", [200, 199, 100])
@pytest.mark.parametrize(("colour", "width"), [(0, 300), (2, 900), (6, 1200)], ids=["grey", "RGB", "RGBA"])
def test_a_png_whose_data_end_early_is_no_picture(colour: int, width: int, rows: int) -> None:
    """Its checksums are right; Pillow takes it for whole, its last rows black."""
    body = b"".join(b"\0" + bytes([n % 255 or 1]) * width for n in range(rows))
    data = png(300, 200, 8, colour, body)
    if rows == 200:
        assert decode_within_limits(data).rgb.shape == (200, 300, 3)
        return
    with pytest.raises(BadImage, match="truncated: png: its data end before its last row"):
        decode_within_limits(data)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize(
    ("mode", "value"), [(m, v) for m in ("L", "P", "1", "RGB", "RGBA") for v in (0, 1, 77, 78, 255)]
)
def test_a_picture_of_one_colour_is_whole_whatever_the_colour(kind: str, mode: str, value: int) -> None:
    colour = value % 2 if mode == "1" else value if mode in "LP" else (value,) * len(mode)
    assert decode_within_limits(saved(Image.new(mode, (64, 48), colour), kind)).rgb.shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_a_very_long_picture_is_averaged_too(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("carsdepo_assets.imaging.decode.LARGE_PX", 1000)
    reduced = decode(saved(scene(30_000, 41), kind), **LIMITS, at_least=64)  # blocks larger than a strip
    assert (reduced.width, reduced.height, reduced.rgb.shape) == (30_000, 41, (1, 65, 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_formats_whose_decoders_need_much_memory_have_a_limit_of_their_own(kind: str) -> None:
    data = saved(scene(320, 240), kind)
    assert decode(data, **LIMITS, max_pixels_other=320 * 240).width == 320
    if kind in ("JPEG", "PNG"):
        assert decode(data, **LIMITS, max_pixels_other=100).width == 320
        return
    with pytest.raises(BadImage, match=f"too_many_pixels: 320 x 240, at most 100 pixels of {kind.lower()} are decoded"):
        decode(data, **LIMITS, max_pixels_other=100)


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("simplejpeg.decode_jpeg", ValueError("Insufficient memory (case 4)")),
        ("PIL.PngImagePlugin.PngImageFile.load", OSError("decoder error -9 when reading image file")),
    ],
)
def test_lack_of_memory_is_not_called_damage(monkeypatch: pytest.MonkeyPatch, where: str, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    data = PHOTO if "jpeg" in where else saved(scene(), "PNG")
    monkeypatch.setattr(where, fail)
    with pytest.raises(MemoryError):
        decode_within_limits(data)


def test_none_but_large_ones_are_averaged() -> None:
    data = saved(scene(700, 600), "PNG")
    assert decode(data, **LIMITS, at_least=200).rgb.shape == (600, 700, 3)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    grey = scene()[..., 0]
    decoded = decode_within_limits(saved(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"))
    assert decoded.notes == "grey, 16-bit"
    assert np.array_equal(decoded.rgb, np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("adobe", [True, False], ids=["adobe, inverted", "no adobe marker, plain"])
def test_cmyk(adobe: bool) -> None:
    inks = Image.fromarray(scene()).convert("CMYK")
    if adobe:
        data = saved(inks, quality=95)  # Pillow writes what Photoshop writes: inverted, with the marker
    else:
        data = without_adobe(saved(Image.fromarray(255 - np.asarray(inks), "CMYK"), quality=95))
    decoded = decode_within_limits(data)
    assert decoded.notes == "cmyk"
    assert np.abs(decoded.rgb.astype(int) - scene()).mean() < 6


def test_alpha_and_palette_lie_on_white() -> None:
    rgba = np.dstack([scene(), np.zeros((240, 320), np.uint8)])
    assert (decode_within_limits(saved(rgba, "PNG")).rgb == 255).all()
    decoded = decode_within_limits(saved(Image.fromarray(scene()).quantize(64), "GIF"))
    assert decoded.notes == "palette"
    assert np.abs(decoded.rgb.astype(int) - scene()).mean() < 15


def test_grey_jpeg_has_three_equal_channels() -> None:
    decoded = decode_within_limits(saved(Image.fromarray(scene()).convert("L")))
    assert decoded.notes == "grey"
    assert (np.ptp(decoded.rgb, axis=2) == 0).all()
