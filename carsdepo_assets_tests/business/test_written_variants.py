"""business/reading.py, cells.py, decimal_signs.py, lake/text_files.py: the same rows as office programs write them.

Each case is a file and what is read of it: rows, or reasons. What could mean two things is refused.
"""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from carsdepo_assets.business.contracts import CONTRACTS, Kind
from carsdepo_assets.business.reading import Read, read
from carsdepo_assets.business.rules import first_broken_rules
from carsdepo_assets.policy import BusinessPolicy, Policy
from carsdepo_assets_tests.business.business_rows import NOW

RULES = Policy()
PLAIN = "dispute_id,transaction_id,opened_at,cause,amount,currency\nD1,T1,2026-07-21,damage,310.5,EUR\n"
UMLAUT = PLAIN.replace("D1", "Ü1")


def of(data: str | bytes, kind: Kind = "disputes", comma: bool | None = None) -> Read:
    policy = Policy(business=BusinessPolicy(decimal_comma=comma))
    return read(CONTRACTS[kind], "a.csv", data.encode() if isinstance(data, str) else data, policy)


def only_row(contents: Read) -> dict[str, Any]:
    assert contents.refused == []
    (row,) = contents.rows
    return row


EXPECTED = {
    "dispute_id": "D1", "transaction_id": "T1", "opened_at": datetime(2026, 7, 21, tzinfo=UTC), "cause": "damage",
    "amount": 310.5, "currency": "EUR",
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (PLAIN, 2),
        (PLAIN.replace(",", ";"), 2),
        (PLAIN.replace(",", "\t"), 2),
        (PLAIN.replace(",", "|"), 2),
        ("sep=;\n" + PLAIN.replace(",", ";"), 3),
        ("sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"), 3),
        ('"sep=;"\n' + PLAIN.replace(",", ";"), 3),
        ("SEP=^\n" + PLAIN.replace(",", "^"), 3),
        ("\ufeffsep=\t\n" + PLAIN.replace(",", "\t"), 3),
        ("\n\n" + PLAIN.replace(",", ";"), 4),
        (PLAIN.encode("utf-8-sig"), 2),
        (PLAIN.encode("utf-16"), 2),
        (PLAIN.replace(",", ";").encode("utf-16-le"), 2),
        (PLAIN.encode("utf-16-be"), 2),
        (PLAIN.upper().replace("D1", "D1"), 2),
        ("Dispute ID , Transaction ID,Opened At, CAUSE ,amount,Currency\n" + PLAIN.partition("\n")[2], 2),
        ("Dispute-Id;transaction-id;opened-at;cause;amount;currency\nD1;T1;2026-07-21;damage;310.5;EUR", 2),
        ("\n".join('"' + line.replace(",", '";"') + '"' for line in PLAIN.splitlines()), 2),
        ("note;dispute_id;transaction_id;opened_at;cause;amount;currency\na, b;D1;T1;2026-07-21;DAMAGE;310.5;\n", 2),
        (PLAIN.replace("damage", " Damage ").replace("EUR", "eUr"), 2),
        (PLAIN.replace("2026-07-21", "2026/07/21"), 2),
        (PLAIN.replace("2026-07-21", "2026.7.21 00:00"), 2),
        (PLAIN.replace("2026-07-21", "20260721"), 2),
        (PLAIN.replace("2026-07-21", "2026-07-21T02:00:00+02:00"), 2),
    ],
)  # fmt: skip
def test_one_row_in_every_writing(data: str | bytes, line: int) -> None:
    assert only_row(of(data)) == EXPECTED | {"line": line}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_letters_beyond_ascii(encoding: str) -> None:
    assert only_row(of(UMLAUT.encode(encoding)))["dispute_id"] == "Ü1"


def test_words_that_differ_by_more_than_capitals_are_others() -> None:
    contents = of(PLAIN.replace("damage", "Damaged"))
    assert [r.reason for r in first_broken_rules("disputes", contents.rows, RULES, NOW).values()] == ["unknown_cause"]
    contents = of(PLAIN.replace("D1", "d1") + PLAIN.partition("\n")[2])
    assert [row["dispute_id"] for row in contents.rows] == ["d1", "D1"]


