"""monitoring/routing.py and drift_queues.py: what follows from each band, and that it follows once."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.lake import queues
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import Outcome, record_outcome
from carsdepo_assets.monitoring import drift_queues, routing
from carsdepo_assets.monitoring.missing_inputs import MissingInput
from carsdepo_assets.monitoring.routing import decide
from carsdepo_assets.policy import Longer, MonitoringPolicy, Policy, TrainingPolicy
from carsdepo_assets.registry import ledger
from carsdepo_assets_tests.monitoring.monitored_lake import NOW, image_id, promote

RULES = MonitoringPolicy()


def report(band: str, drift: float | None, **more: Any) -> dict[str, Any]:
    return {
        "report_id": "r1",
        "at": NOW,
        "digest": "d1",
        "band": band,
        "drift": drift,
        "photographs": 200,
        "worst_feature": "luma_p95" if drift else None,
        "report_key": "reports/drift/r1.html",
        **more,
    }


@pytest.mark.parametrize(
    ("band", "drift", "labels", "actions"),
    [
        ("none", 0.0, 0, ()),
        ("none", 0.0, 40, ()),
        ("low", 0.03, 40, ("retrain",)),
        ("low", 0.03, 0, ("queue",)),
        ("middle", 0.06, 40, ("retrain", "hold")),
        ("middle", 0.06, 0, ("queue", "hold")),
        ("high", 0.2, 0, ("queue", "hold", "experiment", "study", "alert")),
        ("high", 0.2, 40, ("queue", "hold", "experiment", "study", "alert")),
        ("unknown", None, 0, ("alert",)),
    ],
)
def test_the_table(band: str, drift: float | None, labels: int, actions: tuple[str, ...]) -> None:
    route = decide(report(band, drift), labels, RULES)
    assert route.actions == actions
    assert route.message


def test_high_drift_is_never_retrained_on_its_own() -> None:
    for labels in (0, 1, 1000):
        for standing in (None, "drift-r0"):
            assert "retrain" not in decide(report("high", 0.2), labels, RULES, open_queue=standing).actions


def test_without_studies_high_drift_only_opens_an_experiment() -> None:
    route = decide(report("high", 0.2), 0, RULES, study=False)
    assert route.actions == ("queue", "experiment", "alert")
    assert "study" not in route.message


def test_no_new_labels_is_said() -> None:
    message = decide(report("low", 0.031), 0, RULES).message
    assert "3.1 %" in message
    assert "nothing new to learn" in message
    assert "brightness" in message


def test_a_queue_that_still_waits_is_not_cut_again() -> None:
    for band, drift, left in (("low", 0.03, ()), ("middle", 0.06, ("hold",)), ("high", 0.2, ("alert",))):
        route = decide(report(band, drift), 0, RULES, open_queue="drift-r0")
        assert route.actions == left
        assert "drift-r0" in route.message


def test_unknown_again_is_not_told_again() -> None:
    assert decide(report("unknown", None), 0, RULES, band_before="unknown").actions == ()
    assert decide(report("unknown", None), 0, RULES, band_before="none").actions == ("alert",)


@pytest.mark.parametrize("band", [None, "severe"])
def test_a_band_that_is_not_known_is_not_a_low_one(band: str | None) -> None:
    route = decide(report("low", 0.3) | {"band": band}, 40, RULES)
    assert route.actions == ("alert",)
    assert f"r1 cannot be read: its band is {band!r}" in route.message


class Told:
    """Stands where alerts are sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str, str]] = []

    def __call__(self, key: str, severity: str, title: str, body: str) -> None:
        self.sent.append((key, severity, title, body))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    promote(lake, "d1")
    return lake


def put(lake: Lake, row: dict[str, Any]) -> dict[str, Any]:
    whole = {"computed": row["band"] != "unknown", "detected": row["band"] not in ("none", "unknown"), **row}
    lake.append("drift", [whole], row["report_id"])
    return whole


def test_each_report_is_routed_once_oldest_first(lake: Lake) -> None:
    put(lake, report("none", 0.0, report_id="b", at=NOW))
    put(lake, report("none", 0.0, report_id="a", at=NOW - timedelta(hours=1)))
    assert [r["report_id"] for r in routing.unrouted_reports(lake)] == ["a", "b"]
    for row in routing.unrouted_reports(lake):
        routing.route_report(lake, row, Policy(), Told(), NOW)
    assert routing.unrouted_reports(lake) == []
    assert lake.read("routes").num_rows == 2


