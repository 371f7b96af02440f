"""release/assets.py and promotion.py: what goes live, by whom, what does not and why; killed, repeated, concurrent."""

from __future__ import annotations

import json
import threading
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.registry import aliases, ledger
from carsdepo_assets.release import promotion, run_gate
from carsdepo_assets.release.promotion import GATE_LOCK, promote, roll_back
from carsdepo_assets.release.validation import CHECKS, read_validation
from carsdepo_assets_tests.release.released_lake import World

pytestmark = pytest.mark.slow

KEY = dg.AssetKey("production_model")


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, Any] | None:
    events = result.get_asset_materialization_events()
    if not events:
        return None
    [event] = events
    assert event.materialization.asset_key == KEY
    return {k: v.value for k, v in event.materialization.metadata.items()}


def observed(world: World) -> dict[str, Any]:
    record = world.instance.fetch_observations(KEY, limit=1).records[0]
    assert record.asset_observation is not None
    return {k: v.value for k, v in record.asset_observation.metadata.items()}


def test_the_first_model_goes_live_by_the_gate(world: World) -> None:
    first = world.model("one", 0.8)
    result = world.promote(first)
    assert result.success
    metadata = materialized(result)
    assert metadata is not None
    assert (metadata["digest"], metadata["version"], metadata["verdict"], metadata["previous"]) == (
        first.digest,
        1,
        "promote",
        "none",
    )
    assert metadata["decided_by"] == f"auto:{world.policy.digest()}"
    assert world.production() == first.digest
    assert world.aliases(first) == {"candidate", "production"}
    [row] = world.lake.read("gates").to_pylist()
    assert (row["gate_id"], row["champion"], row["golden"]) == (f"{first.digest}-1-1", None, 1)
    page = world.lake.get(row["report_key"]).decode()
    assert "first model" in page
    assert world.lake.exists(f"reports/gate/{first.digest}-1-1.json")
    assert world.alerts() == []


def test_a_repetition_changes_nothing(world: World) -> None:
    first = world.model("one", 0.8)
    world.promote(first)
    before = (ledger.events(world.lake), world.verdicts())
    again = world.promote(first)
    assert again.success
    assert materialized(again) is None
    assert (ledger.events(world.lake), world.verdicts()) == before


def test_a_better_model_replaces_the_champion_and_a_worse_one_does_not(world: World) -> None:
    first, better, worse = (world.model(n, s) for n, s in (("one", 0.6), ("two", 0.9), ("three", 0.3)))
    world.promote(first)
    metadata = materialized(world.promote(better))
    assert metadata is not None
    assert metadata["previous"] == first.digest
    assert metadata["differences"].startswith("![picture](data:image/png")
    assert metadata["champion_map50"] < metadata["challenger_map50"]
    result = world.promote(worse)
    assert result.success
    assert materialized(result) is None
    assert world.production() == better.digest
    seen = observed(world)
    assert (seen["verdict"], seen["promoted"]) == ("reject", False)
    [(kind, body)] = world.alerts()
    assert kind == "promotion_refused"
    assert "mAP@.5" in body
    assert "carsdepo approve 3" in body
    assert ".." not in body.replace('"..."', "")  # no sentence ends twice
    # The same again: the verdict stands, no second row, no second alert.
    assert world.promote(worse).success
    assert world.verdicts() == ["promote", "promote", "reject"]
    assert len(world.alerts()) == 1


@pytest.mark.slow
def test_undecided_stays_a_candidate_until_a_person_approves(world: World) -> None:
    world.rule('[gate]\nmode = "interval"\nresamples = 100\n')
    first, second = world.model("one", 0.6), world.model("two", 0.6, dice="another")
    world.promote(first)
    world.promote(second)
    assert (world.production(), world.verdicts()) == (first.digest, ["promote", "undecided"])
    assert "labelled boxes would decide" in world.alerts()[0][1]
    assert world.say("approve", second, "the yard tested it").success
    metadata = materialized(world.promote(second))
    assert metadata is not None
    assert metadata["decided_by"] == "ann@desk"
    assert metadata["reason"] == "approved, overriding the gate's undecided: the yard tested it"
    assert world.production() == second.digest
    assert world.verdicts() == ["promote", "undecided"]  # the verdict stood, no new report


