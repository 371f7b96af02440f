"""Which page of the site shows what lies at a key of the lake: people get links to pages, not paths of files."""

from __future__ import annotations

import re
from urllib.parse import quote

_REPORT = re.compile(r"reports/.+\.html")
_MODEL = re.compile(r"models/([^/]+)/.+")
_QUEUE = re.compile(r"(?:queues|raw/uploads/queue)/([^/]+)(?:/.*)?")


def page_path(key: str) -> str | None:
    """Path on the site, without the leading slash: of a report itself, of a model for its files, of a queue for its
    own. None for what no page shows, such as a table or a profile."""
    if _REPORT.fullmatch(key):
        return quote(key)
    for pattern, name in ((_MODEL, "models"), (_QUEUE, "queues")):
        match = pattern.fullmatch(key)
        if match:
            return f"{name}/{quote(match.group(1), safe='')}"
    return None


def page_url(site: str, key: str) -> str | None:
    """The page's whole address on the site at this URL; None where there is no page."""
    path = page_path(key)
    return None if path is None else f"{site.rstrip('/')}/{path}"