UNDECIDED = "decimal_comma"
GROUPED = "thousands_separator"


@pytest.mark.parametrize(
    ("separator", "amounts", "by_policy"),
    [
        # What is read, or the reason of the row or file: where the policy says nothing, true, false.
        (";", ["12,50"], ([UNDECIDED], [12.5], ["not_a_number"])),
        ("\t", ["12,50", "3"], ([UNDECIDED], [12.5, 3.0], ["not_a_number", 3.0])),
        (",", ['"12,50"'], ([UNDECIDED], [12.5], ["not_a_number"])),
        (";", [",5", "12,"], ([UNDECIDED], [0.5, 12.0], ["not_a_number", "not_a_number"])),
        (";", ["1,234"], ([UNDECIDED], [1.234], [GROUPED])),
        (";", ["9.900"], ([UNDECIDED], [GROUPED], [9.9])),
        (",", ["9.900"], ([9.9], [GROUPED], [9.9])),
        (";", ["9.900", "12,50"], ([UNDECIDED], [GROUPED, 12.5], [9.9, "not_a_number"])),
        (";", ["9.900", "12.50"], ([9.9, 12.5], [9.9, 12.5], [9.9, 12.5])),
        (";", ["0.125"], ([0.125], [0.125], [0.125])),
        (";", ["12,50", "12.50"], (["not_a_number", 12.5],) * 3),
        (";", ["1,234", "12.50"], ([GROUPED, 12.5],) * 3),
        (";", ["9.900", "7,5", "12.50"], ([GROUPED, "not_a_number", 12.5],) * 2 + ([9.9, "not_a_number", 12.5],)),
        (";", ["1.234,50"], ([GROUPED],) * 3),
        (";", ["1.234,50", "12,50"], ([UNDECIDED], [GROUPED, 12.5], [GROUPED, "not_a_number"])),
        (";", ["1.234.567", "9.900"], ([UNDECIDED], [GROUPED, GROUPED], [GROUPED, 9.9])),
        (";", ["1,234.50"], ([GROUPED],) * 3),
        (";", ["1,234.50", "12.5"], ([GROUPED, 12.5],) * 3),
        (";", ["1 234", "1'234.50", "1\u00a0234,5", "1\u202f234", "1\u2019234"], ([GROUPED] * 5,) * 3),
        (";", ["1234", "12"], ([1234.0, 12.0],) * 3),
        (";", ["1e3", "-5", "+.5"], ([1000.0, -5.0, 0.5],) * 3),
        (";", ["12,50 €"], (["not_a_number"],) * 3),
        (";", ["1.2.3", "1,2,3", "--1"], (["not_a_number"] * 3,) * 3),
    ],
)
@pytest.mark.parametrize("policy", range(3), ids=["policy says nothing", "policy says comma", "policy says point"])
def test_decimal_signs(separator: str, amounts: list[str], by_policy: tuple[list[Any], ...], policy: int) -> None:
    lines = [f"D{i},T1,2026-07-21,damage,*,EUR".replace(",", separator) for i in range(len(amounts))]
    text = "\n".join([PLAIN.partition("\n")[0].replace(",", separator), *lines])
    for amount in amounts:
        text = text.replace("*", amount, 1)
    contents = of(text, comma=(None, True, False)[policy])
    if by_policy[policy] == [UNDECIDED]:
        assert ([(r.line, r.reason) for r in contents.refused], contents.rows) == ([(None, UNDECIDED)], [])
        assert contents.seen == len(amounts)
        return
    found: dict[int | None, Any] = {row["line"]: row["amount"] for row in contents.rows}
    found |= {refused.line: refused.reason for refused in contents.refused}
    assert [found[line] for line in range(2, len(amounts) + 2)] == by_policy[policy]


