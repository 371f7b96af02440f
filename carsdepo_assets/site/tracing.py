"""Traces an answer, a model or a stage back to photographs, labels, code, runs and people.

Everything is given with a place where it can be opened: a key in the lake, a page of this site, a run in MLflow or
Dagster.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from carsdepo_assets.lake.datasets import licences_listed, manifest_key
from carsdepo_assets.lake.evaluations import FIGURES, newest_evaluation
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.lake.models import ModelCard, findings_of, read_card
from carsdepo_assets.lake.training_findings import TrainingFinding
from carsdepo_assets.redaction import redact, without_credentials
from carsdepo_assets.registry import models
from carsdepo_assets.registry.card_pages import card_key
from carsdepo_assets.registry.ledger import SERVES, Event, LedgerHistory, Stage, events
from carsdepo_assets.registry.lineage import Lineage, ancestors, read_lineage
from carsdepo_assets.registry.preprocessing import augmentation_text
from carsdepo_assets.registry.stored_versions import stored_versions
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.settings import Settings
from carsdepo_assets.site import answers

logger = logging.getLogger(__name__)


class TraceError(LookupError):
    """There is nothing to trace under that name; the message lists what there is."""


@dataclass(frozen=True)
class Places:
    """The URLs at which things can be opened."""

    site: str = "http://127.0.0.1:8000"
    mlflow: str = "http://127.0.0.1:5000"
    dagster: str = "http://127.0.0.1:3000"

    @classmethod
    def of(cls, settings: Settings) -> Places:
        """The URLs of an installation."""
        return cls(settings.site_for_people, settings.mlflow_for_people, settings.dagster_for_people)

    def run(self, dagster_run_id: str | None) -> str | None:
        """The page of a Dagster run; None without a run."""
        return f"{self.dagster}/runs/{dagster_run_id}" if dagster_run_id else None

    def page(self, path: str) -> str:
        """The URL of a page of this site."""
        return f"{self.site}/{path}"


def open_tracking(settings: Settings) -> Tracking | None:
    """The store of MLflow; None where there is none yet, since reading must not create one, or its server is away."""
    if settings.mlflow_server is None:
        return Tracking.at_home(settings.home) if (settings.home / "mlflow.db").exists() else None
    tracking = Tracking(settings.mlflow_uri)
    if (absence := tracking.absence()) is not None:
        logger.warning("Versions of models are not shown: %s.", absence)
        return None
    return tracking


def known_versions(tracking: Tracking | None) -> list[models.ModelVersion]:
    """All registered versions, oldest first; none where MLflow cannot be reached, since lineage does not need it."""
    if tracking is None:
        return []
    if tracking.uri.startswith("sqlite:///"):
        stored = stored_versions(Path(tracking.uri.removeprefix("sqlite:///")))
        if stored is not None:
            return stored
    from mlflow.exceptions import MlflowException

    try:
        return models.versions(tracking)
    except MlflowException as error:
        logger.warning("MLflow at %s: %s", without_credentials(tracking.uri), redact(str(error)))
        return []


def prediction_lineage(
    lake: Lake, tracking: Tracking | None, prediction_id: str, places: Places | None = None
) -> dict[str, Any]:
    """The lineage of one answer, which need not be ingested yet.

    Args:
        lake: The lake.
        tracking: The store of MLflow; None: versions and runs are left out.
        prediction_id: The id of the answer.
        places: The URLs that links begin with; None: the default ports of this machine.

    Returns:
        A dictionary with `prediction`, `photograph`, `served_by` (the event of the ledger by which the model was
        served then) and `model`, as `model_lineage` gives it.

    Raises:
        TraceError: There is no such answer.
    """
    places = places or Places()
    row = answers.find(lake, prediction_id)
    if row is None:
        last = ", ".join(r["prediction_id"] for r in answers.newest(lake, 5)) or "none yet"
        raise TraceError(f"There is no answer {prediction_id!r} in {lake.url}. The last ones: {last}.")
    try:
        model = model_lineage(lake, tracking, row["digest"], places)
        names: Sequence[str] = model["card"]["class_names"]
    except TraceError as error:
        model, names = {"digest": row["digest"], "missing": str(error)}, ()
    at, digest, stage = row["at"], row["digest"], row["stage"]
    by = [e for e in events(lake, stage) if e.action in SERVES and e.digest == digest and e.at <= at]
    key = row["photograph_key"]
    answer_fields = ("request_id", "stage", "runtime", "decision", "threshold", "n_boxes", "max_score", "milliseconds")
    origin_fields = ("source", "camera", "uploader", "region", "listing")
    return {
        "prediction": {
            "prediction_id": prediction_id,
            "at": at.isoformat(),
            **{k: row[k] for k in (*answer_fields, *origin_fields)},
            "boxes": [_box(b, names) for b in row["boxes"] or []],
            "captured_in": row["segment"],
            "url": places.page(f"predictions/{prediction_id}"),
        },
        "photograph": {
            "image_id": row["image_id"],
            **{k: row[k] for k in ("file_name", "bytes", "width", "height")},
            "key": key,
            "place": _place(lake, key) if key else "not kept (policy.inference.keep_photographs)",
        },
        "served_by": _event(by[-1], places) if by else None,
        "model": model,
    }


def production_lineage(
    lake: Lake, tracking: Tracking | None, stage: str = "production", places: Places | None = None
) -> dict[str, Any]:
    """The lineage of what a stage serves.

    Args:
        lake: The lake.
        tracking: The store of MLflow; None: versions and runs are left out.
        stage: "staging" or "production".
        places: The URLs that links begin with; None: the default ports of this machine.

    Returns:
        A dictionary with `stage`, `event` (what it is to serve, by whom and why), `history` (newest first) and
        `model`, as `model_lineage` gives it.

    Raises:
        TraceError: There is no such stage, or nothing was deployed to it yet.
    """
    places = places or Places()
    if stage not in get_args(Stage):
        raise TraceError(f"There is no stage {stage!r}. Stages: {', '.join(get_args(Stage))}.")
    history = LedgerHistory.read(lake)
    now = history.served(stage)  # type: ignore[arg-type]
    if now is None or now.digest is None:
        others = ", ".join(s for s in get_args(Stage) if history.served(s)) or "none"
        raise TraceError(
            f"Nothing has been deployed to {stage} yet (stages that serve: {others}). A registered model is released "
            "by the `release` job."
        )
    return {
        "stage": stage,
        "event": _event(now, places),
        "history": [_event(e, places) for e in reversed(history.events) if e.stage == stage],
        "model": model_lineage(lake, tracking, now.digest, places),
    }


def model_lineage(lake: Lake, tracking: Tracking | None, digest: str, places: Places | None = None) -> dict[str, Any]:
    """The lineage of a model: data, labels, code, recipe, runs, ancestors, evaluation, gates and releases.

    Args:
        lake: The lake.
        tracking: The store of MLflow; None: versions and runs are left out.
        digest: The model's digest.
        places: The URLs that links begin with; None: the default ports of this machine.

    Raises:
        TraceError: The lake has no such model; the message lists those that it has.
    """
    places = places or Places()
    try:
        lineage, card = read_lineage(lake, digest), read_card(lake, digest)
    except LakeError as error:
        names = ", ".join(digests(lake)) or "none yet"
        raise TraceError(f"There is no model {digest!r} in {lake.url}. Models: {names}.") from error
    version = next((v for v in known_versions(tracking) if v.digest == digest), None)
    history = events(lake)
    gates = _gates(lake, digest, places)
    model_events = [e for e in history if e.digest == digest or (e.action == "rollback" and e.previous == digest)]
    promotions = [e for e in model_events if e.stage == "production" and e.action in SERVES and e.digest == digest]
    return {
        "digest": digest,
        "version": version.version if version else None,
        "aliases": list(version.aliases) if version else [],
        "created_at": lineage.created_at.isoformat(),
        "detector": lineage.detector,
        "training": lineage.training,
        "place": _place(lake, folder(digest)),
        "url": places.page(f"models/{digest}"),
        "card": _card(card),
        "card_page": places.page(card_key(digest)) if lake.exists(card_key(digest)) else None,
        "dataset": {
            **lineage.data.model_dump(),
            "place": _place(lake, manifest_key(lineage.data.version)),
            "licences": licences_listed(lake, lineage.data.version),
        },
        "code": lineage.code.model_dump(),
        "recipe": {"digest": lineage.recipe_digest, **lineage.recipe},
        "preprocessing": _preprocessing(lineage),
        "policy_digest": lineage.policy_digest,
        "mlflow": _mlflow(tracking, lineage.mlflow_run_id, places),
        "dagster": {"run_id": lineage.dagster_run_id, "url": places.run(lineage.dagster_run_id)},
        "initialised_from": [_ancestor(a, places) for a in ancestors(lake, digest)],
        "started_from": lineage.initialised_from,
        "findings": [f.model_dump(mode="json") for f in _findings(lake, digest)],
        "environment": lineage.environment,
        "evaluation": _evaluation(lake, digest, places),
        "gates": gates,
        "approved_by": _event(promotions[-1], places) if promotions else None,
        "events": [_event(e, places) for e in reversed(model_events)],
    }


def digests(lake: Lake) -> list[str]:
    """The digests of the complete models in the lake, in their order."""
    return [i.key.split("/")[1] for i in lake.list("models") if i.key.endswith("/lineage.json")]


def _preprocessing(lineage: Lineage) -> dict[str, Any] | None:
    """What was made of photographs, with sentences for people; None of models that are older than its record."""
    preprocessing = lineage.preprocessing
    if preprocessing is None:
        return None
    return {
        **preprocessing.model_dump(mode="json"),
        "resize": preprocessing.resize_text,
        "normalisation": preprocessing.normalisation_text,
        "varied": augmentation_text(lineage.recipe),
    }


def _findings(lake: Lake, digest: str) -> tuple[TrainingFinding, ...]:
    """What was found about the model's training; nothing where its result is not there."""
    try:
        return findings_of(lake, digest)
    except LakeError:
        return ()


