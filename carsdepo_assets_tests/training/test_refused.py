"""training/refused.py, lake/dataset_files.py: what was erased, or is too little, is named, and not tried in vain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import Field

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.worker.events import open_events
from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.recipe_changes import recipe_key
from carsdepo_assets.detectors.training_set import EmptyTrainingSet
from carsdepo_assets.lake.dataset_files import check_photographs
from carsdepo_assets.lake.datasets import DatasetErased, manifest_key, read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import DatasetPointer, RecipePointer
from carsdepo_assets.lake.trainings import AskedBy, outcomes
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.labels_learnt import label_coverage
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets.training import candidates
from carsdepo_assets.training.assets import candidate_model
from carsdepo_assets.training.refused import refused
from carsdepo_assets.training.worker import TrainingSpec, run
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

LABELS = 14  # of tiny_dataset


class Erasing(LocalCompute):
    """A place where the worker fails, since something is erased while it works."""

    erases: list[str] = Field(default_factory=list)

    def run(self, context: Any, verb: Any, spec: Mapping[str, Any], *, module: str) -> dg.MaterializeResult[Any]:
        lake = Lake.open(spec["lake"])
        for key in self.erases:
            lake.delete(key)
        raise dg.Failure("the worker ended with code 1")


class NoTracking(MlflowTracking):
    """MLflow makes its database in seconds, and nothing here looks at it."""

    @contextmanager
    def during(self, context: Any, **more: Any) -> Iterator[str]:
        yield "run"


def planned(lake: Lake, asked_by: AskedBy = "retrain", splits: Mapping[str, int] | None = None) -> str:
    """A dataset and a recipe, as the assets before leave them, with as many labels; the dataset's version."""
    version = tiny_dataset(lake) if splits is None else tiny_dataset(lake, splits=splits)
    recipe = Recipe(detector="yolov8n", image_size=64, steps=2)
    lake.put(recipe_key(recipe.digest()), recipe.model_dump_json().encode())
    RecipePointer(digest=recipe.digest(), why=("test",), asked_by=asked_by).write(lake)
    pointer = DatasetPointer.read(lake)
    assert pointer is not None
    names = [{"image_id": str(i)} for i in range(pointer.label_state)]
    lake.append("processed", names, "p")
    lake.append("annotations", names, "a")
    return version


def failed(lake: Lake, tmp_path: Path, erases: list[str] | None = None) -> str:
    """What the failed run of `candidate_model` says; erases: while the worker works. None: no worker may be started."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [candidate_model],
            resources={
                "lake": LakeResource(url=lake.url, home=str(tmp_path)),
                "policy": PolicyResource(files=[str(tmp_path / "absent.toml")]),
                "tracking": NoTracking(home=str(tmp_path)),
                "alerts": AlertsResource(),
                "compute": Erasing(erases=erases or []),
            },
            instance=instance,
            raise_on_error=False,
        )
    assert not result.success
    [failure] = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
    assert failure is not None
    text = failure.to_string()
    assert ("ended with code 1" in text) == (erases is not None)
    return text


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("objects/train3.jpg", "any more: objects/train3.jpg. They were erased or moved. Put them back"),
        ("objects/val0.jpg", "any more: objects/val0.jpg. They were erased or moved."),
        ("raw/uploads/val1.png", "any more: raw/uploads/val1.png. They were erased or moved."),
    ],
)
def test_a_photograph_that_was_erased_since_the_plan_starts_no_training(lost: str, says: str, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    version = planned(lake)
    lake.delete(lost)
    said = failed(lake, tmp_path)
    assert f"Photographs of dataset {version} are not in the lake {lake.url} {says}" in said
    [outcome] = outcomes(lake, LABELS)
    assert (outcome.outcome, outcome.dataset) == ("did_not_finish", version)
    assert lost in outcome.reason
    now = label_coverage(lake, Policy())
    assert (now.unlearnt, now.next, now.needs_person) == (LABELS, None, True)  # not tried again: a person is asked


def test_one_that_is_erased_while_the_worker_trains_is_named_in_place_of_its_failure(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    planned(lake)
    said = failed(lake, tmp_path, [f"objects/{name}.jpg" for name in ("train0", "train1", "train2", "val1")])
    assert "any more: objects/train0.jpg, objects/train1.jpg, objects/train2.jpg and 1 more. They were erased" in said
    assert label_coverage(lake, Policy()).needs_person


def test_a_failure_of_another_cause_is_tried_again(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    planned(lake)
    said = failed(lake, tmp_path, [])
    assert "erased" not in said
    assert label_coverage(lake, Policy()).next == "recipe"


def test_a_manifest_that_was_erased_is_named_and_built_again_by_the_next_run(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    version = planned(lake)
    lake.delete(manifest_key(version))
    said = failed(lake, tmp_path)
    assert f"Dataset {version} is not in the lake {lake.url}: its {manifest_key(version)} was erased" in said
    assert "Materialize `dataset`" in said
    assert label_coverage(lake, Policy()).next == "recipe"


def test_a_dataset_that_has_too_little_is_not_tried_again_either(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    planned(lake, splits={"train": 1, "val": 3})
    assert "has 1 photograph in split train, and a training needs 2" in failed(lake, tmp_path)
    assert label_coverage(lake, Policy()).needs_person


def test_what_a_person_asked_for_is_theirs_to_repeat(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    planned(lake, asked_by="person")
    with pytest.raises(EmptyTrainingSet), refused(lake, candidates.plan(lake)):
        raise EmptyTrainingSet("too few.")
    assert label_coverage(lake, Policy()).next == "recipe"


@pytest.mark.parametrize("lost", ["objects/train3.jpg", "raw/uploads/val0.png", manifest_key("0123456789abcdef")])
@pytest.mark.parametrize("trial", [None, TrialTerms(study="s", number=1)])
def test_the_worker_looks_for_every_photograph_and_leaves_no_result(
    lost: str, trial: TrialTerms | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result would end the trial, which goes on when the photographs are back."""
    monkeypatch.setenv("CARSDEPO_WORK", str(tmp_path / "work"))
    lake = Lake.open(tmp_path / "lake")
    recipe = Recipe(detector="yolov8n", image_size=64)
    spec = TrainingSpec(lake=lake.url, dataset_version=tiny_dataset(lake), recipe=recipe, trial=trial)
    lake.delete(lost)
    with pytest.raises(DatasetErased, match=lost), ExitStack() as after, open_events() as events:
        run(spec, events, after)
    assert trial is None or trial.result(lake) is None


def test_a_quick_look_is_at_photographs_all_over_the_dataset(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    version = tiny_dataset(lake, splits={"train": 8, "test": 2})
    manifest = read_manifest(lake, version)
    lake.delete("objects/test1.jpg")  # no training reads it
    lake.delete("raw/uploads/train0.png")
    check_photographs(lake, version, manifest)
    lake.delete("objects/train5.jpg")
    check_photographs(lake, version, manifest, at_most=3)  # 0, 3 and 6 of the eight
    with pytest.raises(DatasetErased, match=r"train5\.jpg\. They"):
        check_photographs(lake, version, manifest)
    lake.delete("objects/train6.jpg")
    with pytest.raises(DatasetErased, match=r"train6\.jpg\. They"):
        check_photographs(lake, version, manifest, at_most=3)
