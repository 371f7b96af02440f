"""The site: pages on services, models, drift, approvals and labelling, and on the lineage of every answer.

The pages are rendered on the server, without scripts and without anything from outside. Where an API key is set, the
pages ask for it too, since they show photographs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse

from carsdepo_assets.lake.annotations import labelled_photographs
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import key_problem
from carsdepo_assets.lake.queues import queue_state
from carsdepo_assets.lake.queues import read as read_queue
from carsdepo_assets.policy import Policy, PolicyError
from carsdepo_assets.reporting.page import GATE_SLOT, render
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_variables import plain
from carsdepo_assets.site import answers, reading, tracing
from carsdepo_assets.site.augmentation_page import AugmentationPage
from carsdepo_assets.site.gallery import Gallery
from carsdepo_assets.site.graph import lineage_graph
from carsdepo_assets.site.messages import PageRoute, message_page
from carsdepo_assets.site.pictures import picture
from carsdepo_assets.site.protection import key_guard, page_headers

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
# Reports and pages may style themselves and show pictures that they carry; nothing else runs or loads.
_HEADERS = page_headers("style-src 'unsafe-inline'; img-src data:")
_LISTS = {
    "explorations": (
        "exploration",
        "Explorations",
        "Looks at datasets, upload batches and windows of traffic: classes, quality, splits, outliers.",
    ),
    "evaluations": (
        "evaluation",
        "Evaluations",
        "Every evaluation of a model, on photographs that its training did not see.",
    ),
    "gates": ("gate", "Promotion gate", "Every comparison of a new model with the model in production."),
    "drift": (
        "drift",
        "Drift",
        "Every comparison of a period of answers with the photographs that the model was trained on.",
    ),
    "studies": (
        "study",
        "Studies",
        "Every study of recipes: trials on one dataset, their leaderboard, and the recipe that follows from them.",
    ),
    "kpis": ("kpi", "KPIs", "What the platform does for the business, compared with its goals."),
}
_SHOWN, _THUMBNAIL, _LARGE = 50, 320, 1280  # answers in the list; longest sides in px


def pages(settings: Settings, health: reading.Health | None = None) -> APIRouter:
    """The routes of the site.

    Args:
        settings: The installation.
        health: How the service of a stage is asked for its state; None: over HTTP, at its URL in the settings.
    """
    site = Site(settings, health or reading.ask_service(settings))
    router = APIRouter(
        dependencies=[Depends(key_guard(plain(settings.api_key)))], include_in_schema=False, route_class=PageRoute
    )

    def get(path: str, page: Callable[..., HTMLResponse]) -> None:
        @wraps(page)
        def shown(*args: Any, **kwargs: Any) -> HTMLResponse:
            try:
                return page(*args, **kwargs)
            except Exception:
                logger.exception("the page %s failed", path)
                return site.failed()

        router.add_api_route(path, shown, methods=["GET", "HEAD"], response_class=HTMLResponse)

    get("/", site.index)
    gallery = Gallery(site.lake, site.policy)
    get("/photographs", gallery.photographs)
    get("/photographs/{image_id}", gallery.photograph)
    get("/datasets", gallery.datasets)
    get("/datasets/{version}", gallery.dataset)
    get("/augmentation", AugmentationPage(site.lake, site.policy).shown)
    get("/predictions", site.predictions)
    get("/predictions/{prediction_id}", site.prediction)
    get("/models/{digest}", site.model)
    get("/queues", site.queues)
    get("/queues/{queue_id}", site.queue)
    get("/alerts", site.alerts)
    get("/reports/{path:path}", site.report)
    for name in _LISTS:
        get(f"/{name}", site.list_of(name))
    return router


class Site:
    """The pages of the site. Each reads the lake again, so it shows the present state."""

    def __init__(self, settings: Settings, health: reading.Health) -> None:
        self.settings, self.health, self._last_policy = settings, health, settings.policy()
        self.places = tracing.Places.of(settings)

    def index(self) -> HTMLResponse:
        """The first page: the state of the installation."""
        lake = self.lake()
        now = reading.site_overview(lake, tracing.open_tracking(self.settings), self.policy(), self.health)
        return self._page("index.html", "", now=now, places=self.places, lists=_LISTS)

    def predictions(self, digest: Annotated[str | None, Query(max_length=64)] = None) -> HTMLResponse:
        """The last answers, of all models or of one."""
        lake, limits = self.lake(), self.policy().inference
        rows = answers.newest(lake, _SHOWN, digest)
        shown = [(row, picture(lake, row["photograph_key"], _THUMBNAIL, limits)) for row in rows]
        return self._page("predictions.html", "predictions", shown=shown, digest=digest, most=_SHOWN)

    def prediction(self, prediction_id: str) -> HTMLResponse:
        """One answer with its photograph, its boxes and its lineage."""
        lake = self.lake()
        try:
            lineage = tracing.prediction_lineage(lake, self._tracking(), prediction_id, self.places)
        except tracing.TraceError as error:
            return self._missing(error)
        model = lineage["model"]
        return self._page(
            "prediction.html",
            "predictions",
            lineage=lineage,
            picture=picture(lake, lineage["photograph"]["key"], _LARGE, self.policy().inference),
            model=None if "missing" in model else model,
            graph=None if "missing" in model else lineage_graph(model, prediction=lineage),
        )

    def model(self, digest: str) -> HTMLResponse:
        """One model with its lineage."""
        lake = self.lake()
        try:
            if key_problem(digest) is not None or "/" in digest:
                raise tracing.TraceError(f"{digest!r} cannot be a model's digest.")
            lineage = tracing.model_lineage(lake, self._tracking(), digest, self.places)
        except tracing.TraceError as error:
            return self._missing(error)
        graph = lineage_graph(lineage, answers=answers.count_by_digest(lake).get(digest, 0))
        return self._page("model.html", "", model=lineage, graph=graph)

    def queues(self) -> HTMLResponse:
        """All labelling queues."""
        return self._page("queues.html", "queues", queues=queue_state(self.lake()))

    def queue(self, queue_id: str) -> HTMLResponse:
        """One labelling queue with its photographs."""
        lake, limits = self.lake(), self.policy().inference
        try:
            queue = read_queue(lake, queue_id)
        except LakeError as error:
            return self._missing(error)
        labelled = labelled_photographs(lake)
        shown = [
            (p, p.image_id in labelled, picture(lake, p.photograph_key, _THUMBNAIL, limits)) for p in queue.photographs
        ]
        return self._page("queue.html", "queues", queue=queue, shown=shown)

    def alerts(self) -> HTMLResponse:
        """The last alerts."""
        return self._page("alerts.html", "alerts", alerts=reading.alerts(self.lake(), 200))

    def list_of(self, name: str) -> Callable[[], HTMLResponse]:
        """The page that lists the reports of one kind."""
        kind, title, about = _LISTS[name]

        def listed() -> HTMLResponse:
            listing = reading.reports(self.lake(), kind)
            return self._page("reports.html", name, reports=listing, heading=title, about=about, kind=kind)

        return listed

    def report(self, path: str) -> HTMLResponse:
        """A stored report with the site's links above it. Only HTML below reports/ is shown."""
        key = f"reports/{path}"
        if key_problem(key) is None and key.endswith(".html"):
            try:
                lake = self.lake()
                html = lake.get(key)
                if path.startswith("evaluation/"):
                    html = html.replace(GATE_SLOT.encode(), self._gate_note(lake, path).encode())
                return HTMLResponse(self._with_navigation(html, path), headers=_HEADERS)
            except LakeError:
                pass
        return self._missing(LookupError(f"There is no report {path!r}. The lists above name those that there are."))

    def _with_navigation(self, report: bytes, path: str) -> bytes:
        """The stored report, which has no links of its own, with the site's links above it."""
        here = next((name for name, (kind, *_) in _LISTS.items() if path.startswith(f"{kind}/")), "")
        links = render(_FOLDER, "navigation.html", here=here).encode()
        before, body, after = report.partition(b"<body>")
        return before + body + b"\n" + links + after if body else links + report

    def _gate_note(self, lake: Lake, path: str) -> str:
        """The gate's newest verdict on the model of an evaluation, as HTML; the empty slot where there is none.

        The stored page does not have it, since the gate decides after the evaluation is written. The path is
        evaluation/<digest>-<dataset>-golden<n>.
        """
        digest = path.removeprefix("evaluation/").partition("-")[0]
        row = reading.newest_verdict(lake, digest)
        return GATE_SLOT if row is None else render(_FOLDER, "gate_note.html", gate=row)

    def _page(self, template: str, here: str, **values: Any) -> HTMLResponse:
        html = render(_FOLDER, template, here=here, parse=datetime.fromisoformat, **values)
        return HTMLResponse(html, headers=_HEADERS)

    def failed(self) -> HTMLResponse:
        """The page that is shown where another one could not be made."""
        text = "This page could not be made. The log of the production service says why; the other pages still work."
        return message_page(500, "Something failed", text)

    def _missing(self, error: Exception) -> HTMLResponse:
        return message_page(404, "Not found", str(error))

    def lake(self) -> Lake:
        """The lake, opened anew."""
        return Lake.open(self.settings.lake)

    def policy(self) -> Policy:
        """The policy of the files as they are now; where one is broken the last policy that could be read."""
        with suppress(PolicyError):
            self._last_policy = self.settings.policy()
        return self._last_policy

    def _tracking(self) -> Any:
        return tracing.open_tracking(self.settings)
