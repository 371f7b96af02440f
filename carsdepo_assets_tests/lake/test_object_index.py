"""lake/object_index.py, lake/index_rows.py, lake/commits.py: the index says what the table says, however built."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from carsdepo_assets.lake import commits, object_index
from carsdepo_assets.lake.index_rows import photograph_wants, want_below, want_in
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.maintenance import compact
from carsdepo_assets.lake.object_index import index_path, open_index
from carsdepo_assets.lake.objects import ObjectInfo
from carsdepo_assets.lake.sources import facts_of

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHA = "ab" * 32


def row(key: str, state: str, batch_id: str | None = None, seconds: int = 0, **more: Any) -> dict[str, Any]:
    kind = key.split("/")[1]
    facts = {"size": 1, "modified_at": T0 + timedelta(seconds=seconds)} if state not in ("closed", "ingested") else {}
    return {"key": key, "kind": kind, "state": state, "batch_id": batch_id, **facts, **more}


def write(lake: Lake, *rows: dict[str, Any]) -> None:
    """One commit to `objects`."""
    sequence = lake.version("objects") + 1
    lake.append("objects", [{**one, "sequence": sequence} for one in rows], f"commit {sequence}")


def info(key: str, seconds: int = 0, size: int = 1, etag: str | None = None) -> ObjectInfo:
    return ObjectInfo(key, size, T0 + timedelta(seconds=seconds), etag)


def forget(lake: Lake) -> None:
    for path in index_path(lake).parent.glob("objects-*"):
        path.unlink()


def content(lake: Lake) -> dict[str, Any]:
    """All that the index answers."""
    keys = [f"raw/{kind}/{name}.x" for kind in ("uploads", "labels") for name in "abcd"]
    with open_index(lake) as index:
        states = index.states_of(keys)
        return {
            "states": states,
            "unknown": index.unknown(facts_of(info(key, seconds) for key in keys for seconds in range(3))),
            "waiting": [sorted(index.waiting(kind), key=str) for kind in ("uploads", "labels")],
            "batches": [index.batches("uploads", open_only) for open_only in (False, True)],
            "open": index.oldest_open_upload(),
        }


def test_a_row_about_an_older_batch_changes_nothing_and_the_last_of_a_batch_counts(folder_lake: Lake) -> None:
    key = "raw/uploads/a.x"
    write(folder_lake, row(key, "batched", "1"))
    write(folder_lake, row(key, "batched", "2", 5))
    write(folder_lake, row(key, "image", "1", sha256=SHA))
    with open_index(folder_lake) as index:
        assert (index.states_of([key])[key].state, index.states_of([key])[key].batch_id) == ("batched", "2")
    write(folder_lake, row(key, "quarantined", "2", 5, reason="truncated"))
    with open_index(folder_lake) as index:
        state = index.states_of([key])[key]
        assert (state.state, state.reason, state.info, state.sha256) == ("quarantined", "truncated", info(key, 5), None)
        new = facts_of([info(key, 6), info("raw/uploads/b.x")])
        assert index.unknown([*facts_of([info(key, 5)]), *new]) == new


def test_a_file_waits_beside_what_its_batch_has_until_it_is_decided(folder_lake: Lake) -> None:
    key = "raw/uploads/a.x"
    write(folder_lake, row(key, "batched", "1"))
    write(folder_lake, row(key, "waiting", None, 7))
    write(folder_lake, row(key, "image", "1", sha256=SHA))  # its batch is ingested meanwhile
    with open_index(folder_lake) as index:
        assert index.waiting("uploads") == [(info(key, 7), None)]
        assert index.oldest_open_upload() == T0 + timedelta(seconds=7)
    write(folder_lake, row(key, "image", "1", 7, sha256=SHA))  # the same bytes
    with open_index(folder_lake) as index:
        assert index.waiting("uploads") == []
        assert index.oldest_open_upload() is None


def test_what_is_gone_is_unknown_when_it_is_back(folder_lake: Lake) -> None:
    a, b = "raw/uploads/a.x", "raw/uploads/b.x"
    write(folder_lake, row(a, "image", "1"), row(b, "image", "1"), row("raw/labels/a.x", "read", "1"))
    with open_index(folder_lake) as index:
        new = facts_of([info(b, 1), info("raw/uploads/c.x")])
        assert index.compare("raw/uploads", new) == (new, [a])
    write(folder_lake, row(a, "gone"))
    with open_index(folder_lake) as index:
        assert index.compare("raw/uploads", facts_of([info(b)])) == ([], [])
        assert index.unknown(facts_of([info(a), info(b)])) == facts_of([info(a)])


def history() -> Iterator[list[dict[str, Any]]]:
    """Commits of any kind, over few keys."""
    rng = random.Random(5)
    for n in range(24):
        commit, batch = [], f"{n:03d}"
        for key in rng.sample([f"raw/{kind}/{name}.x" for kind in ("uploads", "labels") for name in "abcd"], 3):
            state = rng.choice(["waiting", "batched", "image", "duplicate", "read", "quarantined", "gone"])
            of_batch = None if state in ("waiting", "gone") else f"{rng.randrange(n + 1):03d}"
            wants = ["w", key] if state == "quarantined" and "labels" in key else None
            commit.append(row(key, state, of_batch, rng.randrange(3), wants=wants))
        commit.append(row(f"batches/uploads/{batch}.json", "closed", batch))
        if rng.random() < 0.5:
            old = f"{rng.randrange(n + 1):03d}"
            commit.append(row(f"batches/uploads/{old}.json", "ingested", old))
        yield commit


def test_built_step_by_step_or_at_once_or_after_compaction_it_is_the_same(
    folder_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for commit in history():
        write(folder_lake, *commit)
        with open_index(folder_lake):
            pass
    followed = content(folder_lake)
    assert followed["states"]
    assert any(followed["waiting"])
    forget(folder_lake)
    assert content(folder_lake) == followed
    with monkeypatch.context() as patch:
        patch.setattr(commits, "_whole", lambda *args: pytest.fail("the whole table was read"))
        assert len(compact(folder_lake, ["objects"])) == 1
        assert content(folder_lake) == followed
        write(folder_lake, row("raw/uploads/new.x", "batched", "900"))
        with open_index(folder_lake) as index:
            assert list(index.states_of(["raw/uploads/new.x"])) == ["raw/uploads/new.x"]
        followed = content(folder_lake)
    forget(folder_lake)
    assert content(folder_lake) == followed


def test_built_in_parts_it_is_the_same(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that building it takes no more memory than some rows need."""
    for commit in islice(history(), 9):
        write(folder_lake, *commit)
    followed = content(folder_lake)
    forget(folder_lake)
    bounds = folder_lake.tables.bounds("objects", "key", 25)
    assert bounds == sorted(set(bounds))
    assert bounds
    monkeypatch.setattr(object_index, "ROWS_A_PART", 25)
    assert content(folder_lake) == followed


