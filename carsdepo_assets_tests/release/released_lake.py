"""A lake with a golden set, models of known skill, MLflow's registry, and services that follow the ledger."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.detectors import catalogue
from carsdepo_assets.detectors.export import export_model as export
from carsdepo_assets.detectors.export import runtimes
from carsdepo_assets.detectors.export.export_card import ExportCard, RuntimeFigures, card_key
from carsdepo_assets.detectors.export.runtimes import Served
from carsdepo_assets.inference.model_loading import Loaded
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.data_schemas import BOX
from carsdepo_assets.lake.datasets import LATEST, manifest_key
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import record_exports
from carsdepo_assets.lake.models import ModelCard, read_card, weights_path
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger, models
from carsdepo_assets.registry.resources import MlflowTracking, ModelSigning
from carsdepo_assets.registry.signatures import SigningKeys
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.release import assets, jobs, sensors
from carsdepo_assets.release.validation import CHECKS, ServiceCheck, Validation, validation_key
from carsdepo_assets.resources import LakeResource, PolicyResource, ServicesResource
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.compute.in_process import in_process
from carsdepo_assets_tests.lake.stored_model import stored_model

DATASET = "0123456789abcdef"
PHOTOGRAPHS, GROUPS = 16, 8
_COLOURS = ((220, 30, 30), (30, 30, 220))  # red squares are scratches, blue ones dents
WIDTH, HEIGHT = 160, 120


class Squares:
    """Finds red and blue squares: of each class the share `skill`, the same ones in every process.

    Of two models with the same dice the more skilled finds all that the other does.
    """

    def __init__(self, skill: float, dice: str = "") -> None:
        self.skill, self.dice = skill, dice

    def predict(self, images: Sequence[np.ndarray], min_score: float = 0.001) -> list[Detections]:
        return [self._one(image, min_score) for image in images]

    def _one(self, rgb: np.ndarray, min_score: float) -> Detections:
        rows = []
        for kind, colour in enumerate(_COLOURS):
            ys, xs = np.nonzero((np.abs(rgb.astype(int) - colour) < 60).all(axis=2))
            if not len(ys):
                continue
            box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            luck = hashlib.sha256(f"{self.dice}{kind}{[int(v) for v in box]}".encode()).digest()[0] / 256
            score = 0.6 + 0.3 * luck
            if luck < self.skill and score >= min_score:
                rows.append((*box, score, kind))
        table = np.array(rows, float).reshape(-1, 6)
        table = table[np.argsort(-table[:, 4])]
        return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def load_squares(lake: Lake, digest: str, policy: Policy) -> Loaded:
    """What the service's `load` gives; "torch" is the runtime that needs no export."""
    card = read_card(lake, digest)
    skill = json.loads(weights_path(lake, card).read_bytes())
    return Loaded(Squares(skill["skill"], skill["dice"]), card, "torch")


