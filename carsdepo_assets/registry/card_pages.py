"""Writes a model card as a page and as Markdown, and keeps both beside the reports of the lake."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.card_contents import card_contents
from carsdepo_assets.registry.card_parts import CardContents
from carsdepo_assets.reporting.page import render
from carsdepo_assets.reporting.publish import ReportSummary, publish

CARDS = "reports/card"
PAPER = 'Mitchell et al., "Model Cards for Model Reporting", 2019'


def card_key(digest: str) -> str:
    """The key of a model card's page."""
    return f"{CARDS}/{digest}.html"


def markdown_key(digest: str) -> str:
    """The key of a model card's Markdown."""
    return f"{CARDS}/{digest}.md"


def write_card(lake: Lake, digest: str, policy: Policy, version: int | None = None) -> str:
    """Makes a model's card of what is stored now, in place of the one before; returns the key of its page.

    Args:
        lake: the lake with the model.
        digest: the model.
        policy: says which licences forbid commercial use.
        version: its number in the registry, where the caller knows it.

    Raises:
        LakeError: there is no such model.
    """
    card = card_contents(lake, digest, policy, version)
    lake.put(markdown_key(digest), card_markdown(card).encode())
    summary = ReportSummary(
        title=f"Model card of {digest}", at=card.made_at, summary=card.summary, figures=dict(card.figures)
    )
    return publish(lake, f"{CARDS}/{digest}", card_html(card), summary)


def try_card(lake: Lake, digest: str, policy: Policy, version: int | None, warn: Callable[[str], object]) -> str | None:
    """Makes a card as `write_card`, where it must not stop what it only describes.

    Args:
        lake: the lake with the model.
        digest: the model.
        policy: says which licences forbid commercial use.
        version: its number in the registry.
        warn: called with a sentence where there is no card, as of a model whose records are damaged.

    Returns:
        The key of its page; None where there is none.
    """
    try:
        return write_card(lake, digest, policy, version)
    except (LakeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        warn(f"Model {digest} has no card: {error}")
        return None


def card_html(card: CardContents) -> str:
    """The card as a page that needs no other file; every text in it is escaped."""
    return render(Path(__file__).parent, "card.html", card=card, title=_title(card), paper=PAPER)


def card_markdown(card: CardContents) -> str:
    """The card as Markdown (GitHub's, with tables)."""
    lines = [
        f"# {_title(card)}",
        "",
        _line(card.summary),
        "",
        f"Made {card.made_at:%d %b %Y, %H:%M} UTC of what was stored then, in the sections of {PAPER}.",
    ]
    for section in card.sections:
        lines += ["", f"## {section.title}", ""]
        for paragraph in section.paragraphs:
            lines += [_line(paragraph), ""]
        if section.facts:
            lines += _table(("", "", "From"), [(f.name, f.text, f.source) for f in section.facts])
        for table in section.tables:
            lines += ["", *_table(table.columns, table.rows), "", f"From: {_escaped(table.source)}"]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _title(card: CardContents) -> str:
    return f"Model card: {f'version {card.version}, ' if card.version else ''}{card.digest}"


def _table(columns: tuple[str, ...], rows: list[tuple[str, str, str]] | tuple[tuple[str, ...], ...]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows)]


def _escaped(text: str) -> str:
    """Text that cannot end a cell or become markup or a link: names and reasons are anybody's."""
    text = re.sub(r"[\\|<*_`\[&~]|:(?=//)|(?<=www)\.", r"\\\g<0>", text, flags=re.IGNORECASE)
    return " ".join(text.split())


def _line(text: str) -> str:
    """Text that stands alone, and so cannot begin a heading, a list, a quotation or a rule either."""
    return re.sub(r"^(\d+(?=[.)])|)([#>+=.)-])", r"\1\\\2", _escaped(text))
