"""The chain of the model in production: the names of the fields that `carsdepo lineage --json` has after a demo.

Both demos, on this machine and on emulators of AWS, end with this chain, so that what a model comes from can be read
the same way wherever it was trained and served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from carsdepo_assets.policy_augmentation import AugmentationSettings

# Their keys are data: batches, splits, origins, packages of the training's machine.
_OPEN = frozenset(
    {
        "model.dataset.splits",
        "model.dataset.upload_batches",
        "model.dataset.label_batches",
        "model.dataset.revisions_by_origin",
        "model.environment",
        "model.recipe.extra",
        "model.gates[].figures",
        "model.findings[].figures",
    }
)
_EVENT = (
    "event_id", "sequence", "at", "stage", "action", "digest", "version", "previous", "actor", "reason",
    "policy_digest", "dagster_run_id", "url",
)  # fmt: skip
_BELOW: Mapping[str, tuple[str, ...]] = {
    "": ("stage", "event", "history", "model"),
    "event": _EVENT,
    "history[]": _EVENT,
    "model": (
        "digest", "version", "aliases", "created_at", "detector", "training", "place", "url", "card", "dataset", "code",
        "recipe", "policy_digest", "mlflow", "dagster", "initialised_from", "started_from", "environment", "evaluation",
        "gates", "approved_by", "events", "card_page", "findings", "preprocessing",
    ),
    "model.card": ("weights", "class_names", "image_size", "threshold", "threshold_from"),
    "model.dataset": (
        "version", "splits", "upload_batches", "label_batches", "revisions_by_origin", "revisions_digest", "boxes",
        "content_digest", "place", "licences",
    ),
    "model.dataset.licences[]": ("licence", "of", "photographs", "claimed_by", "non_commercial", "is_spdx"),
    "model.findings[]": ("name", "severity", "since", "figures", "evidence", "advice"),
    "model.code": ("version", "source_digest"),
    "model.recipe": (
        "digest", "detector", "init", "champion", "image_size", "epochs", "steps", "minutes", "batch", "lr",
        "weight_decay", "freeze", "device", "seed", "extra", "augmentation",
    ),
    "model.recipe.augmentation": tuple(AugmentationSettings.model_fields),
    "model.preprocessing": (
        "upright", "stored_px", "network_px", "letterbox", "mean", "std", "augmentation", "resize", "normalisation",
        "varied",
    ),
    "model.mlflow": ("run_id", "url"),
    "model.dagster": ("run_id", "url"),
    "model.initialised_from[]": ("digest", "created_at", "dataset_version", "url"),
    "model.evaluation": ("figures", "photographs", "boxes", "groups", "verdict", "golden", "report_key", "url"),
    "model.evaluation.figures": (
        "map50", "map75", "map50_95", "precision", "recall", "f1", "threshold", "map50_low", "map50_high"
    ),
    "model.gates[]": (
        "gate_id", "at", "challenger", "champion", "golden", "verdict", "mode", "reasons", "figures", "policy_digest",
        "report_key", "dagster_run_id", "url", "run_url",
    ),
    "model.approved_by": _EVENT,
    "model.events[]": _EVENT,
}  # fmt: skip
FIELDS = frozenset(f"{path}.{name}" if path else name for path, names in _BELOW.items() for name in names)
"""All names, with dots between the levels."""


def fields_of(value: Any, path: str = "") -> Iterator[str]:
    """The names of all fields of a trace, dots between the levels; the entries of a list count together, as NAME[]."""
    if isinstance(value, Mapping) and path not in _OPEN:
        for name, inner in value.items():
            below = f"{path}.{name}" if path else str(name)
            yield below
            yield from fields_of(inner, below)
    elif isinstance(value, list):
        for inner in value:
            yield from fields_of(inner, f"{path}[]")


def difference(trace: Mapping[str, Any]) -> str | None:
    """What the fields of a trace lack or have besides, as a sentence; None: they are FIELDS.

    Args:
        trace: of the model in production. An empty list shows nothing of its entries, so that none of them is missed.
    """
    names = set(fields_of(trace))
    lists = {path for path in FIELDS if f"{path}[]" in _BELOW and path in names and not _at(trace, path)}
    missed = {name for name in FIELDS - names if not any(name.startswith(f"{path}[].") for path in lists)}
    parts = [f"it lacks {', '.join(sorted(missed))}"] if missed else []
    parts += [f"it has {', '.join(sorted(names - FIELDS))} besides"] if names - FIELDS else []
    return f"The chain differs: {'; '.join(parts)}." if parts else None


def _at(trace: Any, path: str) -> Any:
    for name in path.split("."):
        trace = trace[name]
    return trace
