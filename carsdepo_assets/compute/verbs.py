"""The verbs of the worker: the work that runs torch, each a module that every compute target starts in the same way."""

from __future__ import annotations

from typing import Literal

Verb = Literal["train", "evaluate", "export", "reference", "process"]

MODULES: dict[Verb, str] = {
    "train": "carsdepo_assets.training.worker",
    "evaluate": "carsdepo_assets.training.evaluation_worker",
    "export": "carsdepo_assets.release.export_worker",
    "reference": "carsdepo_assets.monitoring.reference_worker",
    "process": "carsdepo_assets.data.processing_worker",
}
"""Run as `python -m MODULE --spec PLACE`, where PLACE is a file or an s3:// URL of the job's spec as JSON."""
