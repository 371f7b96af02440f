"""What protects pages for people: the API key, and headers that let a page load and run nothing but its own parts."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import Header, HTTPException


def page_headers(sources: str, forms: str = "'none'") -> dict[str, str]:
    """The security headers of a page.

    Args:
        sources: Directives of the Content-Security-Policy that allow what the page needs, beyond nothing at all.
        forms: Where its forms may lead.
    """
    return {
        "Content-Security-Policy": f"default-src 'none'; {sources}; base-uri 'none'; form-action {forms}; "
        "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-store",
    }


def is_key(header: str | None, api_key: str) -> bool:
    """Whether the header X-API-Key holds the key. How long it takes tells nothing of the key."""
    return secrets.compare_digest((header or "").encode("latin-1"), api_key.encode())  # latin-1: the bytes sent


def key_guard(api_key: str | None) -> Callable[..., None]:
    """A check of requests for the key: as X-API-Key, or as the password of any user, for which browsers ask."""

    def check(
        authorization: Annotated[str | None, Header()] = None, x_api_key: Annotated[str | None, Header()] = None
    ) -> None:
        if api_key is None:
            return
        if is_key(x_api_key, api_key) or secrets.compare_digest(_password(authorization or ""), api_key.encode()):
            return
        raise HTTPException(
            401,
            "Any user name, and the API key as password; or the key as X-API-Key.",
            {"WWW-Authenticate": 'Basic realm="Carsdepo", charset="UTF-8"'},
        )

    return check


def _password(authorization: str) -> bytes:
    """The password of HTTP basic authentication; empty where there is none. FastAPI's own reader takes only ASCII."""
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(text, validate=True).partition(b":")[2]
    except ValueError:
        return b""
