"""The demo's memory of what is done: kept for the same parameters, given up when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carsdepo_assets.demo.progress import Memo


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


def test_a_home_that_was_moved_has_done_what_it_did(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for home, other in ((old, tmp_path / "other/lake"), (new, old / "lake")):
        parameters = {"minutes": None, "lake": str(home / "lake")}
        if home == old:
            report = f"{home}/lake/reports/a.html"
            Memo(home / "demo.json", parameters).done(
                "training", report=report, reports={"gate": report}, n=[report, 1]
            )
            assert str(tmp_path) not in (home / "demo.json").read_text()
            Memo(home / "demo.json", parameters).done("second")  # written again from what was read
            home.rename(new)
            continue
        memo = Memo(home / "demo.json", parameters)
        assert not memo.forgot
        report = f"{home}/lake/reports/a.html"
        assert memo.get("training") == {"report": report, "reports": {"gate": report}, "n": [report, 1]}
        assert Memo(home / "demo.json", parameters | {"lake": str(other)}).forgot


def test_a_memory_of_the_version_before_holds_where_it_was_written(tmp_path: Path) -> None:
    """Its places are absolute."""
    parameters = {"lake": str(tmp_path / "lake")}
    steps = {"training": {"report": f"{tmp_path}/lake/a.html"}}
    (tmp_path / "demo.json").write_text(json.dumps({"parameters": parameters, "steps": steps}))
    memo = Memo(tmp_path / "demo.json", parameters)
    assert not memo.forgot
    assert memo.get("training") == steps["training"]


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
