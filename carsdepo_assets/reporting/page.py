"""Reports as single HTML pages that need nothing beside themselves."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

BASE = Path(__file__).parent
_OWN_PAGE = re.compile(r'href="https?://[^/"]+(?=/(?:reports|models|predictions|queues)/)')
GATE_SLOT = "<!-- the verdict of the promotion gate -->"  # of an evaluation: the site writes what is known by now


def render(folder: Path, template: str, **values: Any) -> str:
    """A template of `folder` (it may extend `base.html`). Every text is escaped; a missing value is an error.

    Filters: figure (three decimals), percent (of 0..1, one decimal), count (thousands), moment (UTC, to the minute);
    None becomes an en dash; linked (URLs of a text as links).
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, BASE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"figure": figure, "percent": percent, "count": count, "moment": moment, "linked": linked}
    environment.filters |= filters
    return environment.get_template(template).render(**values)


def data_uri(picture: bytes) -> str:
    """PNG, JPEG or SVG bytes as a data: URI; the type by the first bytes."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg" if picture.startswith(b"\xff\xd8") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def moment(value: Any) -> str:
    return "–" if value is None else f"{value:%d %b %Y, %H:%M}"


def linked(text: str) -> str:
    """HTML of a text with its URLs as links, escaped.

    A page of this site is linked without its host: what was written down once may name a port that is no longer used.
    """
    from jinja2.utils import urlize
    from markupsafe import Markup

    return Markup(_OWN_PAGE.sub('href="', urlize(text)))
