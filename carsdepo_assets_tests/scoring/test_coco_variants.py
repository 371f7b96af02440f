"""scoring/coco_files.py, coco_entries.py, coco_masks.py: what pycocotools takes has the figures that it gives."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from carsdepo_assets.scoring.coco_files import evaluate_files, load_ground_truth, load_results
from carsdepo_assets.scoring.coco_masks import box_around
from carsdepo_assets_tests.scoring.cases import coco_content, random_images, with_crowds

Content = tuple[dict[str, Any], list[dict[str, Any]]]


def _content(seed: int) -> Content:
    truths, detections = random_images(seed, 15)
    truth, results = coco_content(with_crowds(seed, truths), detections, 2)
    return truth, results


def _each(rows: list[dict[str, Any]], **change: Callable[[Any], Any]) -> None:
    for row in rows:
        for key, new in change.items():
            row[key] = new(row.get(key))


def _float_ids(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    _each(truth["annotations"], image_id=float, category_id=float)
    _each(results, image_id=float, category_id=float)


def _float_ids_of_images(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    _each([*truth["images"], *truth["categories"]], id=float)


def _text_ids(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    _each([*truth["images"], *truth["categories"]], id=str)
    _each([*truth["annotations"], *results], image_id=str, category_id=str)


def _ids_from_0(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """pycocotools takes a match with annotation 0 for none, so only images and categories begin there."""
    _each([*truth["images"], *truth["categories"]], id=lambda i: i - 1)
    _each([*truth["annotations"], *results], image_id=lambda i: i - 1, category_id=lambda c: c - 1)


def _ids_out_of_order(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    _each(truth["images"], id=lambda i: 100 - i)
    _each([*truth["annotations"], *results], image_id=lambda i: 100 - i)


def _without_sizes(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    for row in truth["images"]:
        del row["width"], row["height"]


def _one_without_a_size(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    truth["images"][3]["width"] = None


def _ignore_says_nothing(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    _each(truth["annotations"], ignore=lambda _: 1)


def _crowd_as_runs(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    for row in truth["annotations"]:
        if row["iscrowd"]:
            row["segmentation"] = {"size": [640, 640], "counts": [640 * 640]}


def _results_as_masks(truth: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Results of segmentation, without bbox, in COCO's compressed runs."""
    for row in results:
        x, y, w, h = (max(0, round(v)) for v in row.pop("bbox"))
        mask = np.zeros((640, 640), np.uint8, order="F")
        mask[y : y + max(h, 1), x : x + max(w, 1)] = 1
        runs = coco_mask.encode(mask)
        row["segmentation"] = {"size": [int(v) for v in runs["size"]], "counts": runs["counts"].decode()}


VARIANTS: list[Callable[[dict[str, Any], list[dict[str, Any]]], None]] = [
    _float_ids, _float_ids_of_images, _text_ids, _ids_from_0, _ids_out_of_order, _without_sizes, _one_without_a_size,
    _ignore_says_nothing, _crowd_as_runs, _results_as_masks,
]  # fmt: skip


def _pycocotools(truth: dict[str, Any], results: list[dict[str, Any]]) -> tuple[float, float]:
    """Its mAP at .5:.95 and at .5."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0]), float(run.stats[1])


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.__name__.strip("_"))
@pytest.mark.parametrize("seed", [1, 2])
def test_the_figures_are_those_of_pycocotools(
    tmp_path: Path, seed: int, variant: Callable[[dict[str, Any], list[dict[str, Any]]], None]
) -> None:
    truth, results = _content(seed)
    variant(truth, results)
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "r.json").write_text(json.dumps(results))
    found = evaluate_files(tmp_path / "t.json", tmp_path / "r.json")
    assert (found.map50_95, found.map50) == pytest.approx(_pycocotools(truth, results), abs=1e-12)
    assert found.n_crowds


def test_what_pycocotools_does_not_take_and_is_certain(tmp_path: Path) -> None:
    """Annotations without area and iscrowd, and with polygons and no bbox; a file with a byte order mark."""
    truth, results = _content(1)
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "r.json").write_text(json.dumps(results))
    expected = evaluate_files(tmp_path / "t.json", tmp_path / "r.json")
    for row in truth["annotations"]:
        del row["area"]
        x, y, w, h = row.pop("bbox")
        row["segmentation"] = [[x, y, x + w, y, x + w, y + h], [x, y, x, y + h, x + w, y + h]]
        if not row["iscrowd"]:
            del row["iscrowd"]
    (tmp_path / "t.json").write_text(json.dumps(truth), "utf-8-sig")
    assert evaluate_files(tmp_path / "t.json", tmp_path / "r.json").map50_95 == pytest.approx(expected.map50_95)


def test_sizes_that_are_not_all_there_are_none(tmp_path: Path) -> None:
    truth, results = _content(1)
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "r.json").write_text(json.dumps(results))
    assert load_ground_truth(tmp_path / "t.json").image_sizes == [(640, 640)] * 15
    _one_without_a_size(truth, results)
    (tmp_path / "t.json").write_text(json.dumps(truth))
    read = load_ground_truth(tmp_path / "t.json")
    assert read.image_sizes is None
    assert sum(len(d) for d in load_results(tmp_path / "r.json", read)) == len(results)


@pytest.mark.parametrize("seed", range(12))
def test_the_box_around_runs_is_that_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2)
    mask = np.zeros((height, width), np.uint8, order="F")
    if seed:  # 0: a mask without a pixel
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask[y : y + rng.integers(1, 40), x : x + rng.integers(1, 40)] = rng.random() < 0.5 or 1
        mask &= rng.random(mask.shape) < (1 if seed % 2 else 0.3)
    compressed = coco_mask.encode(np.asfortranarray(mask))
    expected = coco_mask.toBbox(compressed).tolist()
    flat = mask.ravel(order="F").tolist()
    edges = [0, *(i for i in range(1, len(flat)) if flat[i] != flat[i - 1]), len(flat)]
    counts = [b - a for a, b in itertools.pairwise(edges)]
    counts = [0, *counts] if flat[0] else counts
    size = [int(height), int(width)]
    assert box_around({"size": size, "counts": counts}) == expected
    assert box_around({"size": size, "counts": compressed["counts"].decode()}) == expected
