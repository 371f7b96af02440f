"""lake/tables.py: a table stays open between uses, and what others did to it meanwhile is seen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake import DeltaTable

from carsdepo_assets.lake import tables
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.maintenance import compact


def ids(lake: Lake) -> list[str]:
    return sorted(lake.read("splits", ["image_id"])["image_id"].to_pylist())


def add(lake: Lake, *names: str) -> None:
    for name in names:
        assert lake.append("splits", [{"image_id": name}], name)


def removed_and_made_again(lake: Lake, *names: str) -> None:
    assert lake.root is not None
    shutil.rmtree(lake.root / "tables" / "splits")
    add(lake, *names)


def cleaned_up(lake: Lake, *names: str) -> None:
    """The log loses the commits before its checkpoint, as time does to it."""
    assert lake.root is not None
    add(lake, *names)
    delta = DeltaTable(str(lake.root / "tables" / "splits"))
    delta.create_checkpoint()
    for version in range(delta.version()):
        (lake.root / f"tables/splits/_delta_log/{version:020d}.json").unlink()


def compacted(lake: Lake, *names: str) -> None:
    add(lake, *names)
    assert compact(lake, ["splits"], min_files=2)


def test_a_table_in_use_is_not_opened_anew(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder_lake, "first")
    uris: list[str] = []

    def counted(uri: str, **options: object) -> DeltaTable:
        uris.append(uri)
        return DeltaTable(uri, **options)

    monkeypatch.setattr(tables, "DeltaTable", counted)
    for name in ("a", "b", "c"):
        add(folder_lake, name)
        assert folder_lake.committed("splits", name)
        assert folder_lake.version("splits") == len(ids(folder_lake))
        assert folder_lake.tables.select("SELECT image_id FROM splits", ["splits"])
    assert uris == []


@pytest.mark.parametrize(
    ("meanwhile", "names", "expected"),
    [
        (add, ["x", "y"], ["a", "b", "c", "x", "y"]),
        (compacted, ["x", "y"], ["a", "b", "c", "x", "y"]),
        (cleaned_up, ["x", "y"], ["a", "b", "c", "x", "y"]),
        (removed_and_made_again, ["x"], ["x"]),
        (removed_and_made_again, ["u", "v", "x"], ["u", "v", "x"]),
        (removed_and_made_again, ["u", "v", "w", "x", "y"], ["u", "v", "w", "x", "y"]),
    ],
    ids=["more", "compacted", "cleaned", "shorter", "equal", "longer"],
)
def test_what_another_did_meanwhile_is_seen(
    folder_lake: Lake, meanwhile: Callable[..., None], names: list[str], expected: list[str]
) -> None:
    add(folder_lake, "a", "b", "c")
    other = Lake.open(folder_lake.url)
    meanwhile(other, *names)
    assert folder_lake.committed("splits", names[-1])
    assert folder_lake.version("splits") == other.version("splits")
    assert ids(folder_lake) == expected
    assert not folder_lake.append("splits", [{"image_id": "again"}], names[0])
    add(folder_lake, "new")
    assert ids(other) == ids(folder_lake) == sorted([*expected, "new"])


def test_a_table_that_is_gone_is_empty(folder_lake: Lake) -> None:
    add(folder_lake, "a")
    assert folder_lake.root is not None
    shutil.rmtree(folder_lake.root / "tables")
    assert folder_lake.version("splits") == -1
    assert ids(folder_lake) == []
    add(folder_lake, "a")
    assert ids(folder_lake) == ["a"]


def test_threads_of_one_lake_do_not_disturb_each_other(folder_lake: Lake) -> None:
    names = [[f"{thread}-{i}" for i in range(5)] for thread in range(4)]

    def work(own: list[str]) -> None:
        for i, name in enumerate(own):
            add(folder_lake, name)
            assert set(own[: i + 1]) <= set(ids(folder_lake))
            assert folder_lake.committed("splits", name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, names))
    assert ids(folder_lake) == sorted(name for own in names for name in own)
    assert len(folder_lake.tables._kept) == 1
