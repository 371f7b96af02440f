"""What a model card is made of: sections of facts and tables, each with the place that it was taken from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class CardFact:
    """One line of a card."""

    name: str
    text: str
    source: str
    """Where it stands: a table and its row, or a file of the lake and its key."""


@dataclass(frozen=True)
class CardTable:
    """A table of a card; the first column names its rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    source: str


@dataclass(frozen=True)
class CardSection:
    """A section of a card."""

    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[CardFact, ...] = ()
    tables: tuple[CardTable, ...] = ()


@dataclass(frozen=True)
class CardContents:
    """A model card."""

    digest: str
    version: int | None
    """The model's number in the registry; None where it is not known."""
    made_at: datetime
    summary: str
    """The model in one sentence."""
    figures: Mapping[str, float]
    sections: tuple[CardSection, ...] = field(default=())


def figure_text(value: float | None) -> str:
    """Three digits behind the point; a dash where there is no number: not computed is no 0."""
    return f"{value:.3f}" if isinstance(value, int | float) and math.isfinite(value) else "–"
