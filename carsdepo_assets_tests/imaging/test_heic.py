"""imaging/heic.py, heic_worker.py: HEIC is read where the optional package is, in a process of its own, within limits.

Without the package the tests that decode are skipped: `pip install "carsdepo[heic]"` runs them.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.imaging import heic as heic_format
from carsdepo_assets.imaging.bad_image import BadImage, SwitchedOff
from carsdepo_assets.imaging.decode import Decoded, declared_pixels, decode
from carsdepo_assets.imaging.heic import HeicPicture, is_installed, read_heic
from carsdepo_assets.imaging.isobmff import isobmff_header
from carsdepo_assets.imaging.pipeline import pipeline_limits, process
from carsdepo_assets.imaging.resize import NetworkInput
from carsdepo_assets.imaging.serving import decode_as_served, is_beyond_limits, serving_limits
from carsdepo_assets.policy import DataPolicy, InferencePolicy, Policy
from carsdepo_assets_tests.imaging.coloured import chart, in_srgb, profile
from carsdepo_assets_tests.imaging.files import LIMITS, saved, scene

needs_package = pytest.mark.skipif(not is_installed(), reason='needs pillow-heif: pip install "carsdepo[heic]"')
NETWORK = NetworkInput(96, 32)


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def heic_claiming(width: int, height: int, code_points: tuple[int, int] = (1, 13)) -> bytes:
    """The header of a HEIC file of that size, as the standard has it, without a picture."""
    size = box(b"ispe", b"\0" * 4, struct.pack(">II", width, height))
    thumbnail = box(b"ispe", b"\0" * 4, struct.pack(">II", 160, 120))
    colours = box(b"colr", b"nclx", struct.pack(">HHHB", *code_points, 6, 128))
    of_thumbnail = box(b"colr", b"nclx", struct.pack(">HHHB", 9, 16, 6, 128))
    # Item 2, the thumbnail, has properties 1 and 2; item 1, the photograph, has 3 and 4.
    associated = struct.pack(">IHBBBHBBB", 2, 2, 2, 1, 2, 1, 2, 3, 4)
    properties = box(b"ipco", thumbnail, of_thumbnail, size, colours), box(b"ipma", b"\0" * 4, associated)
    meta = box(b"meta", b"\0" * 4, box(b"pitm", b"\0" * 4, struct.pack(">H", 1)), box(b"iprp", *properties))
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta


def heic(picture: np.ndarray | Image.Image, **options: Any) -> bytes:
    import pillow_heif  # type: ignore[import-not-found, unused-ignore]

    pillow_heif.register_heif_opener()
    return saved(picture, "HEIF", **{"quality": 95, "chroma": 444, **options})


def decoded(data: bytes, **more: Any) -> Decoded:
    return decode(data, **LIMITS, **more)


@pytest.mark.skipif(is_installed(), reason="the optional package is installed")
def test_without_the_package_the_refusal_says_how_to_get_it() -> None:
    with pytest.raises(BadImage, match="unsupported") as refusal:
        decoded(heic_claiming(4032, 3024))
    assert 'pip install "carsdepo[heic]"' in refusal.value.detail
    assert "send JPEG" in refusal.value.detail


def test_header_of_the_photograph_and_not_of_its_thumbnail() -> None:
    data = heic_claiming(4032, 3024, (12, 13))
    header = isobmff_header(data, "heic")
    assert (header.width, header.height, header.code_points) == (4032, 3024, (12, 13))
    assert declared_pixels(data) == 4032 * 3024


@pytest.mark.parametrize("length", range(24, len(heic_claiming(64, 64)), 9))
def test_a_header_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(BadImage, match="truncated"):
        isobmff_header(heic_claiming(64, 64)[:length], "heic")


def test_off_in_the_service_and_on_in_the_pipeline() -> None:
    assert pipeline_limits(DataPolicy()).heic
    assert not serving_limits(Policy()).heic
    assert serving_limits(Policy(inference=InferencePolicy(heic=True))).heic
    with pytest.raises(SwitchedOff, match="unsupported: HEIC is not accepted") as refusal:
        decode_as_served(heic_claiming(640, 480), Policy(), NETWORK)
    assert is_beyond_limits(refusal.value)  # it may be sound: evaluations leave it out, as the service would


@needs_package
@pytest.mark.parametrize("size", [(60_000, 60_000), (5000, 4001)])
def test_what_claims_too_much_never_reaches_the_decoder(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    def reached(*_: object) -> None:
        raise AssertionError("its decoder was started")

    monkeypatch.setattr(heic_format, "read_heic", reached)
    with pytest.raises(BadImage, match="too_many_pixels"):
        decoded(heic_claiming(*size))
    with pytest.raises(BadImage, match="too_many_pixels: 640 x 480, at most 1000 pixels of heic"):
        decoded(heic_claiming(640, 480), max_pixels_other=1000)


def turned(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    made[0x010F], made[0x0110] = "Apple", "iPhone 15"
    return made


GREY = Image.fromarray(scene()).convert("L")
CASES: dict[str, tuple[Any, dict[str, Any], Any, str]] = {
    "colour": (scene(), {}, scene(), ""),
    "grey": (GREY, {}, np.asarray(GREY)[..., None], "grey"),
    "alpha lies on white": (
        np.dstack([scene(), np.zeros((240, 320), np.uint8)]),
        {},
        np.full((240, 320, 3), 255),
        "alpha",
    ),
}


@needs_package
@pytest.mark.parametrize("name", CASES)
def test_its_pixels(name: str) -> None:
    picture, options, right, notes = CASES[name]
    result = decoded(heic(picture, **options))
    assert (result.format, result.notes, result.width, result.height) == ("heic", notes, 320, 240)
    assert np.abs(result.rgb - right.astype(float)).mean() < 3


@needs_package
def test_display_p3_as_phones_write_it() -> None:
    result = decoded(heic(chart(), quality=100, icc_profile=profile("Display P3")))
    assert result.notes == "Display P3 to sRGB"
    assert np.abs(result.rgb - in_srgb(chart(), "Display P3")).mean() < 1


@needs_package
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_it_is_upright_once(orientation: int) -> None:
    from carsdepo_assets.imaging.decode import upright

    data = heic(scene(), exif=turned(orientation).tobytes())  # turned by a property of its own too
    assert (b"irot" in data or b"imir" in data) is (orientation > 1)
    result = decoded(data)
    right = upright(scene(), orientation)
    assert (result.width, result.height) == right.shape[1::-1]
    assert np.abs(result.rgb.astype(int) - right).mean() < 3
    assert result.exif["camera"] == "Apple iPhone 15"


@needs_package
def test_the_pipeline_makes_an_upright_jpeg_of_it() -> None:
    result = process(heic(scene()), DataPolicy(longest_side_px=160))
    assert (result.facts.format, result.width, result.height) == ("heic", 160, 120)
    assert Image.open(io.BytesIO(result.jpeg)).size == (160, 120)


@needs_package
def test_the_service_decodes_it_where_the_policy_says_so() -> None:
    result, image = decode_as_served(heic(scene()), Policy(inference=InferencePolicy(heic=True)), NETWORK)
    assert (result.format, image.width) == ("heic", 320)  # type: ignore[union-attr]


@needs_package
def test_large_ones_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carsdepo_assets.imaging.decode.LARGE_PX", 1000)
    result = decoded(heic(scene()), at_least=80)
    assert (result.rgb.shape, result.width, result.height) == ((60, 80, 3), 320, 240)
    right = np.asarray(Image.fromarray(scene()).reduce(4), int)
    assert np.abs(result.rgb - right).mean() < 3


@needs_package
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_cut_file_is_refused(share: float) -> None:
    data = heic(scene())
    with pytest.raises(BadImage, match="truncated"):
        decoded(data[: int(share * len(data))])


@needs_package
def test_its_process_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(scene(1280, 960))
    monkeypatch.setattr(heic_format, "_BASE_BYTES", 4 * 2**20)
    with pytest.raises(BadImage, match="too_costly"):
        read_heic(data, 0, None, 10**9)


@needs_package
def test_its_process_sees_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process is started with: none of this environment."""
    import subprocess

    started: list[dict[str, str]] = []
    run = subprocess.run

    def watched(*args: Any, **options: Any) -> Any:
        started.append(options["env"])
        return run(*args, **options)

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(subprocess, "run", watched)
    picture = read_heic(heic(scene()), 320 * 240, None, 10**9)
    assert isinstance(picture, HeicPicture)
    (environment,) = started
    assert "secret" not in environment.values()
    assert "HOME" not in environment
