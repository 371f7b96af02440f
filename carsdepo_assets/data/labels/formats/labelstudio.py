"""Reads Label Studio's JSON and JSON-MIN: tasks with the annotations of their photographs, in percent of its sides.

A task without a submitted annotation is unfinished: skipped ones, drafts and predictions label nothing. A submitted
annotation without regions means that the photograph was reviewed and shows no damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from carsdepo_assets.data.folders.class_names import same_name
from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.geometry import around, around_ellipse, around_rotated
from carsdepo_assets.data.labels.formats.json_values import column, identifier, loads, number, numbers, shown, text
from carsdepo_assets.data.labels.formats.labelstudio_images import (
    IMAGE_FIELDS,
    file_name,
    images,
    is_photograph,
    labelled_fields,
    several,
)
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem, Xyxy
from carsdepo_assets.data.labels.formats.scores import has_score

_OF_MIN = {"annotation_id", "annotator", "created_at", "updated_at", "lead_time", "id"}  # a row's fields, no data's
_NO_REGION = {"relation", "choices", "textarea", "rating", "number", "datetime", "taxonomy", "pairwise"}


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a file of Label Studio.

    Raises:
        NotReadable: It is no export of Label Studio.
    """
    document = loads(data, "Label Studio")
    tasks = [document] if isinstance(document, dict) else document
    if not isinstance(tasks, list):
        raise NotReadable("Label Studio: a list of tasks is expected")
    result = LabelDocument()
    usual = {name for task in tasks for name in labelled_fields(task)}
    classes = _classes_of_min(tasks)
    for number_, task in enumerate(tasks, 1):
        photographs = list(_task(task, f"task {number_}", usual, classes, result.problems))
        result.photographs += photographs
        for shape in (shape for photograph in photographs for shape in photograph.shapes):
            result.class_names.setdefault(shape.source_class, shape.source_class)
    return result


def _task(
    task: Any, which: str, usual: set[str], classes: set[str], problems: list[Problem]
) -> Iterator[LabelledPhotograph]:
    """A photograph for each annotation of a task that counts; one that is not reviewed where there is none."""
    if not isinstance(task, dict):
        problems.append(Problem("malformed", f"{which}: {shown(task, 40)} is no task"))
        return
    if isinstance(task.get("task"), dict) and isinstance(task.get("result"), list):  # of its storage: an annotation
        task = {**task["task"], "annotations": [task]}
    which = f"task {identifier(task.get('id')) or which.removeprefix('task ')}"[:60]
    name = file_name(task)
    if name is None:
        problems.append(
            Problem("no_photograph", f"{which}: its data names no photograph: {shown(task.get('data'), 100)}")
        )
        return
    if not isinstance(task.get("data"), dict):
        if len(several(task, set())) > 1:
            yield from _refused(task, which)
        else:
            yield _of_min(task, name, which, classes)
        return
    annotations = task.get("annotations", task.get("completions"))
    if annotations is not None and not isinstance(annotations, list):
        yield LabelledPhotograph(name, problems=[Problem("malformed", f"{which}: annotations must be a list")])
        return
    submitted = [a for a in annotations or [] if not (isinstance(a, dict) and a.get("was_cancelled"))]
    if submitted and several(task, usual):
        yield from _refused(task, which)
        return
    fields = labelled_fields(task) or usual
    name = images(task).get(next(iter(fields)), name) if len(fields) == 1 else name
    for annotation in submitted:
        yield _with_columns(_annotation(annotation, name, which), task["data"])
    if not submitted:
        skipped = "skipped" if annotations else "not finished"
        predicted = "; its predictions are no labels" if task.get("predictions") else ""
        doubt = f"its task is {skipped}{predicted}"
        unfinished = LabelledPhotograph(name, reviewed=False, notes=[f"{which} is {skipped}{predicted}"], doubt=doubt)
        yield _with_columns(unfinished, task["data"])


def _with_columns(photograph: LabelledPhotograph, data: dict[str, Any]) -> LabelledPhotograph:
    """The photograph with the split and the group that its data name; Label Studio keeps columns of any name."""
    columns = {same_name(key): column(value) for key, value in data.items()}
    photograph.split, photograph.group = columns.get("split"), columns.get("group")
    return photograph


