"""The training job: `python -m carsdepo_assets.training.worker --spec FILE`, on this machine, ECS or SageMaker.

It reports through Dagster Pipes where Dagster started it, and as lines on stdout elsewhere. A training that is killed
goes on from its checkpoint when the job is started again with the same dataset version and recipe.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.lake.models import ModelCard, digest_of, read_card, weights_path, write_model
from carsdepo_assets.policy import Policy
from carsdepo_assets.redaction import install
from carsdepo_assets.registry.lineage import build_lineage
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.training.mlflow_run_name import run_name
from carsdepo_assets.training.progress_reports import Watching, first_progress
from carsdepo_assets.training.train_detector import Fit, fit
from carsdepo_assets.training.watchdog import PARENT_VARIABLE, follow_parent
from carsdepo_assets.training.worker_events import Events, open_events


class MlflowSpec(BaseModel):
    """Where the training is logged in MLflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str | None = Field(None, description="None: the server that CARSDEPO_MLFLOW names, with its password")
    experiment: str = "carsdepo"
    artifacts: str | None = None
    run_id: str | None = Field(
        None, description="the run to log to, which its owner ends; None: the worker begins and ends a run of its own"
    )


class TrainingSpec(BaseModel):
    """Everything that a training job is given, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str = Field(description="URL or folder")
    dataset_version: str
    recipe: Recipe
    work: str = Field(description="folder for checkpoints; survives a kill")
    home: str | None = Field(
        None, description="what a relative path in recipe.init starts from; None: the working folder"
    )
    mlflow: MlflowSpec | None = None
    dagster_run_id: str | None = None
    policy: Policy = Policy()

    def key(self) -> str:
        """Names the work folder: one for each dataset and recipe (which names the model that it starts from)."""
        text = f"{self.dataset_version} {self.recipe.digest()}"
        return f"{self.dataset_version[:12]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class SpecError(ValueError):
    """The spec cannot be read or asks for what is not there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job. Exit status 0: trained; 2: the spec is wrong; any other: the training failed."""
    parser = argparse.ArgumentParser(prog="python -m carsdepo_assets.training.worker", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file: see TrainingSpec")
    options = parser.parse_args(arguments)
    install()
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is not None:
        follow_parent(int(parent))
    signal.signal(signal.SIGTERM, _terminated)
    try:
        spec = read_spec(options.spec)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    work = Path(spec.work) / spec.key()
    with ExitStack() as held:
        with open_events() as events:
            held.enter_context(alone(work, events))
            train(spec, work, events)
        shutil.rmtree(work)  # only now: until the report is out, a rerun must find it
    return 0


def read_spec(path: Path) -> TrainingSpec:
    """The spec in a JSON file.

    Raises:
        SpecError: the file cannot be read, or a field is wrong; the message names it.
    """
    try:
        return TrainingSpec.model_validate_json(path.read_text())
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}.") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(f"{path}: {lines}.") from error


def train(spec: TrainingSpec, work: Path, events: Events) -> None:
    """Trains in `work`, stores the model in the lake and reports it once."""
    policy, lake = spec.policy, Lake.open(spec.lake)
    recipe = resolve_init(spec, lake)
    with tracked(spec) as (tracking, run_id):
        started = time.monotonic()
        if work.exists():
            events.log(f"Going on from the checkpoint in {work.name}.")
        if tracking is not None and run_id is not None:
            tracking.log_params(run_id, {"dataset_version": spec.dataset_version, **_flat(spec.recipe)})

        first = first_progress(spec.dagster_run_id, spec.recipe.detector, spec.dataset_version, spec.recipe.digest())
        with Watching(lake, events, policy.training, first, tracking, run_id) as watching:
            fitted = fit(
                lake,
                spec.dataset_version,
                recipe,
                policy,
                work,
                watching.report,
                watch=watching.watch,
                trained=watching.trained,
            )
            card, result = store(spec, lake, policy, fitted, run_id, time.monotonic() - started)
            watching.stored(fitted.trained, {"threshold": card.threshold})
        if tracking is not None and run_id is not None:
            tracking.client.set_tag(run_id, "model_digest", card.digest)
            tracking.client.set_tag(run_id, "training", fitted.trained.ended)
        events.report(result, card.digest)


def store(
    spec: TrainingSpec, lake: Lake, policy: Policy, fitted: Fit, run_id: str | None, seconds: float
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
        "seconds": round(seconds, 1),
        "val_map50": fitted.last("val_map50"),
        "threshold": fitted.threshold,
        "threshold_from": fitted.threshold_from,
        "bytes": len(fitted.weights),
        "model": folder(digest),
        "mlflow_run_id": run_id,
        "history": fitted.trained.history,
    }
    lineage = build_lineage(
        lake,
        digest=digest,
        dataset_version=spec.dataset_version,
        detector=spec.recipe.detector,
        recipe=recipe,
        recipe_digest=spec.recipe.digest(),
        policy_digest=policy.digest(),
        environment=fitted.trained.environment,
        training=fitted.trained.ended,
        initialised_from=spec.recipe.champion if spec.recipe.init == "champion" else None,
        mlflow_run_id=run_id,
        dagster_run_id=spec.dagster_run_id,
    )
    write_model(lake, fitted.weights, card, result, lineage.model_dump_json(indent=1).encode())
    return card, result


def resolve_init(spec: TrainingSpec, lake: Lake) -> Recipe:
    """The recipe with the path of the weights that it starts from, in place of `champion` or of a path in the home.

    Raises:
        SpecError: the recipe names no champion, or one of another detector.
    """
    if spec.home is not None and "/" in spec.recipe.init:
        return spec.recipe.model_copy(update={"init": str(Path(spec.home, spec.recipe.init))})
    if spec.recipe.init != "champion":
        return spec.recipe
    if spec.recipe.champion is None:
        raise SpecError("the recipe starts from the champion and names none: give its digest as `champion`.")
    card = read_card(lake, spec.recipe.champion)
    if card.detector != spec.recipe.detector:
        raise SpecError(f"champion {card.digest} is a {card.detector}: a {spec.recipe.detector} cannot start from it.")
    return spec.recipe.model_copy(update={"init": str(weights_path(lake, card))})


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


@contextmanager
def tracked(spec: TrainingSpec) -> Iterator[tuple[Tracking | None, str | None]]:
    """The MLflow run to log to. One opened here ends here: FINISHED, FAILED, or KILLED when told to stop."""
    if spec.mlflow is None:
        yield None, None
        return
    artifacts = Path(spec.mlflow.artifacts) if spec.mlflow.artifacts else None
    uri = spec.mlflow.uri or os.environ.get("CARSDEPO_MLFLOW")
    if not uri:
        raise SpecError("the spec names no MLflow store, so that CARSDEPO_MLFLOW must: it is unset.")
    tracking = Tracking(uri, spec.mlflow.experiment, artifacts)
    if spec.mlflow.run_id is not None:
        yield tracking, spec.mlflow.run_id
        return
    run_id = tracking.begin(None, run_name(Lake.open(spec.lake), spec.dataset_version, spec.recipe))
    try:
        yield tracking, run_id
    except (KeyboardInterrupt, SystemExit):
        tracking.end(run_id, "KILLED")
        raise
    except Exception:
        tracking.end(run_id, "FAILED")
        raise
    tracking.end(run_id, "FINISHED")


def _flat(recipe: Recipe) -> dict[str, Any]:
    settings = recipe.model_dump(mode="json")
    settings |= {f"extra.{k}": v for k, v in settings.pop("extra").items()}
    return {f"recipe.{k}": v for k, v in settings.items()}


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def spec_json(spec: TrainingSpec) -> Mapping[str, Any]:
    """The spec as ComputeTarget.run takes it."""
    return dict(json.loads(spec.model_dump_json()))


if __name__ == "__main__":
    sys.exit(main())
