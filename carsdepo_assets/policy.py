"""Every threshold that the business sets, typed, with its unit; `carsdepo.toml` overrides.

`load_policy(path)` reads the overrides; nothing here reads the environment.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class PolicyError(ValueError):
    """The policy file cannot be read or says something that the policy does not know."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassMap(_Section):
    """Class ids by position. A new version appends; it never renumbers."""

    version: int = 1
    names: tuple[str, ...] = ("scratch", "dent")


class DataPolicy(_Section):
    batch_max_images: int = Field(2000, ge=1, description="photographs: a batch closes at this size")
    batch_max_age_s: float = Field(20.0, ge=0, description="seconds: a batch closes when its newest file is this old")
    label_wait_s: float = Field(3600.0, ge=0, description="seconds a label waits for its photograph")
    longest_side_px: int = Field(1280, ge=64, description="pixels: longest side of a processed image")
    jpeg_quality: int = Field(90, ge=50, le=100)
    max_bytes: int = Field(64 * 2**20, ge=1, description="bytes: larger files go to quarantine unread")
    max_pixels: int = Field(80_000_000, ge=1, description="pixels: larger headers go to quarantine undecoded")
    min_side_px: int = Field(32, ge=1, description="pixels: smaller photographs go to quarantine")
    duplicate_hamming: int = Field(
        4, ge=0, le=64, description="bits of 64: perceptual hashes this near may be one scene"
    )
    max_group: int = Field(200, ge=1, description="photographs: near-duplicates never chain beyond this")
    max_quarantined_share: float = Field(0.5, ge=0, le=1, description="share: a batch above it blocks what follows")
    max_black_share: float = Field(0.5, ge=0, le=1, description="share of all-black photographs: above it blocks")


class SplitPolicy(_Section):
    """Shares of groups; a group is hashed once and stays."""

    train: float = Field(0.7, gt=0, lt=1)
    val: float = Field(0.15, gt=0, lt=1)
    salt: str = "carsdepo-1"

    @model_validator(mode="after")
    def _room_for_test(self) -> SplitPolicy:
        if self.train + self.val >= 1:
            raise ValueError("train + val must leave a share for test: below 1")
        return self


class TrainingPolicy(_Section):
    detector: Literal["auto", "yolov8n", "faster_rcnn"] = Field(
        "auto",
        description="auto: yolov8n on rendered photographs or with its pretrained weights at hand, else faster_rcnn",
    )
    minutes: float = Field(2.5, gt=0, description="minutes: a training's budget of wall time")
    debounce_s: float = Field(10.0, ge=0, description="seconds without new labels before a retraining starts")
    min_new_labels: int = Field(1, ge=1, description="label revisions: fewer do not start a retraining")
    max_attempts: int = Field(3, ge=1, description="trainings of one state of the labels before `retrain` gives up")
    seed: int = 0


class EvaluationPolicy(_Section):
    iou: float = Field(0.5, gt=0, lt=1)
    max_detections: int = Field(100, ge=1)
    floor_map50: float = Field(
        0.02, ge=0, le=1, description="mAP@.5 under which a model is not registered as a candidate"
    )


class Policy(_Section):
    class_map: ClassMap = ClassMap()
    data: DataPolicy = DataPolicy()
    split: SplitPolicy = SplitPolicy()
    training: TrainingPolicy = TrainingPolicy()
    evaluation: EvaluationPolicy = EvaluationPolicy()

    def digest(self) -> str:
        """First 12 hex digits of the sha256 of the policy as sorted JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_policy(path: Path | None = None) -> Policy:
    """The policy with the overrides of a TOML file, where one exists.

    Raises PolicyError naming the file and the key when a value does not fit.
    """
    if path is None or not path.exists():
        return Policy()
    try:
        return Policy.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{path}: not TOML: {error}. Correct the line it names.") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise PolicyError(f"{path}: {lines}. The keys are those of carsdepo_assets/policy.py.") from error
