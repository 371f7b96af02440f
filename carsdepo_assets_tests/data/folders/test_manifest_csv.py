"""data/folders/manifest_csv.py: a table of photographs is read however spreadsheets and tools write it, or it is
said."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from carsdepo_assets.data.folders.manifest_csv import COLUMNS, read_sheet

PLAIN = "file,group\nday/a.jpg,g1\nday/b.jpg,g2\n"


def group_of(data: str | bytes, path: str = "day/a.jpg") -> str | None:
    """The group that the table gives a photograph."""
    sheet = read_sheet(data.encode() if isinstance(data, str) else data)
    assert sheet.problems == ()
    row, problem = sheet.row(PurePosixPath(path))
    assert problem is None
    groups = {COLUMNS[name]: value for name, value in (row or {}).items() if name in COLUMNS}
    return groups.get("group_hint")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        "sep=;\n" + PLAIN.replace(",", ";"),
        "sep=\t\r\n" + PLAIN.replace(",", "\t"),
        "file;note;group\nday/a.jpg;one, two;g1\n",
        '"file","group"\r\n"day/a.jpg","g1"\r\n',
        "\ufeff" + PLAIN,
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.replace("g2", "Würzburg").encode("cp1252"),
    ],
)
def test_separators_and_encodings(data: str | bytes) -> None:
    assert group_of(data) == "g1"


@pytest.mark.parametrize("file", ["file", "File", "filename", "file_name", " FileName ", "path", "image", "image_path"])
@pytest.mark.parametrize("group", ["group", "Group", "group_id", "group_hint", "car_id", "vehicle"])
def test_names_of_columns(file: str, group: str) -> None:
    assert group_of(f"{file},{group}\nday/a.jpg,g1\n") == "g1"


@pytest.mark.parametrize(
    "file",
    [
        "day/a.jpg", "images/day/a.jpg", "./day/a.jpg", "day\\a.jpg", "a.jpg", "a", "day/a", "DAY/A.JPG", "A.jpg",
        "/home/ann/cars/day/a.jpg", "/home/ann/elsewhere/a.jpg", "C:\\cars\\day\\a.jpg", "C:/cars/day/A",
    ],
)  # fmt: skip
def test_names_of_files(file: str) -> None:
    assert group_of(f"file,group\n{file},g1\n") == "g1"
    assert group_of(f"file,group\n{file},g1\n", "day/b.jpg") is None


def test_a_dot_in_a_name_is_no_suffix() -> None:
    assert group_of("file,group\ncar.v1,g1\ncar.v2,g2\n", "car.v2.jpg") == "g2"


def test_rows_of_other_folders_are_not_taken() -> None:
    table = "file,group\nmonday/a.jpg,g1\ntuesday/a.jpg,g2\n"
    assert group_of(table, "tuesday/a.jpg") == "g2"
    assert group_of(table, "wednesday/a.jpg") is None


@pytest.mark.parametrize(
    "rows", ["a.jpg,g1\na.jpg,g2\n", "a.jpg,g1\n./a.jpg,g2\n", "images/a.jpg,g1\na.jpg,\n", "a,g1\nA,g2\n"]
)
@pytest.mark.parametrize("path", ["a.jpg", "day/a.jpg"])
def test_two_rows_of_one_file_that_differ_are_both_left(rows: str, path: str) -> None:
    row, problem = read_sheet(f"file,group\n{rows}".encode()).row(PurePosixPath(path))
    assert row is None
    assert f"2 rows could be of {path}, and they differ" in (problem or "")


def test_two_rows_that_say_the_same_count() -> None:
    assert group_of("file,group\nday/a.jpg,g1\n./day/a.jpg, g1\n") == "g1"
    assert group_of("file,group\n/x/a.jpg,g1\n/y/a.jpg,g1\n") == "g1"


@pytest.mark.parametrize("nearer", ["Day/A.jpg", "day/a"])
def test_a_row_of_the_path_goes_before_one_of_the_name(nearer: str) -> None:
    assert group_of(f"file,group\na.jpg,g1\n{nearer},g2\n") == "g2"


def test_rows_that_differ_are_not_guessed_among() -> None:
    sheet = read_sheet(b"file,group\n/x/monday/a.jpg,g1\n/x/tuesday/a.jpg,g2\n")
    row, problem = sheet.row(PurePosixPath("wednesday/a.jpg"))
    assert row is None
    assert problem is not None
    assert "2 rows could be of wednesday/a.jpg, and they differ" in problem


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({"a.jpg": "g1"}, {"a.jpg": "g1"}),
        ({"A.JPG": "g1"}, {"a.jpg": "g1"}),
        ({"a": "g1"}, {"a.jpg": "g1"}),
        ({"images/a.jpg": "g1"}, {"a.jpg": "g1"}),
        ({"/home/ann/cars/a.jpg": "g1"}, {"a.jpg": "g1"}),
        ({"/home/ann/cars/sub/a.jpg": "g1"}, {"sub/a.jpg": "g1"}),
        ({"/x/a.jpg": "g1", "/x/sub/a.jpg": "g2"}, {"a.jpg": "g1", "sub/a.jpg": "g2"}),
        ({"a.jpg": "g1", "sub/a.jpg": "g2"}, {"a.jpg": "g1", "sub/a.jpg": "g2"}),
        ({"sub/a": "g1"}, {"sub/a.jpg": "g1"}),
        ({"b.jpg": "g1"}, {"x/b.jpg": None, "y/b.jpg": None}),
        ({"/home/ann/b.jpg": "g1"}, {"x/b.jpg": None, "y/b.jpg": None}),
        ({"b.jpg": "g1", "x/b.jpg": "g2"}, {"x/b.jpg": "g2", "y/b.jpg": None}),
        ({"c.jpg": "g1"}, {"x/c.jpg": "g1"}),
        ({"d.jpg": "g1"}, {"d.jpg": "g1"}),
        ({"d": "g1"}, {"d.jpg": None, "d.png": None}),
    ],
)
def test_a_row_is_of_the_photograph_that_its_name_fits_best(
    rows: dict[str, str], expected: dict[str, str | None]
) -> None:
    """Of several that it fits alike it is none's, which is said."""
    sheet = read_sheet("\n".join(["file,group", *(",".join(row) for row in rows.items())]).encode())
    paths = [PurePosixPath(p) for p in ("a.jpg", "sub/a.jpg", "x/b.jpg", "y/b.jpg", "x/c.jpg", "d.jpg", "d.png")]
    sheet.settle(paths)
    answers = {str(path): sheet.row(path) for path in paths}
    said = {path: answer for path, answer in answers.items() if answer != (None, None)}
    assert {path: row["group"] if row else None for path, (row, _) in said.items()} == expected
    assert all(("fits 2 photographs" in (problem or "")) == (row is None) for row, problem in said.values())


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no column 'file'; there are none"),
        (b"name,year\na.jpg,2000\n", "no column 'file'; there are name, year"),
        (b"file,colour\na.jpg,red\n", "no column that says anything"),
        (b"\x81\x8d,group\n", "not CSV: neither UTF-8 nor UTF-16 nor cp1252"),
    ],
)
def test_what_is_not_understood_is_said(data: bytes, problem: str) -> None:
    [only] = read_sheet(data).problems
    assert problem in only
