"""The labels of one photograph as every reader of a label format returns them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Xyxy = tuple[float, float, float, float]
TOLERANCE = 0.01  # share of the image by which rounding may put an edge outside; it is clipped
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


@dataclass
class Parsed:
    """The labels of one photograph."""

    boxes: list[tuple[int, Xyxy]] = field(default_factory=list)
    """(class id, (x1, y1, x2, y2)) in pixels of the upright photograph."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was corrected while reading, for a person."""
    _taken: set[tuple[int, Xyxy]] = field(default_factory=set)

    def add(self, class_id: int, box: Xyxy, width: int, height: int, line: int | None) -> None:
        """Adds a box, clipped to the image. An impossible box becomes a problem, a repeated one a note.

        Args:
            class_id: of the class map.
            box: (x1, y1, x2, y2) in pixels of the upright photograph.
            width: of the photograph, in pixels.
            height: of the photograph, in pixels.
            line: of the file, from 1; None where the format has no lines.
        """
        x1, y1, x2, y2 = box
        where = f"box ({x1:.7g}, {y1:.7g}, {x2:.7g}, {y2:.7g}) in {width} x {height}"
        dx, dy = TOLERANCE * width, TOLERANCE * height
        if not all(math.isfinite(v) for v in box):
            self.problems.append(Problem("not_a_number", where, line))
        elif x2 <= x1 or y2 <= y1:
            self.problems.append(Problem("no_area", where, line))
        elif x1 < -dx or y1 < -dy or x2 > width + dx or y2 > height + dy:
            self.problems.append(Problem("outside_image", where, line))
        else:
            c1, c2 = round(max(x1, 0.0), _DECIMALS), round(max(y1, 0.0), _DECIMALS)
            c3, c4 = round(min(x2, float(width)), _DECIMALS), round(min(y2, float(height)), _DECIMALS)
            entry = (class_id, (c1, c2, c3, c4))
            if c3 <= c1 or c4 <= c2:
                outside = x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
                self.problems.append(Problem("outside_image" if outside else "no_area", where, line))
            elif entry in self._taken:
                self.notes.append(f"{_line(line)}the same box again, kept once")
            else:
                self._taken.add(entry)
                self.boxes.append(entry)
                if (x1, y1, x2, y2) != (max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)):
                    self.notes.append(f"{_line(line)}clipped to the image")

    def note(self, text: str, line: int | None = None) -> None:
        """Adds a note about a correction."""
        self.notes.append(_line(line) + text)


def _line(line: int | None) -> str:
    return "" if line is None else f"line {line}: "