def test_routing_again_changes_nothing(lake: Lake) -> None:
    row, told = put(lake, report("middle", 0.06)), Told()
    for _ in range(2):  # as after a kill between the actions and the row
        routing.route_report(lake, row, Policy(), told, NOW)
    assert lake.read("routes").num_rows == 1
    holds = [e for e in ledger.events(lake) if e.action == "hold"]
    assert len(holds) == 1
    assert "6.0 %" in holds[0].reason
    assert holds[0].actor.startswith("auto:")
    assert ledger.LedgerHistory.read(lake).promotion_hold is not None
    assert told.sent == []


def test_a_standing_hold_is_enough(lake: Lake) -> None:
    for name in ("one", "two"):
        routing.route_report(lake, put(lake, report("middle", 0.06, report_id=name)), Policy(), Told(), NOW)
    assert sum(e.action == "hold" for e in ledger.events(lake)) == 1


def test_high_drift_asks_for_a_queue_until_it_is_there_and_tells_people(lake: Lake) -> None:
    told = Told()
    routing.route_report(lake, put(lake, report("high", 0.2)), Policy(), told, NOW)
    ((key, severity, title, body),) = told.sent
    assert severity == "critical"
    assert "20.0 %" in title
    assert "reports/drift/r1.html" in body
    assert key == "drift:high:d1:luma_p95"
    assert drift_queues.queues_to_cut(lake, NOW) == ["r1"]
    assert drift_queues.queues_to_cut(lake, NOW + timedelta(days=8)) == []
    cut(lake, "r1", 4)
    assert drift_queues.queues_to_cut(lake, NOW) == []
    (row,) = lake.read("routes").to_pylist()
    assert row["queue_id"] == queues.queue_id_of("r1")
    assert row["actions"] == ["queue", "hold", "experiment", "study", "alert"]


def cut(lake: Lake, report_id: str, n: int) -> None:
    queue_id = queues.queue_id_of(report_id)
    photographs = tuple(
        queues.QueuedPhotograph(
            image_id(f"q{i}"), f"capture/{i}.jpg", f"raw/uploads/queue/{queue_id}/{i}.jpg", i + 1, "drifted"
        )
        for i in range(n)
    )
    lake.put(queues.queue_key(queue_id), queues.Queue(queue_id, NOW, report_id, "drift", photographs).to_json())


def test_the_same_drift_again_waits_for_its_queue(lake: Lake) -> None:
    routing.route_report(lake, put(lake, report("high", 0.2)), Policy(), Told(), NOW)
    later = NOW + timedelta(hours=1)
    again = routing.route_report(
        lake, put(lake, report("high", 0.21, report_id="r2", at=later)), Policy(), Told(), later
    )
    assert again.actions == ("alert",)  # the queue is asked for, if not yet cut
    cut(lake, "r1", 4)
    third = put(lake, report("high", 0.2, report_id="r3", at=later + timedelta(hours=1)))
    assert drift_queues.open_queue(lake, third, later)[0] == queues.queue_id_of("r1")
    labelled = [{"revision_id": f"l{i}", "image_id": image_id(f"q{i}"), "sequence": i} for i in range(2)]
    lake.append("annotations", labelled, "labels")
    assert drift_queues.open_queue(lake, third, later)[0] is None  # half of it has labels


@pytest.mark.parametrize(
    "other",
    [{"worst_feature": "sharpness"}, {"digest": "d0"}, {"band": "low", "drift": 0.03}],
    ids=["another feature", "another model", "a lower band"],
)
def test_another_drift_gets_its_own_queue(lake: Lake, other: dict[str, Any]) -> None:
    routing.route_report(lake, put(lake, report("high", 0.2) | other), Policy(), Told(), NOW)
    second = put(lake, report("high", 0.3, report_id="r2", at=NOW + timedelta(hours=1)))
    assert "queue" in routing.route_report(lake, second, Policy(), Told(), NOW).actions