def _place(lake: Lake, key: str) -> str:
    return f"{lake.url}/{key}"


def _card(card: ModelCard) -> dict[str, Any]:
    kept = ("weights", "class_names", "image_size", "threshold", "threshold_from")
    return {k: v for k, v in card.model_dump(mode="json").items() if k in kept}


def _box(box: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    number = box["class_id"]
    return {
        "class_id": number,
        "class": names[number] if number < len(names) else f"class {number}",
        "score": box["score"],
        "box": [box["x1"], box["y1"], box["x2"], box["y2"]],
    }


def _event(event: Event, places: Places) -> dict[str, Any]:
    return {**event.model_dump(mode="json"), "url": places.run(event.dagster_run_id)}


def _ancestor(lineage: Lineage, places: Places) -> dict[str, Any]:
    return {
        "digest": lineage.digest,
        "created_at": lineage.created_at.isoformat(),
        "dataset_version": lineage.data.version,
        "url": places.page(f"models/{lineage.digest}"),
    }


def _mlflow(tracking: Tracking | None, run_id: str | None, places: Places) -> dict[str, Any]:
    if run_id is None or tracking is None:
        return {"run_id": run_id, "url": None}
    from mlflow.exceptions import MlflowException

    try:
        experiment = tracking.client.get_run(run_id).info.experiment_id
    except MlflowException:
        return {"run_id": run_id, "url": None}
    return {"run_id": run_id, "url": f"{places.mlflow}/#/experiments/{experiment}/runs/{run_id}"}


def _evaluation(lake: Lake, digest: str, places: Places) -> dict[str, Any] | None:
    """The model's newest evaluation, on whichever dataset and golden set; None before the first."""
    record = newest_evaluation(lake, digest)
    if record is None:
        return None
    return {
        "figures": {name: getattr(record, name) for name in FIGURES},
        "photographs": record.photographs,
        "boxes": record.boxes,
        "groups": record.groups,
        "verdict": record.verdict,
        "golden": record.golden,
        "report_key": record.report_key,
        "url": places.page(record.report_key),
    }


def _gates(lake: Lake, digest: str, places: Places) -> list[dict[str, Any]]:
    """The gate's verdicts on a model, newest first."""
    rows = [r for r in lake.read("gates").to_pylist() if r["challenger"] == digest]
    gates = []
    for row in sorted(rows, key=lambda r: r["at"], reverse=True):
        report, run = row["report_key"], row["dagster_run_id"]
        links = {"url": places.page(report) if report else None, "run_url": places.run(run)}
        gates.append({**row, "at": row["at"].isoformat(), "figures": json.loads(row["figures"] or "{}"), **links})
    return gates