def test_files_that_do_not_overlap_are_read_in_parts_of_the_wanted_size(folder_lake: Lake) -> None:
    assert folder_lake.tables.bounds("objects", "key", 2) == []
    for day in range(6):
        write(folder_lake, row(f"raw/uploads/{day}/a.x", "batched", "1"), row(f"raw/uploads/{day}/b.x", "batched", "1"))
    assert folder_lake.tables.bounds("objects", "key", 4) == ["raw/uploads/2/a.x", "raw/uploads/4/a.x"]


def test_a_log_that_was_cleaned_has_the_table_read_whole(folder_lake: Lake, tmp_path: Path) -> None:
    for n in range(9):
        write(folder_lake, row("raw/uploads/a.x", "batched", f"{n}"))
        if n == 2:
            content(folder_lake)
    compact(folder_lake, ["objects"])
    for path in (tmp_path / "lake/tables/objects/_delta_log").glob("*.json"):
        if path.stem.isdigit() and int(path.stem) < folder_lake.version("objects"):
            path.unlink()
    with open_index(folder_lake) as index:
        assert index.states_of(["raw/uploads/a.x"])["raw/uploads/a.x"].batch_id == "8"


@pytest.mark.parametrize("damage", [b"no database", b""])
def test_a_damaged_index_is_built_again(folder_lake: Lake, damage: bytes) -> None:
    write(folder_lake, row("raw/uploads/a.x", "batched", "1"))
    before = content(folder_lake)
    forget(folder_lake)
    index_path(folder_lake).write_bytes(damage)
    assert content(folder_lake) == before