def fill(lake: Lake) -> None:
    """Photographs with a red and a blue square, two of a car, as dataset and golden set 1."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(PHOTOGRAPHS):
        rgb = rng.integers(120, 150, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        boxes = []
        for kind, (colour, left) in enumerate(zip(_COLOURS, (5, 85), strict=True)):
            x, y, side = left + int(rng.integers(0, 20)), int(rng.integers(5, 60)), int(rng.integers(24, 40))
            rgb[y : y + side, x : x + side] = colour
            boxes.append(dict(zip(("x1", "y1", "x2", "y2"), map(float, (x, y, x + side, y + side)), strict=True)))
            boxes[-1]["class_id"] = kind
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "PNG")
        data = buffer.getvalue()
        key = f"raw/uploads/{i:02d}.png"
        lake.put(key, data)
        rows.append(
            {
                "image_id": hashlib.sha256(data).hexdigest(),
                "key": key,
                "split": "test",
                "group_id": f"car{i % GROUPS}",
                "boxes": boxes,
                "width": WIDTH,
                "height": HEIGHT,
            }
        )
    rows.sort(key=lambda r: r["image_id"])
    columns = {name: [r[name] for r in rows] for name in rows[0]}
    table = pa.table({k: pa.array(v, pa.list_(BOX)) if k == "boxes" else pa.array(v) for k, v in columns.items()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    lake.put(manifest_key(DATASET), buffer.getvalue())
    lake.put(LATEST, json.dumps({"version": DATASET, "label_state": 1}).encode())
    golden.write(lake, golden.Golden(1, tuple(r["image_id"] for r in rows)))


@dataclass
class World:
    """One installation. policy: TOML, written before each use."""

    settings: Settings
    lake: Lake
    tracking: Tracking
    instance: dg.DagsterInstance
    services: ServicesResource
    stages: dict[str, FollowingLedger]

    def rule(self, toml: str) -> None:
        self.settings.policy_files[-1].path.write_text(toml)

    @property
    def keys(self) -> SigningKeys:
        return SigningKeys(self.settings.signing_key, self.settings.verification_key)

    @property
    def policy(self) -> Policy:
        return self.settings.policy()

    def model(
        self, name: str, skill: float, *, dice: str = "", validated: bool = True, run_id: str | None = None
    ) -> models.ModelVersion:
        """A registered candidate; validated: with a record that staging found it right. run_id: its training's."""
        weights = json.dumps({"name": name, "skill": skill, "dice": dice}).encode()
        digest = stored_model(self.lake, weights, weights="weights.json", detector="squares", dataset_version=DATASET)
        self.keys.sign(self.lake, digest)
        version = models.register(
            self.tracking,
            digest=digest,
            lake_url=self.lake.url,
            dataset_version=DATASET,
            detector="squares",
            figures={"map50": skill},
            run_id=run_id,
        )
        if validated:
            self.validate(version)
        return version

    def validate(self, version: models.ModelVersion, *, failed: str = "", p95_ms: float = 20.0) -> None:
        validation = Validation(
            digest=version.digest,
            version=version.version,
            runtime="torch",
            at=datetime.now(UTC),
            policy_digest=self.policy.digest(),
            ledger_sequence=1,
            photographs=PHOTOGRAPHS,
            boxes=PHOTOGRAPHS,
            outcomes=tuple(ServiceCheck(name=n, passed=n != failed, message=f"{n} was looked at") for n in CHECKS),
            latency={"requests": 32, "p50": 10.0, "p95": p95_ms, "max": 30.0},
        )
        self.lake.put(validation_key(version.digest), validation.model_dump_json().encode())

    def definitions(self) -> dg.Definitions:
        return dg.Definitions(
            assets=[assets.staging_deployment, assets.staging_validation, assets.production_model],
            jobs=[
                jobs.release_job,
                jobs.promote_job,
                jobs.approve_model,
                jobs.reject_model,
                jobs.rollback_production,
            ],
            sensors=[sensors.release_candidate, sensors.ledger_projection],
            resources=self.resources(),
            executor=dg.in_process_executor,
        )

    def resources(self) -> dict[str, Any]:
        return {
            "lake": LakeResource(url=self.lake.url, home=str(self.settings.home)),
            "policy": PolicyResource(files=[str(self.settings.policy_files[-1].path)]),
            "services": self.services,
            "tracking": MlflowTracking(home=str(self.settings.home)),
            "signing": ModelSigning(private=str(self.keys.private), public=str(self.keys.public)),
            "alerts": AlertsResource(),
            "compute": in_process(),
        }

    def run(self, job: str, ops: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        return (
            self.definitions()
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                raise_on_error=False,
                run_config={"ops": ops or {}, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        )

    def promote(self, version: models.ModelVersion) -> dg.ExecuteInProcessResult:
        return self.run("promote", {"production_model": {"config": {"version": str(version.version)}}})

    def say(self, action: str, version: models.ModelVersion, reason: str = "because") -> dg.ExecuteInProcessResult:
        config = {"version": str(version.version), "reason": reason, "actor": "ann@desk"}
        return self.run(f"{action}_model", {action: {"config": config}})

    def back(self, reason: str = "it fails") -> dg.ExecuteInProcessResult:
        return self.run("rollback_production", {"rollback": {"config": {"reason": reason, "actor": "ann@desk"}}})

    def production(self) -> str | None:
        event = ledger.desired(self.lake, "production")
        return event.digest if event else None

    def aliases(self, version: models.ModelVersion) -> set[str]:
        return set(models.get(self.tracking, version.version).aliases)

    def alerts(self) -> list[tuple[str, str]]:
        rows = sorted(self.lake.read("alerts").to_pylist(), key=lambda r: r["at"])
        return [(r["kind"], r["body"]) for r in rows]

    def verdicts(self) -> list[str]:
        return [r["verdict"] for r in sorted(self.lake.read("gates").to_pylist(), key=lambda r: r["at"])]


class FollowingLedger:
    """A stage's /healthz that serves what the ledger says at once; `stuck` keeps it on a digest."""

    def __init__(self, lake: Lake, stage: ledger.Stage) -> None:
        self.stuck: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                event = ledger.desired(lake, stage)
                digest = outer.stuck or (event.digest if event else None)
                health = {
                    "stage": stage,
                    "status": "serving" if digest else "empty",
                    "digest": digest,
                    "version": event.version if event else None,
                    "runtime": "torch",
                    "error": None,
                }
                body = json.dumps(health).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def use_squares(patch: pytest.MonkeyPatch) -> None:
    """Models of this world in the place of trained ones: for the gate's scores, the export and the offline twin."""

    def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[Squares, ModelCard]:
        loaded = load_squares(lake, digest, Policy())
        assert isinstance(loaded.predictor, Squares)
        return loaded.predictor, loaded.card

    def load_served(lake: Lake, digest: str, policy: Policy, *, runtime: str | None = None, threads: int = 1) -> Served:
        loaded = load_squares(lake, digest, policy)
        return Served(loaded.predictor, loaded.card, "torch", torch_export(digest))

    def export_model(lake: Lake, digest: str, policy: Policy, photographs: Sequence[Any]) -> ExportCard:
        made_up = torch_export(digest, len(photographs))
        lake.put(card_key(digest), made_up.model_dump_json().encode())
        record_exports(lake, digest)
        return made_up

    def torch_export(digest: str, photographs: int = 1) -> ExportCard:
        return ExportCard(
            digest=digest,
            detector="squares",
            input_size=64,
            graph_sha256=None,
            threads=1,
            photographs=photographs,
            runtimes={"torch": RuntimeFigures(version="0", median_ms=1.0)},
            parity_share=1.0,
            chosen="torch",
            why="no other may serve",
        )

    patch.setattr(catalogue, "load_model", load_model)
    patch.setattr(runtimes, "load_served", load_served)
    patch.setattr(export, "export_model", export_model)


@contextmanager
def world_in(folder: Path, patch: pytest.MonkeyPatch, urls: dict[str, str] | None = None) -> Iterator[World]:
    """urls: of services that run already, by stage; None: two that follow the ledger."""
    use_squares(patch)
    file = folder / "carsdepo.toml"
    file.write_text('[gate]\nmode = "point"\nresamples = 100\n[release]\nwait_s = 3\n')
    settings = Settings.read({"CARSDEPO_POLICY": str(file)}, home=folder)
    lake = Lake.open(settings.lake)
    if golden.current(lake) is None:
        fill(lake)
    stages = {} if urls else {stage: FollowingLedger(lake, stage) for stage in ("staging", "production")}  # type: ignore[arg-type]
    urls = urls or {stage: service.url for stage, service in stages.items()}
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(settings, lake, Tracking.at_home(folder), instance, ServicesResource(**urls), stages)
    for service in stages.values():
        service.end()


if __name__ == "__main__":  # the real service, with this world's models: python -m ...release.world STAGE
    from carsdepo_assets.commands.serving import run

    sys.exit(run(Settings.read(), sys.argv[1], port=0, load=load_squares))  # type: ignore[arg-type]
