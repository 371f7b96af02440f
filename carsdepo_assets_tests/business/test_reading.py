"""business/reading.py, contracts.py, rules.py: which rows are read, and which are refused, with line and reason."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from carsdepo_assets.business.contracts import CONTRACTS, Kind
from carsdepo_assets.business.reading import read
from carsdepo_assets.business.rules import first_broken_rules
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.business.business_rows import NOW, csv

RULES = Policy()
GOOD = {
    "inspections": "I1,L1,2026-07-01T09:30:00Z,8,5,12.5,21.40,EUR",
    "transactions": "T1,L1,2026-07-01T09:30:00Z,2026-07-20T10:00:00Z,9900,EUR",
    "disputes": "D1,T1,2026-07-21T09:30:00Z,damage,310.50,EUR",
}


def reasons(kind: Kind, *lines: str) -> list[tuple[int | None, str]]:
    """(line, reason) of everything that types and rules refuse."""
    contents = read(CONTRACTS[kind], "a.csv", csv(kind, *lines), RULES)
    broken = first_broken_rules(kind, contents.rows, RULES, NOW)
    both = [(r.line, r.reason) for r in contents.refused] + [
        (contents.rows[i]["line"], r.reason) for i, r in broken.items()
    ]
    return sorted(both, key=lambda x: x[0] or 0)


@pytest.mark.parametrize("kind", list(GOOD))
def test_a_sound_row_is_kept(kind: Kind) -> None:
    contents = read(CONTRACTS[kind], "a.csv", csv(kind, GOOD[kind]), RULES)
    assert (len(contents.rows), contents.refused, contents.seen) == (1, [], 1)
    assert first_broken_rules(kind, contents.rows, RULES, NOW) == {}


def test_values_have_their_types() -> None:
    (row,) = read(CONTRACTS["inspections"], "a.csv", csv("inspections", GOOD["inspections"]), RULES).rows
    assert row == {
        "inspection_id": "I1", "listing": "L1", "at": datetime(2026, 7, 1, 9, 30, tzinfo=UTC), "images": 8,
        "images_by_ml": 5, "minutes": 12.5, "cost": 21.4, "currency": "EUR", "line": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "line", "reason"),
    [
        ("inspections", ",L1,2026-07-01,8,5,12,21,EUR", "missing"),
        ("inspections", "I1,  ,2026-07-01,8,5,12,21,EUR", "missing"),
        ("inspections", "I1,L1,01.07.2026,8,5,12,21,EUR", "not_a_time"),
        ("inspections", "I1,L1,0001-01-01T00:00:00+10:00,8,5,12,21,EUR", "not_a_time"),
        ("inspections", "I1,L1,2026-07-01,8.5,5,12,21,EUR", "not_whole"),
        ("inspections", "I1,L1,2026-07-01,1_0,5,12,21,EUR", "not_whole"),
        ("inspections", "I1,L1,2026-07-01,8,5,12,NaN,EUR", "not_a_number"),
        ("inspections", "I1,L1,2026-07-01,8,5,12,inf,EUR", "not_a_number"),
        ("inspections", 'I1,L1,2026-07-01,8,5,12,"21,40",EUR', "not_a_number"),
        ("inspections", "I1,L1,2026-07-01,8,5,12,1e400,EUR", "not_a_number"),
        ("inspections", "I1,L1,2026-07-01,0,0,12,21,EUR", "images"),
        ("inspections", "I1,L1,2026-07-01,99999999999,0,12,21,EUR", "images"),
        ("inspections", "I1,L1,2026-07-01,8,-1,12,21,EUR", "negative"),
        ("inspections", "I1,L1,2026-07-01,8,9,12,21,EUR", "ml_over_images"),
        ("inspections", "I1,L1,2026-07-01,8,5,-1,21,EUR", "out_of_range"),
        ("inspections", "I1,L1,2026-07-01,8,5,12,-0.01,EUR", "out_of_range"),
        ("inspections", "I1,L1,2026-07-01,8,5,12,21,USD", "other_currency"),
        ("inspections", "I1,L1,2026-11-25T12:00:01Z,8,5,12,21,EUR", "in_the_future"),
        ("inspections", "I1,L1,9999-12-31,8,5,12,21,EUR", "in_the_future"),
        ("inspections", "I1,L1,1999-12-31,8,5,12,21,EUR", "too_old"),
        ("inspections", f"{'I' * 201},L1,2026-07-01,8,5,12,21,EUR", "too_long"),
        ("inspections", "I\x001,L1,2026-07-01,8,5,12,21,EUR", "control_character"),
        ("inspections", "I1,L1,2026-07-01,8,5,12,21", "columns"),
        ("transactions", "T1,L1,2026-07-02,2026-07-01,9900,EUR", "sold_before_listed"),
        ("transactions", "T1,L1,2026-07-02,2026-07-09,,EUR", "no_price"),
        ("transactions", "T1,L1,2026-07-02,2026-07-09,0,EUR", "out_of_range"),
        ("transactions", "T1,L1,2026-07-02,2062-07-09,9900,EUR", "in_the_future"),
        ("disputes", "D1,T1,2026-07-02,weather,1,EUR", "unknown_cause"),
        ("disputes", "D1,T1,2026-07-02,damage,-1,EUR", "out_of_range"),
        ("disputes", "D1,,2026-07-02,damage,1,EUR", "missing"),
    ],
)
def test_a_bad_row_is_refused_alone(kind: Kind, line: str, reason: str) -> None:
    other = GOOD[kind].replace("1,", "2,", 1)
    assert reasons(kind, other, line) == [(3, reason)]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("inspections", "I1,L1,2026-07-01,8,8,,0,"),  # all by ML, minutes and currency not said, free
        ("inspections", "I1,L1,2026-11-25T11:59:00,8,8,,0,EUR"),  # within a day ahead: perhaps a local time
        ("transactions", "T1,L1,2026-07-02,,,EUR"),  # not sold yet
        ("transactions", "T1,L1,2026-07-02T10:00:00Z,2026-07-02T10:00:00Z,1,EUR"),
        ("disputes", "D1,T1,2026-07-02,other,,EUR"),
    ],
)
def test_edges_that_are_kept(kind: Kind, line: str) -> None:
    assert reasons(kind, line) == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-30T23:30:00-02:00", datetime(2026, 7, 1, 1, 30, tzinfo=UTC)),
        ("2026-07-01T00:30:00+02:00", datetime(2026, 6, 30, 22, 30, tzinfo=UTC)),
        ("2026-07-01", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-07-01T09:00:00", datetime(2026, 7, 1, 9, tzinfo=UTC)),
    ],
)
def test_times_become_utc(text: str, moment: datetime) -> None:
    contents = read(CONTRACTS["disputes"], "a.csv", csv("disputes", f"D1,T1,{text},price,1,EUR"), RULES)
    assert contents.rows[0]["opened_at"] == moment
    assert contents.rows[0]["opened_at"].utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"\n \n", "empty"),
        ("a.csv", b"dispute_id;transaction_id\nD1;T1\n", "columns"),
        ("a.csv", b"dispute_id,transaction_id,opened_at,cause,cause\n", "columns"),
        ("a.csv", csv("disputes", GOOD["disputes"]).replace(b"damage", b"\x81\xff"), "encoding"),
        ("a.parquet", b"PAR1 not really", "malformed"),
        ("a.parquet", b"", "malformed"),
        ("a.xlsx", b"PK", "unsupported_format"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_refusal(name: str, data: bytes, reason: str) -> None:
    contents = read(CONTRACTS["disputes"], name, data, RULES)
    assert ([r.reason for r in contents.refused], contents.rows) == ([reason], [])


def test_an_open_quote_keeps_what_came_before() -> None:
    data = csv("disputes", GOOD["disputes"], 'D2,T2,2026-07-21,"damage,1,EUR', "D3,T3,2026-07-21,price,1,EUR")
    contents = read(CONTRACTS["disputes"], "a.csv", data, RULES)
    assert [r["dispute_id"] for r in contents.rows] == ["D1"]
    assert [(r.line, r.reason) for r in contents.refused] == [(3, "malformed")]


def test_lines_are_those_of_the_file() -> None:
    """A byte order mark, Windows' line ends, an empty line, and a cell over two lines."""
    lines = ["I1,L1,2026-07-01,8,5,12,21,EUR", "", 'I2,"L\n2",2026-07-01,8,5,12,21,EUR', "I3,L3,x,8,5,12,21,EUR"]
    data = b"\xef\xbb\xbf" + csv("inspections", *lines).replace(b"\n", b"\r\n")
    contents = read(CONTRACTS["inspections"], "a.csv", data, RULES)
    assert [(r["inspection_id"], r["line"]) for r in contents.rows] == [("I1", 2)]
    assert [(r.line, r.reason) for r in contents.refused] == [(4, "control_character"), (6, "not_a_time")]


