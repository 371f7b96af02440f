"""experiments/study/planning.py, data_checks.py, policy_study.py: what makes no study is refused before it."""

from __future__ import annotations

import io
import typing
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.experiments.adjustments import Adjustments
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.experiments.study.planning import TrialPlace, described, make_plan, open_study, read_plan
from carsdepo_assets.experiments.study.policy_changes import with_changes
from carsdepo_assets.experiments.study.running import todays_params
from carsdepo_assets.experiments.study.space import changes_of, check_space
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.data_schemas import BOX
from carsdepo_assets.lake.datasets import manifest_key, read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import Policy, StudyPolicy
from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets.policy_study import INTEGERS, NUMBERS
from carsdepo_assets_tests.experiments.study.studied_lake import HERE, NOW, opened, plan_of, study_policy
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

FRACTIONS = [
    name
    for name, field in StudyPolicy.model_fields.items()
    if float in (field.annotation, *typing.get_args(field.annotation))
]


@pytest.mark.parametrize(
    ("dimension", "says"),
    [
        ({"field": "lr", "low": 2, "high": 1}, "low 2 is above high 1"),
        ({"field": "lr", "low": 1, "high": 1}, "nothing to search"),
        ({"field": "lr", "low": 0, "high": 1, "log": True}, "log needs a low above 0"),
        ({"field": "weight_decay", "low": -1, "high": 1, "log": True}, "log needs a low above 0"),
        ({"field": "lr", "low": 0.1}, "no high"),
        ({"field": "lr", "high": 0.1}, "no low"),
        ({"field": "lr"}, "neither choices nor a range"),
        ({"field": "augmentation.rotate", "choices": [0.1]}, "there is no such augmentation"),
        ({"field": "augmentation.flip", "low": 0, "high": 1.5}, "1.5 makes no sense"),
        ({"field": "augmentation.flip", "low": -1, "high": 1}, "-1 makes no sense"),
        ({"field": "augmentation.flip", "choices": ["often"]}, "'often' is no number"),
        ({"field": "augmentation.", "choices": [0.1]}, "there is no such augmentation"),
        ({"field": "lr", "choices": []}, "choices is empty"),
        ({"field": "lr", "choices": [0.1, 0.1]}, "comes twice"),
        ({"field": "lr", "choices": ["fast"]}, "is no number"),
        ({"field": "lr", "choices": [True]}, "is no number"),
        ({"field": "lr", "choices": [0.1], "low": 0.1, "high": 1}, "both choices and a range"),
        ({"field": "lr", "choices": [0.0]}, "too small"),
        ({"field": "lr", "low": float("nan"), "high": 1}, "a finite number"),
        ({"field": "lr", "low": 0.1, "high": float("inf")}, "a finite number"),
        ({"field": "extra.x", "choices": [1.0, float("nan")]}, "a finite number"),
        ({"field": "extra.x", "low": -1.7e308, "high": 1.7e308}, "wider than a number can say"),
        ({"field": "extra.x", "low": 0, "high": 1e308, "step": 1e-9}, "more than 1,000,000 values"),
        ({"field": "lr", "low": 0.1, "high": 1, "step": 1e-300}, "more than 1,000,000 values"),
        ({"field": "image_size", "low": 320, "high": 1e300}, "too large"),
        ({"field": "image_size", "choices": [320, 10**400]}, "beyond 9,007,199,254,740,992"),
        ({"field": "batch", "choices": [8, 10**6]}, "too large"),
        ({"field": "lr", "low": 0.1, "high": 1, "log": True, "step": 0.1}, "exclude each other"),
        ({"field": "lr", "low": 0.1, "high": 1, "step": 5}, "larger than the range"),
        ({"field": "lr", "low": 0.1, "high": 1, "step": 0}, "greater than 0"),
        ({"field": "lr", "choices": [0.1], "log": True}, "belong to a range"),
        ({"field": "batch", "low": 1, "high": 2.5}, "whole numbers"),
        ({"field": "batch", "choices": [2.5]}, "no whole number"),
        ({"field": "image_size", "choices": [32]}, "too small"),
        ({"field": "colour", "low": 1, "high": 2}, "cannot vary this field"),
        ({"field": "epochs", "low": 1, "high": 2}, "cannot vary this field"),
        ({"field": "extra.", "choices": [1]}, "cannot vary this field"),
        ({"field": "batch", "choices": [1, 2], "times_usual": True}, "times_usual is for"),
        ({"field": "weight_decay", "low": 0, "high": 1, "times_usual": True}, "too small"),
        ({"field": "lr", "low": 0.1, "high": 1, "families": ["detr"]}, "is not among `families`"),
        ({"field": "lr", "low": 0.1, "high": 1, "unit": "x"}, "Extra inputs"),
    ],
)
def test_a_dimension_that_makes_no_sense_is_no_policy(dimension: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        StudyPolicy.model_validate({"space": [dimension]})
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"families": []}, "at least 1 item"),
        ({"families": ["yolov8n", "yolov8n"]}, "each family once"),
        ({"trials": 1}, "greater than or equal to 2"),
        ({"minutes": 1, "trial_minutes": 2}, "smaller than one trial"),
        ({"space": [{"field": "lr", "choices": [1.0]}, {"field": "lr", "choices": [2.0]}]}, "named twice"),
        ({"money": 0}, "greater than 0"),
        *[({name: value}, "a finite number") for name in FRACTIONS for value in (float("inf"), float("nan"))],
        *[({name: 10**400}, "less than or equal to") for name in ("resamples", "trials", "trial_steps")],
    ],
)
def test_settings_that_make_no_sense_are_no_policy(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        StudyPolicy.model_validate(settings)


def test_the_searchable_fields_are_the_recipes() -> None:
    assert {**INTEGERS, **NUMBERS}.keys() <= Recipe.model_fields.keys()
    for name, least in {**INTEGERS, **NUMBERS}.items():
        if name == "lr":
            continue
        Recipe.model_validate({name: least})
        with pytest.raises(ValidationError):
            Recipe.model_validate({name: least - 1})


def test_a_policy_survives_json() -> None:
    policy = Policy()
    assert Policy.model_validate_json(policy.model_dump_json()) == policy


@pytest.mark.parametrize(
    ("settings", "place", "says"),
    [
        ({"families": ["detr"]}, {}, "'detr', which is no family; there are"),
        ({"space": []}, {}, "varies nothing for yolov8n"),
        ({"device": "gpu"}, {}, "asks for a GPU, and a machine computes on its processor"),
        ({"money": 5.0}, {"per_hour": None}, "the price of a machine is not known"),
        ({"money": 0.001, "trial_steps": None}, {"per_hour": 1.0}, "smaller than the price of one trial"),
        pytest.param(
            {"space": [{"field": "extra.nonsense", "choices": [1, 2]}], "families": ["faster_rcnn"]},
            {},
            "does not take it",
            marks=pytest.mark.slow,  # it imports torch
        ),
        pytest.param(
            {"space": [{"field": "extra.nonsense", "choices": [1, 2]}]}, {}, "does not take it", marks=pytest.mark.slow
        ),
    ],
)
def test_what_the_installation_lacks_is_said_before(
    settings: dict[str, Any], place: dict[str, Any], says: str, tmp_path: Path
) -> None:
    lake = Lake.open(tmp_path / "lake")
    tiny_dataset(lake)
    where = TrialPlace.model_validate({"name": "a machine", "device": "cpu"} | place)
    policy = Policy(study=StudyPolicy.model_validate({"families": ["yolov8n"], "trial_steps": 10} | settings))
    with pytest.raises(StudyError) as error:
        make_plan(lake, policy, where, tmp_path, NOW)
    assert says in str(error.value)
    assert lake.version("trials") == -1
    assert not list(lake.list("studies"))


def without_boxes(lake: Lake, version: str, splits: tuple[str, ...], only_class: int | None = None) -> None:
    """The dataset with empty labels in these splits, or with boxes of one class alone."""
    import pyarrow as pa

    rows = read_manifest(lake, version).to_pylist()
    for row in rows:
        if row["split"] in splits:
            row["boxes"] = [b for b in row["boxes"] if only_class is not None and b["class_id"] == only_class]
    table = read_manifest(lake, version)
    boxes = pa.array([r["boxes"] for r in rows], pa.list_(BOX))
    out = io.BytesIO()
    pq.write_table(table.set_column(table.column_names.index("boxes"), "boxes", boxes), out)
    lake.put(manifest_key(version), out.getvalue())


@pytest.mark.parametrize(
    ("splits", "empty", "says"),
    [
        ({"train": 1, "test": 3}, (), "has 1 photograph in split train, and a training needs 2"),
        ({"val": 1}, (), "has 0 photographs in split train"),
        ({"train": 8, "test": 3}, (), "0 labelled boxes on 0 photographs of split val"),
        ({"val": 3}, (), "has 0 photographs in split train"),
        ({"train": 8, "val": 3}, ("val",), "0 labelled boxes on 3 photographs of split val"),
        ({"train": 8, "val": 3}, ("train",), "labels of all 8 training photographs are empty"),
        ({"train": 8, "val": 3}, ("train", "val"), "labels of all 8 training photographs are empty"),
    ],
)
def test_a_dataset_that_cannot_be_studied(
    splits: dict[str, int], empty: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    lake = Lake.open(tmp_path / "lake")
    version = tiny_dataset(lake, splits=splits)
    without_boxes(lake, version, empty)
    with pytest.raises(StudyError, match=says):
        plan_of(lake, tmp_path)


def test_what_the_policy_lets_a_training_lack(tmp_path: Path) -> None:
    """Where a class, or the boxes of val, need not be there for a training, a study still has to score its trials."""
    lake = Lake.open(tmp_path / "lake")
    version = tiny_dataset(lake)
    without_boxes(lake, version, ("train", "val"), only_class=1)
    with pytest.raises(StudyError, match="too few boxes in split train of scratch 0"):
        plan_of(lake, tmp_path)
    lenient = study_policy()
    limits = lenient.training.model_copy(update={"min_class_boxes": 0, "min_val_boxes": 0})
    lenient = lenient.model_copy(update={"training": limits})
    assert make_plan(lake, lenient, HERE, tmp_path, NOW).data.boxes == 1
    without_boxes(lake, version, ("val",))
    with pytest.raises(StudyError, match="no box in split val: no recipe could be scored"):
        make_plan(lake, lenient, HERE, tmp_path, NOW)
    tiny_dataset(lake)
    without_boxes(lake, version, ("val",), only_class=1)  # both in train, one in val: said, not refused
    assert "No box of scratch is in val" in " ".join(described(plan_of(lake, tmp_path)))


def test_no_dataset_and_an_erased_one(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(StudyError, match="no dataset yet"):
        plan_of(lake, tmp_path)
    version = tiny_dataset(lake)
    lake.delete("objects/train3.jpg")
    with pytest.raises(StudyError, match=r"any more: objects/train3\.jpg\. They were erased"):
        plan_of(lake, tmp_path)
    lake.delete(manifest_key(version))
    with pytest.raises(StudyError, match=r"manifest\.parquet was erased, or never"):
        plan_of(lake, tmp_path)


def test_a_drift_report_without_a_queue_asks_for_no_study(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    tiny_dataset(lake)
    with pytest.raises(LakeError, match="no labelling queue 'drift-nothing'"):
        make_plan(lake, study_policy(), HERE, tmp_path, NOW, report_id="nothing")


def test_the_plan_says_what_it_costs(tmp_path: Path) -> None:
    place = TrialPlace(name="ml.g5.xlarge (sagemaker)", device="cuda:0", slots=3, per_hour=1.2)
    _, plan = opened(tmp_path, place, trial_steps=None, trial_minutes=5, trials=12, minutes=40, parallel=2, money=9.0)
    text = " ".join(described(plan))
    assert "up to 12 trials of 5 minutes" in text
    assert "ml.g5.xlarge (sagemaker), cuda:0, 2 at once" in text
    assert "Expected: 40.0 minutes of training together, 0.80 USD at 1.2 an hour" in text  # the budget caps 60
    assert "Budgets: 40 minutes, money 9 USD" in text
    _, plan = opened(tmp_path / "b", TrialPlace(name="x", device="cpu", per_hour=None))
    assert "of unknown price" in " ".join(described(plan))


def test_the_same_study_is_opened_once_and_goes_on_where_todays_recipe_changed(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path)
    assert open_study(lake, plan_of(lake, tmp_path)) == plan
    policy = study_policy()
    other_training = policy.model_copy(update={"training": policy.training.model_copy(update={"seed": 7})})
    changed = make_plan(lake, other_training, HERE, tmp_path, NOW)
    assert changed.today != plan.today
    assert open_study(lake, changed) == plan  # the same dataset and settings: it goes on
    assert [e.state for e in trials.events(lake)] == ["opened"]
    other = open_study(lake, plan_of(lake, tmp_path, seed=5))
    assert other.study != plan.study
    with pytest.raises(StudyError, match=f"no study 'nothing'.*{plan.study}"):
        read_plan(lake, "nothing")


def test_a_family_that_the_policy_names_is_not_said_to_follow_a_study_of_another(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    tiny_dataset(lake)
    changes = {"detector": "faster_rcnn", "factors": {"lr": 2.0}}
    event = trials.TrialEvent(study="s", at=NOW, state="pinned", number=2, changes=changes)
    trials.record_event(lake, event, "pinned:x")
    plan = plan_of(lake, tmp_path)
    assert plan.today_changes == Adjustments()
    assert todays_params(plan) == {"family": "yolov8n", "lr": 1.0, "weight_decay": 1.0}


def test_a_run_changes_the_policy_within_its_limits() -> None:
    changed = with_changes(study_policy(), trials=3, steps=7, minutes=9.0, seed=2).study
    assert (changed.trials, changed.trial_steps, changed.minutes, changed.seed) == (3, 7, 9.0, 2)
    with pytest.raises(StudyError, match="trials: Input should be greater than or equal to 2"):
        with_changes(study_policy(), trials=1)


def test_an_explicit_family_of_the_policy_is_the_only_one(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    tiny_dataset(lake)
    policy = study_policy(families=["yolov8n", "faster_rcnn"])
    assert make_plan(lake, policy, HERE, tmp_path, NOW).families == ("yolov8n",)


def test_a_trial_of_another_batch_has_the_epochs_for_its_steps(tmp_path: Path) -> None:
    """With the epochs of the usual batch it would end after a part of its steps, and be compared all the same."""
    _, plan = opened(tmp_path, space=[{"field": "batch", "choices": [1, 8]}])  # of 8 photographs to train on
    for batch, epochs in ((1, 2), (8, 10)):
        _, recipe = plan.recipe({"family": "yolov8n", "batch": batch})
        assert (recipe.batch, recipe.steps, recipe.epochs) == (batch, 10, epochs)


@pytest.mark.parametrize(
    ("dimension", "fits"),
    [
        ({"low": 320, "high": 640}, False),
        ({"low": 320, "high": 640, "log": True}, False),
        ({"low": 320, "high": 640, "step": 16}, False),
        ({"low": 330, "high": 650, "step": 32}, False),
        ({"low": 320, "high": 640, "step": 32}, True),
        ({"low": 320, "high": 650, "step": 64}, True),
        ({"choices": [320, 400]}, False),
        ({"choices": [320, 416]}, True),
    ],
)
def test_every_side_of_a_space_is_one_that_the_family_takes(dimension: dict[str, Any], fits: bool) -> None:
    """Else the trials in between fail one by one, after the study has begun."""
    study = StudyPolicy.model_validate({"families": ["dfine_n"], "space": [{"field": "image_size"} | dimension]})
    with nullcontext() if fits else pytest.raises(StudyError, match="dfine_n takes multiples of 32 as image_size"):
        check_space(study, {"dfine_n": Recipe(detector="dfine_n", image_size=384)})
    any_size = study.model_copy(update={"families": ("yolov8n",)})
    check_space(any_size, {"yolov8n": Recipe()})


def test_adjustments_set_and_multiply() -> None:
    usual = Recipe(lr=0.01, extra={"scale": 0.2})
    changed = Adjustments(values={"image_size": 96, "extra.degrees": 5}, factors={"lr": 0.5}).applied(usual)
    assert (changed.image_size, changed.lr, changed.extra) == (96, 0.005, {"scale": 0.2, "degrees": 5})
    assert changed.batch == usual.batch
    with pytest.raises(ValidationError):
        Adjustments(values={"image_size": 8}).applied(usual)


def test_a_study_varies_augmentation_where_the_family_declares_it() -> None:
    study = StudyPolicy.model_validate(
        {"families": ["yolov8n"], "space": [{"field": "augmentation.mosaic", "low": 0, "high": 0.8}]}
    )
    usual = Recipe(augmentation=AugmentationSettings(flip=0.5))
    check_space(study, {"yolov8n": usual})
    changed = changes_of({"family": "yolov8n", "augmentation.mosaic": 0.4}, study, "").applied(usual)
    assert changed.augmentation == AugmentationSettings(flip=0.5, mosaic=0.4)
    with pytest.raises(StudyError, match="varies photographs by itself"):
        check_space(study, {"yolov8n": Recipe()})
