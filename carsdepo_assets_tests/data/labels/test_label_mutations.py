"""data/labels/formats/: whatever becomes of a valid file of any format, it is read or refused with a reason."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask

from carsdepo_assets.data.labels.formats import NotReadable, classes_used, fit, read_document, recognise
from carsdepo_assets.data.labels.formats.rle import rle_box
from carsdepo_assets_tests.data.label_documents import VALID

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.0, 0.5, 10**400, math.nan, math.inf, "", " ", "1", "1.0", "0,5", "\ud800", "x" * 500,
    [], {}, [[]], [None], {"a": None}, [1, 2, 3, 4],
)  # fmt: skip
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def survives(format: str, name: str, data: bytes) -> None:
    """Recognised and read by its own reader: a document whose photographs all fit or have problems, or NotReadable."""
    for actual in {recognise(name, data), format} - {None}:
        try:
            document = read_document(actual, name, data)  # type: ignore[arg-type]
        except NotReadable as error:
            reasons = (error.problem.reason, error.problem.detail)
            assert all(reasons)
            continue
        assert sum(classes_used(document).values()) >= 0
        for photograph in document.photographs:
            assert photograph.file_name.strip()
            targets = {source: i % 2 for i, source in enumerate(sorted(classes_used(document)))}
            parsed = fit(photograph, 200, 100, targets, 6, class_names=document.class_names)
            for _, (x1, y1, x2, y2) in parsed.boxes:
                assert 0 <= x1 < x2 <= 200
                assert 0 <= y1 < y2 <= 100


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in [(value, key), *places(inner)]]


def mutated(data: bytes, seed: int) -> bytes:
    """JSON with one to three of its values replaced, removed or doubled."""
    chosen = random.Random(seed)
    lines = data.splitlines() if b"source-ref" in data else [data]
    document = [json.loads(line) for line in lines]
    for _ in range(chosen.randint(1, 3)):
        if not (found_places := places(document)):
            break
        container, key = chosen.choice(found_places)
        match chosen.randrange(4):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            case _:
                container[key] = copy.deepcopy(chosen.choice(ODD))
    return b"\n".join(json.dumps(one).encode("utf-8", "surrogatepass") for one in document)


@pytest.mark.parametrize("format", sorted(VALID))
@QUICK
@given(seed=st.integers(0, 2**32))
def test_bytes_changed_cut_out_or_put_in(format: str, seed: int) -> None:
    name, data = VALID[format]
    chosen, changed = random.Random(seed), bytearray(data)
    for _ in range(chosen.randint(1, 6)):
        at = chosen.randrange(len(changed) + 1)
        match chosen.randrange(4):
            case 0:
                del changed[at : at + chosen.randint(1, 40)]
            case 1:
                changed[at:at] = chosen.choice(
                    (b"\0", b"\xff\xfe", b"9" * 5000, b"[" * 5000, b"-", b"nan", b"<x>", b'"')
                )
            case 2:
                changed = changed[:at]
            case _:
                changed[at : at + 1] = bytes([chosen.randrange(256)])
        changed = changed or bytearray(b" ")
    survives(format, name, bytes(changed))


@pytest.mark.parametrize("format", ["coco", "labelme", "labelstudio", "groundtruth", "datumaro"])
@QUICK
@given(seed=st.integers(0, 2**32))
def test_values_of_other_types(format: str, seed: int) -> None:
    name, data = VALID[format]
    survives(format, name, mutated(data, seed))


@QUICK
@given(
    lines=st.lists(
        st.lists(
            st.one_of(
                st.floats(allow_nan=True).map(repr), st.integers(0, 3).map(str), st.sampled_from(["1,5", "x", "-"])
            ),
            max_size=14,
        ),
        max_size=4,
    )
)
def test_lines_of_any_numbers(lines: list[list[str]]) -> None:
    survives("yolo", "a.txt", "\n".join(map(" ".join, lines)).encode())


@QUICK
@given(seed=st.integers(0, 2**32), compressed=st.booleans())
def test_the_box_of_a_mask_is_that_of_pycocotools(seed: int, compressed: bool) -> None:
    made = np.random.default_rng(seed)
    height, width = made.integers(1, 12, 2)
    pixels = (made.random((height, width)) < made.random()).astype(np.uint8)
    encoded = mask.encode(np.asfortranarray(pixels))
    counts: Any = encoded["counts"].decode()
    if not compressed:
        flat = [0, *pixels.ravel(order="F").tolist(), 2]
        edges = [i for i in range(1, len(flat)) if flat[i] != flat[i - 1]]
        counts = [b - a for a, b in zip([0, *[e - 1 for e in edges]], [e - 1 for e in edges], strict=False)]
    x, y, w, h = mask.toBbox(encoded).tolist()
    box = rle_box({"size": [int(height), int(width)], "counts": counts})
    assert box == ((x, y, x + w, y + h) if pixels.any() else None)
