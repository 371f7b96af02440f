"""benchmarks/real_photographs/: the split by groups, results that are kept, and docs/results.md as the results say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.real_photographs import page
from benchmarks.real_photographs.contact_sheet import SIDE, write_contact_sheet
from benchmarks.real_photographs.data import LARGEST_TESTED, TEST, VAL, deal, read_photographs
from benchmarks.real_photographs.plan import PLAN
from benchmarks.real_photographs.train import COMPLETE, read_result, train, write_result
from carsdepo_assets.detectors.faster_rcnn.options import LiteOptions
from carsdepo_assets.detectors.recipe_options import read_options


def test_groups_are_dealt_whole_and_large_ones_to_train() -> None:
    sizes = Counter({f"g{i:03}": 1 + i % 9 for i in range(120)}) + Counter({"large": 42, "edge": LARGEST_TESTED})
    split_of = deal(sizes)
    assert split_of.keys() == sizes.keys()
    assert split_of["large"] == "train"
    dealt = Counter[str]()
    for group, split in split_of.items():
        dealt[split] += sizes[group]
    assert TEST <= dealt["test"] < TEST + LARGEST_TESTED
    assert VAL <= dealt["val"] < VAL + LARGEST_TESTED
    assert deal(Counter(dict(reversed(sizes.items())))) == split_of


def some_photographs(folder: Path, groups: int, each: int) -> Path:
    """Black photographs of 40 x 20 px with a scratch in the middle."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    lines = ["file,group"]
    for number in range(groups * each):
        cv2.imwrite(str(folder / "images" / f"{number:04}.jpg"), np.zeros((20, 40, 3), np.uint8))
        (folder / "labels" / f"{number:04}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
        lines.append(f"{number:04}.jpg,g{number // each}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_fewer_labels_are_whole_groups_of_those_of_more(tmp_path: Path) -> None:
    photographs = read_photographs(some_photographs(tmp_path, 80, 4))
    assert photographs.images[0].xyxy.tolist() == [[10, 5, 30, 15]]
    shares = []
    for of in (4, 2, 1):
        data = photographs.training_set(of)
        assert data.split("val") == photographs.split("val")
        assert not data.split("test")
        kept = {photographs.group_of[image.image_id] for image in data.split("train")}
        assert len(data.split("train")) == 4 * len(kept)
        shares.append(kept)
    quarter, half, whole = shares
    assert quarter < half < whole
    assert photographs.counts(photographs.split("train"))["groups"] == len(whole)


def test_a_complete_result_is_taken_and_another_is_not(tmp_path: Path) -> None:
    planned, photographs = PLAN[0], read_photographs(some_photographs(tmp_path / "data", 3, 1))
    target = tmp_path / f"{planned.name}.json"
    assert read_result(target) is None
    result = {"name": planned.name, "state": "training", "history": [{"epoch": 1.0}, {"epoch": 2.0}]}
    write_result(target, result)
    assert read_result(target) is None
    write_result(target, {**result, "state": COMPLETE})
    assert train(planned, photographs, tmp_path) == {**result, "state": COMPLETE}


def test_every_planned_recipe_of_faster_rcnn_is_one_that_it_takes() -> None:
    assert len({planned.name for planned in PLAN}) == len(PLAN)
    for planned in PLAN:
        if planned.detector.startswith("faster_rcnn"):
            read_options(planned.recipe(), LiteOptions)


def test_the_results_that_are_kept_are_of_the_planned_recipes() -> None:
    planned_by_name = {planned.name: planned for planned in PLAN}
    for result in page.kept_results():
        planned = planned_by_name[result["name"]]
        assert (result["says"], result["recipe"]) == (planned.says, planned.recipe().model_dump())


def test_an_unknown_training_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"No training cpu-fast; there are cpu-default,"):
        main(["real_photographs", "--only", "cpu-fast"])


def test_the_contact_sheet_has_a_photograph_of_each_group_of_test(tmp_path: Path) -> None:
    photographs = read_photographs(some_photographs(tmp_path / "data", 20, 10))
    test = photographs.split("test")
    of_test = {photographs.group_of[image.image_id] for image in test}
    boxes = {image.image_id: [[10, 5, 30, 15, 0.9, 0], [0, 0, 5, 5, 0.1, 1]] for image in test}
    (tmp_path / "a.boxes.json").write_text(json.dumps({"test": boxes}))
    sheet = cv2.imread(str(write_contact_sheet(photographs, tmp_path, "a", 0.5)))
    tiles = [sheet[y : y + SIDE, x : x + SIDE] for y in range(0, len(sheet), SIDE) for x in range(0, 6 * SIDE, SIDE)]
    assert sum(bool(tile.max()) for tile in tiles) == len(of_test)
    assert tiles[0][:5].max() < 60  # the box below the threshold, in the corner, is not drawn


def test_the_page_shows_the_results_that_are_kept() -> None:
    """`python -m benchmarks.real_photographs.page` writes it."""
    text = page.PAGE.read_text()
    assert page.page(text) == text
    assert text.count("| `gpu-lite2` |") >= 2
    names = [result["name"] for result in page.kept_results()]
    assert all(f"| `{name}` |" in text for name in names)
    assert len(names) == len(list(page.RESULTS.glob("*-*.json")))
