"""Pages of one sentence: what was not found, or cannot be asked for. A browser gets them in place of JSON."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from carsdepo_assets.reporting.page import render
from carsdepo_assets.site.protection import page_headers

_FOLDER = Path(__file__).parent
_HEADERS = page_headers("style-src 'unsafe-inline'; img-src data:")


def message_page(
    status: int,
    heading: str,
    text: str,
    *,
    here: str = "",
    link: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A page that says one thing.

    Args:
        status: Of HTTP.
        heading: Its heading.
        text: What it says.
        here: The site's page that it belongs to; empty: none.
        link: Where the reader may go on; None: nowhere but to the site's pages.
        headers: Further headers.
    """
    html = render(_FOLDER, "message.html", here=here, heading=heading, text=text, link=link)
    return HTMLResponse(html, status, _HEADERS | dict(headers or {}))


def wants_page(request: Request) -> bool:
    """Whether who asks is a browser that shows a page; programs take JSON, or anything."""
    return "text/html" in request.headers.get("accept", "").lower()


class PageRoute(APIRoute):
    """The route of a page: values in its address that it does not take are said on a page, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the page, with its refusals as pages."""
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                problems = "; ".join(f"{_name(e['loc'])}: {e['msg']}" for e in error.errors())
                return message_page(422, "This cannot be asked for", f"The address has a value too odd: {problems}.")

        return handled


def _name(place: tuple[int | str, ...]) -> str:
    """The name of a value in the address; the first part says where in the request it was."""
    return ".".join(str(part) for part in place[1:]) or str(place[0])
