"""training/fallbacks.py: after a training under the floor, an alert and the policy's fallbacks; no label is learnt.

The graph's own `train` job and `retrain` sensor over a real lake, MLflow and Dagster instance; see
example_evaluation.py for the two seams at which a training is decided by the test.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.commands.status import _rows, read_status
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.environments import resources
from carsdepo_assets.lake.label_state import FALLBACK_TAG, trained_state
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import Outcome, outcomes
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import CANDIDATE, ModelVersion, versions
from carsdepo_assets.settings import Settings
from carsdepo_assets.training import register
from carsdepo_assets_tests.data.small_lake import CLASS_NAMES
from carsdepo_assets_tests.training.example_evaluation import Becomes, MadeUpTrainings, panel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
FIRST = range(30)


def blind(recipe: Recipe) -> Becomes:
    return "blind"


class House:
    """An installation of its own, with labelled photographs; nothing is trained yet."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, trainings: MadeUpTrainings) -> None:
        self.settings, self.trainings = settings, trainings
        self.pipeline = Pipeline(settings, instance)
        self.lake = Lake.open(settings.lake)
        self.label(FIRST)

    def label(self, seeds: range) -> None:
        self.lake.put("raw/labels/classes.txt", CLASS_NAMES)
        for seed in seeds:
            photograph, text = panel(seed)
            self.lake.put(f"raw/uploads/a/{seed}.png", photograph)
            self.lake.put(f"raw/labels/a/{seed}.txt", text.encode())
        self.pipeline.ingest("uploads")
        self.pipeline.ingest("labels")

    def tick(self) -> tuple[list[str | None], str]:
        """The run keys that `retrain` asked for, run here and now, and why it asked for none."""
        ticked = self.pipeline.tick("retrain")
        return [r.dagster_run.tags.get("dagster/run_key") for r in ticked.runs], ticked.skipped

    def outcomes(self) -> list[tuple[str, str, str]]:
        """(what, outcome, asked by) at the state of the labels, in order."""
        state = self.status["training_trouble"]["label_state"] if self.status["training_trouble"] else None
        rows: list[Outcome] = outcomes(self.lake, state or self.lake.read("annotations").num_rows)
        return [(o.tried, o.outcome, o.asked_by) for o in rows]

    def alerts(self, kind: str) -> list[dict[str, Any]]:
        return [r for r in self.lake.read("alerts").to_pylist() if r["kind"] == kind]

    def checks(self) -> dict[str, tuple[bool, str]]:
        """Whether each check of the newest candidate passed, and its severity."""
        instance = self.pipeline.instance
        event_type = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        found: dict[str, tuple[bool, str]] = {}
        for record in reversed(instance.get_records_for_run(instance.get_runs()[0].run_id, of_type=event_type).records):
            evaluation = record.event_log_entry.asset_check_evaluation
            assert evaluation is not None
            if evaluation.asset_key.to_user_string() == "candidate_model":
                found.setdefault(evaluation.check_name, (evaluation.passed, evaluation.severity.value))
        return found

    @property
    def status(self) -> dict[str, Any]:
        return read_status(self.settings)

    @property
    def versions(self) -> list[ModelVersion]:
        return versions(resources(self.settings)["tracking"].tracking())


@pytest.fixture
def house(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., House]]:
    settings = Settings.read({}, home=tmp_path / "home")
    for name, value in settings.variables().items():
        monkeypatch.setenv(name, value)
    settings.home.mkdir(exist_ok=True)
    shutil.copy(empty_store, settings.home / "mlflow.db")

    with dg.DagsterInstance.ephemeral() as instance:

        def build(becomes: Callable[[Recipe], Becomes], **training: object) -> House:
            training_settings = "".join(f"{k} = {v}\n" for k, v in {"debounce_s": 0, **training}.items())
            (settings.home / "carsdepo.toml").write_text(f"[training]\n{training_settings}")
            return House(settings, instance, MadeUpTrainings(monkeypatch, becomes))

        yield build


