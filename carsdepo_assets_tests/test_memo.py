"""The demo's memory of what is done: kept for the same parameters, given up when it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.commands.memo import Memo


def test_steps_are_remembered_for_the_same_parameters_only(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    Memo(path, {"minutes": 1}).done("training", outcome="version 1")
    assert Memo(path, {"minutes": 1}).get("training") == {"outcome": "version 1"}
    other = Memo(path, {"minutes": 2})
    assert other.get("training") is None
    assert other.forgot == "the last demo here was run with minutes 1; this one with minutes 2"
    assert Memo(path, {"minutes": 1}).forgot is None
    assert Memo(path, {"minutes": None, "map": {"rust": "dent"}}).forgot == (
        "the last demo here was run with minutes 1, map by default; "
        "this one with minutes by default, map {'rust': 'dent'}"
    )


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b'{"parameters": {}}', b'{"parameters": {}, "steps": {"a": 3}}', b"\xff\xfe", b'{"pa']
)
def test_a_damaged_memory_is_forgotten_and_written_anew(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "demo.json"
    path.write_bytes(text)
    memo = Memo(path, {})
    assert memo.get("a") is None
    assert memo.forgot is not None
    assert "minutes" not in memo.forgot  # it does not speak of other arguments
    memo.done("a", outcome="again")
    assert Memo(path, {}).get("a") == {"outcome": "again"}
