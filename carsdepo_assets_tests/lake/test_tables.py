"""lake/tables.py, lake/schemas.py: rows come back as they were appended, and a unit is committed once."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from carsdepo_assets.lake import schemas
from carsdepo_assets.lake.lake import Lake, LakeError

NOW = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
BOX = {"class_id": 1, "x1": 0.5, "y1": 1.0, "x2": 2.0, "y2": 3.0}


def ids(lake: Lake) -> list[str]:
    return sorted(lake.read("splits", ["image_id"])["image_id"].to_pylist())


def test_a_table_that_does_not_exist_is_empty(lake: Lake) -> None:
    for name, schema in schemas.TABLES.items():
        assert lake.version(name) == -1
        assert not lake.committed(name, "u")
        assert lake.read(name).schema == schema
        assert lake.read(name).num_rows == 0
    assert lake.query("select count(*) as n from images").to_pylist() == [{"n": 0}]
    assert list(lake.list("tables")) == []  # looking makes nothing


def test_rows_come_back_as_they_went_in(lake: Lake) -> None:
    rows = [
        {"revision_id": "r1", "image_id": "i", "boxes": [BOX, BOX], "created_at": NOW, "sequence": 2**40},
        {"revision_id": "r2", "image_id": "ü", "boxes": []},
        {"revision_id": "r3"},
    ]
    assert lake.append("annotations", rows, "b1")
    table = lake.read("annotations")
    assert table.schema == schemas.ANNOTATIONS
    by_id = {r["revision_id"]: r for r in table.to_pylist()}
    assert by_id["r1"]["boxes"] == [BOX, BOX]
    assert (by_id["r1"]["created_at"], by_id["r1"]["sequence"]) == (NOW, 2**40)
    assert (by_id["r2"]["boxes"], by_id["r2"]["image_id"]) == ([], "ü")  # no damage is not unlabelled
    assert by_id["r3"]["boxes"] is None
    part = lake.read("annotations", ["sequence", "revision_id"])
    assert part.column_names == ["sequence", "revision_id"]
    assert part.num_rows == 3


def test_a_unit_lands_once(lake: Lake) -> None:
    assert lake.append("splits", [{"image_id": "a"}], "u1")
    version = lake.version("splits")
    assert not lake.append("splits", [{"image_id": "a"}], "u1")
    assert not lake.append("splits", [{"image_id": "other"}], "u1")
    assert lake.version("splits") == version
    assert lake.append("splits", [{"image_id": "a"}], "u2")
    assert lake.append("quarantine", [{"key": "a"}], "u1")  # units are each table's own
    assert ids(lake) == ["a", "a"]
    assert lake.committed("splits", "u1")
    assert not lake.committed("splits", "u3")


@pytest.mark.parametrize("rows", [[], schemas.SPLITS.empty_table()])
def test_no_rows_are_recorded_too(lake: Lake, rows: pa.Table | list[dict[str, object]]) -> None:
    assert lake.append("splits", rows, "empty")
    assert lake.committed("splits", "empty")
    assert not lake.append("splits", [{"image_id": "late"}], "empty")
    assert ids(lake) == []


def test_arrow_tables_of_other_order_and_type_are_cast(folder_lake: Lake) -> None:
    rows = pa.table({"width": pa.array([7], pa.int64()), "image_id": pa.array(["a"], pa.large_string())})
    assert folder_lake.append("processed", rows, "u")
    (row,) = folder_lake.read("processed").to_pylist()
    assert (row["image_id"], row["width"], row["scale"]) == ("a", 7, None)


@pytest.mark.parametrize(
    ("table", "rows", "says"),
    [
        ("nothing", [], "no such table"),
        ("splits", [{"image_id": "a", "colour": 1}], "no column colour"),
        ("splits", pa.table({"colour": [1]}), "no column colour"),
        ("splits", [{"image_id": 7}], r"splits\.image_id"),
        ("splits", [{"assigned_at": "yesterday"}], r"splits\.assigned_at"),
        ("processed", [{"width": 2**31}], r"processed\.width"),
        ("processed", [{"width": 1.5}], "1.5 is not a whole number"),
        ("processed", [{"width": math.nan}], "nan is not a whole number"),
        ("processed", [{"width": "wide"}], r"processed\.width"),
        ("annotations", [{"boxes": [{"class_id": 0.5}]}], r"annotations\.boxes.*0\.5 is not a whole number"),
        ("annotations", [{"boxes": [7]}], r"annotations\.boxes"),
        ("processed", pa.table({"width": [2**31]}), r"processed\.width"),
        ("processed", pa.table({"width": ["wide"]}), r"processed\.width"),
        ("splits", pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["image_id", "image_id"]), "twice"),
        ("splits", [{"image_id": "bad\udcff"}], r"splits\.image_id"),
    ],
)
def test_rows_that_do_not_fit_are_refused_whole(folder_lake: Lake, table: str, rows: object, says: str) -> None:
    with pytest.raises(LakeError, match=says):
        folder_lake.append(table, rows, "u")
    assert list(folder_lake.list("tables")) == []


def test_other_mistakes_are_named(folder_lake: Lake) -> None:
    with pytest.raises(LakeError, match="needs a unit"):
        folder_lake.append("splits", [], "")
    with pytest.raises(LakeError, match="no such table"):
        folder_lake.read("nothing")
    with pytest.raises(LakeError, match="no column colour"):
        folder_lake.read("splits", ["colour"])
    with pytest.raises(LakeError, match="query failed"):
        folder_lake.query("select nonsense from splits")


def test_query_joins_lake_tables_with_given_ones(lake: Lake) -> None:
    lake.append("splits", [{"image_id": "a", "split": "train", "assigned_at": NOW}, {"image_id": "b"}], "u")
    wanted = pa.table({"image_id": ["a", "c"]})
    rows = lake.query(
        "select w.image_id, s.split, s.assigned_at from wanted w left join splits s using (image_id) order by 1",
        wanted=wanted,
    )
    assert rows.to_pylist() == [
        {"image_id": "a", "split": "train", "assigned_at": NOW},
        {"image_id": "c", "split": None, "assigned_at": None},
    ]
    given = lake.query("select count(*) as n from splits", splits=pa.table({"image_id": ["x"]}))
    assert given.to_pylist() == [{"n": 1}]  # a given table wins over the lake's


def test_query_reads_only_the_tables_it_names(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = folder_lake.tables.read

    def noting(name: str) -> pa.Table:
        read.append(name)
        return original(name)

    monkeypatch.setattr(folder_lake.tables, "read", noting)
    folder_lake.query("select * from images i anti join splits using (image_id)")
    assert sorted(read) == ["images", "splits"]


def test_query_sees_no_files_and_no_variables(folder_lake: Lake) -> None:
    folder_lake.put("secret.csv", b"a\n1\n")
    with pytest.raises(LakeError, match="query failed"):
        folder_lake.query(f"select * from read_csv('{folder_lake.local_path('secret.csv')}')")
    local_table = pa.table({"a": [1]})
    with pytest.raises(LakeError, match="local_table"):
        folder_lake.query("select * from local_table")
    assert local_table.num_rows == 1


def test_not_a_number_stays_one(folder_lake: Lake) -> None:
    folder_lake.append("images", [{"image_id": "a", "sharpness": math.nan}], "u")
    assert math.isnan(folder_lake.read("images")["sharpness"][0].as_py())


def test_a_column_added_to_the_schema_comes_in(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append("splits", [{"image_id": "old"}], "u1")
    wider = schemas.SPLITS.append(pa.field("pool", pa.int32()))
    monkeypatch.setitem(schemas.TABLES, "splits", wider)
    assert lake.read("splits").to_pylist()[0]["pool"] is None  # before any row has it
    assert lake.append("splits", [{"image_id": "new", "pool": 3}], "u2")
    assert lake.append("splits", [{"image_id": "newer", "pool": 4}], "u3")
    assert lake.read("splits").schema == wider
    assert {r["image_id"]: r["pool"] for r in lake.read("splits").to_pylist()} == {"old": None, "new": 3, "newer": 4}


def test_a_folder_without_a_log_becomes_a_table(folder_lake: Lake) -> None:
    """What a kill in the middle of creating leaves: the log's folder, perhaps with an unfinished file."""
    folder_lake.put("tables/splits/_delta_log/00000000000000000000.json#1", b'{"proto')
    assert folder_lake.version("splits") == -1
    assert folder_lake.append("splits", [{"image_id": "a"}], "u")
    assert ids(folder_lake) == ["a"]


