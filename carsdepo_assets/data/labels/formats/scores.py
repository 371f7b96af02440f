"""Tells what is a model's score: a field, an attribute or an element called score or confidence that has a number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

_NAMES = {"score", "confidence"}
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?\s*%?", re.ASCII | re.IGNORECASE)


def has_score(value: Any) -> bool:
    """Whether an object of a JSON file has a score, itself or in its `attributes`.

    Args:
        value: an annotation, whose `attributes` are an object or a list of objects with name and value.
    """
    return any(_is_score(name, written) for name, written in _fields(value))


def element_has_score(element: Element, apart: str = "") -> bool:
    """Whether an element of an XML file has a score: an attribute or an element inside, or a pair of name and value.

    Args:
        element: a shape or an object.
        apart: the tag of elements inside that are not looked into; "": none.
    """
    pairs: list[tuple[str | None, str | None]] = [*element.attrib.items(), (element.tag, element.text)]
    pairs.append((element.get("name") or element.findtext("name"), element.get("value") or element.findtext("value")))
    pairs.append((element.get("name"), element.text))
    if any(_is_score(name, written) for name, written in pairs):
        return True
    return any(element_has_score(one, apart) for one in element if one.tag != apart)


def _fields(value: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(value, dict):
        return
    yield from value.items()
    attributes = value.get("attributes")
    if isinstance(attributes, dict):
        yield from attributes.items()
    for one in attributes if isinstance(attributes, list) else ():
        if isinstance(one, dict):
            yield from one.items()
            yield one.get("name"), one.get("value")


def _is_score(name: Any, value: Any) -> bool:
    """A number or the text of one; null and no text are what tools write for labels that a person drew."""
    if not isinstance(name, str) or name.strip().casefold() not in _NAMES or isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip()) is not None)