def parquet(**columns: list[Any]) -> bytes:
    out = io.BytesIO()
    pd.DataFrame(columns).to_parquet(out)
    return out.getvalue()


def test_parquet_with_its_own_types() -> None:
    """Nanoseconds, another zone, integers as ids, missing numbers, decimals, further columns."""
    berlin = timezone(timedelta(hours=2))
    data = parquet(
        transaction_id=[17, 18, 19],
        listing=["L1", "L2", None],
        listed_at=[pd.Timestamp("2026-07-01T00:30:00.123456789", tz=berlin)] * 3,
        sold_at=[pd.Timestamp("2026-07-09", tz="UTC"), pd.NaT, pd.NaT],
        price=[Decimal("9900.50"), None, None],
        colour=["red", "blue", "grey"],
    )
    contents = read(CONTRACTS["transactions"], "a.parquet", data, RULES)
    assert [(r["transaction_id"], r["price"], r["currency"]) for r in contents.rows] == [
        ("17", 9900.5, "EUR"),
        ("18", None, "EUR"),
    ]
    assert contents.rows[0]["listed_at"] == datetime(2026, 6, 30, 22, 30, 0, 123456, tzinfo=UTC)
    assert contents.rows[1]["sold_at"] is None
    assert [(r.line, r.reason) for r in contents.refused] == [(3, "missing")]
    assert first_broken_rules("transactions", contents.rows, RULES, NOW) == {}