@pytest.mark.parametrize(
    ("label", "photographs", "settled"),
    [
        ("a/1.txt", ["a/1.jpg"], True),
        ("a/1.txt", ["a/1"], True),
        ("a/1.b.txt", ["a/1.b.png"], True),
        ("a/1.txt", ["a/1.b.jpg", "a/1-b.jpg", "a/10.jpg", "a/1/2.jpg", "1.jpg", "b/1.jpg"], False),
        ("1.txt", ["1.jpeg"], True),
    ],
)
def test_a_label_is_settled_by_the_photograph_of_its_path(
    folder_lake: Lake, label: str, photographs: list[str], settled: bool
) -> None:
    for state, expected in (("batched", False), ("quarantined", settled)):
        write(folder_lake, *(row(f"raw/uploads/{name}", state, "1") for name in photographs))
        with open_index(folder_lake) as index:
            assert index.settled([f"raw/labels/{label}"]) == ({f"raw/labels/{label}"} if expected else set())


def test_labels_are_healed_by_the_photographs_that_came_since(folder_lake: Lake) -> None:
    path, label = PurePosixPath("a"), "raw/labels/a/1.x"
    wants = [want_in(path, "1"), want_below(path / "any", "zwei")]
    write(folder_lake, row("raw/uploads/a/old/Zwei.jpg", "image", "1"))
    with open_index(folder_lake) as index:
        index.healed_until(index.healed()[1])
    write(folder_lake, row(label, "batched", "2"))
    write(folder_lake, row("raw/uploads/b/1.jpg", "image", "2"), row("raw/uploads/a/c/1.jpg", "image", "2"))
    write(folder_lake, row(label, "quarantined", "2", reason="no_photograph", wants=wants))
    with open_index(folder_lake) as index:
        assert index.healed()[0] == []  # the first photograph was there before the label's batch, and was seen
    write(folder_lake, row("raw/uploads/a/deep/zWEI.png", "image", "3"))
    with open_index(folder_lake) as index:
        keys, place = index.healed()
        assert keys == [label]
        assert index.healed()[0] == [label]  # until it is noted
        index.healed_until(place)
        assert index.healed()[0] == []
    write(folder_lake, row("raw/uploads/a/1.jpg", "quarantined", "4"))
    with open_index(folder_lake) as index:
        assert index.healed()[0] == []
    write(folder_lake, row("raw/uploads/a/1.jpg", "image", "5"))
    with open_index(folder_lake) as index:
        assert index.healed()[0] == [label]


def test_a_photograph_that_came_while_its_label_was_read_heals_it(folder_lake: Lake) -> None:
    """The label's run did not see it, and at the time of its commit nothing wanted it yet."""
    label, wants = "raw/labels/a/1.x", [want_in(PurePosixPath("a"), "1")]
    write(folder_lake, row(label, "batched", "2"))
    with open_index(folder_lake) as index:
        index.healed_until(index.healed()[1])
    write(folder_lake, row("raw/uploads/a/1.jpg", "image", "3"))
    with open_index(folder_lake) as index:
        index.healed_until(index.healed()[1])
    write(folder_lake, row(label, "quarantined", "2", reason="no_photograph", wants=wants))
    with open_index(folder_lake) as index:
        assert index.healed()[0] == [label]


def test_a_photograph_without_folder_is_wanted_from_anywhere() -> None:
    assert want_below(PurePosixPath("label.json"), "a") in photograph_wants("raw/uploads/x/y/a.jpg")
