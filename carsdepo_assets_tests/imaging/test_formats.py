"""imaging/tiff_pages.py, scans.py, isobmff.py, headers.py: which picture of a file is the photograph, and whether it is
whole. A table of the forms that people bring, each with its right pixels or its refusal.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import Decoded, declared_pixels, decode
from carsdepo_assets.imaging.headers import jpeg_header, sniff
from carsdepo_assets.imaging.scans import walk_scans
from carsdepo_assets_tests.imaging.files import LIMITS, png16, saved, scene

PHOTO, OTHER = scene(), scene(seed=1)
SMALL = np.ascontiguousarray(PHOTO[::4, ::4])
JPEG = saved(PHOTO, quality=92)
PROGRESSIVE = saved(PHOTO, quality=92, progressive=True)
END = b"\xff\xd9"


def decoded(data: bytes) -> Decoded:
    return decode(data, **LIMITS)


def mpo(*pictures: np.ndarray) -> bytes:
    """A multi picture file, as phones write with a second lens or a map of highlights."""
    first, *others = [Image.fromarray(picture) for picture in pictures]
    return saved(first, "MPO", save_all=True, append_images=others, quality=92)


def pages(*pictures: tuple[np.ndarray, dict[int, Any]], big: bool = False) -> bytes:
    """A TIFF of these pages with these tags."""
    out = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(out) as writer:
        for pixels, tags in pictures:
            info = TiffImagePlugin.ImageFileDirectory_v2()
            for tag, value in tags.items():
                info[tag] = value
            Image.fromarray(pixels).save(writer, "TIFF", tiffinfo=info)
            writer.newFrame()
    return out.getvalue()


def bmp(header: bytes, palette: bytes, pixels: bytes) -> bytes:
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + palette + pixels


def bmp_header(width: int, height: int, bits: int, compression: int = 0, colours: int = 0) -> bytes:
    return struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 2835, 2835, colours, 0)


GREYS_4 = b"".join(bytes([17 * n] * 3 + [0]) for n in range(16))
STRIPES_4 = np.repeat(np.repeat(np.arange(16, dtype=np.uint8)[None] * 17, 32, 0), 4, 1)[..., None].repeat(3, 2)
RLE_ROW = b"".join(bytes([4, n * 17]) for n in range(16)) + b"\0\0"  # 4 pixels of each of 16 greys, end of line
HALVES = np.zeros((32, 64, 3), np.uint8)
HALVES[:, 32:] = 255
RGB565 = ((PHOTO[..., 0] >> 3).astype("<u2") << 11) | ((PHOTO[..., 1] >> 2).astype("<u2") << 5) | (PHOTO[..., 2] >> 3)

# name: file, its format, pixels, notes, largest mean error
READ: dict[str, tuple[bytes, str, np.ndarray, str, float]] = {
    "MPO: its first picture": (mpo(PHOTO, OTHER), "jpeg", PHOTO, "", 3),
    "MPO with a small second one": (mpo(PHOTO, SMALL), "jpeg", PHOTO, "", 3),
    "AVIF": (saved(PHOTO, "AVIF", quality=95), "avif", PHOTO, "", 4),
    "AVIF under a brand of any still picture": (
        (lambda d: d[:8] + b"mif1" + d[12:])(saved(PHOTO, "AVIF", quality=95)),
        "avif",
        PHOTO,
        "",
        4,
    ),
    "BMP, 24 bits": (saved(PHOTO, "BMP"), "bmp", PHOTO, "", 0),
    "BMP, 24 bits, top down": (
        bmp(bmp_header(320, -240, 24), b"", np.ascontiguousarray(PHOTO[..., ::-1]).tobytes()),
        "bmp",
        PHOTO,
        "",
        0,
    ),
    "BMP, reserved bytes used": (
        (lambda d: d[:6] + b"\1\2\3\4" + d[10:])(saved(PHOTO, "BMP")),
        "bmp",
        PHOTO,
        "",
        0,
    ),
    "BMP, 32 bits": (
        bmp(bmp_header(320, -240, 32), b"", np.dstack([PHOTO[..., ::-1], np.zeros((240, 320), np.uint8)]).tobytes()),
        "bmp",
        PHOTO,
        "",
        0,
    ),
    "BMP, 16 bits of 5, 6 and 5": (
        bmp(bmp_header(320, -240, 16, 3) + struct.pack("<III", 0xF800, 0x7E0, 0x1F), b"", RGB565.tobytes()),
        "bmp",
        PHOTO,
        "",
        4,
    ),
    "BMP, 8 bits": (saved(Image.fromarray(PHOTO).quantize(256), "BMP"), "bmp", PHOTO, "palette", 12),
    "BMP, 4 bits": (
        bmp(bmp_header(64, 32, 4, colours=16), GREYS_4, b"".join(bytes([17 * n] * 2) for n in range(16)) * 32),
        "bmp",
        STRIPES_4,
        "palette",
        0,
    ),
    "BMP, 8 bits, run lengths": (
        bmp(
            bmp_header(64, 32, 8, 1, 256),
            b"".join(bytes([n] * 3 + [0]) for n in range(256)),
            RLE_ROW * 32 + b"\0\1",
        ),
        "bmp",
        STRIPES_4,
        "grey",
        0,
    ),
    "BMP, 4 bits, run lengths": (
        bmp(
            bmp_header(64, 32, 4, 2, 16),
            GREYS_4,
            (b"".join(bytes([4, n * 17]) for n in range(16)) + b"\0\0") * 32 + b"\0\1",
        ),
        "bmp",
        STRIPES_4,
        "palette",
        0,
    ),
    "BMP, 1 bit": (
        bmp(bmp_header(64, 32, 1, colours=2), b"\0\0\0\0\xff\xff\xff\0", (b"\0" * 4 + b"\xff" * 4) * 32),
        "bmp",
        HALVES,
        "grey",
        0,
    ),
    "TIFF": (saved(PHOTO, "TIFF"), "tiff", PHOTO, "", 0),
    "TIFF with offsets of 64 bits": (saved(PHOTO, "TIFF", big_tiff=True), "tiff", PHOTO, "", 0),
    "TIFF, thumbnail first, tagged": (pages((SMALL, {254: 1}), (PHOTO, {254: 0})), "tiff", PHOTO, "", 0),
    "TIFF, thumbnail last, tagged": (pages((PHOTO, {}), (SMALL, {254: 1})), "tiff", PHOTO, "", 0),
    "TIFF, thumbnail by the old tag": (pages((SMALL, {255: 2}), (PHOTO, {255: 1})), "tiff", PHOTO, "", 0),
    "TIFF, thumbnail first, no tag": (pages((SMALL, {}), (PHOTO, {})), "tiff", PHOTO, "", 0),
    "TIFF, reduced copy of three quarters, tagged": (
        pages((np.ascontiguousarray(OTHER[:200]), {254: 1}), (PHOTO, {})),
        "tiff",
        PHOTO,
        "",
        0,
    ),
    "TIFF with a mask": (pages((PHOTO, {}), (OTHER, {254: 4})), "tiff", PHOTO, "", 0),
    "TIFF, its only page tagged as reduced": (saved(PHOTO, "TIFF", tiffinfo={254: 1}), "tiff", PHOTO, "", 0),
    "TIFF, LZW": (saved(PHOTO, "TIFF", compression="tiff_lzw"), "tiff", PHOTO, "", 0),
    "TIFF in CIELAB": (
        saved(Image.fromarray(np.full((40, 40, 3), (136, 0, 0), np.uint8), "LAB"), "TIFF"),
        "tiff",
        np.full((40, 40, 3), 127.5),
        "lab",
        2,
    ),
    "PNG, 16 bits": (png16(PHOTO), "png", PHOTO, "16-bit", 0),
    "GIF of one frame": (saved(Image.fromarray(PHOTO).quantize(256), "GIF"), "gif", PHOTO, "palette", 12),
    "JPEG without its end marker": (JPEG[:-2], "jpeg", PHOTO, "no end marker", 3),
    "JPEG with half its end marker": (JPEG[:-1], "jpeg", PHOTO, "no end marker", 3),
    "progressive JPEG without its end marker": (PROGRESSIVE[:-2], "jpeg", PHOTO, "no end marker", 3),
    "grey JPEG without its end marker": (
        saved(Image.fromarray(PHOTO).convert("L"), quality=92)[:-2],
        "jpeg",
        np.asarray(Image.fromarray(PHOTO).convert("L"))[..., None],
        "grey, no end marker",
        3,
    ),
    "JPEG with restart markers without its end marker": (
        saved(PHOTO, quality=92, restart_marker_rows=1)[:-2],
        "jpeg",
        PHOTO,
        "no end marker",
        3,
    ),
    "JPEG with a film behind its end": (JPEG + b"\0\0\0\x18ftypmp42" + b"\xff\xd9\xff\xda" * 200, "jpeg", PHOTO, "", 3),
    "progressive JPEG with a film behind its end": (PROGRESSIVE + b"\xff\xda" * 200, "jpeg", PHOTO, "", 3),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_read_with_its_right_pixels(name: str) -> None:
    data, kind, pixels, notes, most = READ[name]
    result = decoded(data)
    assert (result.format, result.notes) == (kind, notes)
    assert (result.width, result.height) == pixels.shape[1::-1]
    assert np.abs(result.rgb - pixels.astype(float)).mean() <= most
    assert declared_pixels(data) == result.width * result.height


def cut_at_scan(number: int) -> bytes:
    """The progressive photograph up to the end of its scan `number`, from 1."""
    starts = [m.start() for m in re.finditer(rb"\xff\xda", PROGRESSIVE)]
    assert 1 <= number < len(starts)
    behind = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(PROGRESSIVE, starts[number - 1] + 12)
    assert behind
    return PROGRESSIVE[: behind.start()]


def one_scan_a_component() -> bytes:
    """The start of a sequential JPEG of three scans, of which two are missing."""
    at = JPEG.index(b"\xff\xda")
    return JPEG[:at] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + JPEG[at + 14 :]


def film(brand: bytes) -> bytes:
    return b"\0\0\0\x10ftyp" + brand + b"\0\0\0\0" + b"\0\0\0\x10moov" + b"\0" * 8


def oversized(data: bytes) -> bytes:
    """An AVIF file whose table of items says 60,000 x 60,000."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :]


