"""What every reader of a label format returns: the labels of photographs as the file has them, before any is matched.

A reader knows neither the lake nor the class map. As the file does, it says which photograph a label is of (a name or a
path), which class (an id or a name) and where (pixels or shares of a side). Matching, the class map and clipping come
afterwards and are the same for every format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from carsdepo_assets.data.labels.formats.parsed import Problem, Xyxy

Target = int | str | None
"""What a class of a file becomes: a class id of ours; the cause of a hard negative, a name of
`policy.class_map.not_damage`; None: its labels are left out."""

ClassTargets = Mapping[str, Target]
"""The target by the file's class, as the file writes it: an id in YOLO and COCO, a name in the other formats."""


@dataclass(frozen=True)
class Shape:
    """One damage as a label file has it."""

    source_class: str
    """The class's id in YOLO and COCO, its name in the other formats."""
    box: Xyxy
    """(x1, y1, x2, y2), in the unit of its photograph; of a polygon or a rotated box the bounding box."""
    where: str
    """Where it is in the file, for a person, such as "annotation 5"; empty where `line` says it."""
    line: int | None = None
    """The line of the file, from 1; None where the format has no lines."""
    note: str = ""
    """What the reader corrected, for a person."""


@dataclass
class LabelledPhotograph:
    """The labels of one photograph."""

    file_name: str
    """The photograph's name or path as the file writes it; without suffix for YOLO."""
    shapes: list[Shape] = field(default_factory=list)
    behind_date: str | None = None
    """The name without a prefix that looks like a date, where the export is Label Studio's; see photograph_names."""
    unit: Literal["pixels", "shares"] = "pixels"
    """Of the boxes: pixels of the photograph, or shares of its width and height (0 to 1)."""
    width: float | None = None
    """Of the photograph in pixels, as the file says; None where it says nothing."""
    height: float | None = None
    reviewed: bool = True
    """False where the file says that nobody has finished labelling it: without shapes it is not clean."""
    annotator: str | None = None
    """Who labelled it, as the file says."""
    labelled_at: str | None = None
    """When, as the file says; of two labellings by annotators of a name each, the later counts."""
    line: int | None = None
    """The line of the file that it is on, from 1; None where the format has no lines."""
    of_file: bool = False
    """Whether the label file is of this photograph alone, so that its own name may name the photograph too."""
    problems: list[Problem] = field(default_factory=list)
    """What makes its labels unusable as a whole."""
    notes: list[str] = field(default_factory=list)
    """What the reader corrected, for a person."""
    split: str | None = None
    """The part of the dataset that the file says it belongs to, as the file writes it."""
    group: str | None = None
    """The car that the file says it shows."""
    doubt: str = ""
    """Why it is not reviewed, in the same words for all photographs of which it is true."""
    stated: list[str] = field(default_factory=list)
    """What the file states of the photograph as a whole, such as a class; with no shape it may be damaged all the
    same."""


@dataclass
class LabelDocument:
    """The content of one label file."""

    photographs: list[LabelledPhotograph] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """What belongs to no photograph of the file."""
    class_names: dict[str, str] = field(default_factory=dict)
    """The name by `source_class`; equal to it where the format writes names. Empty for YOLO, whose names lie beside."""
    origin: str = ""
    """What the file says of the export that it is a part of; empty where it says nothing."""

    @property
    def has_predictions(self) -> bool:
        """Whether what the file says of some photograph is a model's, so that its silence about another may be, too."""
        return any(problem.reason == "prediction" for one in self.photographs for problem in one.problems)
