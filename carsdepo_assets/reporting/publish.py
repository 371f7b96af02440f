"""Publishes a report: its page for people, and beside it a JSON file with the summary by which the site lists it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class ReportStore(Protocol):
    """What a report is written to: a lake, of which only `put` is used."""

    def put(self, key: str, data: bytes) -> None:
        """Stores the bytes under the key."""


class ReportSummary(BaseModel):
    """What a list of reports shows of one of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str = ""
    """One line; "" in files of older releases that have none."""
    at: datetime | None = None
    """When the report was made, with its time zone; None in files of older releases that do not say."""
    summary: str = ""
    """The result in one sentence."""
    figures: dict[str, int | float | None] = Field(default_factory=dict)
    """The report's main figures by name. A figure that could not be computed is None or absent."""

    @model_validator(mode="before")
    @classmethod
    def _older_files(cls, stored: Any) -> Any:
        """Reports of older releases may lack fields, and evaluations had a verdict in place of a summary."""
        if not isinstance(stored, dict):
            return stored
        texts = {"title": stored.get("title"), "summary": stored.get("summary") or stored.get("verdict")}
        return stored | {name: str(text or "") for name, text in texts.items()}

    @field_validator("figures", mode="before")
    @classmethod
    def _numbers_only(cls, figures: Any) -> dict[str, int | float | None]:
        if not isinstance(figures, dict):
            return {}
        return {k: v for k, v in figures.items() if v is None or (isinstance(v, (int, float)) and math.isfinite(v))}

    @field_validator("at", mode="before")
    @classmethod
    def _no_number(cls, at: Any) -> Any:  # pydantic would take it for seconds since 1970
        if isinstance(at, (int, float)):
            raise ValueError(f"at is {at}, not an ISO time")
        return at

    @field_validator("at")
    @classmethod
    def _with_zone(cls, at: datetime | None) -> datetime | None:
        return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


def publish(
    store: ReportStore, key: str, html: str, summary: ReportSummary, details: Mapping[str, Any] | None = None
) -> str:
    """Stores a report. The JSON comes last, so that a listed report has its page.

    Args:
        store: The lake.
        key: Where the report goes, without an ending, such as `reports/gate/<id>`.
        html: The page.
        summary: What lists show of the report.
        details: Further fields of the JSON file, for programs; values that JSON does not know are written as text.

    Returns:
        The key of the page.
    """
    page = f"{key}.html"
    store.put(page, html.encode())
    content = summary.model_dump(mode="json") | dict(details or {})
    store.put(f"{key}.json", json.dumps(content, indent=1, default=str).encode())
    return page
