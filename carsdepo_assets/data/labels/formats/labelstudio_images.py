"""Tells which photograph a task of Label Studio is of; its data may name several, and a region says which it is on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from carsdepo_assets.data.folders.photograph_names import without_prefix
from carsdepo_assets.data.labels.formats.json_values import text
from carsdepo_assets.imaging.formats import PHOTOGRAPH_SUFFIXES

_SUFFIXES = tuple(PHOTOGRAPH_SUFFIXES)
IMAGE_FIELDS = ("image", "img", "image_url", "imageUrl", "url", "photo", "picture", "file")


def file_name(task: dict[str, Any]) -> str | None:
    """The photograph's name or address; of several, the one whose field is the most usual."""
    return next(iter([*images(task).values(), *filter(_is_name, [task.get("file_upload")])]), None)


def images(task: dict[str, Any]) -> dict[str, str]:
    """The photographs that a task's data name, by field, the most usual field first."""
    data = task["data"] if isinstance(task.get("data"), dict) else task
    named = [field for field in IMAGE_FIELDS if field in data]
    looking = [k for k, v in data.items() if k != "file_upload" and is_photograph(v)]
    return {field: data[field] for field in (*named, *looking) if _is_name(data[field])}


def is_photograph(value: Any) -> bool:
    """Whether a value looks like the name or the address of a photograph."""
    return isinstance(value, str) and value.partition("?")[0].lower().endswith(_SUFFIXES)


def labelled_fields(task: Any) -> set[str]:
    """The images, by their names in the labelling's configuration, on which the task's regions are."""
    annotations = [task]
    if isinstance(task, dict):
        annotations += [a for k in ("annotations", "completions") if isinstance(task.get(k), list) for a in task[k]]
    return {name for one in annotations for name in _to_names(one)}


def several(task: dict[str, Any], usual: set[str]) -> dict[str, str]:
    """The photographs of a task of which it cannot be told which one its regions are on; empty where it can be.

    Args:
        task: its data has the photographs.
        usual: the images that the file's regions are on, for a task that has none.
    """
    named = images(task)
    names = (PurePosixPath(one.partition("?")[0]).name.casefold() for one in named.values())
    photographs = {without_prefix(name, of_label_studio=True) for name in names}
    fields = labelled_fields(task) or usual
    return {} if len(photographs) < 2 or (len(fields) == 1 and fields <= named.keys()) else named


def _to_names(annotation: Any) -> Iterator[str]:
    regions = annotation.get("result") if isinstance(annotation, dict) else None
    for region in regions if isinstance(regions, list) else ():
        if isinstance(region, dict) and (name := text(region.get("to_name"))):
            yield name


def _is_name(value: Any) -> bool:
    one = text(value)
    return one is not None and bool(one.strip("/. \\")) and not one.startswith("data:")