MANY = [f"i{n}" for n in range(0, 200, 2)]  # more than SQL is given as a list


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ([], 40),
        ([("image_id", "=", "i7")], 1),
        ([("image_id", "=", "o'clock")], 1),
        ([("image_id", "in", ["i1", "i2", "none"])], 2),
        ([("image_id", "in", [])], 0),
        ([("image_id", "in", set(MANY))], 15),
        ([("image_id", "in", MANY), ("sequence", ">=", 10), ("sequence", "<", 20)], 5),
        ([("created_at", ">=", NOW + timedelta(microseconds=28))], 2),  # a null meets no condition
        ([("created_at", "=", NOW)], 1),
        ([("state", "=", "reviewed")], 0),  # a column that the stored table does not have
    ],
)
def test_only_rows_that_meet_the_conditions_are_read(
    folder_lake: Lake, monkeypatch: pytest.MonkeyPatch, where: list[tuple[str, str, object]], expected: int
) -> None:
    columns = [field for field in schemas.ANNOTATIONS if field.name != "state"]
    with monkeypatch.context() as patch:
        patch.setitem(schemas.TABLES, "annotations", pa.schema(columns))
        for unit in range(3):
            rows = [
                {"image_id": f"i{n}", "sequence": n, "created_at": NOW + timedelta(microseconds=n)}
                for n in range(unit * 10, unit * 10 + 10)
            ]
            folder_lake.append("annotations", rows, str(unit))
        folder_lake.append("annotations", [{"image_id": "o'clock"}, *[{"image_id": "x"}] * 9], "others")
    rows = folder_lake.read("annotations", ["revision_id"], where)
    assert (rows.num_rows, rows.column_names) == (expected, ["revision_id"])


def test_a_condition_that_is_none_is_refused(folder_lake: Lake) -> None:
    folder_lake.append("splits", [{"image_id": "a"}], "u")
    for where in ([("image_id", "like", "a%")], [("nothing", "=", "a")]):
        with pytest.raises((ValueError, LakeError), match=r"no condition|no column nothing"):
            folder_lake.read("splits", where=where)