def test_each_fallback_once_until_one_meets_the_floor(house: Callable[..., House]) -> None:
    """What the usual recipe cannot learn, another family can; the one after that follows the champion again."""
    here = house(lambda recipe: "good" if recipe.detector == "faster_rcnn" else "blind", detector="'yolov8n'")
    labels = len(FIRST)

    keys, _ = here.tick()
    assert keys == [f"labels:{labels}:1"]
    assert here.outcomes() == [("recipe", "under_floor", "retrain")]
    assert trained_state(here.lake) == 0  # nothing is learnt by a model under the floor
    (alert,) = here.alerts("training_under_floor")
    assert "mAP@.5 0.000 is under the floor of 0.020" in alert["body"]
    assert "policy.training.detector names it" in alert["body"]
    trouble = here.status["training_trouble"]
    assert (trouble["next"], trouble["needs_person"], trouble["unlearnt"]) == ("longer-3", False, labels)
    assert here.status["labels_waiting"] == labels
    assert "labels not learnt yet" in dict(_rows(here.status))

    keys, _ = here.tick()
    assert keys == [f"labels:{labels}:longer-3:1"]
    usual, longer = here.trainings.trained
    assert longer == usual.model_copy(update={"minutes": 7.5, "epochs": 3 * usual.epochs})

    keys, _ = here.tick()  # random weights it had already: the other start is passed over in the same tick
    assert keys == [f"labels:{labels}:detector-faster_rcnn:1"]
    assert here.outcomes() == [
        ("recipe", "under_floor", "retrain"),
        ("longer-3", "under_floor", "retrain"),
        ("start-afresh", "skipped", "retrain"),
        ("detector-faster_rcnn", "met", "retrain"),
    ]
    other = here.trainings.trained[-1]
    assert (other.detector, other.init, other.minutes) == ("faster_rcnn", "imagenet", usual.minutes)
    assert [CANDIDATE in v.aliases for v in here.versions] == [False, False, True]
    assert trained_state(here.lake) == labels
    assert (here.status["training_trouble"], here.status["labels_waiting"]) == (None, 0)
    assert here.tick()[0] == []
    assert len(here.alerts("training_under_floor")) == 2
    assert here.alerts("training_needs_person") == []

    # Production serves what the fallback made: with the next labels it is the champion that is followed.
    good = here.versions[-1]
    ledger.record(here.lake, "production", "promote", digest=good.digest, version=3, actor="ann", reason="first")
    (here.settings.home / "carsdepo.toml").write_text("[training]\ndebounce_s = 0\n")
    here.label(range(30, 33))
    keys, _ = here.tick()
    assert keys == [f"labels:{labels + 3}:1"]
    after = here.trainings.trained[-1]
    assert (after.detector, after.init, after.champion) == ("faster_rcnn", "champion", good.digest)
    assert after.minutes == usual.minutes


def test_when_nothing_helps_a_person_is_asked_until_it_is_settled(house: Callable[..., House]) -> None:
    here = house(blind, fallbacks='[{change = "longer", factor = 2}]', detector="'yolov8n'")
    labels = len(FIRST)
    assert [here.tick()[0], here.tick()[0]] == [[f"labels:{labels}:1"], [f"labels:{labels}:longer-2:1"]]
    for _ in range(2):  # asked once, however often the sensor looks
        keys, message = here.tick()
        assert keys == []
        assert "Nothing more is tried by itself: a person is asked." in message
    (alert,) = here.alerts("training_needs_person")
    assert "- longer-2: mAP@.5 0.000 is under the floor" in alert["body"]
    assert "carsdepo approve" in alert["body"]
    assert here.status["training_trouble"]["needs_person"] is True
    assert "longer-2: mAP@.5 0.000 is under the floor" in dict(_rows(here.status))["a person is asked"]

    # A person's run of `train` uses the recipe that is asked for. Its model is under the floor too: told, and settled.
    here.pipeline.run("train", ops={"recipe": {"config": {"minutes": 9}}})
    assert (here.trainings.trained[-1].minutes, here.outcomes()[-1]) == (9, ("recipe", "under_floor", "person"))
    assert len(here.alerts("training_under_floor")) == 3
    assert here.status["training_trouble"] is None
    assert here.status["labels_waiting"] == labels  # they are not learnt for that
    keys, message = here.tick()
    assert keys == []
    assert "A person trained model" in message

    # New labels are a new state: the usual recipe first, then its fallback, on photographs that it has not had yet.
    here.label(range(30, 33))
    trained = len(here.trainings.trained)
    assert here.tick()[0] == [f"labels:{labels + 3}:1"]
    assert here.tick()[0] == [f"labels:{labels + 3}:longer-2:1"]
    assert len(here.trainings.trained) == trained + 2
    assert here.status["training_trouble"]["needs_person"] is True
    approved = here.versions[-1]
    ledger.record(here.lake, "production", "approve", digest=approved.digest, version=1, actor="ann", reason="it does")
    assert here.status["training_trouble"] is None
    assert "ann approved model" in here.tick()[1]


def test_after_a_hopeless_training_the_next_fallback_has_its_turn(house: Callable[..., House]) -> None:
    """It gives no model: it is told, checked and recorded, and never repeated."""
    here = house(lambda recipe: "good" if recipe.detector == "faster_rcnn" else "hopeless", detector="'yolov8n'")
    labels = len(FIRST)
    with pytest.raises(PipelineError, match="Stopped as hopeless: diverged since step 7"):
        here.tick()
    assert here.outcomes() == [("recipe", "hopeless", "retrain")]
    (alert,) = here.alerts("training_hopeless")
    assert alert["title"] == "A training was stopped as hopeless: diverged"
    assert "Lower the recipe's lr" in alert["body"]
    trouble = here.status["training_trouble"]
    assert (trouble["next"], trouble["needs_person"], trouble["unlearnt"]) == ("longer-3", False, labels)
    checks = here.checks()
    assert [name for name, (passed, _) in checks.items() if not passed] == ["loss_is_finite"]
    assert checks["loss_is_finite"][1] == "ERROR"

    with pytest.raises(PipelineError, match="Stopped as hopeless"):
        here.tick()
    keys, _ = here.tick()
    assert keys == [f"labels:{labels}:detector-faster_rcnn:1"]
    assert here.outcomes() == [
        ("recipe", "hopeless", "retrain"),
        ("longer-3", "hopeless", "retrain"),
        ("start-afresh", "skipped", "retrain"),
        ("detector-faster_rcnn", "met", "retrain"),
    ]
    assert len(here.alerts("training_hopeless")) == 2
    assert all(passed for passed, _ in here.checks().values())
    assert here.tick()[0] == []


