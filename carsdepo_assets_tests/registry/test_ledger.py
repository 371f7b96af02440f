"""registry/ledger.py: what a stage serves follows from its events alone, whoever wrote them, however often."""

from __future__ import annotations

import getpass
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path))


def write(
    lake: Lake, action: ledger.Action, digest: str | None, *, stage: ledger.Stage = "production", event_id: str = ""
) -> ledger.Event:
    return ledger.record(
        lake,
        stage,
        action,
        digest=digest,
        version=None,
        actor="ann@desk",
        reason=f"{action} {digest}",
        event_id=event_id or None,
    )


def history(lake: Lake, *steps: str) -> ledger.LedgerHistory:
    """Steps such as "promote a"; the history after them."""
    for step in steps:
        action, _, digest = step.partition(" ")
        write(lake, action, digest or None)  # type: ignore[arg-type]
    return ledger.LedgerHistory.read(lake)


def test_empty(lake: Lake) -> None:
    assert ledger.events(lake) == []
    assert ledger.desired(lake, "production") is None
    with pytest.raises(ledger.LedgerError, match="nothing yet"):
        ledger.LedgerHistory(()).rollback_target()


def test_the_newest_event_that_serves_counts(lake: Lake) -> None:
    history(lake, "promote a", "promote b", "approve c", "reject d", "hold")
    write(lake, "deploy", "c", stage="staging")
    production, staging = ledger.desired(lake, "production"), ledger.desired(lake, "staging")
    assert production is not None
    assert (production.digest, production.previous, production.sequence) == ("b", "a", 2)
    assert staging is not None
    assert (staging.digest, staging.previous, staging.sequence) == ("c", None, 6)
    assert [e.stage for e in ledger.events(lake, "staging")] == ["staging"]


def test_a_retried_step_writes_once(lake: Lake) -> None:
    first = write(lake, "promote", "a", event_id="run-1")
    write(lake, "promote", "b", event_id="run-2")
    again = write(lake, "promote", "a", event_id="run-1")
    assert again == first
    assert [e.digest for e in ledger.events(lake)] == ["a", "b"]


@pytest.mark.parametrize(
    ("stage", "action", "digest", "reason", "says"),
    [
        ("production", "promote", "a", "  ", "needs a reason"),
        ("production", "approve", None, "because", "needs the digest"),
        ("staging", "approve", "a", "because", "about production"),
    ],
)
def test_refused(
    lake: Lake, stage: ledger.Stage, action: ledger.Action, digest: str | None, reason: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ledger.record(lake, stage, action, digest=digest, version=None, actor="a", reason=reason)
    assert ledger.events(lake) == []


def test_rollback_bars_what_was_served(lake: Lake) -> None:
    barred = history(lake, "promote a", "promote b", "rollback a").barred
    assert list(barred) == ["b"]
    assert "rolled back by ann@desk: rollback a" in barred["b"]


def test_a_rollback_to_what_is_served_bars_nothing(lake: Lake) -> None:
    assert history(lake, "promote a", "rollback a").barred == {}


@pytest.mark.parametrize(
    ("steps", "out"),
    [
        (["reject a"], {"a"}),
        (["reject a", "approve a"], set()),
        (["approve a", "reject a"], {"a"}),
        (["promote a", "promote b", "rollback a", "approve b"], set()),
        (["promote a", "promote b", "rollback a", "approve b", "promote b", "rollback a"], {"b"}),
    ],
)
def test_bars(lake: Lake, steps: list[str], out: set[str]) -> None:
    assert set(history(lake, *steps).barred) == out


@pytest.mark.parametrize(
    ("steps", "target"),
    [
        (["promote a", "promote b"], "a"),
        (["promote a", "promote b", "promote c"], "b"),
        (["promote a", "promote b", "promote c", "rollback b"], "a"),
        (["promote a", "promote b", "promote b"], "a"),
        (["promote a", "promote b", "reject a"], None),
        (["promote a"], None),
        (["promote a", "promote b", "rollback a"], None),
        (["promote a", "promote b", "promote a"], "b"),
    ],
)
def test_rollback_goes_to_the_newest_earlier_model_that_is_not_barred(
    lake: Lake, steps: list[str], target: str | None
) -> None:
    after = history(lake, *steps)
    if target is None:
        with pytest.raises(ledger.LedgerError, match="no model to roll back to"):
            after.rollback_target()
    else:
        assert after.rollback_target().digest == target


@pytest.mark.parametrize(
    ("steps", "action"),
    [
        ([], None),
        (["approve a"], "approve"),
        (["approve a", "reject a"], "reject"),
        (["reject a", "approve a"], "approve"),
        (["approve a", "promote b"], "approve"),
        (["approve a", "promote a"], None),
        (["approve a", "promote a", "promote b"], None),
        (["approve a", "promote a", "promote b", "approve a"], "approve"),
        (["promote b", "promote a", "approve a", "rollback b"], None),
        (["promote b", "promote a", "reject a", "rollback b"], "reject"),
    ],
)
def test_an_approval_is_good_for_one_promotion(lake: Lake, steps: list[str], action: str | None) -> None:
    decision = history(lake, *steps).latest_decision("a")
    assert (decision.action if decision else None) == action


@pytest.mark.parametrize(
    ("steps", "digest"),
    [
        ([], None),
        (["approve a"], "a"),
        (["promote b", "approve a"], "a"),
        (["approve a", "approve b"], "b"),
        (["approve a", "approve b", "reject b"], "a"),
        (["approve a", "hold"], "a"),
        (["approve a", "reject a"], None),
        (["approve a", "promote a"], None),
        (["approve a", "promote b"], None),  # production changed since: what the person compared is no more
    ],
)
def test_a_pending_approval_came_after_production_changed(lake: Lake, steps: list[str], digest: str | None) -> None:
    pending = history(lake, *steps).pending_approval
    assert (pending.digest if pending else None) == digest


@pytest.mark.parametrize(
    ("steps", "stands"),
    [
        (["hold"], True),
        (["promote a", "hold"], True),
        (["hold", "promote a"], False),
        (["hold", "approve a"], True),
        (["promote a", "promote b", "hold", "rollback a"], False),
    ],
)
def test_a_hold_stands_until_production_changes(lake: Lake, steps: list[str], stands: bool) -> None:
    assert (history(lake, *steps).promotion_hold is not None) == stands


def _several(url: str, name: str) -> None:
    for n in range(3):
        write(Lake.open(url), "promote", f"{name}{n}")


def test_two_writers_leave_one_order(lake: Lake) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_several, args=(lake.url, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    events = ledger.events(lake)
    assert [e.sequence for e in events] == [1, 2, 3, 4, 5, 6]
    assert [e.previous for e in events] == [None, *(e.digest for e in events[:-1])]


def test_without_a_lock_every_event_has_a_sequence_of_its_own(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "one_writer", lambda *_: nullcontext())  # as on S3
    together = threading.Barrier(4)

    def write_at_once(number: int) -> ledger.Event:
        together.wait()
        return write(Lake.open(lake.url), "promote", f"m{number % 3}", event_id=f"e{number % 3}")

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(write_at_once, range(4)))
    events = ledger.events(lake)
    assert [e.sequence for e in events] == [1, 2, 3]
    assert written[0] == written[3]  # the same event, twice at once
    assert [e.previous for e in events] == [None, *(e.digest for e in events[:-1])]


def test_people_and_machines_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ledger.machine("abc") == "auto:abc"
    assert ledger.person().count("@") == 1

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert ledger.person().startswith("uid")