@pytest.mark.parametrize(
    ("images", "expected"), [("8", 8), ("8.0", 8), ("8,0", UNDECIDED), ("1.000", UNDECIDED), ("1,000", UNDECIDED)]
)
def test_counts_are_numbers_too(images: str, expected: int | str) -> None:
    data = f"inspection_id;listing;at;images;images_by_ml;cost\nI1;L1;2026-07-01;{images};0;1\n"
    contents = of(data, "inspections")
    found = [row["images"] for row in contents.rows] + [r.reason for r in contents.refused]
    assert found == [expected]


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("46224", "excel_serial", "2026-07-21 if its dates begin in 1900"),
        ("46224.5", "excel_serial", "YYYY-MM-DD"),
        ("46224,5", "excel_serial", "YYYY-MM-DD"),
        ("01/02/2026", "ambiguous_date", "the day or the month may come first"),
        ("1-2-2026 10:00", "ambiguous_date", "ISO 8601"),
        ("01/02/26", "ambiguous_date", "ISO 8601"),
        ("21/07/2026", "not_a_time", "ISO 8601"),
        ("07/21/2026", "not_a_time", "ISO 8601"),
        ("01.02.2026", "not_a_time", "ISO 8601"),
        ("21. Juli 2026", "not_a_time", "ISO 8601"),
        ("1784592000", "not_a_time", "ISO 8601"),
        ("2026/13/01", "not_a_time", "ISO 8601"),
        ("2026-7-1", "not_a_time", "ISO 8601"),
    ],
)
def test_dates_that_are_not_certain(text: str, reason: str, words: str) -> None:
    (refused,) = of(PLAIN.replace(",", ";").replace("2026-07-21", text)).refused
    assert (refused.line, refused.reason) == (2, reason)
    assert words in refused.detail


def parquet(**columns: list[Any]) -> Read:
    out = io.BytesIO()
    defaults: dict[str, list[Any]] = {
        "Dispute ID": ["D1"], "transaction_id": ["T1"], " OPENED_AT": [date(2026, 7, 21)], "cause": ["Damage"],
        "amount": [310.5],
    }  # fmt: skip
    pd.DataFrame(defaults | columns).to_parquet(out)
    return read(CONTRACTS["disputes"], "a.PARQUET", out.getvalue(), RULES)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (17, "17"),
        (17.0, "17"),
        (Decimal("17.00"), "17"),
        ("17.0", "17.0"),  # a text is what it says
        (float("nan"), "missing"),
        (None, "missing"),
        (17.5, "not_text"),
        (float("inf"), "not_text"),
        (2.0**53, "not_text"),  # its neighbour cannot be told from it
        (True, "not_text"),
        (b"17", "not_text"),
    ],
)
def test_ids_of_parquet(value: Any, expected: str) -> None:
    contents = parquet(transaction_id=[value])
    assert [row["transaction_id"] for row in contents.rows] + [r.reason for r in contents.refused] == [expected]


@pytest.mark.parametrize(
    ("value", "expected"), [("310,5", UNDECIDED), ("310.5", 310.5), (Decimal("310.5"), 310.5), (310, 310.0)]
)
def test_texts_that_are_numbers_in_parquet(value: Any, expected: Any) -> None:
    contents = parquet(amount=[value])
    assert [row["amount"] for row in contents.rows] + [r.reason for r in contents.refused] == [expected]


@pytest.mark.parametrize(
    ("value", "reason"), [(46224, "excel_serial"), (46224.5, "excel_serial"), (1.7e9, "not_a_time")]
)
def test_numbers_that_are_no_time_in_parquet(value: Any, reason: str) -> None:
    assert [r.reason for r in parquet(**{" OPENED_AT": [value]}).refused] == [reason]


def test_names_of_columns_in_parquet() -> None:
    assert only_row(parquet()) == EXPECTED | {"line": 1}
    twice = parquet(dispute_id=["D2"])
    assert [(r.reason, r.detail) for r in twice.refused] == [("columns", "a column comes twice: dispute_id")]
