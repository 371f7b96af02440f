"""The business files of the demo: an invented year without a model, then what the demo's own models answered.

The file names mark the rows as invented (see reporting/invented.py), and nothing improves before a model is live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from carsdepo_assets.demo.sample.business import (
    LISTINGS_A_DAY,
    PLATFORM_STARTS,
    STORY,
    Row,
    as_of,
    effort,
    events_of,
    rows_as_csv,
)
from carsdepo_assets.reporting.invented import INVENTED_FILE


def business_before(first_live: datetime, *, seed: int = 4, listings_a_day: float = LISTINGS_A_DAY) -> dict[str, bytes]:
    """Files of the twelve months before production served its first model, in which people look at every photograph.

    The same arguments give the same bytes.

    Args:
        first_live: When production first served a model, with a zone; no row is dated after it.
        seed: Of the random numbers.
        listings_a_day: Mean number of cars listed a day.

    Returns:
        Bytes by key, such as `inspections/sample-2026-07.csv`.
    """
    end = first_live.astimezone(UTC)
    start = datetime(end.year - 1, end.month, 1, tzinfo=UTC)
    quiet = STORY[:PLATFORM_STARTS]
    rng = np.random.default_rng([0xB6, seed])
    inspections, transactions, disputes = events_of(
        rng, start, end, listings_a_day, lambda moment: quiet[moment.month % len(quiet)]
    )
    sales = [as_of(sale, end) for sale in transactions]
    rows = {"inspections": inspections, "transactions": sales, "disputes": disputes}
    date_columns = {"inspections": "at", "transactions": "listed_at", "disputes": "opened_at"}
    files: dict[str, list[Row]] = {}
    for kind, table in rows.items():
        for row in table:
            files.setdefault(f"{kind}/{INVENTED_FILE}{row[date_columns[kind]]:%Y-%m}.csv", []).append(row)
    return {key: rows_as_csv(key.partition("/")[0], table, []) for key, table in files.items()}


def business_of_answers(answers: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Files with one inspection and one unsold car for each listing of which the service answered photographs.

    How many photographs the model decided alone is taken from its answers; minutes and cost are invented as in the year
    before. Answers without a listing are left out.

    Args:
        answers: Rows of the inference log, with `listing`, `at` and `decision`.

    Returns:
        Bytes by key; empty where no answer has a listing.
    """
    cars: dict[str, list[Mapping[str, Any]]] = {}
    for answer in answers:
        if answer["listing"]:
            cars.setdefault(str(answer["listing"]), []).append(answer)
    if not cars:
        return {}
    inspections, transactions = [], []
    for i, (listing, shots) in enumerate(sorted(cars.items()), 1):
        at = min(shot["at"] for shot in shots)
        by_ml = sum(shot["decision"] in ("clear", "damage") for shot in shots)
        inspections.append(
            {
                "inspection_id": f"A{i:06d}",
                "listing": listing,
                "at": at,
                "images": len(shots),
                "images_by_ml": by_ml,
                **effort(len(shots), by_ml),
            }
        )
        transactions.append(
            {
                "transaction_id": f"AT{i:05d}",
                "listing": listing,
                "listed_at": at,
                "sold_at": None,
                "price": None,
                "currency": "EUR",
            }
        )
    name = f"{INVENTED_FILE}answered.csv"
    return {
        f"inspections/{name}": rows_as_csv("inspections", inspections, []),
        f"transactions/{name}": rows_as_csv("transactions", transactions, []),
    }