def test_hopeless_to_the_end_a_person_is_asked(house: Callable[..., House]) -> None:
    here = house(lambda recipe: "hopeless", fallbacks='[{change = "longer", factor = 2}]', detector="'yolov8n'")
    for _ in range(2):
        with pytest.raises(PipelineError, match="Stopped as hopeless"):
            here.tick()
    for _ in range(2):
        keys, message = here.tick()
        assert keys == []
        assert "a person is asked" in message
    (alert,) = here.alerts("training_needs_person")
    assert "- longer-2: Stopped as hopeless: diverged" in alert["body"]
    with pytest.raises(PipelineError, match="Stopped as hopeless"):  # a person's own training is no try of the sensor's
        here.pipeline.run("train", ops={"recipe": {"config": {"minutes": 9}}})
    assert here.outcomes()[-1] == ("recipe", "hopeless", "person")
    assert len(here.trainings.trained) == 3


def test_a_kill_between_any_two_writes_neither_loses_nor_doubles_a_fallback(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = house(blind, fallbacks='[{change = "longer", factor = 2}]', detector="'yolov8n'")
    labels = len(FIRST)
    write = register.record_outcome

    def killed(lake: Lake, outcome: Outcome) -> bool:
        raise KeyboardInterrupt("killed after the alert and before the row")

    for fallback, key in ((None, f"labels:{labels}"), ("longer-2", f"labels:{labels}:longer-2")):
        monkeypatch.setattr(register, "record_outcome", killed)
        with pytest.raises((KeyboardInterrupt, PipelineError)):
            here.tick()
        monkeypatch.setattr(register, "record_outcome", write)
        _end_what_runs(here.pipeline.instance)
        began = len(here.trainings.trained)
        assert here.tick()[0] == [f"{key}:2"]  # a key of its own, and the training that stood is not done again
        assert len(here.trainings.trained) == began
        assert [r.tags.get(FALLBACK_TAG) for r in here.pipeline.instance.get_runs(limit=2)] == [fallback, fallback]
    assert here.outcomes() == [("recipe", "under_floor", "retrain"), ("longer-2", "under_floor", "retrain")]
    assert len({v.digest for v in here.versions}) == len(here.versions) == 2
    assert len(here.alerts("training_under_floor")) == 2
    assert "a person is asked" in here.tick()[1]


def _end_what_runs(instance: dg.DagsterInstance) -> None:
    """As `settle_runs` does with a run whose process is gone."""
    for run in instance.get_runs():
        if not run.is_finished:
            instance.report_run_failed(run)


def test_runs_that_do_not_finish_are_no_models_under_the_floor(house: Callable[..., House]) -> None:
    """max_attempts runs of one recipe; a fallback that ends so is passed over, and the next has its turn."""
    here = house(
        lambda recipe: "crash" if (recipe.minutes or 0) > 3 else "blind",
        fallbacks='[{change = "longer", factor = 2}, {change = "detector", detector = "faster_rcnn"}]',
        detector="'yolov8n'",
        max_attempts=2,
    )
    labels = len(FIRST)
    assert here.tick()[0] == [f"labels:{labels}:1"]
    for _ in range(2):
        with pytest.raises(PipelineError, match="the loss is nan"):
            here.tick()
    assert here.outcomes() == [("recipe", "under_floor", "retrain")]
    assert here.tick()[0] == [f"labels:{labels}:detector-faster_rcnn:1"]
    assert here.outcomes()[1:] == [
        ("longer-2", "did_not_finish", "retrain"),
        ("detector-faster_rcnn", "under_floor", "retrain"),
    ]
    assert len(here.trainings.trained) == 4

    # The usual recipe that does not finish starts no fallback: a person is asked, and told why.
    here.trainings.becomes = lambda recipe: "crash"
    here.label(range(30, 32))
    for _ in range(2):
        with pytest.raises(PipelineError, match="the loss is nan"):
            here.tick()
    keys, message = here.tick()
    assert keys == []
    assert f"2 trainings at label state {labels + 2} did not finish" in message
    assert here.outcomes() == [("recipe", "did_not_finish", "retrain")]
    assert here.alerts("training_needs_person")[-1]["title"] == "No training finished: a person is asked"
    assert here.status["training_trouble"]["needs_person"] is True
    # A person's training that meets the floor settles it.
    here.trainings.becomes = lambda recipe: "good"
    here.pipeline.run("train")
    assert (here.status["training_trouble"], here.status["labels_waiting"]) == (None, 0)