def test_new_labels_are_counted_against_the_last_training(lake: Lake) -> None:
    lake.append("processed", [{"image_id": "i1"}, {"image_id": "i2"}], "p")
    lake.append("annotations", [{"revision_id": r, "image_id": i} for r, i in (("a", "i1"), ("b", "i2"))], "l")
    row = put(lake, report("low", 0.03))
    assert routing.route_report(lake, row, Policy(), Told(), NOW).actions == ("retrain",)
    lake.put("training/latest.json", b'{"label_state": 2}')
    later = put(lake, report("low", 0.03, report_id="r2", at=NOW + timedelta(hours=1)))
    assert routing.route_report(lake, later, Policy(), Told(), NOW).actions == ("queue",)


def test_labels_that_no_training_could_learn_are_nothing_to_retrain_on(lake: Lake) -> None:
    """While fallbacks are left a training still takes them up; after that a person is asked, and more labels are."""
    lake.append("processed", [{"image_id": "i1"}], "p")
    lake.append("annotations", [{"revision_id": "a", "image_id": "i1"}], "l")
    policy = Policy(training=TrainingPolicy(fallbacks=(Longer(),)))

    def under_floor(fallback: str | None) -> None:
        outcome = Outcome(
            label_state=1, at=NOW, asked_by="retrain", fallback=fallback, outcome="under_floor", digest="m"
        )
        record_outcome(lake, outcome)

    under_floor(None)
    assert routing.route_report(lake, put(lake, report("low", 0.03)), policy, Told(), NOW).actions == ("retrain",)
    under_floor("longer-3")
    later = put(lake, report("low", 0.03, report_id="r2", at=NOW + timedelta(hours=1)))
    route = routing.route_report(lake, later, policy, Told(), NOW)
    assert route.actions == ("queue",)
    assert (
        "the 1 label revisions that are not learnt were tried, and their models stayed under the floor" in route.message
    )


RISEN = asdict(MissingInput("answers", "camera", 200, 0.9, 400, 0.1, 1e-9, risen=True))


@pytest.mark.parametrize(
    ("damage", "severity", "named"),
    [
        ({"band": "high", "drift": None}, "critical", "how much drift there is is missing"),
        ({"band": "low", "drift": float("nan")}, "warning", "how much drift there is is missing"),
        ({"band": None}, "warning", "its band is None"),
        ({"band": "severe"}, "warning", "its band is 'severe'"),
        ({"band": "high", "drift": 0.2, "at": None}, "critical", "its time is missing"),
        ({"missing": "{"}, "warning", "its missing inputs are damaged"),
        ({"missing": "[" * 100_000}, "warning", "its missing inputs are damaged"),
        ({"missing": '[{"what": "answers", "risen": true}]'}, "warning", "1 of its missing inputs are damaged (name:"),
        ({"missing": "[5]"}, "warning", "1 of its missing inputs are damaged"),
        ({"report_key": None, "band": None}, "warning", "its band is None"),
    ],
)
def test_a_damaged_report_is_named_once_and_the_others_are_routed(
    lake: Lake, damage: dict[str, Any], severity: str, named: str
) -> None:
    before = {"report_id": "damaged", "at": NOW - timedelta(days=1), "digest": "d0"}
    put(lake, report("none", 0.0) | before | damage)
    put(lake, report("high", 0.3))
    told = Told()
    routes = {row["report_id"]: route for row, route in routing.route_unrouted(lake, Policy(), told, NOW)}
    assert routes["r1"].actions == ("queue", "hold", "experiment", "study", "alert")
    assert routes["r1"].damage is None
    assert named in str(routes["damaged"].damage)
    ((how, body),) = [(how, body) for key, how, _, body in told.sent if key.endswith(":damaged:damaged")]
    assert how == severity
    assert named in body
    assert [how for key, how, _, _ in told.sent if key == "drift:high:d1:luma_p95"] == ["critical"]
    stored = {row["report_id"]: row for row in lake.read("routes").to_pylist()}
    assert named in stored["damaged"]["said"]
    assert set(stored["damaged"]["actions"]) <= {"alert"}
    assert routing.unrouted_reports(lake) == []  # a damaged row is not tried for ever
    assert routing.route_unrouted(lake, Policy(), told, NOW) == []
    newest = routing.latest_route(lake)
    assert newest is not None
    assert newest[0]["report_id"] == "r1"