def _refused(task: dict[str, Any], which: str) -> Iterator[LabelledPhotograph]:
    """The photographs of a task that has several, none of which may get the labels of another."""
    for field, one in images(task).items():
        others = ", ".join(other for other in images(task) if other != field)[:80]
        detail = f"{which}: {field[:40]} is one of several photographs of the task ({others}): which is labelled?"
        yield LabelledPhotograph(one, problems=[Problem("malformed", detail)])


def _classes_of_min(tasks: list[Any]) -> set[str]:
    """The classes of the regions in a file's rows of JSON-MIN."""
    lists = [value for task in tasks if isinstance(task, dict) for value in task.values() if isinstance(value, list)]
    return {same_name(label) for one in lists for region in one for label in _labels(region)}


def _of_min(task: dict[str, Any], name: str, which: str, classes: set[str]) -> LabelledPhotograph:
    """A row of JSON-MIN is one annotation: regions lie in fields of the labelling's names.

    Args:
        task: the row.
        name: of its photograph.
        which: where it is in the file.
        classes: of all regions of the file, as `same_name` writes them.
    """
    fields = {k: v for k, v in task.items() if k not in _OF_MIN and isinstance(v, list)}
    entries = [one for value in fields.values() for one in value if isinstance(one, dict)]
    regions = [one for one in entries if not _is_statement(one)]
    photograph = LabelledPhotograph(
        name,
        unit="shares",
        reviewed=bool(entries) or task.get("annotation_id") is not None,
        annotator=_person(task.get("annotator")),
        labelled_at=text(task.get("updated_at")) or text(task.get("created_at")),
    )
    _with_columns(photograph, task)
    for i, region in enumerate(regions, 1):
        _region(photograph, region, region, f"{which}, region {i}")
    photograph.stated = [choice for entry in entries for choice in _stated(entry)]
    answers = _answers(task)
    for key, value in task.items():
        if isinstance(value, dict):
            photograph.stated += _stated(value)
        elif key in {*_OF_MIN, *IMAGE_FIELDS, "file_upload"} or not text(value) or is_photograph(value):
            continue
        elif key in answers if answers is not None else same_name(value) in classes:
            photograph.stated.append(value)
    return photograph


def _answers(row: dict[str, Any]) -> set[str] | None:
    """The keys of a row that are answers; None where its order does not say.

    Label Studio writes the columns of the data, the task's id, the answers, then who gave them. Where the data have an
    `id` of their own, that is where the task's is written, and columns of the data follow.
    """
    keys = list(row)
    if "id" not in keys:
        return None
    start = keys.index("id") + 1
    ends = [i for i, key in enumerate(keys) if i >= start and key in _OF_MIN]
    if not ends or any(is_photograph(row[key]) or key in IMAGE_FIELDS for key in keys[start : ends[0]]):
        return None
    return set(keys[start : ends[0]])


def _is_statement(value: dict[str, Any]) -> bool:
    """Whether an entry is an answer about the whole photograph, without a place on it."""
    return bool({"choices", "taxonomy"} & value.keys()) and not {"x", "points", "rle"} & value.keys()


def _stated(value: Any) -> list[str]:
    """What an answer says of the whole photograph: its choices, of a taxonomy all levels."""
    if not isinstance(value, dict) or not _is_statement(value):
        return []
    choices, waiting = [], [value.get("choices"), value.get("taxonomy")]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, list):
            waiting += one
        elif text(one):
            choices.append(str(one))
    return choices


def _annotation(annotation: Any, name: str, which: str) -> LabelledPhotograph:
    photograph = LabelledPhotograph(name, unit="shares")
    regions = annotation.get("result") if isinstance(annotation, dict) else None
    if not isinstance(regions, list) or not isinstance(annotation, dict):
        photograph.problems.append(Problem("malformed", f"{which}: an annotation without a list of results"))
        return photograph
    if has_score(annotation):
        photograph.problems.append(Problem("prediction", f"{which}: an annotation with a score is a prediction"))
        return photograph
    photograph.annotator = _person(annotation.get("completed_by"))
    photograph.labelled_at = text(annotation.get("updated_at")) or text(annotation.get("created_at"))
    labelled = {
        region.get("id")
        for region in regions
        if isinstance(region, dict) and isinstance(region.get("id"), str) and _labels(region.get("value"))
    }
    photograph.stated = [choice for one in regions if isinstance(one, dict) for choice in _stated(one.get("value"))]
    for i, region in enumerate(regions, 1):
        told = f"{which}, region {i}"
        if not isinstance(region, dict):
            photograph.problems.append(Problem("malformed", f"{told}: {shown(region, 40)} is no region"))
            continue
        value, kind = region.get("value"), region.get("type")
        if (isinstance(kind, str) and kind in _NO_REGION) or (
            isinstance(region.get("id"), str) and not _labels(value) and region["id"] in labelled
        ):
            continue  # about the whole photograph; or a shape whose label is in the entry of the same id
        if region.get("item_index") not in (None, 0):
            photograph.problems.append(Problem("malformed", f"{told}: of another photograph of the same task"))
        elif not isinstance(value, dict):
            photograph.problems.append(Problem("malformed", f"{told}: it has no value"))
        else:
            _region(photograph, value, region, told)
    return photograph


