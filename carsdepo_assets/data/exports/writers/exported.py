"""What every writer of a label format is given, and how all of them write a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Images = Literal["copy", "link", "none"]
"""What an export does with photographs: copy them, link to the lake's files, or leave them out."""
Pixels = Literal["upright", "original", "processed"]
"""What an exported photograph is made of; see export_photographs."""
Xyxy = tuple[float, float, float, float]
DECIMALS = 4  # of a pixel: what the lake keeps of a box


@dataclass(frozen=True)
class ExportedPhotograph:
    """A photograph of a dataset as it is written: the name and size of its exported file, and its labels."""

    name: str
    """The file's name without folders. Its stem is unique in the export."""
    image_id: str
    """sha256 of the bytes that were uploaded."""
    split: str
    """train, val, test, test_pool or excluded."""
    width: int
    """Of the exported file when upright, in pixels."""
    height: int
    """Likewise."""
    boxes: tuple[tuple[int, Xyxy], ...] = ()
    """(class id, (x1, y1, x2, y2)) in pixels of the exported file when upright."""
    group: str | None = None
    """What photographs of the same car have in common."""
    reviewed: bool = True
    """False where nobody has finished labelling it; without boxes it is then not clean but unlabelled."""

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class ExportedDataset:
    """What one export writes."""

    version: str
    """Of the dataset."""
    class_names: tuple[str, ...]
    """In the order of class ids."""
    photographs: tuple[ExportedPhotograph, ...]
    """In the order in which they are written."""
    at: datetime
    """When it is written, with a time zone."""
    photographs_url: str = ""
    """For formats that name a photograph by URL: what stands before its path in the export; ends with "/" or is "". """

    def splits(self) -> dict[str, list[ExportedPhotograph]]:
        """The photographs by split: train, val and test first."""
        order = {name: place for place, name in enumerate(("train", "val", "test"))}
        names = sorted({p.split for p in self.photographs}, key=lambda name: (order.get(name, len(order)), name))
        members: dict[str, list[ExportedPhotograph]] = {name: [] for name in names}
        for photograph in self.photographs:
            members[photograph.split].append(photograph)
        return members


LabelFiles = Iterator[tuple[str, bytes]]
"""(path below the export's folder, content) of each file that a writer makes."""


@dataclass(frozen=True)
class Writer:
    """One format: where its photographs lie, and its label files."""

    image_path: Callable[[ExportedPhotograph], str]
    """Where the photograph lies below the export's folder."""
    write: Callable[[ExportedDataset], LabelFiles]
    """The label files, without the photographs."""
    use: str
    """For the export's README: how a tool is given the folder."""


def number(value: float, decimals: int = DECIMALS) -> str:
    """A number as text, rounded, without zeros at the end and without an exponent."""
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def rounded(value: float) -> float | int:
    """A length in pixels for JSON: rounded to DECIMALS, an integer where it is whole."""
    value = round(value, DECIMALS)
    return int(value) if value == int(value) else value


def left_top_size(box: Xyxy) -> list[float | int]:
    """[left, top, width, height] of a box, in pixels."""
    x1, y1, x2, y2 = box
    return [rounded(x1), rounded(y1), rounded(x2 - x1), rounded(y2 - y1)]


def of_group(photograph: ExportedPhotograph) -> dict[str, str]:
    """The group as a field of its own, where the photograph has one."""
    return {} if photograph.group is None else {"group": photograph.group}


def labelled(photographs: Sequence[ExportedPhotograph]) -> list[ExportedPhotograph]:
    """The photographs that a label file names: reviewed ones, and unfinished ones that have boxes already."""
    return [p for p in photographs if p.reviewed or p.boxes]
