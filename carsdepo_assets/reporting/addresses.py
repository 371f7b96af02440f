"""Finds the page of the site that shows an object of the lake, so that people get links and not paths of files."""

from __future__ import annotations

import re
from urllib.parse import quote

_REPORT = re.compile(r"reports/.+\.html")
_MODEL = re.compile(r"models/([^/]+)/.+")
_QUEUE = re.compile(r"(?:queues|raw/uploads/queue)/([^/]+)(?:/.*)?")


def page_path(key: str) -> str | None:
    """Returns the path on the site of the page that shows an object of the lake.

    Args:
        key: of a report, of a file of a model, or of a file of a labelling queue.

    Returns:
        The path, without a leading slash; None for what no page shows, such as a table or a profile.
    """
    if _REPORT.fullmatch(key):
        return quote(key)
    for pattern, name in ((_MODEL, "models"), (_QUEUE, "queues")):
        match = pattern.fullmatch(key)
        if match:
            return f"{name}/{quote(match.group(1), safe='')}"
    return None


def page_url(site: str, key: str) -> str | None:
    """Returns the whole URL of the page that shows an object of the lake; None where no page does.

    Args:
        site: URL of the site.
        key: of the object, as in page_path.
    """
    path = page_path(key)
    return None if path is None else f"{site.rstrip('/')}/{path}"
