"""The training job: `python -m carsdepo_assets.training.worker --spec FILE`, on this machine, ECS or SageMaker.

It reports through Dagster Pipes where Dagster started it, and as lines on stdout elsewhere. A training that is killed
goes on from its checkpoint when the job is started again with the same dataset version and recipe.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import Field

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import (
    PLACE_VARIABLE,
    Job,
    JobSpec,
    SpecError,
    interruption,
    spec_json,
    work_folder,
)
from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.detectors.base import Interrupted, Progress, Recipe, Trained
from carsdepo_assets.detectors.clock import ClockDecisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.lake.models import ModelCard, digest_of, read_card, weights_path, write_model
from carsdepo_assets.lake.training_findings import TrainingFinding
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import StartingWeights, build_lineage
from carsdepo_assets.registry.preprocessing import PreprocessingLineage, describe_preprocessing
from carsdepo_assets.training.checkpoint_store import CheckpointStore
from carsdepo_assets.training.diagnosis.diagnosis import HopelessTraining
from carsdepo_assets.training.diagnosis.reports import DiagnosisReports
from carsdepo_assets.training.mlflow_run import MlflowSpec, tracked
from carsdepo_assets.training.mlflow_run_name import run_name
from carsdepo_assets.training.progress_reports import Watching, first_progress
from carsdepo_assets.training.train_detector import Fit, fit
from carsdepo_assets.training.trial import Pruning, scored_result, train_as_trial

__all__ = ["JOB", "MlflowSpec", "SpecError", "TrainingSpec", "spec_json"]


class TrainingSpec(JobSpec):
    """Everything that a training job is given, as JSON."""

    dataset_version: str
    recipe: Recipe
    initial_weights: str | None = Field(
        None, description="key in the lake of the weights file that recipe.init names; None: it names no file"
    )
    mlflow: MlflowSpec | None = None
    trial: TrialTerms | None = Field(None, description="the training is this trial of a study; None: it is none")
    clock: dict[str, Any] | None = Field(
        None, description="of a training that is made again: what the clock decided then, as clock.json has it"
    )

    def key(self) -> str:
        """Names the work folder: one for each dataset and recipe (which names the model that it starts from)."""
        text = f"{self.dataset_version} {self.recipe.digest()}"
        return f"{self.dataset_version[:12]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def run(spec: TrainingSpec, events: Events, after: ExitStack) -> None:
    """The job: trains in the work folder, alone; the folder is removed when the report is out."""
    work = work_folder("training") / spec.key()
    after.enter_context(alone(work, events))
    lake = Lake.open(spec.lake)
    checkpoints = CheckpointStore(lake, spec.key(), work, events.log)
    if spec.trial is None:
        train(spec, work, checkpoints, events)
    else:
        train_as_trial(lake, spec.trial, partial(train, spec, work, checkpoints), events)
    after.callback(_remove, work)  # until the report is out, a rerun must find the work
    after.callback(checkpoints.delete)


def train(spec: TrainingSpec, work: Path, checkpoints: CheckpointStore, events: Events) -> None:
    """Trains in `work`, stores the model in the lake and reports it once.

    Raises:
        TrialPruned: the training is a trial, and earlier ones were better.
        HopelessTraining: it cannot become a usable model.
    """
    policy, lake = spec.policy, Lake.open(spec.lake)
    recipe = resolve_init(spec, lake)
    with tracked(spec.mlflow, lambda: run_name(lake, spec.dataset_version, spec.recipe)) as (tracking, run_id):
        started = time.monotonic()
        if checkpoints.fetch():
            events.log(f"Going on from the checkpoint that the lake has at {checkpoints.key}.")
        elif work.exists():
            events.log(f"Going on from the checkpoint in {work.name}.")
        if tracking is not None and run_id is not None:
            tracking.log_params(run_id, {"dataset_version": spec.dataset_version, **_flat(spec.recipe)})

        first = first_progress(spec.dagster_run_id, spec.recipe.detector, spec.dataset_version, spec.recipe.digest())
        with Watching(lake, events, policy.training, first, tracking, run_id) as watching:
            reports = DiagnosisReports(
                lake,
                spec.key(),
                policy,
                spec.recipe.init,
                events,
                tracking,
                run_id,
                spec.dagster_run_id,
                watching.show_findings,
            )
            pruning = Pruning(lake, spec.trial)
            clock = None if spec.clock is None else ClockDecisions.of_state(spec.clock)
            try:
                fitted = fit_interruptibly(
                    lake, spec.dataset_version, recipe, policy, work, watching, checkpoints, reports, pruning, clock
                )
            except HopelessTraining:  # what is left of it is of no use to a rerun
                _remove(work)
                checkpoints.delete()
                raise
            card, result = store(spec, lake, policy, fitted, run_id, time.monotonic() - started, reports.findings)
            watching.stored(fitted.trained, {"threshold": card.threshold})
        if tracking is not None and run_id is not None:
            tracking.client.set_tag(run_id, "model_digest", card.digest)
            tracking.client.set_tag(run_id, "training", fitted.trained.ended)
            for name, text in _preprocessing(spec.recipe, policy).tags().items():
                tracking.client.set_tag(run_id, name, text)
        shown = {"findings": ", ".join(f.name for f in reports.findings) or "none"}
        if spec.trial is not None:
            result |= scored_result(spec.trial, fitted.val, len(policy.class_map.names), policy)
        events.report(result | shown, card.digest)


def fit_interruptibly(
    lake: Lake,
    dataset_version: str,
    recipe: Recipe,
    policy: Policy,
    work: Path,
    watching: Watching,
    checkpoints: CheckpointStore,
    reports: DiagnosisReports,
    pruning: Pruning,
    clock: ClockDecisions | None = None,
) -> Fit:
    """Trains; each epoch's checkpoint is kept in the lake, and so is the one that is written after SIGTERM."""
    epoch_ended = False

    def report(row: dict[str, float]) -> None:
        nonlocal epoch_ended
        watching.report(row)
        pruning.report(row)
        epoch_ended = True  # the detector writes the epoch's checkpoint after this

    def watch(progress: Progress) -> None:
        nonlocal epoch_ended
        watching.watch(progress)
        if progress.validating:
            return
        if interruption.asked:
            raise Interrupted(128 + signal.SIGTERM)
        if epoch_ended:
            epoch_ended = False
            checkpoints.store()

    def trained(result: Trained) -> None:
        watching.trained(result)
        reports.ended()

    try:
        with interruption:
            return fit(
                lake,
                dataset_version,
                recipe,
                policy,
                work,
                report,
                watch=watch,
                signals=reports,
                trained=trained,
                clock=clock,
            )
    except SystemExit:
        checkpoints.store()
        reports.store()
        raise


