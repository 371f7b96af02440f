"""The rules that typed rows of business files must keep, checked with Great Expectations.

great_expectations is imported inside functions, since importing it takes two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from carsdepo_assets.business.contracts import CAUSES, MOST_IMAGES, Kind
from carsdepo_assets.policy import Policy
from carsdepo_assets.quality.expectations import broken_rules, expectations

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)  # a time without an offset may be a local one, up to 14 hours ahead of UTC
_BIG = 1e12  # money and minutes beyond it are no such thing

Row = dict[str, Any]
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Rule:
    """A rule that every row of a kind must keep."""

    reason: str
    """A short name for statistics, such as `in_the_future`."""
    says: str
    """The rule for people, such as "price over 0"."""
    expectation: Any
    """The rule as an expectation of Great Expectations."""


def first_broken_rules(kind: Kind, rows: Sequence[Row], policy: Policy, now: datetime) -> dict[int, Rule]:
    """Finds the rows that break a rule.

    Args:
        kind: The kind of file that the rows are of.
        rows: Typed rows, as `reading.read` gives them.
        policy: The policy with the currency.
        now: The present moment; later times break a rule.

    Returns:
        For each such row, by its position, the first rule that it breaks.

    Raises:
        RuntimeError: A rule could not be computed.
    """
    if not rows:
        return {}
    columns, contract_rules = _PREPARED[kind](rows, now)
    gxe = expectations()
    currency = gxe.ExpectColumnValuesToBeInSet(column="currency", value_set=[policy.business.currency])
    contract_rules.append(Rule("other_currency", f"money in {policy.business.currency}", currency))
    columns["currency"] = [row["currency"] for row in rows]
    return _validate(kind, pd.DataFrame(columns), contract_rules)


def _inspections(rows: Sequence[Row], now: datetime) -> tuple[Columns, list[Rule]]:
    columns = {
        **_times(rows, "at", now),
        **{name: _numbers(rows, name) for name in ("images", "images_by_ml", "minutes", "cost")},
        "by_people": [float(row["images"] - row["images_by_ml"]) for row in rows],
    }
    return columns, [
        *_time_rules("at"),
        Rule("images", f"images from 1 to {MOST_IMAGES:,}", _between("images", 1, MOST_IMAGES)),
        Rule("negative", "images_by_ml 0 or more", _between("images_by_ml", 0, None)),
        Rule("ml_over_images", "images_by_ml at most images", _between("by_people", 0, None)),
        Rule("out_of_range", "minutes 0 or more", _between("minutes", 0, _BIG)),
        Rule("out_of_range", "cost 0 or more", _between("cost", 0, _BIG)),
    ]


def _transactions(rows: Sequence[Row], now: datetime) -> tuple[Columns, list[Rule]]:
    columns = {
        **_times(rows, "listed_at", now),
        **_times(rows, "sold_at", now),
        "price": _numbers(rows, "price"),
        "seconds": [r["sold_at"] and (r["sold_at"] - r["listed_at"]).total_seconds() for r in rows],
        "sold_without_price": [float(r["sold_at"] is not None and r["price"] is None) for r in rows],
    }
    columns["seconds"] = [float("nan") if v is None else v for v in columns["seconds"]]
    price = expectations().ExpectColumnValuesToBeBetween(column="price", min_value=0, strict_min=True, max_value=_BIG)
    return columns, [
        *_time_rules("listed_at"),
        *_time_rules("sold_at"),
        Rule("sold_before_listed", "sold_at not before listed_at", _between("seconds", 0, None)),
        Rule("out_of_range", "price over 0", price),
        Rule("no_price", "a price where it is sold", _between("sold_without_price", 0, 0)),
    ]


def _disputes(rows: Sequence[Row], now: datetime) -> tuple[Columns, list[Rule]]:
    columns = {
        **_times(rows, "opened_at", now),
        "amount": _numbers(rows, "amount"),
        "cause": [row["cause"] for row in rows],
    }
    causes = expectations().ExpectColumnValuesToBeInSet(column="cause", value_set=list(CAUSES))
    return columns, [
        *_time_rules("opened_at"),
        Rule("unknown_cause", f"cause one of {', '.join(CAUSES)}", causes),
        Rule("out_of_range", "amount 0 or more", _between("amount", 0, _BIG)),
    ]


_PREPARED: dict[Kind, Callable[[Sequence[Row], datetime], tuple[Columns, list[Rule]]]] = {
    "inspections": _inspections,
    "transactions": _transactions,
    "disputes": _disputes,
}


def _numbers(rows: Sequence[Row], name: str) -> list[float]:
    return [float("nan") if row[name] is None else float(row[name]) for row in rows]


def _times(rows: Sequence[Row], name: str, now: datetime) -> Columns:
    """Seconds, and not pandas' times: those end in the year 2262, and a slip of the keyboard does not."""
    nan = float("nan")
    times: list[datetime | None] = [row[name] for row in rows]
    return {
        f"{name}_after_now": [nan if t is None else (t - now).total_seconds() for t in times],
        f"{name}_after_2000": [nan if t is None else (t - EARLIEST).total_seconds() for t in times],
    }


def _time_rules(name: str) -> list[Rule]:
    return [
        Rule("in_the_future", f"{name} not in the future", _between(f"{name}_after_now", None, AHEAD.total_seconds())),
        Rule("too_old", f"{name} in 2000 or later", _between(f"{name}_after_2000", 0, None)),
    ]


def _between(column: str, low: float | None, high: float | None) -> Any:
    return expectations().ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)


def _validate(name: str, frame: pd.DataFrame, contract_rules: Sequence[Rule]) -> dict[int, Rule]:
    first_rules: dict[int, Rule] = {}
    for number, result in broken_rules(name, frame, [(rule.says, rule.expectation) for rule in contract_rules]):
        for position in result["unexpected_index_list"]:
            first_rules.setdefault(int(position), contract_rules[number])
    return first_rules
