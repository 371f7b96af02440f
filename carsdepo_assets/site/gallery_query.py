"""What the gallery is asked for, and the page of photographs that answers it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from carsdepo_assets.site.gallery_index import GalleryColumns

PAGE = 36  # photographs
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMED = 12  # values of a filter that a sentence lists
_CLASS = re.compile(r"[0-9]{1,4}")
_TOKEN = re.compile(r"(\d{1,18})-([0-9a-f]{1,64})")
# filter: the condition on the table `facts`; the question mark takes the chosen value
_CONDITIONS = {
    "split": "split = ?",
    "source": "source = ?",
    "light": "light = ?",
    "batch": "batch_id = ?",
    "group": "group_id = ?",
    "camera": "camera = ?",
    "listing": "listing = ?",
}
LABELS = {
    "labelled": "boxes is not null",
    "damaged": "len(boxes) > 0",
    "clean": "boxes is not null and len(boxes) = 0",
    "unlabelled": "boxes is null",
}
OUTCOMES = {
    "judged": "predicted is not null",
    "missed": "misses > 0",
    "false_alarm": "false_alarms > 0",
    "right": "misses = 0 and false_alarms = 0",
}
_COLUMNS = (
    "image_id, key, width, height, moment, listing, camera, source, light, split, group_id, batch_id, boxes, "
    "predicted, misses, false_alarms"
)


@dataclass(frozen=True)
class GalleryFilter:
    """What is asked for; empty texts ask for nothing."""

    q: str = ""
    """Begin of an id, a listing, or a part of a file's name."""
    label: str = ""
    """A key of LABELS, or the number of a class."""
    outcome: str = ""
    """A key of OUTCOMES."""
    split: str = ""
    source: str = ""
    light: str = ""
    batch: str = ""
    group: str = ""
    camera: str = ""
    listing: str = ""
    after: str = ""
    """The last photograph of the page before."""

    def link(self, **changed: str) -> str:
        """The address of the gallery with some values changed; another filter begins at its first page."""
        asked = replace(self, **({"after": ""} | changed))
        values = {k: v for k, v in vars(asked).items() if v}
        return f"/photographs?{urlencode(values)}" if values else "/photographs"

    @property
    def active(self) -> dict[str, str]:
        """The filters that are set, by name."""
        return {k: v for k, v in vars(self).items() if v and k != "after"}

    def where(self) -> tuple[str, list[object]]:
        """The condition of SQL and its values, without the place of the page."""
        conditions, values = ["true"], list[object]()
        for name, condition in _CONDITIONS.items():
            if value := getattr(self, name):
                conditions.append(condition)
                values.append(value)
        if self.label in LABELS:
            conditions.append(LABELS[self.label])
        elif self.label:
            conditions.append("list_contains(classes, ?)")
            values.append(int(self.label) if _CLASS.fullmatch(self.label) else -1)
        if self.outcome:
            conditions.append(OUTCOMES.get(self.outcome, "false"))
        if text := self.q.strip():
            conditions.append("(starts_with(image_id, ?) or lower(listing) = ? or contains(file_name, ?))")
            values += [text.lower()] * 3
        return " and ".join(conditions), values


@dataclass(frozen=True)
class GalleryPage:
    """A page of photographs."""

    rows: list[dict[str, Any]]
    count: int
    """Photographs that meet the filter, on all pages."""
    next: str | None
    """The token of the next page; None: this is the last one."""
    unknown: tuple[str, ...] = ()
    """Why nothing meets the filter: values that no photograph has, in sentences."""


def page_of(columns: GalleryColumns, asked: GalleryFilter, size: int = PAGE) -> GalleryPage:
    """The photographs behind a place, newest first, then by id: the same however many come before them."""
    condition, values = asked.where()
    (total,) = columns.ask(f"select count(*) as n from facts where {condition}", values)
    placed, place = condition, list(values)
    after = _place(asked.after)
    if after is not None:
        moment, image_id = after
        placed += " and (moment < ? or (moment = ? and image_id > ?))"
        place += [moment, moment, image_id]
    rows = columns.ask(
        f"select {_COLUMNS} from facts where {placed} order by moment desc, image_id limit {size + 1}", place
    )
    more = len(rows) > size
    rows = rows[:size]
    unknown = () if total["n"] or not columns.photographs else tuple(_unknown(columns, asked))
    return GalleryPage(rows, int(total["n"]), _token(rows[-1]) if more else None, unknown)


def _unknown(columns: GalleryColumns, asked: GalleryFilter) -> Iterator[str]:
    """The values of the filters that no photograph has, each in a sentence with some of those that there are."""
    for name, condition in _CONDITIONS.items():
        value = getattr(asked, name)
        if not value or columns.ask(f"select 1 as n from facts where {condition} limit 1", [value]):
            continue
        there = [text for text, _ in columns.choices.get(name, ())][:_NAMED]
        yield f"No photograph has the {name} {value!r}{'; there are ' + ', '.join(there) if there else ''}."
    if asked.label and asked.label not in LABELS and not _CLASS.fullmatch(asked.label):
        yield f"Labels are not asked for by {asked.label!r}, but by {', '.join(LABELS)} or the number of a class."
    if asked.outcome and asked.outcome not in OUTCOMES:
        yield f"There is no outcome {asked.outcome!r}; there are {', '.join(OUTCOMES)}."


def photographs_of(columns: GalleryColumns, image_ids: list[str]) -> list[dict[str, Any]]:
    """Some photographs by their ids, in their order; those that are not there are left out."""
    rows = columns.ask(f"select {_COLUMNS} from facts where list_contains(?, image_id)", [image_ids])
    by_id = {row["image_id"]: row for row in rows}
    return [by_id[i] for i in image_ids if i in by_id]


def _place(token: str) -> tuple[datetime, str] | None:
    """The last photograph of the page before; None where the token is none, or of a time that there cannot be."""
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(parts[1])), parts[2]
    except OverflowError:
        return None


def _token(row: Mapping[str, Any]) -> str:
    return f"{(row['moment'] - _EPOCH) // timedelta(microseconds=1)}-{row['image_id']}"