def store(
    spec: TrainingSpec,
    lake: Lake,
    policy: Policy,
    fitted: Fit,
    run_id: str | None,
    seconds: float,
    findings: Sequence[TrainingFinding] = (),
) -> tuple[ModelCard, dict[str, Any]]:
    """Writes the model to models/<digest>/ in the lake, lineage.json last; returns its card and its result."""
    recipe = spec.recipe.model_dump(mode="json")
    digest = digest_of(fitted.weights)
    card = ModelCard(
        digest=digest,
        weights=f"weights{fitted.trained.weights.suffix}",
        detector=spec.recipe.detector,
        class_names=policy.class_map.names,
        image_size=spec.recipe.image_size,
        threshold=fitted.threshold,
        threshold_from=fitted.threshold_from,
        dataset_version=spec.dataset_version,
        recipe=recipe,
        training=fitted.trained.ended,
    )
    result = {
        "digest": digest,
        "detector": spec.recipe.detector,
        "dataset_version": spec.dataset_version,
        "epochs": len(fitted.trained.history),
        "steps": fitted.trained.steps,
        "planned_steps": fitted.trained.planned_steps,
        "stopped_by_time": fitted.trained.stopped_by_time,
        "training": fitted.trained.ended,
        # The history's are those of all attempts; the clock here knows the last one alone.
        "seconds": round(max(seconds, fitted.last("seconds") or 0.0), 1),
        "val_map50": fitted.last("val_map50"),
        "threshold": fitted.threshold,
        "threshold_from": fitted.threshold_from,
        "bytes": len(fitted.weights),
        "model": folder(digest),
        "mlflow_run_id": run_id,
        "history": fitted.trained.history,
        "findings": [f.model_dump(mode="json") for f in findings],
    }
    place = os.environ.get(PLACE_VARIABLE)
    lineage = build_lineage(
        lake,
        digest=digest,
        dataset_version=spec.dataset_version,
        detector=spec.recipe.detector,
        recipe=recipe,
        recipe_digest=spec.recipe.digest(),
        policy_digest=policy.digest(),
        environment={**fitted.trained.environment, **({"place": place} if place else {})},
        training=fitted.trained.ended,
        initialised_from=spec.recipe.champion if spec.recipe.init == "champion" else None,
        mlflow_run_id=run_id,
        dagster_run_id=spec.dagster_run_id,
        policy=policy.model_dump(mode="json"),
        initial_weights=_initial_weights(spec, lake),
        preprocessing=_preprocessing(spec.recipe, policy),
    )
    clock = None if fitted.trained.clock is None else fitted.trained.clock.state()
    write_model(lake, fitted.weights, card, result, lineage.model_dump_json(indent=1).encode(), clock)
    return card, result


