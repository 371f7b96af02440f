"""XML as the writers make it: indented, in UTF-8, with a declaration."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree


def add(parent: ElementTree.Element, tag: str, text: object = None, **attributes: object) -> ElementTree.Element:
    """Adds an element with a text and attributes, and gives it back."""
    element = ElementTree.SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})
    element.text = None if text is None else str(text)
    return element


def add_all(parent: ElementTree.Element, texts: Mapping[str, object]) -> None:
    """Adds an element for each pair of a tag and its text."""
    for tag, text in texts.items():
        add(parent, tag, text)


def document(root: ElementTree.Element) -> bytes:
    """The bytes of the file."""
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"
