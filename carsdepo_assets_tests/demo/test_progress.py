"""demo/progress.py: finished steps are reused for the same parameters, and forgotten where the file is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carsdepo_assets.demo.progress import DemoProgress


def test_steps_are_remembered_for_the_same_parameters_only(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    DemoProgress(path, {"minutes": 1}).record("training", outcome="version 1")
    assert DemoProgress(path, {"minutes": 1}).facts_of("training") == {"outcome": "version 1"}
    other = DemoProgress(path, {"minutes": 2})
    assert other.facts_of("training") is None
    assert other.restart_reason == "the last demo here was run with minutes 1; this one with minutes 2"
    assert DemoProgress(path, {"minutes": 1}).restart_reason is None
    assert DemoProgress(path, {"minutes": None, "map": {"rust": "dent"}}).restart_reason == (
        "the last demo here was run with minutes 1, map by default; "
        "this one with minutes by default, map {'rust': 'dent'}"
    )


def test_a_home_that_was_moved_has_done_what_it_did(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for home, other in ((old, tmp_path / "other/lake"), (new, old / "lake")):
        parameters = {"minutes": None, "lake": str(home / "lake")}
        if home == old:
            report = f"{home}/lake/reports/a.html"
            DemoProgress(home / "demo.json", parameters).record(
                "training", report=report, reports={"gate": report}, n=[report, 1]
            )
            assert str(tmp_path) not in (home / "demo.json").read_text()
            DemoProgress(home / "demo.json", parameters).record("second")  # written again from what was read
            home.rename(new)
            continue
        progress = DemoProgress(home / "demo.json", parameters)
        assert not progress.restart_reason
        report = f"{home}/lake/reports/a.html"
        assert progress.facts_of("training") == {"report": report, "reports": {"gate": report}, "n": [report, 1]}
        assert DemoProgress(home / "demo.json", parameters | {"lake": str(other)}).restart_reason


def test_a_memory_of_the_version_before_holds_where_it_was_written(tmp_path: Path) -> None:
    """Its places are absolute."""
    parameters = {"lake": str(tmp_path / "lake")}
    steps = {"training": {"report": f"{tmp_path}/lake/a.html"}}
    (tmp_path / "demo.json").write_text(json.dumps({"parameters": parameters, "steps": steps}))
    progress = DemoProgress(tmp_path / "demo.json", parameters)
    assert not progress.restart_reason
    assert progress.facts_of("training") == steps["training"]


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b'{"parameters": {}}', b'{"parameters": {}, "steps": {"a": 3}}', b"\xff\xfe", b'{"pa']
)
def test_a_damaged_memory_is_forgotten_and_written_anew(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "demo.json"
    path.write_bytes(text)
    progress = DemoProgress(path, {})
    assert progress.facts_of("a") is None
    assert progress.restart_reason is not None
    assert "minutes" not in progress.restart_reason  # it does not speak of other arguments
    progress.record("a", outcome="again")
    assert DemoProgress(path, {}).facts_of("a") == {"outcome": "again"}
