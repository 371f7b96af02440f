"""Fits the labels of a file to the photograph that they are of: its size, our classes, its edges; for every format."""

from __future__ import annotations

from collections.abc import Mapping

from carsdepo_assets.data.folders.class_names import same_name
from carsdepo_assets.data.labels.formats.documents import ClassTargets, LabelledPhotograph, Shape, Target
from carsdepo_assets.data.labels.formats.geometry import upright
from carsdepo_assets.data.labels.formats.parsed import CLIP_SHARE, MIN_BOX_PX, Parsed, Problem, Xyxy


def fit(
    labelled: LabelledPhotograph,
    width: int,
    height: int,
    targets: ClassTargets,
    orientation: int | None = None,
    min_box_px: float = MIN_BOX_PX,
    clip_share: float = CLIP_SHARE,
    class_names: Mapping[str, str] | None = None,
) -> Parsed:
    """The labels of a photograph in pixels of its upright frame, with our classes.

    A file that gives another size means another frame (resized, or of another photograph): its boxes are refused. The
    size before EXIF's rotation is no other frame: where one of the boxes fits into the upright frame only, they are of
    that; else they are of the frame as it is stored, and rotated with it.

    Args:
        labelled: the labels as the file has them.
        width: of the upright photograph, in pixels.
        height: of the upright photograph, in pixels.
        targets: what each class of the file becomes; a class that is not in it is a problem.
        orientation: the photograph's, as EXIF counts; None: unknown.
        min_box_px: boxes with a shorter side are problems.
        clip_share: share of the side by which a box may lie outside; beyond it is a problem.
        class_names: the document's, for messages; None: there are none.
    """
    parsed = Parsed(
        problems=list(labelled.problems),
        notes=list(labelled.notes),
        reviewed=labelled.reviewed or bool(labelled.shapes),
        min_box_px=min_box_px,
        clip_share=clip_share,
    )
    turned = False
    if _other_size(labelled, width, height):
        turned = orientation in (5, 6, 7, 8) and not _other_size(labelled, height, width)
        if not turned:
            size = f"{_size(labelled.width)} x {_size(labelled.height)}"
            parsed.problems.append(
                Problem(
                    "size_differs",
                    f"the file says {size}, the upright photograph is {width} x {height}",
                    labelled.line,
                )
            )
            return parsed
        if labelled.unit == "pixels" and any(_upright_only(s.box, width, height, clip_share) for s in labelled.shapes):
            turned = False
            parsed.note("its size is that before EXIF's rotation, its boxes are upright", labelled.line)
        else:
            parsed.note("boxes rotated to the upright photograph, as EXIF says", labelled.line)
    by_name = {same_name(source): target for source, target in targets.items()}
    for shape in labelled.shapes:
        has_target = shape.source_class in targets or same_name(shape.source_class) in by_name
        if not has_target:
            parsed.problems.append(_unknown(shape, targets, class_names or {}))
            continue
        target: Target = targets.get(shape.source_class, by_name.get(same_name(shape.source_class)))
        if target is None:
            parsed.note(f"{_where(shape)}class {_named(shape, class_names or {})} is left out", shape.line)
            continue
        if shape.note:
            parsed.note(_where(shape) + shape.note, shape.line)
        box = shape.box
        if labelled.unit == "shares":
            across, down = (height, width) if turned else (width, height)
            box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        if turned and orientation is not None:
            box = upright(box, width, height, orientation)
        parsed.add(target, box, width, height, shape.where, shape.line)
    parsed.problems.sort(key=lambda problem: problem.line or 0)
    return parsed


def _other_size(labelled: LabelledPhotograph, width: int, height: int) -> bool:
    """A side that the file does not give is no other one."""
    return labelled.width not in (None, width) or labelled.height not in (None, height)


def _upright_only(box: Xyxy, width: int, height: int, clip_share: float) -> bool:
    def inside(across: int, down: int) -> bool:
        dx, dy = clip_share * across, clip_share * down
        return box[0] >= -dx and box[1] >= -dy and box[2] <= across + dx and box[3] <= down + dy

    return inside(width, height) and not inside(height, width)


def _unknown(shape: Shape, targets: ClassTargets, class_names: Mapping[str, str]) -> Problem:
    all_classes = ", ".join(sorted(targets)) or "none"
    return Problem(
        "unknown_class",
        f"{_where(shape)}class {_named(shape, class_names)}; known are {all_classes[:100]}. "
        "An import's --map OLD=NEW says what it is, --map OLD=- leaves it out.",
        shape.line,
    )


def _named(shape: Shape, class_names: Mapping[str, str]) -> str:
    name = class_names.get(shape.source_class, shape.source_class)
    return shape.source_class[:40] + (f" ({name[:40]})" if name != shape.source_class else "")


def _where(shape: Shape) -> str:
    return f"{shape.where}: " if shape.where else ""


def _size(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"