def tiff_claiming(width: int, height: int, first: tuple[int, int] | None = None) -> bytes:
    """A TIFF of one or two directories that name sizes, and no pixels."""
    sizes = [first, (width, height)] if first else [(width, height)]
    body, at = b"", 8
    for n, (w, h) in enumerate(sizes):
        entries = [(256, w), (257, h), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, h), (279, w * h % 2**32)]
        directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in entries)
        at += len(directory) + 4
        body += directory + struct.pack("<I", at if n + 1 < len(sizes) else 0)
    return b"II*\0" + struct.pack("<I", 8) + body


REFUSED = {
    "JPEG, its last byte of data missing": (JPEG[:-3], "truncated"),
    "JPEG, its last rows missing": (JPEG[:-400], "truncated"),
    "JPEG, its last rows missing, end marker put behind": (JPEG[:-400] + END, "truncated"),
    "JPEG without its end marker, zeros behind": (JPEG[:-2] + b"\0" * 512, "truncated"),
    "JPEG, half and zeros": (JPEG[: len(JPEG) // 2] + b"\0" * (len(JPEG) // 2), "truncated"),
    "JPEG with restart markers, cut at one": (
        (lambda d: d[: d.rindex(b"\xff\xd6")])(saved(PHOTO, quality=92, restart_marker_rows=1)),
        "truncated",
    ),
    **{f"progressive JPEG, cut after scan {n}": (cut_at_scan(n), "truncated") for n in (1, 4, 9)},
    **{f"progressive JPEG, ended after scan {n}": (cut_at_scan(n) + END, "truncated") for n in (1, 4, 9)},
    "progressive JPEG, last byte of data missing": (PROGRESSIVE[:-3], "truncated"),
    "JPEG of one of three scans": (one_scan_a_component(), "truncated"),
    "MPO, cut in its first picture": (mpo(PHOTO, OTHER)[:9000], "truncated"),
    "TIFF of two photographs": (pages((PHOTO, {}), (OTHER, {})), "animated"),
    "TIFF of two photographs and a thumbnail": (pages((SMALL, {254: 1}), (PHOTO, {}), (OTHER, {})), "animated"),
    "TIFF of two photographs, one smaller": (
        pages((PHOTO, {}), (np.ascontiguousarray(OTHER[:200]), {})),
        "animated",
    ),
    "TIFF, cut in its directory": (saved(PHOTO, "TIFF")[:20], "truncated"),
    "TIFF without a page": (b"II*\0\0\0\0\0", "truncated"),
    "TIFF whose directory is its own next": (tiff_claiming(64, 64)[:-4] + struct.pack("<I", 8), "truncated"),
    "TIFF of a camera's sensor": (saved(PHOTO, "TIFF", tiffinfo={0xC612: b"\1\4\0\0"}), "unsupported"),
    "TIFF of previews": (saved(PHOTO, "TIFF", tiffinfo={254: 1, 330: 8}), "unsupported"),
    "CR2": (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 100, "unsupported"),
    "AVIF of several frames": (film(b"avis"), "animated"),
    "AVIF without a table": (saved(PHOTO, "AVIF")[:40], "truncated"),
    "BMP with JPEG inside": (bmp(bmp_header(64, 64, 24, 4), b"", JPEG), "unsupported"),
    "BMP, run lengths that end early": (
        bmp(bmp_header(64, 32, 8, 1, 256), b"".join(bytes([n] * 3 + [0]) for n in range(256)), RLE_ROW * 20),
        "truncated",
    ),
    "film": (b"\0\0\0\x18ftypmp42" + b"\0" * 100, "not_an_image"),
    "AVIF that claims 60,000 x 60,000": (oversized(saved(PHOTO, "AVIF")), "too_many_pixels"),
    "TIFF that claims 60,000 x 60,000": (tiff_claiming(60_000, 60_000), "too_many_pixels"),
    "TIFF whose second page claims 60,000 x 60,000": (tiff_claiming(60_000, 60_000, (64, 64)), "too_many_pixels"),
    "BMP that claims 60,000 x 60,000": (bmp(bmp_header(60_000, 60_000, 24), b"", b""), "too_many_pixels"),
    "BMP of run lengths that claims 60,000 x 60,000": (
        bmp(bmp_header(60_000, 60_000, 8, 1), b"\0" * 1024, b"\0\1"),
        "too_many_pixels",
    ),
    "MPO that claims 60,000 x 60,000": (
        (lambda d, at: d[: at + 5] + struct.pack(">HH", 60_000, 60_000) + d[at + 9 :])(
            mpo(PHOTO, OTHER), mpo(PHOTO, OTHER).index(b"\xff\xc0")
        ),
        "too_many_pixels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(BadImage) as refusal:
        decoded(data)
    assert refusal.value.reason == reason, refusal.value.detail


@pytest.mark.parametrize("name", [name for name in REFUSED if "claims" in name])
def test_what_claims_to_be_huge_is_refused_before_memory_is_taken(name: str) -> None:
    before = peak_memory()
    with pytest.raises(BadImage):
        decoded(REFUSED[name][0])
    assert peak_memory() - before < 100 * 2**20  # 60,000 x 60,000 are 3,600 MB and more


def peak_memory() -> int:
    """The most that this process ever had, libraries' memory too."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_behind_its_thumbnail_is_turned_by_its_own_tag(orientation: int) -> None:
    result = decoded(pages((SMALL, {254: 1, 274: 1}), (PHOTO, {274: orientation})))
    alone = decoded(saved(PHOTO, "TIFF", tiffinfo={274: orientation}))
    assert (result.orientation, result.width, result.height) == (orientation, alone.width, alone.height)
    assert np.array_equal(result.rgb, alone.rgb)
    assert (alone.width, alone.height) == ((240, 320) if orientation >= 5 else (320, 240))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"progressive": True, "quality": 30}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_whole_files_lack_no_scan(options: dict[str, Any], mode: str) -> None:
    data = saved(Image.fromarray(PHOTO).convert(mode), **options)
    scans = walk_scans(data, jpeg_header(data), 100)
    assert scans.is_complete
    assert (scans.has_end, scans.end) == (True, len(data) - 2)
    assert (scans.number > 1) is ("progressive" in options)


def test_no_prefix_of_a_photograph_is_taken_for_whole() -> None:
    """At every length but the whole one (and that without its end marker) a JPEG is refused."""
    pixels = scene(48, 40)
    for data in (saved(pixels, quality=60), saved(pixels, quality=60, progressive=True)):
        for length in range(4, len(data) - 2):
            with pytest.raises(BadImage, match="truncated"):
                decoded(data[:length])
        assert decoded(data[:-2]).notes == decoded(data[:-1]).notes == "no end marker"


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        ((b"avif", b"mif1"), "avif"),
        ((b"mif1", b"avif", b"miaf"), "avif"),
        ((b"heic", b"mif1"), "heic"),
        ((b"mif1", b"heic"), "heic"),
        ((b"mif1",), "heic"),
        ((b"hevc", b"msf1"), "heic"),
        ((b"isom", b"heic"), None),
        ((b"crx ", b"isom"), None),
    ],
)
def test_brands(brands: tuple[bytes, ...], kind: str | None) -> None:
    body = b"ftyp" + brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    assert sniff(struct.pack(">I", 4 + len(body)) + body + b"\0" * 40) == kind