def test_a_person_may_override_a_rejection_by_the_gate(world: World) -> None:
    first, worse = world.model("one", 0.9), world.model("two", 0.4)
    world.promote(first)
    world.say("approve", worse, "less, and legal asks for it")
    metadata = materialized(world.promote(worse))
    assert metadata is not None
    assert metadata["reason"].startswith("approved, overriding the gate's reject")
    # Good for one promotion: after another model went live it does not bring this one back.
    world.promote(first)
    assert world.production() == first.digest
    world.promote(worse)
    assert world.production() == first.digest


def test_policy_asks_for_a_person(world: World) -> None:
    world.rule('[gate]\nmode = "point"\n[release]\napproval = "person"\n')
    first = world.model("one", 0.8)
    assert materialized(world.promote(first)) is None
    [(kind, body)] = world.alerts()
    assert kind == "approval_wanted"
    assert "policy.release.approval asks for a person" in body
    world.say("approve", first)
    assert materialized(world.promote(first)) is not None


def test_a_licence_that_forbids_commercial_use_asks_for_a_person(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "it learnt from what may not be used commercially: CC-BY-NC-4.0, claimed by README.md: 3 photographs"
    for module in (promotion, run_gate):
        monkeypatch.setattr(module, "non_commercial", lambda lake, digest, policy: why)
    first = world.model("one", 0.8)
    assert materialized(world.promote(first)) is None
    [(kind, body)] = world.alerts()
    assert (kind, why in body) == ("approval_wanted", True)
    assert observed(world)["reason"] == f"the gate's verdict is promote, and {why}"
    [row] = world.lake.read("gates").to_pylist()
    assert f"A person decides about it in any case: {why}." in json.loads(row["figures"])["detail"]["notes"]
    assert why in world.lake.get(row["report_key"]).decode()
    # A decision from Studio, which asks for no reason: it is none of these.
    world.say("approve", first, f"set to Approved in SageMaker, {ledger.UNREASONED}")
    assert materialized(world.promote(first)) is None
    assert observed(world)["reason"] == f"ann@desk approved it and did not say why, and {why}"
    world.say("approve", first, "the owner sold us a licence")
    assert materialized(world.promote(first)) is not None
    event = ledger.desired(world.lake, "production")
    assert event is not None
    assert event.reason == "approved: the owner sold us a licence"


def test_a_hold_asks_for_a_person_for_one_promotion(world: World) -> None:
    """The middle band of drift: the next promotion waits, the one after is automatic again."""
    first, second, third = (world.model(n, s) for n, s in (("one", 0.5), ("two", 0.7), ("three", 0.95)))
    world.promote(first)
    ledger.record(world.lake, "production", "hold", digest=None, version=None, actor="auto:drift", reason="drift 6.1 %")
    world.promote(second)
    assert world.production() == first.digest
    assert world.alerts()[0][0] == "approval_wanted"
    assert "drift 6.1 %" in world.alerts()[0][1]
    world.say("approve", second)
    world.promote(second)
    assert world.production() == second.digest
    world.promote(third)
    assert world.production() == third.digest


def test_what_staging_has_not_found_right_is_promoted_by_nobody(world: World) -> None:
    first = world.model("one", 0.9, validated=False)
    world.say("approve", first)
    world.promote(first)
    assert world.production() is None
    assert "has not been validated at staging" in observed(world)["reason"]
    world.validate(first, failed="answers_equal_offline")
    world.promote(first)
    assert world.production() is None
    assert "answers_equal_offline was looked at" in observed(world)["reason"]
    assert world.verdicts() == []
    world.validate(first)
    world.promote(first)
    assert world.production() == first.digest


def test_latency_of_staging_is_judged(world: World) -> None:
    first = world.model("one", 0.9)
    world.validate(first, p95_ms=2500.0)
    world.promote(first)
    assert (world.production(), world.verdicts()) == (None, ["reject"])
    world.validate(first)  # measured anew: the old verdict does not stand for it
    world.promote(first)
    assert (world.production(), world.verdicts()) == (first.digest, ["reject", "promote"])
    assert {r["gate_id"] for r in world.lake.read("gates").to_pylist()} == {
        f"{first.digest}-1-1",
        f"{first.digest}-1-2",
    }


def test_a_rejected_model_waits_for_a_person(world: World) -> None:
    first = world.model("one", 0.9)
    world.say("reject", first, "wrong labels")
    world.promote(first)
    assert (world.production(), world.verdicts()) == (None, [])
    assert "rejected by ann@desk: wrong labels" in observed(world)["reason"]
    world.say("approve", first)
    world.promote(first)
    assert world.production() == first.digest


@pytest.mark.slow
def test_rollback_bars_and_shows_in_the_history(world: World) -> None:
    first, second = world.model("one", 0.6), world.model("two", 0.9)
    world.promote(first)
    world.promote(second)
    result = world.back("complaints from the yard")
    assert result.success
    assert world.production() == first.digest
    assert world.aliases(first) == {"production"}
    event = world.instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = {k: v.value for k, v in event.asset_materialization.metadata.items()}
    assert (metadata["digest"], metadata["previous"], metadata["action"], metadata["decided_by"]) == (
        first.digest,
        second.digest,
        "rollback",
        "ann@desk",
    )
    # Barred: neither the better figures nor a repetition bring it back; a person does.
    world.promote(second)
    assert world.production() == first.digest
    assert world.alerts()[-1][0] == "approval_wanted"
    assert "complaints from the yard" in world.alerts()[-1][1]
    world.say("approve", second, "it was the camera")
    world.promote(second)
    assert world.production() == second.digest


def test_nothing_to_roll_back_to(world: World) -> None:
    first = world.model("one", 0.6)
    assert not world.back().success
    world.promote(first)
    assert not world.back().success
    assert [e.action for e in ledger.events(world.lake)] == ["promote"]


def test_a_rollback_holds_where_the_service_does_not_follow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from carsdepo_assets.release import jobs

    monkeypatch.setattr(jobs, "ROLLBACK_WAIT_S", 0.5)
    first, second = world.model("one", 0.6), world.model("two", 0.9)
    world.promote(first)
    world.promote(second)
    world.stages["production"].stuck = second.digest
    assert not world.back().success
    assert world.production() == first.digest
    assert world.aliases(first) == {"production"}


def test_no_service_leaves_the_ledger_alone_and_says_what_to_start(world: World) -> None:
    first = world.model("one", 0.8)
    world.stages["production"].end()
    result = world.promote(first)
    assert not result.success
    [failure] = [e for e in result.all_events if e.is_step_failure]
    assert "carsdepo serve --stage production" in str(failure.step_failure_data.error)
    assert ledger.events(world.lake) == []
    assert world.verdicts() == ["promote"]


def test_a_service_that_does_not_follow_fails_the_run_and_the_next_one_finishes(world: World) -> None:
    first = world.model("one", 0.8)
    world.rule('[gate]\nmode = "point"\n[release]\nwait_s = 0.5\n')
    world.stages["production"].stuck = "0000000000000000"
    result = world.promote(first)
    assert not result.success
    world.stages["production"].stuck = None
    result = world.promote(first)
    metadata = materialized(result)
    assert metadata is not None
    assert (metadata["digest"], metadata["verdict"]) == (first.digest, "promote")
    assert [e.action for e in ledger.events(world.lake)] == ["promote"]


def test_killed_between_ledger_and_alias(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.model("one", 0.8)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(aliases, "project", killed)
        assert not world.promote(first).success
    assert world.production() == first.digest
    assert world.aliases(first) == {"candidate"}
    metadata = materialized(world.promote(first))
    assert metadata is not None
    assert metadata["ledger_sequence"] == 1
    assert world.aliases(first) == {"candidate", "production"}
    assert [e.action for e in ledger.events(world.lake)] == ["promote"]
    assert materialized(world.promote(first)) is None


def test_two_promotions_at_once(world: World) -> None:
    """Of one model: one event. Of two models: the second is judged against the first, not against the old champion."""
    champion, better, worse = (world.model(n, s) for n, s in (("one", 0.5), ("two", 0.95), ("three", 0.7)))
    world.promote(champion)
    start, errors = threading.Barrier(4), []

    def work(version: Any) -> None:
        try:
            start.wait(20)
            promote(world.lake, version, world.policy, dagster_run_id=None, reachable=lambda: None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(v,)) for v in (better, better, worse, worse)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    promoted = [e.digest for e in ledger.events(world.lake, "production")]
    assert world.production() == better.digest
    assert promoted.count(better.digest) == 1
    for row in world.lake.read("gates").to_pylist():
        if row["challenger"] == worse.digest and row["verdict"] == "promote":
            assert row["champion"] == champion.digest
    events = ledger.events(world.lake, "production")
    assert [e.previous for e in events] == [None, *(e.digest for e in events[:-1])]


def test_a_service_that_answers_no_inspection_fails_the_checks_not_the_asset(world: World) -> None:
    """/healthz is right, and every inspection is an error: each check says so, and the record is kept."""
    first = world.model("one", 0.8, validated=False)
    result = world.run("release")
    assert not result.success
    checks = {c.check_name: c.passed for c in result.get_asset_check_evaluations()}
    assert checks == dict.fromkeys(CHECKS, False)
    kept = read_validation(world.lake, first.digest)
    assert kept is not None
    assert not kept.passed
    assert kept.latency == {}
    assert world.production() is None


def test_a_rollback_waits_for_no_gate(world: World) -> None:
    first, second = world.model("one", 0.5), world.model("two", 0.9)
    world.promote(first)
    world.promote(second)
    with one_writer(world.lake, GATE_LOCK):
        event = roll_back(world.lake, actor="ada", reason="false alarms", event_id="r1", dagster_run_id=None)
    assert event.digest == first.digest


def test_what_a_person_decides_while_the_gate_works_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.model("one", 0.5), world.model("two", 0.9)
    world.promote(first)
    judged = promotion.run_gate

    def rejected_meanwhile(*args: Any, **options: Any) -> Any:
        result = judged(*args, **options)
        ledger.record(
            world.lake, "production", "reject", digest=second.digest, version=2, actor="ada", reason="no", event_id="x"
        )
        return result

    monkeypatch.setattr(promotion, "run_gate", rejected_meanwhile)
    outcome = promote(world.lake, second, world.policy, dagster_run_id=None, reachable=lambda: None)
    assert outcome.outcome == "refused"
    assert world.production() == first.digest


def test_the_gates_difference_is_a_metric_of_the_models_training(world: World) -> None:
    runs = {name: world.tracking.begin(None, name) for name in ("one", "two")}
    first, better = world.model("one", 0.6, run_id=runs["one"]), world.model("two", 0.9, run_id=runs["two"])
    for version in (first, better, better):
        assert world.promote(version).success

    def logged(name: str, metric: str) -> list[float]:
        return [m.value for m in world.tracking.client.get_metric_history(runs[name], metric)]

    assert logged("one", "gate_map50_difference") == []  # there was nothing to compare it with
    assert len(logged("one", "gate_challenger_map50")) == 1
    [difference] = logged("two", "gate_map50_difference")  # once, though the promotion was repeated
    assert difference > 0
    compared = {r["challenger"]: json.loads(r["figures"]) for r in world.lake.read("gates").to_pylist()}
    assert difference == compared[better.digest]["map50_difference"]
    assert logged("two", "gate_map50_difference_low") == [compared[better.digest]["map50_difference_low"]]
