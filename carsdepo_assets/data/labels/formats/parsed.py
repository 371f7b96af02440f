"""The labels of one photograph as every reader of a label format returns them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Xyxy = tuple[float, float, float, float]
CLIP_SHARE = 0.05  # of a side: how far an edge may lie outside the photograph and still be clipped
MIN_BOX_PX = 1.0  # a shorter side is no damage that anyone drew
_ROUNDING = 1e-6  # of a side: six decimals of a share, as most tools write them
_DECIMALS = 4  # of a pixel: what two ways of writing one box may differ by


@dataclass(frozen=True)
class Problem:
    """Why a label cannot be used."""

    reason: str
    """One word for statistics, such as no_area."""
    detail: str
    """A sentence for a person."""
    line: int | None = None
    """The line of the file, from 1; None where the format has no lines."""


class NotReadable(ValueError):
    """A label file cannot be read as the format that it seems to be; the message says what is wrong with it."""

    def __init__(self, detail: str, reason: str = "malformed", line: int | None = None) -> None:
        super().__init__(detail)
        self.problem = Problem(reason, detail, line)


@dataclass
class Parsed:
    """The labels of one photograph."""

    boxes: list[tuple[int, Xyxy]] = field(default_factory=list)
    """(class id, (x1, y1, x2, y2)) in pixels of the upright photograph."""
    negatives: list[tuple[str, Xyxy]] = field(default_factory=list)
    """(cause, box) of what looks like damage and is none, a name of policy.class_map.not_damage."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was corrected while reading, for a person."""
    reviewed: bool = True
    """False: the file says that nobody has finished labelling it, so that no box does not mean no damage."""
    min_box_px: float = MIN_BOX_PX
    clip_share: float = CLIP_SHARE
    _taken: set[tuple[int | str, Xyxy]] = field(default_factory=set)

    def add(
        self, target: int | str, box: Xyxy, width: int, height: int, where: str = "", line: int | None = None
    ) -> None:
        """Adds a box, clipped to the image. An impossible box becomes a problem, a repeated one a note.

        Args:
            target: a class id of the class map, or the cause of a hard negative.
            box: (x1, y1, x2, y2) in pixels of the upright photograph.
            width: of the photograph, in pixels.
            height: of the photograph, in pixels.
            where: where it is in the file, such as "annotation 5"; "" where the line says it.
            line: of the file, from 1; None where the format has no lines.
        """
        x1, y1, x2, y2 = box
        told = f"{_before(where)}box ({x1:.7g}, {y1:.7g}, {x2:.7g}, {y2:.7g}) in {width} x {height}"
        if reason := self._impossible(box, width, height):
            self.problems.append(Problem(reason, told, line))
            return
        clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        c1, c2, c3, c4 = (round(v, _DECIMALS) for v in clipped)
        entry = (target, (c1, c2, c3, c4))
        too_narrow = c3 - c1 < self.min_box_px - _ROUNDING * width - 10**-_DECIMALS
        too_low = c4 - c2 < self.min_box_px - _ROUNDING * height - 10**-_DECIMALS
        if too_narrow or too_low or c3 <= c1 or c4 <= c2:
            self.problems.append(
                Problem("too_small", f"{told}: narrower than {self.min_box_px:g} pixels, too small to be seen", line)
            )
        elif entry in self._taken:
            self.note(f"{_before(where)}the same box again, kept once", line)
        else:
            self._taken.add(entry)
            if isinstance(target, str):
                self.negatives.append((target, entry[1]))
            else:
                self.boxes.append((target, entry[1]))
            if clipped != box:
                self.note(f"{_before(where)}clipped to the image", line)

    def _impossible(self, box: Xyxy, width: int, height: int) -> str | None:
        x1, y1, x2, y2 = box
        dx, dy = self.clip_share * width, self.clip_share * height
        if not all(math.isfinite(v) for v in box):
            return "not_a_number"
        if x2 <= x1 or y2 <= y1:
            return "no_area"
        if x1 < -dx or y1 < -dy or x2 > width + dx or y2 > height + dy:
            return "outside_image"
        return "outside_image" if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0 else None

    def note(self, text: str, line: int | None = None) -> None:
        """Adds a note about a correction."""
        self.notes.append(("" if line is None else f"line {line}: ") + text)


def _before(where: str) -> str:
    return f"{where}: " if where else ""
