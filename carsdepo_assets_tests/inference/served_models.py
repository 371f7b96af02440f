"""A service as a process of its own on a free port, and what its clients send."""

from __future__ import annotations

import io
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from carsdepo_assets.detectors.export.export_card import ExportCard
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.signatures import SigningKeys
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.detectors.stored_models import photographs

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0
# One for all: making one costs more than a request. Services come and go, so no connection is kept.
CLIENT = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


def photograph(seed: int, damage: int | None = 24, size: tuple[int, int] = (160, 120), kind: str = "JPEG") -> bytes:
    """A grey panel of this seed's texture; damage: pixels of the side of a red square, None for none."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(110, 150, (size[1], size[0], 3), dtype=np.uint8)
    if damage:
        rgb[40 : 40 + damage, 40 : 40 + damage] = (230, 30, 30)
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, kind)
    return out.getvalue()


def settings_of(folder: Path, policy: str = "", **changes: Any) -> Settings:
    """Settings below `folder`, with the policy's TOML."""
    file = folder / "carsdepo.toml"
    file.write_text(policy)
    settings = Settings.read({"CARSDEPO_POLICY": str(file)}, home=folder / "home")
    return Settings(**dict(settings) | changes)


def exported_and_signed(settings: Settings, digest: str) -> ExportCard:
    """Makes a stored network ready to be served, as staging's deployment does."""
    from carsdepo_assets.detectors.export.export_model import export_model

    lake = Lake.open(settings.lake)
    card = export_model(lake, digest, settings.policy(), photographs())
    SigningKeys(settings.signing_key, settings.verification_key).sign(lake, digest)
    return card


def deploy(lake: Lake, stage: ledger.Stage, digest: str, version: int = 1) -> ledger.Event:
    action: ledger.Action = "deploy" if stage == "staging" else "promote"
    return ledger.record(lake, stage, action, digest=digest, version=version, actor="test", reason="a test")


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    log: Path

    def health(self) -> dict[str, Any]:
        health: dict[str, Any] = CLIENT.get(f"{self.url}/healthz").json()
        return health

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        limit = time.monotonic() + WAIT_S
        while not wanted(health := self.health()):
            assert time.monotonic() < limit, f"{health}\n{self.log.read_text()}"
            time.sleep(0.05)
        return health

    def serves(self, digest: str) -> dict[str, Any]:
        return self.wait(lambda health: health["digest"] == digest)

    def send(self, *files: bytes, **form: Any) -> httpx.Response:
        parts = [("photographs", (f"{n}.jpg", data, "image/jpeg")) for n, data in enumerate(files)]
        return CLIENT.post(f"{self.url}/v1/inspections", files=parts, data=form)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)


@contextmanager
def service(
    settings: Settings,
    stage: str = "production",
    module: str = "carsdepo_assets_tests.inference.service_process",
    most_files: int | None = None,
) -> Iterator[Running]:
    """A service that runs meanwhile; most_files: how many files and connections it may have open."""
    limit_files = None if most_files is None else partial(resource.setrlimit, resource.RLIMIT_NOFILE, (most_files,) * 2)
    log = settings.home / f"{stage}-{time.monotonic_ns()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", module, stage],
            env=settings.child_environment(*settings.service_secrets()),
            cwd=ROOT,
            preexec_fn=limit_files,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, log.read_text()
        running = Running(process, line.split()[1], log)
        limit = time.monotonic() + WAIT_S
        while True:
            try:
                running.health()
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < limit, log.read_text()  # noqa: PT018
                time.sleep(0.05)
        yield running
    finally:
        process.kill()
        process.communicate()
