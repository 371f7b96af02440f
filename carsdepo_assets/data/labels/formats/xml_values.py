"""Reads XML of label files with the standard library's expat, which is given no entity to expand and nothing to fetch.

A document that declares an entity is refused before it is used: a few lines of them expand to gigabytes. Label files
have none.
"""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from carsdepo_assets.data.labels.formats.parsed import NotReadable

_DEEPEST = 100  # levels; label files have six


def parse_xml(data: bytes, what: str) -> Element:
    """The root of an XML file, with all tags in small letters, as some tools write `BndBox`.

    Args:
        data: the file's bytes.
        what: the format, for the message.

    Raises:
        NotReadable: It is no XML, or declares entities.
    """
    parser, builder, depth = expat.ParserCreate(), TreeBuilder(), 0

    def entity(*_: object) -> None:
        raise NotReadable(f"{what}: it declares entities, which label files do not have", "malformed")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise NotReadable(f"{what}: nested too deeply to be read")
        builder.start(name.lower(), attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name.lower())

    parser.EntityDeclHandler = entity
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
        return builder.close()
    except expat.ExpatError as error:
        # An end before the last element's is what a copy that broke off leaves.
        if error.code in (expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS], *_ENDED):
            raise NotReadable(
                f"{what}: the file ends in the middle ({len(data)} bytes): {error}. Copy it again, whole.", "truncated"
            ) from error
        raise NotReadable(f"{what}: not XML: {error}") from error
    except (LookupError, ValueError, AssertionError) as error:  # an encoding that nobody knows
        if isinstance(error, NotReadable):
            raise
        raise NotReadable(f"{what}: not XML: {error}") from error


_ENDED = [
    expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
    expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION],
    expat.errors.codes[expat.errors.XML_ERROR_PARTIAL_CHAR],
]


def child_text(element: Element, name: str) -> str:
    """The text of a direct child, without spaces around it; "" where there is none."""
    return (element.findtext(name) or "").strip()


def to_number(value: str | None) -> float | None:
    """The number that a text is; None for what is none, with a decimal comma too."""
    if value is None or "_" in value:
        return None
    try:
        return float(value)
    except ValueError:
        return None


def to_size(value: str | None) -> float | None:
    """A width or height; None where a tool wrote 0, or nothing, because it did not know."""
    size = to_number(value)
    return size if size is not None and math.isfinite(size) and size > 0 else None
