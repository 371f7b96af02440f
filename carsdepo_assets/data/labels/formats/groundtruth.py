"""Reads the output manifest of SageMaker Ground Truth: JSON lines, each of a photograph with its labels in pixels.

A line has `source-ref` and, for each labelling job, `<attribute>` and `<attribute>-metadata`. Its class map may have
only the classes of that line: ids are named by the lines of the attribute together. A confidence is the agreement of
the workers (0 with one), not a model's score.
"""

from __future__ import annotations

import json
import re
from typing import Any

from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.groundtruth_jobs import (
    LabellingJob,
    doubt_about,
    jobs_of,
    jobs_that_hold,
    names_of_all,
    stated_classes,
)
from carsdepo_assets.data.labels.formats.json_values import Twice, column, identifier, number, once, shown, text
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem
from carsdepo_assets.data.labels.formats.scores import has_score
from carsdepo_assets.lake.text_files import decoded


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a manifest. A line with an empty list of annotations was reviewed; one without labels was not.

    Ground Truth copies keys of the input that it does not know, such as split and group.

    Raises:
        NotReadable: It is no manifest.
    """
    try:
        lines = re.split(r"\r\n|\r|\n", decoded(data))
    except ValueError as error:
        raise NotReadable(f"Ground Truth: {error}", "not_text") from error
    result = LabelDocument()
    rows: list[tuple[int, str, list[LabellingJob], dict[str, Any]]] = []
    for number_, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=once)
        except Twice as error:
            result.problems.append(Problem("malformed", str(error), number_))
            continue
        except (ValueError, RecursionError) as error:
            result.problems.append(Problem("malformed", f"not JSON: {error}"[:300], number_))
            continue
        source = text(row.get("source-ref")) or text(row.get("source")) if isinstance(row, dict) else None
        if source is None or not source.strip("/. \\"):
            result.problems.append(Problem("no_photograph", f"it has no source-ref: {shown(row, 100)}", number_))
        else:
            rows.append((number_, source, jobs_of(row), row))
    if not rows and not result.problems:
        raise NotReadable("Ground Truth: no line has a source-ref")
    names = names_of_all([job for _, _, jobs, _ in rows for job in jobs])
    labelling = {job.attribute for _, _, jobs, _ in rows for job in jobs if not job.adjusts}
    for number_, source, jobs, row in rows:
        photograph = _photograph(number_, source, jobs, names, doubt_about(row, jobs, labelling, names))
        photograph.stated = stated_classes(row)
        photograph.split, photograph.group = column(row.get("split")), column(row.get("group"))
        result.photographs.append(photograph)
    for shape in (shape for photograph in result.photographs for shape in photograph.shapes):
        result.class_names.setdefault(shape.source_class, shape.source_class)
    return result


def _photograph(
    line: int, source: str, jobs: list[LabellingJob], names: dict[str, dict[str, str]], doubt: str
) -> LabelledPhotograph:
    photograph = LabelledPhotograph(source, line=line)
    if doubt:
        # Half of a photograph's damage teaches the detector to overlook the other half.
        photograph.reviewed = False
        photograph.doubt = doubt[:200]
        photograph.notes.append(f"line {line}: not labelled: {photograph.doubt}")
        return photograph
    labelled = [job for job in jobs if job.labels is not None]
    chosen = jobs_that_hold(labelled, names)
    if chosen is None:
        attributes = ", ".join(job.attribute for job in labelled)[:200]
        detail = f"{attributes}: which of them adjusts which cannot be told: leave only those that hold"
        photograph.problems.append(Problem("contradiction", detail, line))
        return photograph
    for job in chosen:
        _add(photograph, job, names.get(job.attribute, {}), line)
    if len(chosen) > 1:
        _compare(photograph, chosen, names, line)
    photograph.annotator = None
    photograph.labelled_at = max(job.date for job in chosen) or None
    return photograph


def _compare(
    photograph: LabelledPhotograph, jobs: list[LabellingJob], names: dict[str, dict[str, str]], line: int
) -> None:
    """Of several jobs each may have classes of its own; with classes in common they must say the same."""
    classes = [frozenset(names.get(job.attribute, {}).values()) for job in jobs]
    if all(one.isdisjoint(other) for i, one in enumerate(classes) for other in classes[i + 1 :]):
        return
    boxes = []
    for job in jobs:
        alone = LabelledPhotograph(photograph.file_name)
        _add(alone, job, names.get(job.attribute, {}), line)
        boxes.append(sorted((shape.source_class, shape.box) for shape in alone.shapes))
    if any(one != boxes[0] for one in boxes[1:]):
        attributes = ", ".join(job.attribute for job in jobs)[:200]
        photograph.problems.append(
            Problem("contradiction", f"{attributes} label it differently: leave only the one that holds", line)
        )
    else:
        photograph.shapes = photograph.shapes[: len(boxes[0])]


def _is_no(value: Any) -> bool:
    return value is False or (isinstance(value, str) and value.strip().casefold() in ("no", "false"))


def _add(photograph: LabelledPhotograph, job: LabellingJob, names: dict[str, str], line: int) -> None:
    def problem(reason: str, detail: str) -> None:
        photograph.problems.append(Problem(reason, f"{job.attribute}: {detail}", line))

    if _is_no(job.metadata.get("human-annotated")):
        problem("prediction", "human-annotated is no: a model labelled it")
        return
    labels = job.labels or {}
    sizes = labels.get("image_size")
    size = sizes[0] if isinstance(sizes, list) and sizes and isinstance(sizes[0], dict) else {}
    photograph.width = number(size.get("width")) or photograph.width
    photograph.height = number(size.get("height")) or photograph.height
    annotations = labels.get("annotations")
    if not isinstance(annotations, list):
        problem("malformed", "annotations must be a list")
        return
    for i, one in enumerate(annotations, 1):
        if not isinstance(one, dict):
            problem("malformed", f"annotation {i} is no box")
            continue
        if has_score({k: v for k, v in one.items() if k != "confidence"}):  # a confidence is the workers' agreement
            problem("prediction", f"annotation {i} has a score: it is a prediction, not a label")
            continue
        values = [v for v in (number(one.get(k)) for k in ("left", "top", "width", "height")) if v is not None]
        class_id = identifier(one.get("class_id"))
        name = None if class_id is None else job.class_names.get(class_id) or names.get(class_id)
        if len(values) < 4:
            problem("malformed", f"annotation {i}: left, top, width and height must be numbers of pixels")
        elif name is None:
            detail = f"annotation {i}: class_id {shown(one.get('class_id'), 40)} is in no class-map of {job.attribute}"
            problem("unknown_class", detail)
        else:
            x, y, w, h = values
            photograph.shapes.append(Shape(name, (x, y, x + w, y + h), f"{job.attribute}, annotation {i}", line))
