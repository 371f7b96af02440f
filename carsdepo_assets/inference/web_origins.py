"""Refuses requests that a foreign web page makes in a visitor's browser, where no API key protects the service.

A page of another site can post a form to 127.0.0.1, and a name that its owner points at 127.0.0.1 (DNS rebinding) makes
the service's own pages readable to it. Browsers name the page's site in `Origin` and the name that was asked in `Host`.
With a key neither works: a foreign page does not have it.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from carsdepo_assets.inference.requests import Refused, refusal

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ANY = "*"


class WebOrigins:
    """ASGI middleware that checks `Host` and `Origin`."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        """Addresses and `localhost` are always allowed as hosts: no name can be rebound to them.

        Args:
            app: The application.
            names: Further names by which the service is called, without ports; `*` allows all of them.
        """
        self._app, self._names = app, {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 400 (host) or 403 (origin)."""
        if scope["type"] == "http":
            refused = self._refused(Headers(scope=scope), scope["method"])
            if refused is not None:
                await refusal(refused, uuid.uuid4().hex)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refused(self, headers: Headers, method: str) -> Refused | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return Refused(
                400,
                "unknown_host",
                f"this service is not called {host!r}: name it in CARSDEPO_ALLOWED_HOSTS, or set CARSDEPO_API_KEY",
            )
        origin = headers.get("origin")
        if method not in _SAFE_METHODS and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return Refused(
                403,
                "foreign_origin",
                f"a page of {origin!r} may not send photographs here: set CARSDEPO_API_KEY and have its server send it",
            )
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if ANY in self._names or name == "localhost" or name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
