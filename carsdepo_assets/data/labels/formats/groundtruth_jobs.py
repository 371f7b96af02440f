"""Tells which labelling jobs of a Ground Truth manifest's line hold, and whether they are finished.

A line has the jobs that its photograph went through: several that label classes of their own, adjustments of them, and
verifications.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from carsdepo_assets.data.labels.formats.json_values import identifier, text

_METADATA = "-metadata"
_ACCEPTED = {
    "accept", "accepted", "approve", "approved", "correct", "good", "ok", "okay", "pass", "passed", "right", "valid",
    "verified", "yes",
}  # fmt: skip


@dataclass
class LabellingJob:
    """What one labelling job says on a line."""

    attribute: str
    labels: dict[str, Any] | None
    metadata: dict[str, Any]
    class_names: dict[str, str] = field(default_factory=dict)
    """By class id, of the line alone."""

    @property
    def adjusts(self) -> bool:
        return "adjustment-status" in self.metadata

    @property
    def date(self) -> str:
        return text(self.metadata.get("creation-date")) or ""


def jobs_of(row: dict[str, Any]) -> list[LabellingJob]:
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
        if "classification" in kind:
            continue
        class_map = metadata.get("class-map")
        names = {
            identifier(i): one for i, one in (class_map.items() if isinstance(class_map, dict) else ()) if text(one)
        }
        jobs.append(LabellingJob(attribute, boxes, metadata, {i: one for i, one in names.items() if i is not None}))
    with_metadata = {job.attribute for job in jobs}
    for key, value in row.items():
        if isinstance(value, dict) and isinstance(value.get("annotations"), list) and key not in with_metadata:
            jobs.append(LabellingJob(key, value, {}))
    return jobs


def names_of_all(jobs: list[LabellingJob]) -> dict[str, dict[str, str]]:
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


def metadata_of_kind(row: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The metadata of a line's jobs whose type has a word in it."""
    jobs = [one for key, one in row.items() if key.endswith(_METADATA) and isinstance(one, dict)]
    return [one for one in jobs if kind in (text(one.get("type")) or "")]


def stated_classes(row: dict[str, Any]) -> list[str]:
    """The classes that a line's jobs state of the photograph as a whole."""
    classes: list[str] = []
    for metadata in metadata_of_kind(row, "classification"):
        one, several = text(metadata.get("class-name")), metadata.get("class-map")
        classes += [one] if one else [v for v in (several.values() if isinstance(several, dict) else ()) if text(v)]
    return classes


def doubt_about(
    row: dict[str, Any], jobs: list[LabellingJob], labelling: set[str], names: dict[str, dict[str, str]]
) -> str:
    """Why the labels of a line are not finished; "" where they are.

    Args:
        row: the line.
        jobs: its labelling jobs.
        labelling: the attributes of the file's jobs that are no adjustments.
        names: as `names_of_all` returns them.
    """
    for job in jobs:
        if "failure-reason" in job.metadata:
            return f"{job.attribute} failed: {text(job.metadata['failure-reason']) or 'without a reason'}"
    labelled = [job for job in jobs if job.labels is not None]
    if not labelled:
        return "no labelling job has an answer for it"
    seen = {name for job in labelled for name in names.get(job.attribute, {}).values()}
    for attribute in sorted(labelling - {job.attribute for job in labelled}):
        wanted = set(names.get(attribute, {}).values())
        if not wanted or not wanted <= seen:
            return f"{attribute}, which labels other lines of the file, has no answer for it"
    verified = sorted(metadata_of_kind(row, "verification"), key=lambda one: text(one.get("creation-date")) or "")
    last = text(verified[-1].get("creation-date")) or "" if verified else ""
    if verified and all(job.adjusts and job.date > last for job in jobs_that_hold(labelled, names) or labelled):
        return ""  # what was verified has been adjusted since
    for one in verified:
        verdict = text(one.get("class-name")) or text(one.get("failure-reason")) or "nothing"
        if (text(one.get("creation-date")) or "") == last and verdict.strip().casefold() not in _ACCEPTED:
            return f"a verification says {verdict} of its labels"
    return ""


def jobs_that_hold(labelled: list[LabellingJob], names: dict[str, dict[str, str]]) -> list[LabellingJob] | None:
    """The jobs that hold: an adjustment takes the place of the job that it adjusts, the others are united.

    Returns:
        None where it cannot be told which job is adjusted.
    """
    holding = [job for job in labelled if not job.adjusts]
    for adjustment in sorted((job for job in labelled if job.adjusts), key=lambda job: job.date):
        earlier = [job for job in holding if not (job.date and adjustment.date and job.date > adjustment.date)]
        if len(holding) > 1:
            classes = set(names.get(adjustment.attribute, {}).values())
            earlier = [job for job in earlier if classes & set(names.get(job.attribute, {}).values())]
        if holding and len(earlier) != 1:
            return None
        if holding and earlier[0].adjusts and not earlier[0].date < adjustment.date:
            return None  # of two adjustments of one job the later one holds
        holding = [job for job in holding if job not in earlier] + [adjustment]
    return holding
