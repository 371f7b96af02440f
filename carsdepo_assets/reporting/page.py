"""Renders reports as single HTML pages that need no other file."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

BASE = Path(__file__).parent
BOX_COLOURS = ("#ff5a36", "#ffc53d", "#38bdf8", "#a78bfa")  # of boxes, by the number of their class
_OWN_PAGE = re.compile(r'href="https?://[^/"]+(?=/(?:reports|models|predictions|queues)/)')
GATE_SLOT = "<!-- the verdict of the promotion gate -->"  # in evaluations; the site puts the newest verdict here


def render(folder: Path, template: str, **values: Any) -> str:
    """Renders a template. Every text is escaped; a missing value is an error.

    The template may extend `base.html` of this folder. It has these filters, which write None as an en dash: figure
    (three decimals), percent (of 0..1, one decimal), count (with separators of thousands), moment (UTC, to the minute);
    `linked`, which turns the URLs in a text into links; and `box_colour`, of the number of a class.

    Args:
        folder: where the template is.
        template: its file name.
        values: what it shows, by name.
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
    environment.filters |= filters | {"box_colour": box_colour}
    return environment.get_template(template).render(**values)


def data_uri(picture: bytes) -> str:
    """Returns the bytes of a PNG, JPEG or SVG picture as a data: URI."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg" if picture.startswith(b"\xff\xd8") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def figure(value: float | None) -> str:
    """Writes a figure with three decimals; None as an en dash."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Writes a share of 0..1 in percent with one decimal; None as an en dash."""
    return "–" if value is None else f"{100 * value:.1f} %"


def count(value: int | None) -> str:
    """Writes a number with separators of thousands; None as an en dash."""
    return "–" if value is None else f"{value:,}"


def moment(value: Any) -> str:
    """Writes a time to the minute; None as an en dash."""
    return "–" if value is None else f"{value:%d %b %Y, %H:%M}"


def box_colour(class_id: int) -> str:
    """The colour in which boxes of a class are drawn, on every page."""
    return BOX_COLOURS[class_id % len(BOX_COLOURS)]


def linked(text: str) -> str:
    """Returns a text as escaped HTML whose URLs are links.

    A page of this site is linked without its host and port, since a stored text may name a port that is no longer used.
    """
    from jinja2.utils import urlize
    from markupsafe import Markup

    return Markup(_OWN_PAGE.sub('href="', urlize(text)))
