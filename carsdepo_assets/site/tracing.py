"""From an answer, or from what a stage serves, back to photographs, labels, code and people. Everything has a place
where it can be opened: a key below the lake, a page of this site, a run in MLflow or Dagster.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from carsdepo_assets.lake.datasets import manifest_key
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.models import ModelCard, folder, read_card
from carsdepo_assets.redaction import redact, without_credentials
from carsdepo_assets.registry import models
from carsdepo_assets.registry.ledger import SERVES, Event, Stage, events, served
from carsdepo_assets.registry.lineage import Lineage, ancestors, read_lineage
from carsdepo_assets.registry.stored_versions import stored_versions
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.settings import Settings, plain
from carsdepo_assets.site import answers

logger = logging.getLogger(__name__)


class TraceError(LookupError):
    """There is nothing to trace under that name; the message lists what there is."""


@dataclass(frozen=True)
class Places:
    """Where things can be opened. site: this site; mlflow, dagster: their servers' URLs."""

    site: str = "http://127.0.0.1:8000"
    mlflow: str = "http://127.0.0.1:5000"
    dagster: str = "http://127.0.0.1:3000"

    @classmethod
    def of(cls, settings: Settings) -> Places:
        server = without_credentials(plain(settings.mlflow_server) or "")
        return cls(
            settings.service_url("production"),
            server.rstrip("/") if server.startswith("http") else f"http://127.0.0.1:{settings.mlflow_port}",
            f"http://127.0.0.1:{settings.dagster_port}",
        )

    def run(self, dagster_run_id: str | None) -> str | None:
        return f"{self.dagster}/runs/{dagster_run_id}" if dagster_run_id else None

    def page(self, path: str) -> str:
        return f"{self.site}/{path}"


def open_tracking(settings: Settings) -> Tracking | None:
    """MLflow's store; None where there is none yet: reading must not make one."""
    if settings.mlflow_server is not None:
        return Tracking(settings.mlflow_uri)
    return Tracking.at_home(settings.home) if (settings.home / "mlflow.db").exists() else None