def test_missing_inputs_that_can_be_read_are_told_beside_a_damaged_one(lake: Lake) -> None:
    """A key of a later version is no damage."""
    put(lake, report("none", 0.0, missing=json.dumps([{"what": "answers"}, RISEN | {"of_later": 1}])))
    told = Told()
    routing.route_unrouted(lake, Policy(), told, NOW)
    assert [key for key, *_ in told.sent] == ["missing_inputs:damaged:r1", "missing_inputs:d1:answers.camera"]


def test_a_report_whose_routing_fails_is_named_and_the_others_are_routed(lake: Lake) -> None:
    put(lake, report("high", 0.2, report_id="failing", worst_feature="sharpness", at=NOW - timedelta(hours=1)))
    put(lake, report("high", 0.3))
    told = Told()

    def alert(key: str, *more: str) -> None:
        if key.endswith("sharpness"):
            raise RuntimeError("the channel is away")
        told(key, *more)  # type: ignore[call-arg]

    with pytest.raises(routing.ReportsNotRouted, match=r"^1 drift reports were routed.*failing: .*the channel is away"):
        routing.route_unrouted(lake, Policy(), alert, NOW)
    assert [severity for _, severity, _, _ in told.sent] == ["critical"]
    assert [row["report_id"] for row in routing.unrouted_reports(lake)] == ["failing"]
    assert len(routing.route_unrouted(lake, Policy(), told, NOW)) == 1


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"[" * 100_000])
def test_a_damaged_queue_is_named_where_it_matters_and_stops_no_report(lake: Lake, data: bytes) -> None:
    routing.route_report(lake, put(lake, report("high", 0.2)), Policy(), Told(), NOW)
    lake.put(queues.queue_key(queues.queue_id_of("r1")), data)
    later = NOW + timedelta(hours=1)
    put(lake, report("high", 0.2, report_id="same", at=later))
    put(lake, report("high", 0.2, report_id="other", at=later + timedelta(hours=1), worst_feature="sharpness"))
    routes = {row["report_id"]: route for row, route in routing.route_unrouted(lake, Policy(), Told(), later)}
    assert "queues/drift-r1/queue.json" in str(routes["same"].damage)
    assert "queues/drift-r1/queue.json" in routes["same"].message
    assert routes["other"].damage is None
    assert all(route.actions == ("queue", "hold", "experiment", "study", "alert") for route in routes.values())
    assert set(drift_queues.queues_to_cut(lake, later)) == {"same", "other"}


def test_an_interrupted_queue_that_is_not_asked_for_any_more_blocks_no_other(lake: Lake) -> None:
    routing.route_report(lake, put(lake, report("middle", 0.06)), Policy(), Told(), NOW)
    cut(lake, "r1", 10)
    queue_id = queues.queue_id_of("r1")
    lake.put(queues.plan_key(queue_id), lake.get(queues.queue_key(queue_id)))
    lake.delete(queues.queue_key(queue_id))
    again = put(lake, report("middle", 0.06, report_id="r2", at=NOW + timedelta(hours=1)))
    assert drift_queues.open_queue(lake, again, NOW + timedelta(days=6))[0] == queue_id
    late = NOW + timedelta(days=30)
    assert drift_queues.queues_to_cut(lake, late) == []
    assert routing.route_report(lake, again, Policy(), Told(), late).actions == ("queue", "hold")


def test_unknown_drift_of_another_model_is_told(lake: Lake) -> None:
    told = Told()
    for hour, digest in enumerate(("d1", "d2", "d1", "d2")):
        at = NOW + timedelta(hours=hour)
        put(lake, report("unknown", None, report_id=f"u{hour}", digest=digest, at=at))
    routing.route_unrouted(lake, Policy(), told, NOW)
    assert [key for key, *_ in told.sent] == ["drift:unknown:d1:None", "drift:unknown:d2:None"]


def test_unknown_is_told_with_its_own_key(lake: Lake) -> None:
    told = Told()
    for name, hour in (("u1", 0), ("u2", 1)):
        at = NOW + timedelta(hours=hour)
        routing.route_report(lake, put(lake, report("unknown", None, report_id=name, at=at)), Policy(), told, NOW)
    assert [(k, s) for k, s, _, _ in told.sent] == [("drift:unknown:d1:None", "warning")]
