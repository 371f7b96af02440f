"""The labelled photographs as a training set that is split by group: no car is in two of train, val and test.

Groups are dealt in the order of their names' sha256: to test until it has 125 photographs, then to val until it has 75;
the rest is train. Groups of more than 14 photographs are of train, else one car would be a large part of the tests.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from carsdepo_assets.detectors.base import TrainingImage, TrainingSet

TEST, VAL, LARGEST_TESTED = 125, 75, 14
CLASSES = ("scratch", "dent")


@dataclass(frozen=True)
class Photographs:
    """All labelled photographs, and the group of each by its id."""

    images: list[TrainingImage]
    group_of: dict[str, str]

    def training_set(self, of: int = 1) -> TrainingSet:
        """All of val, and of train one group of each `of`, which leaves large and small groups in proportion.

        The groups for 4 are among those for 2.
        """
        train = self.split("train")
        size = Counter(self.group_of[image.image_id] for image in train)
        groups = sorted(size, key=lambda group: (-size[group], _order(group)))
        kept = set(groups[min(1, of - 1) :: of])
        return TrainingSet(CLASSES, [*(i for i in train if self.group_of[i.image_id] in kept), *self.split("val")])

    def split(self, name: str) -> list[TrainingImage]:
        """The photographs of a split in the order of their ids."""
        return sorted((image for image in self.images if image.split == name), key=lambda image: image.image_id)

    def counts(self, images: list[TrainingImage]) -> dict[str, int]:
        """How many photographs, boxes and groups these are."""
        return {
            "photographs": len(images),
            "boxes": sum(len(image.classes) for image in images),
            "groups": len({self.group_of[image.image_id] for image in images}),
        }


def read_photographs(folder: Path) -> Photographs:
    """Reads images/, labels/ and the groups of manifest.csv below `folder`."""
    with (folder / "manifest.csv").open() as file:
        group_of = {row["file"]: row["group"] for row in csv.DictReader(file)}
    split_of = deal(Counter(group_of.values()))
    images = []
    for name, group in sorted(group_of.items()):
        path = folder / "images" / name
        height, width = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION).shape[:2]
        lines = (folder / "labels" / name).with_suffix(".txt").read_text().split()
        numbers = np.array(lines, float).reshape(-1, 5)
        centre, half = numbers[:, 1:3] * (width, height), numbers[:, 3:5] * (width, height) / 2
        boxes = np.hstack([centre - half, centre + half]).clip(0, [width, height] * 2)
        images.append(TrainingImage(name, path, width, height, split_of[group], boxes, numbers[:, 0].astype(np.int64)))
    return Photographs(images, group_of)


def deal(photographs_by_group: Counter[str]) -> dict[str, str]:
    """The split of each group."""
    split_of, dealt = {}, Counter[str]()
    for group in sorted(photographs_by_group, key=_order):
        n = photographs_by_group[group]
        if n > LARGEST_TESTED:
            split = "train"
        else:
            split = "test" if dealt["test"] < TEST else "val" if dealt["val"] < VAL else "train"
        split_of[group] = split
        dealt[split] += n
    return split_of


def _order(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()
