"""The gallery: photographs with their boxes, filtered and searched, each with its page; and the dataset's versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import HTMLResponse

from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.image_metadata import object_key
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import Policy
from carsdepo_assets.reporting.page import render
from carsdepo_assets.site import answers
from carsdepo_assets.site.alike import AlikePhotographs
from carsdepo_assets.site.dataset_versions import DatasetChange, changes, dataset_versions
from carsdepo_assets.site.gallery_index import GalleryColumns, GalleryIndex
from carsdepo_assets.site.gallery_query import (
    LABELS,
    OUTCOMES,
    GalleryFilter,
    GalleryPage,
    page_of,
    photographs_of,
)
from carsdepo_assets.site.messages import message_page
from carsdepo_assets.site.pictures import picture
from carsdepo_assets.site.protection import page_headers

_FOLDER = Path(__file__).parent
# As the other pages; a form may ask this site, by GET, for other photographs.
_HEADERS = page_headers("style-src 'unsafe-inline'; img-src data:", forms="'self'")
_TILE, _LARGE, _ALIKE, _OF_GROUP = 320, 1280, 12, 12  # px, px, photographs, photographs
_THREADS = 2  # that make the pictures of a page
_OUTCOME_NAMES = {
    "judged": "judged by production's model",
    "missed": "with a missed damage",
    "false_alarm": "with a false alarm",
    "right": "without a mistake",
}
_LABEL_NAMES = {
    "labelled": "labelled",
    "damaged": "labelled, with damage",
    "clean": "labelled, without damage",
    "unlabelled": "not labelled",
}

Text = Annotated[str, Query(max_length=200)]


class Gallery:
    """The pages about photographs and datasets.

    Args:
        lake: opens the lake.
        policy: gives the policy of now.
    """

    def __init__(self, lake: Callable[[], Lake], policy: Callable[[], Policy]) -> None:
        self._lake, self._policy = lake, policy
        self._index, self._alike = GalleryIndex(), AlikePhotographs()

    def photographs(
        self,
        q: Text = "",
        label: Text = "",
        outcome: Text = "",
        split: Text = "",
        source: Text = "",
        light: Text = "",
        batch: Text = "",
        group: Text = "",
        camera: Text = "",
        listing: Text = "",
        after: Text = "",
    ) -> HTMLResponse:
        """A page of photographs, newest first."""
        asked = GalleryFilter(q, label, outcome, split, source, light, batch, group, camera, listing, after)
        lake, policy = self._lake(), self._policy()
        columns = self._index.columns(lake, policy)
        if columns is None:
            return self._waiting()
        page: GalleryPage = page_of(columns, asked)
        return self._page(
            "gallery.html",
            asked=asked,
            page=page,
            shown=self._shown(lake, policy, page.rows),
            offered=columns.choices,
            columns=columns,
            class_names=policy.class_map.names,
            label_names={k: _LABEL_NAMES[k] for k in LABELS},
            outcome_names={k: _OUTCOME_NAMES[k] for k in OUTCOMES},
        )

    def photograph(self, image_id: str) -> HTMLResponse:
        """One photograph with its boxes, what is known of it, its car and what looks like it."""
        lake, policy = self._lake(), self._policy()
        columns = self._index.columns(lake, policy)
        if columns is None:
            return self._waiting()
        rows = photographs_of(columns, [image_id])
        if not rows:
            return self._unknown(image_id)
        row = rows[0]
        alike = self._alike.of(lake, image_id, _ALIKE)
        likeness = dict(alike or ())
        others = self._of_group(columns, row)
        return self._page(
            "photograph.html",
            row=row,
            picture=self._picture(lake, policy, row, _LARGE),
            columns=columns,
            class_names=policy.class_map.names,
            alike=None if alike is None else self._shown(lake, policy, photographs_of(columns, [i for i, _ in alike])),
            likeness=likeness,
            others=self._shown(lake, policy, others),
            most=_OF_GROUP,
            answers=answers.of_photograph(lake, image_id),
            place=f"{lake.url}/{row['key']}",
        )

    def datasets(self) -> HTMLResponse:
        """All versions of the dataset."""
        lake = self._lake()
        return self._page("datasets.html", versions=dataset_versions(lake), newest=latest(lake), here="datasets")

    def dataset(self, version: str, against: Annotated[str, Query(max_length=64)] = "") -> HTMLResponse:
        """One version of the dataset, and what differs from another one: by default from the one before."""
        lake, policy = self._lake(), self._policy()
        listed = dataset_versions(lake)
        names = [v.version for v in listed]
        if version not in names or (against and against not in names):
            text = f"There is no dataset {(against if version in names else version)!r}."
            return message_page(404, "Not found", text, here="datasets", link="/datasets")
        place = names.index(version)
        before = against or (names[place + 1] if place + 1 < len(names) else "")
        differing, trouble = list[DatasetChange](), None
        try:
            differing = changes(lake, before, version) if before and before != version else []
        except LakeError as error:
            trouble = str(error)
        examples = sorted({i for change in differing for i, _ in change.examples})
        columns = self._index.columns(lake, policy) if examples else None
        tiles = self._shown(lake, policy, photographs_of(columns, examples)) if columns is not None else []
        report = f"reports/exploration/dataset-{version}.html"
        return self._page(
            "dataset.html",
            here="datasets",
            dataset=listed[place],
            versions=listed,
            before=before,
            differing=differing,
            trouble=trouble,
            tiles={row["image_id"]: (row, small) for row, small in tiles},
            class_names=policy.class_map.names,
            report=report if lake.exists(report) else None,
            newest=latest(lake),
        )

    def _of_group(self, columns: GalleryColumns, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Other photographs of the same car, else of the same listing."""
        name = "group_id" if row["group_id"] else "listing"
        if not row[name]:
            return []
        asked = GalleryFilter(group=row[name]) if name == "group_id" else GalleryFilter(listing=row[name])
        rows = page_of(columns, asked, _OF_GROUP + 1).rows
        return [other for other in rows if other["image_id"] != row["image_id"]][:_OF_GROUP]

    def _shown(
        self, lake: Lake, policy: Policy, rows: Sequence[dict[str, Any]]
    ) -> list[tuple[dict[str, Any], str | None]]:
        with ThreadPoolExecutor(_THREADS) as pool:  # decoding lets other threads run
            return list(zip(rows, pool.map(lambda row: self._picture(lake, policy, row, _TILE), rows), strict=True))

    def _picture(self, lake: Lake, policy: Policy, row: Mapping[str, Any], px: int) -> str | None:
        """A photograph's processed copy, which is upright and small; its original where there is none yet."""
        copy = picture(lake, object_key(row["image_id"]), px, policy.inference)
        return copy or picture(lake, row["key"], px, policy.inference)

    def _unknown(self, image_id: str) -> HTMLResponse:
        """Where the photograph was answered by the service and is not in `images`, its newest answer shows it."""
        lake = self._lake()
        rows = answers.of_photograph(lake, image_id)
        text = f"There is no photograph {image_id!r} in the lake."
        if rows:
            text = "The service answered it, and it has not been ingested as a photograph: its newest answer shows it."
        link = f"/predictions/{rows[0]['prediction_id']}" if rows else "/photographs"
        return message_page(404, "Not in the gallery", text, here="photographs", link=link)

    def _waiting(self) -> HTMLResponse:
        text = "The columns of the photographs are being read for the first time. This page asks again by itself."
        return message_page(503, "A moment", text, here="photographs", headers={"Refresh": "3"})  # seconds

    def _page(self, template: str, here: str = "photographs", **values: Any) -> HTMLResponse:
        return HTMLResponse(render(_FOLDER, template, here=here, **values), headers=_HEADERS)
