"""business/ingest.py, file_states.py: files become rows, each once; corrections count; the rest is in quarantine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from carsdepo_assets.business import ingest as module
from carsdepo_assets.business.file_states import changed_files, new_files, newest_readings, read_again, stray_files
from carsdepo_assets.business.ingest import ingest, latest
from carsdepo_assets.data.batches.quarantine import BusinessFiles, QuarantinedFile, quarantined_files, readmit
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import BusinessPolicy, DataPolicy, Policy
from carsdepo_assets_tests.business.business_rows import NOW, csv, drop

RULES = Policy()
ONE, TWO = "D1,T1,2026-07-21,damage,310.5,EUR", "D2,T2,2026-07-22,price,,EUR"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def amounts(lake: Lake) -> dict[str, Any]:
    rows = latest(lake, "disputes").astype({"amount": object}).to_dict("records")
    return {r["dispute_id"]: None if pd.isna(r["amount"]) else r["amount"] for r in rows}


def quarantine(lake: Lake) -> list[tuple[str, int | None, str]]:
    rows = lake.read("quarantine").sort_by([("key", "ascending"), ("line", "ascending")]).to_pylist()
    assert {r["kind"] for r in rows} <= {"business"}
    return [(r["key"].rsplit("/", 1)[-1], r["line"], r["reason"]) for r in rows]


def test_rows_come_with_file_and_line_and_bad_ones_go_to_quarantine(lake: Lake) -> None:
    key = drop(lake, "disputes", "a.csv", ONE, "D3,T3,2026-07-21,weather,1,EUR", TWO)
    result = ingest(lake, "disputes", RULES, NOW)
    assert [(r["dispute_id"], r["file"], r["line"]) for r in result.rows.to_pylist()] == [
        ("D1", key, 2),
        ("D2", key, 4),
    ]
    assert quarantine(lake) == [("a.csv", 3, "unknown_cause")]
    assert "weather" in lake.read("quarantine")["detail"][0].as_py()
    assert result.refused_share() == pytest.approx(1 / 3)


def test_the_same_file_twice_adds_nothing(lake: Lake) -> None:
    key = drop(lake, "disputes", "a.csv", ONE, "bad", TWO)
    ingest(lake, "disputes", RULES, NOW)
    assert new_files(lake, "disputes") == []
    lake.put(key, lake.get(key))  # the same bytes at another time
    assert [o.key for o in new_files(lake, "disputes")] == [key]
    assert ingest(lake, "disputes", RULES, NOW).files == []
    assert new_files(lake, "disputes") == []
    drop(lake, "disputes", "copy.csv", ONE, TWO)  # and under another name
    again = ingest(lake, "disputes", RULES, NOW)
    assert (again.rows.num_rows, again.unchanged) == (0, 2)
    assert lake.read("disputes").num_rows == 2
    assert len(quarantine(lake)) == 1


@pytest.mark.parametrize("dies_at", range(4))
def test_killed_anywhere_and_run_again_gives_each_row_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """After the quarantine's commit, after the table's, after the state's, and in the second file."""
    drop(lake, "disputes", "a.csv", ONE, "bad")
    drop(lake, "disputes", "b.csv", TWO, "worse")
    steps = 0

    def dying(real: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            result = real(*args, **kwargs)
            steps += 1
            if steps == dies_at + 1:
                raise KeyboardInterrupt
            return result

        return step

    with monkeypatch.context() as patch:
        patch.setattr(lake, "append", dying(lake.append))
        patch.setattr(lake, "put", dying(lake.put))
        with pytest.raises(KeyboardInterrupt):
            ingest(lake, "disputes", RULES, NOW)
    ingest(lake, "disputes", RULES, NOW)
    assert sorted(lake.read("disputes")["dispute_id"].to_pylist()) == ["D1", "D2"]
    assert quarantine(lake) == [("a.csv", 3, "columns"), ("b.csv", 3, "columns")]
    assert new_files(lake, "disputes") == []


def test_a_lost_state_repeats_nothing(lake: Lake) -> None:
    key = drop(lake, "disputes", "a.csv", ONE, "bad")
    ingest(lake, "disputes", RULES, NOW)
    lake.put(key, csv("disputes", ONE.replace("310.5", "99"), "bad"))
    ingest(lake, "disputes", RULES, NOW)
    lake.delete("batches/business/disputes.json")
    result = ingest(lake, "disputes", RULES, NOW)
    assert (result.rows.num_rows, lake.read("disputes").num_rows, amounts(lake)) == (0, 2, {"D1": 99.0})
    assert len(quarantine(lake)) == 2  # one for each content of the file


def test_a_corrected_row_counts_and_a_file_put_back_counts_again(lake: Lake) -> None:
    key = drop(lake, "disputes", "a.csv", ONE, TWO)
    first = lake.get(key)
    ingest(lake, "disputes", RULES, NOW)
    lake.put(key, csv("disputes", ONE.replace("310.5", "99"), TWO))
    result = ingest(lake, "disputes", RULES, NOW)
    assert (result.rows.num_rows, result.unchanged, amounts(lake)) == (1, 1, {"D1": 99.0, "D2": None})
    lake.put(key, first)
    ingest(lake, "disputes", RULES, NOW)
    assert amounts(lake) == {"D1": 310.5, "D2": None}
    assert lake.read("disputes").num_rows == 4  # append-only: the history stays


def test_the_file_that_came_later_counts_whatever_its_name(lake: Lake, tmp_path: Path) -> None:
    for name, amount, time in (("z.csv", "1", 1_700_000_000), ("a.csv", "2", 1_700_000_100)):
        key = drop(lake, "disputes", name, ONE.replace("310.5", amount))
        os.utime(tmp_path / "lake" / key, (time, time))
    ingest(lake, "disputes", RULES, NOW)
    assert amounts(lake) == {"D1": 2.0}


def test_in_one_file_the_last_line_of_an_id_counts(lake: Lake) -> None:
    drop(lake, "disputes", "a.csv", ONE, ONE.replace("310.5", "5"), TWO, TWO)
    ingest(lake, "disputes", RULES, NOW)
    assert amounts(lake) == {"D1": 5.0, "D2": None}
    assert quarantine(lake) == [("a.csv", 2, "repeated_id")]  # a mere repetition is no contradiction


def test_an_unsold_listing_is_sold_later(lake: Lake) -> None:
    drop(lake, "transactions", "05.csv", "T1,L1,2026-05-20,,,EUR")
    ingest(lake, "transactions", RULES, NOW)
    assert latest(lake, "transactions")["sold_at"].isna().all()
    drop(lake, "transactions", "06.csv", "T1,L1,2026-05-20,2026-06-04,9900,EUR")
    ingest(lake, "transactions", RULES, NOW)
    (row,) = latest(lake, "transactions").to_dict("records")
    assert (str(row["sold_at"])[:10], row["price"]) == ("2026-06-04", 9900.0)


def test_too_large_is_refused_unread(lake: Lake) -> None:
    drop(lake, "disputes", "a.csv", ONE)
    result = ingest(lake, "disputes", Policy(data=DataPolicy(max_bytes=10)), NOW)
    assert (result.rows.num_rows, quarantine(lake), result.refused_share()) == (0, [("a.csv", None, "too_large")], 1.0)
    assert new_files(lake, "disputes") == []


def test_many_bad_rows_say_how_many_more_there_are(lake: Lake) -> None:
    drop(lake, "disputes", "a.csv", *["bad"] * (module.PROBLEMS_A_FILE + 7))
    result = ingest(lake, "disputes", RULES, NOW)
    assert result.quarantined.num_rows == module.PROBLEMS_A_FILE
    assert result.quarantined["detail"][-1].as_py().endswith("; and 7 more rows")
    assert result.standing["raw/business/disputes/a.csv"].refused == module.PROBLEMS_A_FILE + 7


def test_a_bad_file_warns_until_it_is_mended_or_removed(lake: Lake) -> None:
    key = drop(lake, "disputes", "a.csv", "bad")
    assert ingest(lake, "disputes", RULES, NOW).refused_share() == 1.0
    assert ingest(lake, "disputes", RULES, NOW).refused_share() == 1.0  # nothing new, and still bad
    lake.put(key, csv("disputes", ONE))
    assert ingest(lake, "disputes", RULES, NOW).refused_share() == 0.0


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_however_many_files_are_validated_together_each_keeps_its_own(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", at_once)
    bad = "D9,T3,2026-07-21,weather,1,EUR"
    drop(lake, "disputes", "a.csv", ONE, bad)
    drop(lake, "disputes", "b.csv", "one cell")
    drop(lake, "disputes", "c.csv", bad, TWO, bad.replace("D9", "D8"))
    ingest(lake, "disputes", RULES, NOW)
    assert quarantine(lake) == [
        ("a.csv", 3, "unknown_cause"), ("b.csv", 2, "columns"), ("c.csv", 2, "unknown_cause"),
        ("c.csv", 4, "unknown_cause"),
    ]  # fmt: skip
    assert sorted(amounts(lake)) == ["D1", "D2"]


def test_files_outside_the_three_folders_are_named(lake: Lake) -> None:
    drop(lake, "disputes", "a.csv", ONE)
    lake.put("raw/business/inspection/a.csv", b"x")
    lake.put("raw/business/b.csv", b"x")
    assert stray_files(lake) == ["raw/business/b.csv", "raw/business/inspection/a.csv"]


THREE = "D3,T3,2026-07-23,other,7,EUR"


def test_rows_that_a_file_has_no_more_are_said_and_kept(lake: Lake) -> None:
    key = drop(lake, "disputes", "it's.csv", ONE, TWO, THREE)
    drop(lake, "disputes", "other.csv", "D4,T4,2026-07-23,other,7,EUR")
    ingest(lake, "disputes", RULES, NOW)
    lake.put(key, csv("disputes", ONE, "D3,T3,2026-07-23,other,seven,EUR"))  # D3 is there, though it cannot be read
    state = ingest(lake, "disputes", RULES, NOW).standing[key]
    assert (state.removed, state.first_removed) == (1, ("D2",))
    assert sorted(amounts(lake)) == ["D1", "D2", "D3", "D4"]
    lake.put(key, csv("disputes", ONE, TWO, THREE))
    assert ingest(lake, "disputes", RULES, NOW).standing[key].removed == 0


@pytest.mark.parametrize("content", [b"", b"id\n1\n", csv("disputes", ONE, 'D3,T3,"2026'), csv("disputes", TWO)[:0]])
def test_a_file_that_is_not_read_to_its_end_is_not_said_to_lack_rows(lake: Lake, content: bytes) -> None:
    key = drop(lake, "disputes", "a.csv", ONE, TWO)
    ingest(lake, "disputes", RULES, NOW)
    lake.put(key, content)
    assert ingest(lake, "disputes", RULES, NOW).standing[key].removed == 0


def test_a_row_that_another_file_has_corrected_since_is_not_missed(lake: Lake) -> None:
    key = drop(lake, "disputes", "a.csv", ONE, TWO)
    ingest(lake, "disputes", RULES, NOW)
    drop(lake, "disputes", "b.csv", TWO.replace(",,", ",5,"))
    ingest(lake, "disputes", RULES, NOW)
    lake.put(key, csv("disputes", ONE))
    assert ingest(lake, "disputes", RULES, NOW).standing[key].removed == 0


@pytest.mark.parametrize("answer", [True, False])
def test_a_file_with_decimal_commas_waits_for_an_answer_and_is_then_read(lake: Lake, answer: bool) -> None:
    key = "raw/business/disputes/a.csv"
    lake.put(key, csv("disputes", ONE, TWO).replace(b",", b";").replace(b"310.5", b"310,5"))
    result = ingest(lake, "disputes", RULES, NOW)
    assert (result.rows.num_rows, quarantine(lake), result.refused_share()) == (
        0,
        [("a.csv", None, "decimal_comma")],
        1,
    )
    assert "carsdepo quarantine readmit" in lake.read("quarantine")["detail"][0].as_py()
    answered = Policy(business=BusinessPolicy(decimal_comma=answer))
    assert ingest(lake, "disputes", answered, NOW).files == []  # nothing is read again by itself
    assert read_again(lake, [key, "raw/business/disputes/none.csv", "raw/uploads/a.jpg"]) == [key]
    assert [o.key for o in changed_files(lake, "disputes", answered)] == [key]
    ingest(lake, "disputes", answered, NOW)
    assert amounts(lake) == ({"D1": 310.5, "D2": None} if answer else {"D2": None})
    assert {reason for _, _, reason in quarantine(lake)} == {"decimal_comma", *([] if answer else ["not_a_number"])}
    assert new_files(lake, "disputes") == []


def test_what_is_refused_again_has_rows_of_the_newest_reading(lake: Lake) -> None:
    key = drop(lake, "disputes", "a.csv", "bad", ONE)
    ingest(lake, "disputes", RULES, NOW)
    read_again(lake, [key])
    ingest(lake, "disputes", RULES, NOW)
    assert sorted(lake.read("quarantine")["batch_id"].to_pylist()) == ["disputes-000001", "disputes-000002"]
    assert lake.read("disputes").num_rows == 1


def test_the_quarantine_knows_which_files_are_open(lake: Lake) -> None:
    def file() -> QuarantinedFile:
        (only,) = quarantined_files(lake, BusinessFiles(*newest_readings(lake)))
        return only

    key = drop(lake, "disputes", "a.csv", ONE.replace("damage", "weather"), "bad")
    ingest(lake, "disputes", RULES, NOW)
    assert (file().state, file().reasons) == ("open", ["unknown_cause", "columns"])
    result = readmit(lake, [file()], NOW, "ann@desk")
    assert ([f.key for f in result.business], result.asked) == ([key], ())
    read_again(lake, [key])
    assert file().state == "asked"
    ingest(lake, "disputes", RULES, NOW)
    assert (file().state, len(file().refusals), len(file().newest)) == ("open", 4, 2)
    lake.put(key, csv("disputes", ONE))
    ingest(lake, "disputes", RULES, NOW)
    assert file().state == "resolved"
