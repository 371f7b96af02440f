"""Writes a number with its noun: 1 file, 2 files."""

from __future__ import annotations

_PLURALS = {
    "metadata": "metadata",
    "list of names": "lists of names",
    "box": "boxes",
    "car or augmented photograph": "cars or augmented photographs",
    "batch": "batches",
}


def counted(number: int, noun: str) -> str:
    """A number with its noun, for a person."""
    return f"{number} {noun if number == 1 else _PLURALS.get(noun, f'{noun}s')}"