def _preprocessing(recipe: Recipe, policy: Policy) -> PreprocessingLineage:
    return describe_preprocessing(recipe.detector, recipe.image_size, recipe.augmentation, policy)


def _initial_weights(spec: TrainingSpec, lake: Lake) -> StartingWeights | None:
    if spec.initial_weights is None:
        return None
    return StartingWeights(key=spec.initial_weights, sha256=hashlib.sha256(lake.get(spec.initial_weights)).hexdigest())


def resolve_init(spec: TrainingSpec, lake: Lake) -> Recipe:
    """The recipe with the path of the weights that it starts from, in place of `champion` or of a file's name.

    Raises:
        SpecError: the recipe names no champion, or one of another detector.
    """
    if spec.initial_weights is not None:
        return spec.recipe.model_copy(update={"init": str(lake.local_path(spec.initial_weights))})
    if spec.recipe.init != "champion":
        return spec.recipe
    if spec.recipe.champion is None:
        raise SpecError("the recipe starts from the champion and names none: give its digest as `champion`.")
    card = read_card(lake, spec.recipe.champion)
    if card.detector != spec.recipe.detector:
        raise SpecError(f"champion {card.digest} is a {card.detector}: a {spec.recipe.detector} cannot start from it.")
    return spec.recipe.model_copy(update={"init": str(weights_path(lake, card))})


def _remove(work: Path) -> None:
    """Removes the work folder; of a trial that was hopeless, was refused before its first step or has its result
    already, there is none."""
    if work.exists():
        shutil.rmtree(work)


@contextmanager
def alone(work: Path, events: Events) -> Iterator[None]:
    """Holds the work folder, waiting while another training works in it. The lock ends with its process."""
    work.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.with_name(f"{work.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        events.log(f"Another training works in {work.name}: waiting for its end.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _flat(recipe: Recipe) -> dict[str, Any]:
    settings = recipe.model_dump(mode="json")
    for name in ("extra", "augmentation"):
        settings |= {f"{name}.{k}": v for k, v in settings.pop(name, {}).items()}
    return {f"recipe.{k}": v for k, v in settings.items()}


JOB = Job(TrainingSpec, run, "train")

if __name__ == "__main__":
    sys.exit(JOB.main())
