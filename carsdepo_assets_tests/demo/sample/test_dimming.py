"""demo/sample/dimming.py: windows of traffic from a user's own photographs, some of them darkened."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from carsdepo_assets.demo.sample.dimming import darken, write_window
from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.policy import DataPolicy

RULES = DataPolicy()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_sample(folder, 16, 3, "day")
    (folder / "images" / "broken.jpg").write_bytes(b"no photograph")
    return folder


def test_a_stop_halves_the_light() -> None:
    rgb = np.full((64, 64, 3), 186, np.uint8)  # 186/255 is half in linear light
    once = darken(rgb, 1.0, np.random.default_rng(0))
    assert ((once.mean() / 255) ** 2.2) / ((186 / 255) ** 2.2) == pytest.approx(0.5, rel=0.03)
    assert once.std() > darken(rgb, 0.0, np.random.default_rng(0)).std() / 3  # noise stays when light goes


def test_groups_stay_whole_and_labels_come_along(source: Path, tmp_path: Path) -> None:
    window = write_window(source, tmp_path / "w", photographs=100, dark_share=0.5, stops=3.5, seed=1, policy=RULES)
    rows = list(csv.DictReader((tmp_path / "w" / "manifest.csv").read_text().splitlines()))
    assert window.photographs == len(rows) == len(list((tmp_path / "w" / "images").iterdir())) >= 16
    by_group: dict[str, set[str]] = {}
    for row in rows:
        by_group.setdefault(row["group"], set()).add(row["light"])
    assert all(len(lights) == 1 for lights in by_group.values())
    assert 0.2 < window.darkened / window.photographs < 0.8
    for row in rows:
        if row["file"] == "broken.jpg":
            continue
        stem = Path(row["file"]).stem.removesuffix("_dark")
        assert (tmp_path / "w" / "labels" / f"{Path(row['file']).stem}.txt").read_bytes() == (
            source / "labels" / f"{stem}.txt"
        ).read_bytes()
        shown = cv2.imread(str(tmp_path / "w" / "images" / row["file"]), cv2.IMREAD_GRAYSCALE)
        before = cv2.imread(str(source / "images" / f"{stem}.jpg"), cv2.IMREAD_GRAYSCALE)
        assert (shown.mean() < before.mean() - 20) == (row["light"] != "")


def test_as_they_are_means_their_bytes(source: Path, tmp_path: Path) -> None:
    write_window(source, tmp_path / "w", photographs=5, dark_share=0.0, stops=3.0, seed=2, policy=RULES)
    for file in (tmp_path / "w" / "images").iterdir():
        assert file.read_bytes() == (source / "images" / file.name).read_bytes()


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no photographs"):
        write_window(tmp_path, tmp_path / "w", photographs=5, dark_share=0.5, stops=3.0, seed=2, policy=RULES)


def test_labels_are_translated_to_our_classes(tmp_path: Path) -> None:
    """The annotator hands them on as ours: a folder whose class 0 is our dent must not teach scratches."""
    own = tmp_path / "own"
    write_sample(own, 2, 3, "day")
    for number, file in enumerate(sorted((own / "labels").iterdir())):
        file.write_bytes(
            [b"\xef\xbb\xbf0 .5 .5 .1 .1\r\n1.0 .4 .4 .1 .1\n\n 2 .1 .1 .2 .1 .2 .2\n7 .5 .5 .1 .1\n", b""][number]
        )
    steps: list[tuple[int, int]] = []
    write_window(
        own,
        tmp_path / "w",
        photographs=9,
        dark_share=0.5,
        stops=1.0,
        seed=2,
        policy=RULES,
        class_ids={"0": 1, "1": 0, "2": 1},
        progress=lambda *step: steps.append(step),
    )
    texts = {file.read_bytes() for file in (tmp_path / "w" / "labels").iterdir()}
    assert texts == {
        b"",
        b"\xef\xbb\xbf1 .5 .5 .1 .1\r\n0 .4 .4 .1 .1\n\n 1 .1 .1 .2 .1 .2 .2\n7 .5 .5 .1 .1\n",
    }
    assert steps == [(1, 2), (2, 2)]