def known_versions(tracking: Tracking | None) -> list[models.ModelVersion]:
    """All registered versions, oldest first; none where MLflow cannot be reached: lineage does not rest on it."""
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
    """prediction, photograph, served_by (the ledger's event then) and model, as model_lineage gives it.

    Looks in the table `inferences` and in segments not ingested yet. Raises TraceError for an unknown id.
    """
    places = places or Places()
    row = answers.find(lake, prediction_id)
    if row is None:
        last = ", ".join(r["prediction_id"] for r in answers.newest(lake, 5)) or "none yet"
        raise TraceError(f"No answer {prediction_id!r} in {lake.url}. The last ones: {last}.")
    try:
        model = model_lineage(lake, tracking, row["digest"], places)
        names: Sequence[str] = model["card"]["class_names"]
    except TraceError as error:
        model, names = {"digest": row["digest"], "missing": str(error)}, ()
    at, digest, stage = row["at"], row["digest"], row["stage"]
    by = [e for e in events(lake, stage) if e.action in SERVES and e.digest == digest and e.at <= at]
    key = row["photograph_key"]
    about = ("request_id", "stage", "runtime", "decision", "threshold", "n_boxes", "max_score", "milliseconds")
    said = ("source", "camera", "uploader", "region", "listing")
    return {
        "prediction": {
            "prediction_id": prediction_id,
            "at": at.isoformat(),
            **{k: row[k] for k in (*about, *said)},
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
    """stage, event (what it is to serve, by whom, why), history (newest first) and the model's lineage.

    Raises TraceError for an unknown stage and before the first deployment.
    """
    places = places or Places()
    if stage not in get_args(Stage):
        raise TraceError(f"No stage {stage!r}. Stages: {', '.join(get_args(Stage))}.")
    history = events(lake)
    now = served(history, stage)  # type: ignore[arg-type]
    if now is None or now.digest is None:
        others = ", ".join(s for s in get_args(Stage) if served(history, s)) or "none"
        raise TraceError(
            f"Nothing has been deployed to {stage} yet (stages that serve: {others}). A registered model is released "
            "by the `release` job."
        )
    return {
        "stage": stage,
        "event": _event(now, places),
        "history": [_event(e, places) for e in reversed(history) if e.stage == stage],
        "model": model_lineage(lake, tracking, now.digest, places),
    }


def model_lineage(lake: Lake, tracking: Tracking | None, digest: str, places: Places | None = None) -> dict[str, Any]:
    """Data, labels, code, recipe, runs, ancestors, evaluation, gates and releases of a model.

    Raises TraceError listing the lake's models when it is not among them.
    """
    places = places or Places()
    try:
        found, card = read_lineage(lake, digest), read_card(lake, digest)
    except LakeError as error:
        known = ", ".join(digests(lake)) or "none yet"
        raise TraceError(f"No model {digest!r} in {lake.url}. Models: {known}.") from error
    version = next((v for v in known_versions(tracking) if v.digest == digest), None)
    history = events(lake)
    gates = _gates(lake, digest, places)
    about = [e for e in history if e.digest == digest or (e.action == "rollback" and e.previous == digest)]
    went_live = [e for e in about if e.stage == "production" and e.action in SERVES and e.digest == digest]
    return {
        "digest": digest,
        "version": version.version if version else None,
        "aliases": list(version.aliases) if version else [],
        "created_at": found.created_at.isoformat(),
        "detector": found.detector,
        "training": found.training,
        "place": _place(lake, folder(digest)),
        "url": places.page(f"models/{digest}"),
        "card": _card(card),
        "dataset": {**found.data.model_dump(), "place": _place(lake, manifest_key(found.data.version))},
        "code": found.code.model_dump(),
        "recipe": {"digest": found.recipe_digest, **found.recipe},
        "policy_digest": found.policy_digest,
        "mlflow": _mlflow(tracking, found.mlflow_run_id, places),
        "dagster": {"run_id": found.dagster_run_id, "url": places.run(found.dagster_run_id)},
        "initialised_from": [_ancestor(a, places) for a in ancestors(lake, digest)],
        "started_from": found.initialised_from,
        "environment": found.environment,
        "evaluation": _evaluation(lake, digest, places),
        "gates": gates,
        "approved_by": _event(went_live[-1], places) if went_live else None,
        "events": [_event(e, places) for e in reversed(about)],
    }


def digests(lake: Lake) -> list[str]:
    """Complete models of the lake, by name."""
    return [i.key.split("/")[1] for i in lake.list("models") if i.key.endswith("/lineage.json")]


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
    """The newest one of the model, on whichever dataset and golden set; None before the first."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for info in lake.list("reports/evaluation"):
        if not info.key.startswith(f"reports/evaluation/{digest}-") or not info.key.endswith(".json"):
            continue
        try:
            said = json.loads(lake.get(info.key))
        except (LakeError, ValueError):
            continue
        if isinstance(said, dict):
            found.append((str(said.get("at", "")), info.key.removesuffix(".json"), said))
    if not found:
        return None
    _, base, said = max(found, key=lambda f: f[:2])
    names = ("figures", "photographs", "boxes", "groups", "verdict", "golden")
    kept: dict[str, Any] = {k: said[k] for k in names if k in said}
    return {**kept, "report_key": f"{base}.html", "url": places.page(f"{base}.html")}


def _gates(lake: Lake, digest: str, places: Places) -> list[dict[str, Any]]:
    """Verdicts on this model, newest first."""
    rows = [r for r in lake.read("gates").to_pylist() if r["challenger"] == digest]
    found = []
    for row in sorted(rows, key=lambda r: r["at"], reverse=True):
        report, run = row["report_key"], row["dagster_run_id"]
        links = {"url": places.page(report) if report else None, "run_url": places.run(run)}
        found.append({**row, "at": row["at"].isoformat(), "figures": json.loads(row["figures"] or "{}"), **links})
    return found
