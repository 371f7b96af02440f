"""A hook of mkdocs: a page that would fetch a script, a style, a font or a picture from the network stops the build."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError

_FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\s\"'>]+"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload|icon))[^>]*\bhref=[\"']?(?:https?:)?//[^\s\"'>]+"
)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Raises PluginError with the page and what it would fetch; otherwise returns the page as it is."""
    fetched = _FETCHED.search(output)
    if fetched is not None:
        raise PluginError(f"{page.file.src_path}: would be fetched from the network: {fetched.group()}")
    return output