def _region(photograph: LabelledPhotograph, value: dict[str, Any], region: dict[str, Any], which: str) -> None:
    """Adds a region.

    Args:
        photograph: whose.
        value: shape and labels.
        region: has the photograph's size; in JSON-MIN it is the value itself.
        which: where it is in the file.
    """
    sizes = [number(region.get(side)) for side in ("original_width", "original_height")]
    width, height = (size if size is not None and size > 0 else None for size in sizes)
    photograph.width, photograph.height = width or photograph.width, height or photograph.height
    labels = _labels(value)
    box, told = _box(value, width, height)
    if has_score(region) or has_score(value):
        photograph.problems.append(Problem("prediction", f"{which} has a score: it is a prediction, not a label"))
    elif box is None:
        reason = "malformed" if {"x", "points"} & value.keys() and "brush" not in told else "unsupported_shape"
        photograph.problems.append(Problem(reason, f"{which}: {told}"))
    elif not labels:
        photograph.problems.append(Problem("unknown_class", f"{which}: it has no label"))
    else:
        photograph.shapes += [Shape(label, box, which, note=told) for label in labels]


def _labels(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    lists = [v for k, v in value.items() if k.casefold().endswith("labels") and isinstance(v, list)]
    return [label for one in lists for label in one if text(label) is not None]


def _box(value: dict[str, Any], width: float | None, height: float | None) -> tuple[Xyxy | None, str]:
    """The box in shares, with a note; None with what is wrong."""
    if "rle" in value or "brushlabels" in value or value.get("format") == "rle":
        return None, "a brush's region has no box: draw a rectangle or a polygon"
    if "points" in value:
        pairs = [numbers(pair) for pair in value["points"]] if isinstance(value["points"], list) else [None]
        points = [(p[0] / 100, p[1] / 100) for p in pairs if p is not None and len(p) == 2]
        if len(points) < 3 or len(points) < len(pairs):
            return None, "points must be three pairs or more"
        return around(points), "polygon, its bounding box taken"
    is_ellipse = "radiusX" in value
    names = ("x", "y", "radiusX", "radiusY") if is_ellipse else ("x", "y", "width", "height")
    if "keypointlabels" in value or not all(one in value for one in names):
        return None, "neither a rectangle nor a polygon nor an ellipse"
    percents = [p for p in (number(value[one]) for one in names) if p is not None]
    rotation = number(value.get("rotation") or 0)
    if len(percents) < 4 or rotation is None:
        return None, f"{', '.join(names)} must be numbers, percents of the photograph"
    if rotation and (width is None or height is None):
        return None, "it is rotated, and original_width and original_height are missing"
    # An angle is one of pixels: where the sides differ, shares of them turn otherwise.
    across, down = (width or 1.0, height or 1.0) if rotation else (1.0, 1.0)
    a, b, c, d = (
        percents[0] / 100 * across,
        percents[1] / 100 * down,
        percents[2] / 100 * across,
        percents[3] / 100 * down,
    )
    if is_ellipse:
        x1, y1, x2, y2 = around_ellipse(a, b, c, d, rotation)
    else:
        x1, y1, x2, y2 = around_rotated(a, b, c, d, rotation, (a, b))  # about the corner, as Label Studio turns it
    kind = "ellipse" if is_ellipse else "rotated box"
    note = f"{kind}, its bounding box taken" if is_ellipse or rotation else ""
    return (x1 / across, y1 / down, x2 / across, y2 / down), note


def _person(value: Any) -> str | None:
    if isinstance(value, dict):
        return text(value.get("email")) or identifier(value.get("id"))
    return identifier(value)
