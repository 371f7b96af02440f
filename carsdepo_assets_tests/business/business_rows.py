"""Short ways to say business files and rows in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from carsdepo_assets.business.contracts import Kind
from carsdepo_assets.lake.lake import Lake

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HEADERS: dict[Kind, str] = {
    "inspections": "inspection_id,listing,at,images,images_by_ml,minutes,cost,currency",
    "transactions": "transaction_id,listing,listed_at,sold_at,price,currency",
    "disputes": "dispute_id,transaction_id,opened_at,cause,amount,currency",
}


def csv(kind: Kind, *lines: str) -> bytes:
    return "\n".join([HEADERS[kind], *lines, ""]).encode()


def drop(lake: Lake, kind: Kind, name: str, *lines: str) -> str:
    """A CSV file into raw/business; its key."""
    key = f"raw/business/{kind}/{name}"
    lake.put(key, csv(kind, *lines))
    return key


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def sales(*rows: tuple[str, str, str | None]) -> pd.DataFrame:
    """(transaction_id, listed_at, sold_at) as ISO dates or times."""
    frame = pd.DataFrame(rows, columns=["transaction_id", "listed_at", "sold_at"])
    for name in ("listed_at", "sold_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    return frame


def complaints(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """(transaction_id, opened_at, cause)."""
    frame = pd.DataFrame(rows, columns=["transaction_id", "opened_at", "cause"])
    return frame.assign(
        opened_at=pd.to_datetime(frame["opened_at"], utc=True, format="ISO8601"), dispute_id=frame.index.astype(str)
    )


def visits(*rows: tuple[str, float | None, float | None, float | None], currency: str = "EUR") -> pd.DataFrame:
    """Inspections: (at, images, images_by_ml, cost)."""
    frame = pd.DataFrame(rows, columns=["at", "images", "images_by_ml", "cost"])
    frame["at"] = pd.to_datetime(frame["at"], utc=True, format="ISO8601")
    return frame.astype({"images": float, "images_by_ml": float, "cost": float}).assign(currency=currency)


def answers(*rows: tuple[str, str, float | None]) -> pd.DataFrame:
    """(at, decision, milliseconds)."""
    frame = pd.DataFrame(rows, columns=["at", "decision", "milliseconds"])
    frame["at"] = pd.to_datetime(frame["at"], utc=True, format="ISO8601")
    return frame.astype({"milliseconds": float})


def evaluation(**changes: Any) -> dict[str, Any]:
    return {
        "precision": 0.8, "recall": 0.6, "f1": 0.686, "map50": 0.7, "map50_95": 0.4,
        "tp": 60, "fp": 15, "fn": 40, "n_boxes": 100, "n_images": 50, **changes,
    }  # fmt: skip
