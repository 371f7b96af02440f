"""registry/labels_learnt.py and model_in_use.py: how far the labels are learnt, and which model is used by default."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carsdepo_assets.lake.label_state import mark_trained
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import Outcome, outcomes, record_outcome, trained_before
from carsdepo_assets.policy import Longer, OtherDetector, Policy, TrainingPolicy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.labels_learnt import LabelCoverage, label_coverage
from carsdepo_assets.registry.model_in_use import model_in_use
from carsdepo_assets.registry.models import RegistryError, register
from carsdepo_assets.registry.tracking import Tracking

POLICY = Policy(training=TrainingPolicy(fallbacks=(Longer(), OtherDetector(detector="faster_rcnn"))))
BEGAN = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    label(lake, "a", "b")
    return lake


def label(lake: Lake, *names: str) -> None:
    lake.append("processed", [{"image_id": n} for n in names], f"p-{names}")
    lake.append("annotations", [{"image_id": n} for n in names], f"a-{names}")


def tried(lake: Lake, state: int, fallback: str | None = None, minute: int = 0, **more: object) -> bool:
    fields = {
        "label_state": state,
        "at": BEGAN + timedelta(minutes=minute),
        "asked_by": "retrain",
        "fallback": fallback,
        "outcome": "under_floor",
        "dataset": "d",
        "recipe": "usual",
        "digest": f"model-{fallback}",
        "version": 1,
        "map50": 0.001,
        "floor": 0.02,
        "reason": "mAP@.5 0.001 is under the floor of 0.020.",
    }
    return record_outcome(lake, Outcome.model_validate(fields | more))


def now(lake: Lake) -> LabelCoverage:
    return label_coverage(lake, POLICY)


def test_labels_that_came_wait_for_the_usual_training_and_are_no_trouble(lake: Lake) -> None:
    coverage = now(lake)
    assert (coverage.label_state, coverage.unlearnt, coverage.next, coverage.trainable) == (2, 2, "recipe", 2)
    assert not coverage.in_trouble
    mark_trained(lake, digest="m", dataset="d", recipe="r", state=2)
    assert now(lake) == LabelCoverage(2, 0)


def test_each_try_leads_to_the_next_and_the_last_to_a_person(lake: Lake) -> None:
    steps = [(None, "longer-3"), ("longer-3", "detector-faster_rcnn"), ("detector-faster_rcnn", None)]
    for minute, (fallback, coming) in enumerate(steps):
        tried(lake, 2, fallback, minute)
        coverage = now(lake)
        assert (coverage.next, coverage.in_trouble, coverage.needs_person) == (coming, True, coming is None)
        assert coverage.trainable == (2 if coming else 0)
        assert coverage.base_recipe == "usual"
    assert "3 models under the floor, the best with mAP@.5 0.001 of 0.020" in coverage.message
    assert coverage.message.endswith("a person is asked.")
    label(lake, "c")
    assert (now(lake).next, now(lake).in_trouble) == ("recipe", False)
    mark_trained(lake, digest="m", dataset="d", recipe="r", state=3)
    assert not now(lake).in_trouble


@pytest.mark.parametrize("outcome", ["skipped", "did_not_finish"])
def test_a_fallback_that_is_passed_over_has_had_its_turn(lake: Lake, outcome: str) -> None:
    tried(lake, 2)
    tried(lake, 2, "longer-3", 1, outcome=outcome, digest=None, map50=None, reason="Not tried: no.")
    assert now(lake).next == "detector-faster_rcnn"


def test_a_person_settles_it(lake: Lake) -> None:
    tried(lake, 2, minute=0)
    tried(lake, 2, minute=1, asked_by="person", digest="by-hand")
    assert now(lake).settled is None  # the fallbacks go on: a person's training is no try of theirs
    assert now(lake).next == "longer-3"
    for minute, fallback in enumerate(("longer-3", "detector-faster_rcnn"), 2):
        tried(lake, 2, fallback, minute)
    assert now(lake).needs_person
    tried(lake, 2, minute=9, asked_by="person", digest="by-hand-again")
    coverage = now(lake)
    assert (coverage.needs_person, coverage.in_trouble, coverage.trainable, coverage.unlearnt) == (False, False, 0, 2)
    assert "A person trained model by-hand-again since" in coverage.message


def test_an_approval_settles_it_at_any_time(lake: Lake) -> None:
    tried(lake, 2)
    ledger.record(lake, "production", "approve", digest="another", version=1, actor="ann", reason="fine")
    assert now(lake).settled is None
    ledger.record(lake, "production", "approve", digest="model-None", version=2, actor="ann", reason="good enough")
    coverage = now(lake)
    assert (coverage.in_trouble, coverage.trainable, coverage.unlearnt) == (False, 0, 2)
    assert coverage.settled == "ann approved model model-None all the same: good enough"
    ledger.record(lake, "production", "reject", digest="model-None", version=2, actor="ben", reason="it sees nothing")
    assert (now(lake).settled, now(lake).in_trouble) == (None, True)


def test_a_person_who_comes_first_is_no_try_of_the_sensor(lake: Lake) -> None:
    """The demo's first model, or one's own short training: the usual recipe is still to come."""
    tried(lake, 2, asked_by="person", digest="by-hand")
    coverage = now(lake)
    assert (coverage.next, coverage.in_trouble, coverage.base_recipe) == ("recipe", True, None)


def test_the_same_outcome_is_one_row(lake: Lake) -> None:
    assert tried(lake, 2)
    assert not tried(lake, 2, minute=5)
    assert not tried(lake, 2, minute=6, asked_by="person")  # a person looks at what stands: nothing was trained
    assert tried(lake, 2, "longer-3", 7, digest="model-None")  # a fallback that came to the same model is a try
    assert [o.tried for o in outcomes(lake, 2)] == ["recipe", "longer-3"]
    assert outcomes(lake, 3) == []
    assert trained_before(lake, "d", "usual") == ["model-None", "model-None"]
    assert trained_before(lake, "other", "usual") == []


@pytest.mark.timeout(300)
def test_production_then_the_newest_candidate_that_met_the_floor(empty_store: Path, tmp_path: Path, lake: Lake) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    tracking, policy = Tracking.at_home(tmp_path), Policy()
    with pytest.raises(RegistryError, match="No model is registered yet"):
        model_in_use(lake, tracking, policy)

    def register_version(digest: str, map50: float | None) -> None:
        register(
            tracking,
            digest=digest,
            lake_url=lake.url,
            dataset_version="d",
            detector="yolov8n",
            figures={} if map50 is None else {"map50": map50},
            run_id=None,
            alias=None,
        )

    register_version("unmeasured", None)
    with pytest.raises(RegistryError, match=r"1 \(unmeasured, mAP@\.5 undefined\)"):
        model_in_use(lake, tracking, policy)
    register_version("worthless", 0.001)
    with pytest.raises(RegistryError, match=r"none of the registered ones met the floor of 0.020.*2 \(worthless, mAP"):
        model_in_use(lake, tracking, policy)
    register_version("first", 0.4)
    register_version("second", 0.5)
    register_version("newest", 0.019)
    in_use = model_in_use(lake, tracking, policy)
    assert (in_use.digest, in_use.version) == ("second", 4)
    assert "newest candidate that met the floor: mAP@.5 0.500 of 0.020" in in_use.why
    ledger.record(lake, "production", "reject", digest="second", version=4, actor="ann", reason="blind at night")
    assert model_in_use(lake, tracking, policy).digest == "first"
    ledger.record(lake, "production", "promote", digest="worthless", version=1, actor="ann", reason="to see it whole")
    served = model_in_use(lake, tracking, policy)
    assert (served.digest, served.version, served.why) == ("worthless", 1, "the model in production")
