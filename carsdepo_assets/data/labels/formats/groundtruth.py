"""Reads the output manifest of SageMaker Ground Truth: JSON lines, each of a photograph with its labels in pixels.

A line has `source-ref` and, for each labelling job, `<attribute>` and `<attribute>-metadata`. Its class map may have
only the classes of that line: ids are named by the lines of the attribute together. A confidence is the agreement of
the workers (0 with one), not a model's score.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.json_values import identifier, number, shown, text
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem
from carsdepo_assets.lake.text_files import decoded

_METADATA = "-metadata"


@dataclass
class _Job:
    """What one labelling job says on a line."""

    attribute: str
    labels: dict[str, Any] | None
    metadata: dict[str, Any]
    class_names: dict[str, str] = field(default_factory=dict)
    """By class id, of the line alone."""


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a manifest. A line with an empty list of annotations was reviewed; one without labels was not.

    Raises:
        NotReadable: It is no manifest.
    """
    try:
        lines = re.split(r"\r\n|\r|\n", decoded(data))
    except ValueError as error:
        raise NotReadable(f"Ground Truth: {error}", "not_text") from error
    result = LabelDocument()
    rows: list[tuple[int, str, list[_Job]]] = []
    for number_, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            result.problems.append(Problem("malformed", f"not JSON: {error}"[:300], number_))
            continue
        source = text(row.get("source-ref")) or text(row.get("source")) if isinstance(row, dict) else None
        if source is None or not source.strip("/. \\"):
            result.problems.append(Problem("no_photograph", f"it has no source-ref: {shown(row, 100)}", number_))
        else:
            rows.append((number_, source, _jobs(row)))
    if not rows and not result.problems:
        raise NotReadable("Ground Truth: no line has a source-ref")
    names = _names_of_all([job for _, _, jobs in rows for job in jobs])
    for number_, source, jobs in rows:
        result.photographs.append(_photograph(number_, source, jobs, names))
    for shape in (shape for photograph in result.photographs for shape in photograph.shapes):
        result.class_names.setdefault(shape.source_class, shape.source_class)
    return result


def _jobs(row: dict[str, Any]) -> list[_Job]:
    """The labelling jobs of a line that label boxes, or failed."""
    jobs = []
    for key, metadata in row.items():
        if not key.endswith(_METADATA) or not isinstance(metadata, dict):
            continue
        attribute = key.removesuffix(_METADATA)
        labels = row.get(attribute)
        kind = text(metadata.get("type")) or ""
        boxes = labels if isinstance(labels, dict) and "annotations" in labels else None
        if boxes is None and "object-detection" not in kind and "failure-reason" not in metadata:
            continue  # classifies or verifies the whole photograph, or is a mask of its own file
        class_map = metadata.get("class-map")
        names = {
            identifier(i): one for i, one in (class_map.items() if isinstance(class_map, dict) else ()) if text(one)
        }
        jobs.append(_Job(attribute, boxes, metadata, {i: one for i, one in names.items() if i is not None}))
    with_metadata = {job.attribute for job in jobs}
    for key, value in row.items():
        if isinstance(value, dict) and isinstance(value.get("annotations"), list) and key not in with_metadata:
            jobs.append(_Job(key, value, {}))
    return jobs


def _names_of_all(jobs: list[_Job]) -> dict[str, dict[str, str]]:
    """By attribute: the name by class id, where all lines that have it agree."""
    names: dict[str, dict[str, str]] = {}
    unsure: set[tuple[str, str]] = set()
    for job in jobs:
        for source, one in job.class_names.items():
            if names.setdefault(job.attribute, {}).setdefault(source, one) != one:
                unsure.add((job.attribute, source))
    for attribute, source in unsure:
        del names[attribute][source]
    return names


def _photograph(line: int, source: str, jobs: list[_Job], names: dict[str, dict[str, str]]) -> LabelledPhotograph:
    photograph = LabelledPhotograph(source, line=line)
    labelled = [job for job in jobs if job.labels is not None and "failure-reason" not in job.metadata]
    if not labelled:
        photograph.reviewed = False
        failed = [text(job.metadata.get("failure-reason")) for job in jobs]
        why = next((reason for reason in failed if reason), "no labelling job has an answer for it")
        photograph.notes.append(f"line {line}: not labelled: {why[:200]}")
        return photograph
    adjusted = [job for job in labelled if "adjustment-status" in job.metadata]
    by_date = sorted(adjusted, key=lambda job: text(job.metadata.get("creation-date")) or "")
    chosen = by_date[-1:] or labelled
    for job in chosen:
        _add(photograph, job, names.get(job.attribute, {}), line)
    if len(chosen) > 1:
        _compare(photograph, chosen, names, line)
    photograph.annotator = None
    photograph.labelled_at = text(chosen[-1].metadata.get("creation-date"))
    return photograph


def _compare(photograph: LabelledPhotograph, jobs: list[_Job], names: dict[str, dict[str, str]], line: int) -> None:
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


def _add(photograph: LabelledPhotograph, job: _Job, names: dict[str, str], line: int) -> None:
    def problem(reason: str, detail: str) -> None:
        photograph.problems.append(Problem(reason, f"{job.attribute}: {detail}", line))

    if job.metadata.get("human-annotated") in ("no", False):
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
