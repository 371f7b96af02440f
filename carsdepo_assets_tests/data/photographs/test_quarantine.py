"""data/photographs/ingest.py, data/labels/label_revisions.py: a delivery with every kind of odd file among good
ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.datasets.dataset import build_dataset
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads, object_key
from carsdepo_assets.imaging.decode import decode
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import CLASS_NAMES
from carsdepo_assets_tests.imaging.files import LIMITS, animated, jpeg_claiming, png, png16, saved, scene

RULES = Policy(data=DataPolicy(max_bytes=200_000, longest_side_px=128))

GOOD = [f"car{i}/{j}.jpg" for i in range(3) for j in range(2)]
# name: bytes, and how the photograph comes through: a word of the note that `images` keeps
HANDLED: dict[str, tuple[bytes, str]] = {
    "cmyk.jpg": (saved(Image.fromarray(scene(seed=30)).convert("CMYK")), "cmyk"),
    "deep.png": (png16(scene(96, 64, seed=31)), "16-bit"),
    "palette.png": (saved(Image.fromarray(scene(seed=32)).convert("P"), "PNG"), "palette"),
    "named.jpg": (saved(scene(seed=33), "PNG"), ""),  # a PNG by another name is still a photograph
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"this is no photograph\n" * 9, "not_an_image"),
    "cut.jpg": (saved(scene(seed=34))[:2000], "truncated"),
    "dot.png": (png(1, 1, 8, 2, b"\0\1\2\3"), "too_small"),
    "vast.png": (png(30_000, 30_000, 8, 2), "too_many_pixels"),
    "vast.jpg": (jpeg_claiming(30_000, 30_000), "too_many_pixels"),
    "film.gif": (animated("GIF"), "animated"),
    "heavy.jpg": (bytes(200_001), "too_large"),
}
# Labels beside good photographs (name without suffix): text, reason, line
LABELS: dict[str, tuple[bytes, str, int | None]] = {
    "car0/1": (b"0 0.5 0.5 0.2 0.2\n1 nan 0.5 0.2 0.2\n", "not_a_number", 2),
    "car1/1": (b"7 0.5 0.5 0.2 0.2\n", "unknown_class", 1),
    "car2/0": (b"\n0 1.5 0.5 0.2 0.2\n", "outside_image", 2),
    "car2/1": (b"0 0.5 0.5 0 0.2\n", "no_area", 1),
    "cmyk": (b"0 0.5 0.5 inf 0.2\n", "not_a_number", 1),
    "deep": (b"0 0.5 0.5 0.2\n", "malformed", 1),
    "palette": (b"\xff\xfe0\x000", "not_text", None),
    "nowhere": (b"0 0.5 0.5 0.2 0.2\n", "no_photograph", None),
    "cut": (b"0 0.5 0.5 0.2 0.2\n", "no_photograph", None),  # its photograph was refused
}
GOOD_LABELS = {"car0/0": b"0 0.5 0.5 0.25 0.5\n", "car1/0": b"", "named": b"1 0.1 0.1 0.2 0.2\r\n\r\n"}


@dataclass
class Delivery:
    lake: Lake
    uploads: list[dict[str, Any]]
    images: list[dict[str, Any]]
    processed: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]

    def refused(self, kind: str) -> dict[str, dict[str, Any]]:
        rows = [row for row in self.quarantine if row["kind"] == kind]
        actual = {row["key"]: row for row in rows}
        assert len(actual) == len(rows), "a key twice"
        return actual


def files() -> dict[str, bytes]:
    good = {name: saved(scene(seed=i)) for i, name in enumerate(GOOD)}
    return good | {n: data for n, (data, _) in HANDLED.items()} | {n: data for n, (data, _) in REFUSED.items()}


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    lake = Lake.open(tmp_path_factory.mktemp("quarantine") / "lake")
    for name, data in files().items():
        lake.put(f"raw/uploads/{name}", data)
    lake.put("raw/labels/classes.txt", CLASS_NAMES)
    for name, data in GOOD_LABELS.items() | {(n, d) for n, (d, _, _) in LABELS.items()}:
        lake.put(f"raw/labels/{name}.txt", data)
    (batch,) = plan_batches(lake, "uploads", RULES, NOW)
    ingest_uploads(lake, batch.batch_id, RULES)
    build_images(lake, batch.batch_id, RULES)
    build_processed(lake, batch.batch_id, RULES)
    (labels,) = plan_batches(lake, "labels", RULES, NOW)
    assert len(labels.objects) == len(LABELS) + len(GOOD_LABELS)
    ingest_labels(lake, labels.batch_id, RULES, NOW)
    tables = ("uploads", "images", "processed", "annotations", "quarantine")
    return Delivery(lake, *(lake.read(table).to_pylist() for table in tables))


def test_every_photograph_has_one_end(delivery: Delivery) -> None:
    keys = [row["key"] for row in delivery.images] + list(delivery.refused("photograph"))
    assert sorted(keys) == sorted(f"raw/uploads/{name}" for name in files())
    assert len(delivery.uploads) == len(files())


@pytest.mark.parametrize("name", REFUSED)
def test_a_photograph_that_is_none_is_refused_with_its_reason(delivery: Delivery, name: str) -> None:
    assert delivery.refused("photograph")[f"raw/uploads/{name}"]["reason"] == REFUSED[name][1]


@pytest.mark.parametrize("name", HANDLED)
def test_an_odd_photograph_comes_through_and_looks_the_same(delivery: Delivery, name: str) -> None:
    data, note = HANDLED[name]
    (row,) = (row for row in delivery.images if row["key"] == f"raw/uploads/{name}")
    assert note in (row["notes"] or "").lower()
    decoded = decode(delivery.lake.get(object_key(row["image_id"])), **LIMITS).rgb.astype(float)
    original = np.asarray(Image.fromarray(decode(data, **LIMITS).rgb).resize(decoded.shape[1::-1])).astype(float)
    assert max(decoded.shape) <= 128
    assert np.abs(decoded.mean((0, 1)) - original.mean((0, 1))).max() < 3
    assert np.corrcoef(decoded.ravel(), original.ravel())[0, 1] > 0.97


def test_the_good_rest_is_processed(delivery: Delivery) -> None:
    expected = {hashlib.sha256(data).hexdigest() for name, data in files().items() if name not in REFUSED}
    assert {row["image_id"] for row in delivery.images} == {row["image_id"] for row in delivery.processed} == expected
    for row in delivery.processed:
        assert hashlib.sha256(delivery.lake.get(row["object_key"])).hexdigest() == row["sha256"]


@pytest.mark.parametrize("name", LABELS)
def test_a_bad_label_is_refused_with_its_line(delivery: Delivery, name: str) -> None:
    _, reason, line = LABELS[name]
    row = delivery.refused("label")[f"raw/labels/{name}.txt"]
    assert (row["reason"], row["line"]) == (reason, line)
    assert row["detail"]


def test_good_labels_and_no_others_are_annotations(delivery: Delivery) -> None:
    actual = {row["key"]: [tuple(box.values()) for box in row["boxes"]] for row in delivery.annotations}
    assert actual == {
        "raw/labels/car0/0.txt": [(0, 120.0, 60.0, 200.0, 180.0)],
        "raw/labels/car1/0.txt": [],
        "raw/labels/named.txt": [(1, 0.0, 0.0, 64.0, 48.0)],
    }
    assert set(delivery.refused("label")) == {f"raw/labels/{name}.txt" for name in LABELS}


def test_the_dataset_holds_the_good_ones(delivery: Delivery) -> None:
    manifest = build_dataset(delivery.lake, RULES, NOW).manifest
    assert sorted(manifest["key"].to_pylist()) == [
        f"raw/uploads/{name}" for name in ("car0/0.jpg", "car1/0.jpg", "named.jpg")
    ]
