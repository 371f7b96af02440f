"""inference/inspecting.py: the service measures a photograph as the pipeline does, to the last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.data.batches.batches import list_batches, plan_batches
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.inference.decoding import measure
from carsdepo_assets.inference.inspecting import Keep, decide, inspect
from carsdepo_assets.inference.reconciler import Model
from carsdepo_assets.inference.records import Features, Record
from carsdepo_assets.inference.requests import Refused, RequestPhotograph
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.imaging.coloured import profile
from carsdepo_assets_tests.imaging.files import saved, scene
from carsdepo_assets_tests.inference.service_process import load_red_pixels, put_model

FEATURES = tuple(Features.model_fields)
ROTATED = Image.Exif()
ROTATED[0x0112] = 6
ROTATED[0x0110] = "Pixel 9"
PHOTOGRAPHS = {
    "small.jpg": saved(scene(300, 200), quality=80),
    "web.jpg": saved(scene(1280, 960), quality=87),  # its scan is kept, and it is measured at half scale
    "large.jpg": saved(scene(2600, 1900), quality=90),  # reduced first
    "tall.jpg": saved(scene(700, 1500), quality=85),
    "rotated.jpg": saved(Image.fromarray(scene(900, 640)), exif=ROTATED),
    "progressive.jpg": saved(scene(1000, 700), progressive=True),
    "grey.jpg": saved(Image.fromarray(scene(800, 600)).convert("L")),
    "cmyk.jpg": saved(Image.fromarray(scene(800, 600)).convert("CMYK")),
    "lossless.png": saved(scene(1500, 1000), "PNG"),
    "web.webp": saved(scene(640, 480), "WEBP"),
    "display p3.jpg": saved(scene(1280, 960), quality=87, icc_profile=profile("Display P3")),  # its scan is not kept
    "large display p3.jpg": saved(scene(2600, 1900), quality=90, icc_profile=profile("Display P3")),
    "srgb profile.jpg": saved(scene(1200, 900), quality=87, icc_profile=profile("sRGB IEC61966-2.1")),
    "adobe rgb.png": saved(scene(900, 700), "PNG", icc_profile=profile("Adobe RGB")),
    "grey with profile.jpg": saved(
        Image.fromarray(scene(800, 600)).convert("L"), icc_profile=profile("ProPhoto RGB", grey=True)
    ),
    "no end marker.jpg": saved(scene(1000, 800), quality=80)[:-2],
    "new.avif": saved(scene(640, 400), "AVIF"),
}


def inspected(
    photographs: Sequence[RequestPhotograph], model: Model, policy: Policy, keep: Keep, executor: Executor
) -> list[Record]:
    """`inspect`, decoding in this process."""
    return inspect(
        photographs, model, policy, stage="staging", request_id="r", keep=keep, executor=executor,
        decode=lambda data, network, _: measure(data, policy, network), turn=nullcontext(),
    )  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Model:
    lake = Lake.open(tmp_path / "models")
    digest = put_model(lake, "any")
    return Model(load_red_pixels(lake, digest, Policy()), digest, 1)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_features_are_those_that_images_holds(tmp_path: Path, model: Model, executor: ThreadPoolExecutor) -> None:
    policy, lake = Policy(), Lake.open(tmp_path / "lake")
    for name, data in PHOTOGRAPHS.items():
        lake.put(f"raw/uploads/{name}", data)
    plan_batches(lake, "uploads", policy, datetime.now(UTC), close_all=True)
    for batch in list_batches(lake, "uploads"):
        ingest_uploads(lake, batch, policy)
        build_images(lake, batch, policy)
    stored = {row["image_id"]: row for row in lake.read("images").to_pylist()}
    assert len(stored) == len(PHOTOGRAPHS)
    photographs = [RequestPhotograph(name, "image/jpeg", data) for name, data in PHOTOGRAPHS.items()]
    records = inspected(photographs, model, policy, keep=lambda *_: None, executor=executor)
    for record in records:
        row = stored[record.sent.image_id]
        assert {k: getattr(record.answer.features, k) for k in FEATURES} == {k: row[k] for k in FEATURES}, row["key"]
        assert (record.answer.width, record.answer.height) == (row["width"], row["height"])
        assert (record.sent.bytes, record.sent.camera) == (row["bytes"], row["camera"])
    assert {r.sent.camera for r in records} == {None, "Pixel 9"}


def test_a_bad_photograph_refuses_all_before_anything_is_kept(model: Model, executor: ThreadPoolExecutor) -> None:
    kept: list[str] = []

    def keep(image_id: str, kind: str, data: bytes) -> str:
        assert hashlib.sha256(data).hexdigest() == image_id
        kept.append(kind)
        return f"{image_id}.{kind}"

    def answer(*data: bytes) -> int:
        photographs = [RequestPhotograph(f"{n}.jpg", "image/jpeg", d) for n, d in enumerate(data)]
        return len(inspected(photographs, model, Policy(), keep=keep, executor=executor))

    good, other = PHOTOGRAPHS["small.jpg"], PHOTOGRAPHS["web.webp"]
    for bad_at in range(3):
        order = [good, other]
        order.insert(bad_at, b"no image")
        with pytest.raises(Refused, match=f"photograph {bad_at + 1} of 3"):
            answer(*order)
    assert kept == []
    assert answer(good, other) == 2
    assert sorted(kept) == ["jpeg", "webp"]


@pytest.mark.parametrize(
    ("scores", "decision"),
    [
        ([], "clear"),
        ([0.29], "clear"),
        ([0.3], "needs_person"),
        ([0.1, 0.499], "needs_person"),
        ([0.5], "damage"),
        ([0.9, 0.4], "damage"),
    ],
)
def test_decision_bounds_are_half_open(scores: list[float], decision: str) -> None:
    assert decide(scores, threshold=0.5, unsure_share=0.6) == decision


def test_nothing_found_is_clear_even_where_everything_is_unsure() -> None:
    assert decide([], threshold=0.5, unsure_share=0.0) == "clear"
    assert decide([0.01], threshold=0.5, unsure_share=0.0) == "needs_person"


def test_a_low_threshold_still_gets_all_its_boxes(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    """At threshold 0.04 the capture floor of 0.05 would hide boxes that count."""
    lake = Lake.open(tmp_path)
    digest = put_model(lake, "low", threshold=0.04)
    model = Model(load_red_pixels(lake, digest, Policy()), digest, 1)
    rgb = np.full((200, 200, 3), 100, np.uint8)
    rgb[10, 10], rgb[14, 13] = (255, 0, 0), (255, 0, 0)  # 2 of 4 x 5 pixels
    rgb[30, 10] = (255, 0, 0)  # 3 of 4 x 21: 0.036
    data = saved(rgb, "PNG")
    (record,) = inspected(
        [RequestPhotograph("a", "image/png", data)], model, Policy(), keep=lambda *_: None, executor=executor
    )
    assert (record.answer.decision, len(record.answer.boxes), record.answer.n_boxes) == ("needs_person", 1, 0)
