"""Every threshold that the business sets, typed, with its unit; policy_layers.py puts `carsdepo.toml` files over it."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class PolicyError(ValueError):
    """The policy file cannot be read or says something that the policy does not know."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassMap(_Section):
    """Class ids by position. A new version appends; it never renumbers."""

    version: int = Field(1, description="of the list below")
    names: tuple[str, ...] = Field(("scratch", "dent"), min_length=1, description="of the classes, by their ids")

    @field_validator("names")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(name.strip() for name in names):
            raise ValueError("each class has a name of its own")
        return names


class DataPolicy(_Section):
    batch_max_images: int = Field(2000, ge=1, description="photographs: a batch closes at this size")
    batch_max_age_s: float = Field(20.0, ge=0, description="seconds: a batch closes when its newest file is this old")
    label_wait_s: float = Field(3600.0, ge=0, description="seconds a label waits for its photograph")
    longest_side_px: int = Field(1280, ge=64, description="pixels: longest side of a processed image")
    jpeg_quality: int = Field(90, ge=50, le=100, description="of processed images, as JPEG counts it")
    max_bytes: int = Field(64 * 2**20, ge=1, description="bytes: larger files go to quarantine unread")
    recheck_bytes: int = Field(
        2**30, ge=1, description="bytes: files whose time alone changed that a tick hashes again; the rest waits for it"
    )
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

    train: float = Field(0.7, gt=0, lt=1, description="share of groups that models are trained on")
    val: float = Field(0.15, gt=0, lt=1, description="share of groups by which a training chooses; the rest is test")
    salt: str = Field("carsdepo-1", description="hashed with the group's name; another one makes other splits")

    @model_validator(mode="after")
    def _room_for_test(self) -> SplitPolicy:
        if self.train + self.val >= 1:
            raise ValueError("train + val must leave a share for test: below 1")
        return self


class Longer(_Section):
    """The same training for longer: steps, minutes and epochs, whichever the recipe sets, times `factor`."""

    change: Literal["longer"] = "longer"
    factor: float = Field(3.0, gt=1, description="times as long")

    @property
    def name(self) -> str:
        return f"longer-{self.factor:g}"


class OtherStart(_Section):
    """The same training from other initial weights."""

    change: Literal["start"] = "start"
    init: Literal["afresh", "scratch", "imagenet", "yolov8n"] = Field(
        "afresh",
        description="afresh: as a first model of the family starts, not from the champion; scratch: random weights; "
        "imagenet: faster_rcnn's packaged backbone; yolov8n: the file weights/yolov8n.pt",
    )

    @property
    def name(self) -> str:
        return f"start-{self.init}"


class OtherDetector(_Section):
    """A training of another family, started as a first model of it."""

    change: Literal["detector"] = "detector"
    detector: Literal["yolov8n", "faster_rcnn"]

    @property
    def name(self) -> str:
        return f"detector-{self.detector}"


# What a training under the floor is followed by; `name` is unique for what the change says.
Fallback = Annotated[Longer | OtherStart | OtherDetector, Field(discriminator="change")]


class TrainingPolicy(_Section):
    """auto, fallbacks: `experiments/recipes.py` and `training/retraining.py` say how they are applied."""

    detector: Literal["auto", "yolov8n", "faster_rcnn"] = Field(
        "auto",
        description="auto: the family of the champion; for a first model faster_rcnn where the mix is real and "
        "weights/yolov8n.pt is not there, else yolov8n",
    )
    auto_real_share: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of the training photographs whose labels are no renderer's: above it the mix is real",
    )
    fallbacks: tuple[Fallback, ...] = Field(
        (Longer(), OtherStart(), OtherDetector(detector="faster_rcnn"), OtherDetector(detector="yolov8n")),
        description="changes of the recipe, in this order, after a training whose model is under "
        "evaluation.floor_map50; each once for a state of the labels, those that change nothing are skipped; "
        "then a person is asked",
    )
    steps: int | None = Field(
        None, ge=1, description="optimizer steps of a training; None: as many as fit into `minutes`"
    )
    minutes: float = Field(2.5, gt=0, description="minutes: a training's budget of wall time")
    cap_minutes: float = Field(
        120.0,
        gt=0,
        description="minutes: wall time after which a training planned in steps is stopped, where the run names none",
    )
    progress_every_s: float = Field(
        3.0, gt=0, description="seconds between two writings of a running training's progress to the lake"
    )
    log_every_s: float = Field(
        15.0, gt=0, description="seconds between two lines on a running training in its run's log, and MLflow points"
    )
    silent_after_s: float = Field(
        60.0, gt=0, description="seconds without a sign of life after which a training is taken for gone"
    )
    debounce_s: float = Field(10.0, ge=0, description="seconds without new labels before a retraining starts")
    min_new_labels: int = Field(1, ge=1, description="label revisions: fewer do not start a retraining")
    max_attempts: int = Field(
        3,
        ge=1,
        description="runs that end without a judged model, for one recipe and one state of the labels, before "
        "`retrain` gives that recipe up; models under the floor are no such runs: see fallbacks",
    )
    from_champion: bool = Field(
        True,
        description="start from the weights of the model in production; false: its family and input size alone follow",
    )
    retrain_minutes: float | None = Field(
        None, gt=0, description="minutes: a training that starts from the champion; None: as `minutes`"
    )
    seed: int = Field(0, description="of the weights, the order of photographs and their augmentation")

    @field_validator("fallbacks")
    @classmethod
    def _each_once(cls, value: tuple[Fallback, ...]) -> tuple[Fallback, ...]:
        names = [change.name for change in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} comes twice: each change is tried once for a state of the labels")
        return value


class EvaluationPolicy(_Section):
    iou: float = Field(0.5, gt=0, lt=1, description="overlap from which a detection counts as the labelled damage")
    max_detections: int = Field(100, ge=1, description="detections of one photograph that count, the best ones")
    floor_map50: float = Field(
        0.02, ge=0, le=1, description="mAP@.5 under which a model is not registered as a candidate"
    )


class GatePolicy(_Section):
    """When a challenger may replace the champion; every tolerance is in points of 0..1."""

    mode: Literal["interval", "point"] = Field(
        "interval",
        description="interval: the bootstrap interval of the difference decides; point: its middle, for small data",
    )
    level: float = Field(0.95, gt=0.5, lt=1, description="of the paired bootstrap's interval")
    resamples: int = Field(1000, ge=100, description="bootstrap samples of groups")
    map50_tolerance: float = Field(
        0.02, ge=0, description="of 1: not worse means overall mAP@.5 at or above the champion's less this"
    )
    recall_tolerance: float = Field(
        0.03, ge=0, description="of 1: recall that a class may not lose significantly, at equal false alarms"
    )
    precision_tolerance: float = Field(
        0.05, ge=0, description="of 1: precision that a class may not lose significantly, at equal false alarms"
    )
    footing_false_alarms: float = Field(
        0.125,
        gt=0,
        description="false alarms a photograph at which recall and precision of the classes are compared at least; "
        "more where both models give more at their own thresholds",
    )
    floor_map50: float = Field(0.05, ge=0, le=1, description="mAP@.5 under which nothing goes to production")
    floor_recall: float = Field(0.02, ge=0, le=1, description="recall of each class under which nothing goes live")
    slice_min_boxes: int = Field(300, ge=1, description="boxes: smaller slices (light, camera) have no veto")
    slice_harm: float = Field(0.05, ge=0, description="of 1: mAP@.5 that a slice may not lose significantly")
    veto_min_groups: int = Field(
        10, ge=2, description="cars: a class or slice whose boxes are of fewer has no veto, as chance would decide"
    )
    latency_p95_ms: float = Field(2000.0, gt=0, description="milliseconds for one photograph over HTTP at staging")
    parity_share: float = Field(0.98, gt=0, le=1, description="share of boxes that the export must give back")


class ReleasePolicy(_Section):
    approval: Literal["automatic", "person"] = Field("automatic", description="who promotes after the gate")
    wait_s: float = Field(60.0, gt=0, description="seconds that a release waits for a service to serve the digest")
    validation_photographs: int = Field(16, ge=1, description="real requests that staging must answer right")


class InferencePolicy(_Section):
    runtime: Literal["auto", "onnxruntime", "openvino", "torch"] = Field(
        "auto", description="auto: the fastest of those whose export is on par"
    )
    max_photographs: int = Field(16, ge=1, description="photographs in one request")
    max_request_bytes: int = Field(64 * 2**20, ge=1, description="bytes: larger requests are refused")
    max_photograph_bytes: int = Field(16 * 2**20, ge=1, description="bytes: larger photographs are refused")
    max_pixels: int = Field(50_000_000, ge=1, description="pixels: larger photographs are refused")
    unsure_share: float = Field(
        0.6, ge=0, le=1, description="a best score from this share of the threshold up to it: a person must look"
    )
    keep_photographs: bool = Field(True, description="store what was sent, for labelling; erase with `forget`")
    segment_lines: int = Field(500, ge=1, description="answers: a capture segment closes at this size")
    segment_age_s: float = Field(5.0, gt=0, description="seconds: or at this age")


class MonitoringPolicy(_Section):
    """Bands are half open: (0, retrain_below) retrain, [retrain_below, other_world) a person approves, then no more."""

    window_hours: float = Field(24.0, gt=0, description="hours of answers that one drift report looks at")
    min_photographs: int = Field(50, ge=1, description="photographs: fewer are too few to tell")
    min_groups: int = Field(10, ge=2, description="cars: photographs of fewer are too few to tell")
    alpha: float = Field(0.01, gt=0, lt=1, description="family-wise: share of windows without drift that may alarm")
    resamples: int = Field(1000, ge=200, description="samples of groups for the null and the intervals")
    bins: int = Field(10, ge=2, description="bins of a feature at the reference's quantiles")
    retrain_below: float = Field(0.05, gt=0, lt=1, description="share of the traffic: less drift retrains by itself")
    other_world: float = Field(0.08, gt=0, le=1, description="share of the traffic: from here on no retraining")
    queue_size: int = Field(120, ge=1, description="photographs of one labelling queue")
    missing_rise: float = Field(
        0.1, ge=0, le=1, description="share of photographs by which a missing camera, region, source or time must rise"
    )
    measure_every_s: float = Field(3600.0, ge=0, description="seconds between two drift reports that nobody asked for")
    reference_answers: int = Field(
        2000, ge=50, description="photographs on which a model's own answers are taken for its reference"
    )
    queue_in_reference: Literal["excluded", "weighted"] = Field(
        "excluded",
        description="photographs that a drift report's queue selected: not in the reference, or with the weight of "
        "the share of traffic that the report measured",
    )

    @model_validator(mode="after")
    def _ordered(self) -> MonitoringPolicy:
        if self.retrain_below > self.other_world:
            raise ValueError("retrain_below must not lie above other_world")
        return self


class BusinessPolicy(_Section):
    """Goals by KPI name: met, missed or unknown in the report. Money in the currency of the tables."""

    goals: dict[str, float] = Field(
        default_factory=lambda: {
            "precision": 0.7,
            "recall": 0.6,
            "latency_p95_ms": 500.0,
            "dispute_reduction_pct": 20.0,
            "speed_improvement_pct": 30.0,
            "cost_reduction_pct": 30.0,
            "automation_pct": 60.0,
            "labelled_pct": 20.0,
        },
        description="of the KPI of that name: reach or pass; latency in ms: stay at or under. false: no goal",
    )
    baseline_until: str | None = Field(
        None,
        description="ISO date: the last day before the platform (old figures); None: the day of production's "
        "first model",
    )
    error_tolerance_points: float = Field(
        2.0, ge=0, description="points of accuracy that the business tolerates; the gate's tolerance is another number"
    )
    currency: str = Field("EUR", min_length=3, max_length=3, description="of all money; rows in another are refused")
    window_days: int = Field(30, ge=1, description="days: what is said of now (automation, latency) looks back so far")
    dispute_days: int = Field(
        30, ge=1, description="days after a sale in which a dispute counts; younger sales are left out of the rate"
    )
    settle_s: float = Field(10.0, ge=0, description="seconds: a business file is read when it is this old")
    max_attempts: int = Field(3, ge=1, description="runs over one state of the files before the sensor gives up")
    max_refused_share: float = Field(0.05, ge=0, le=1, description="share of a table's rows in quarantine that warns")

    @field_validator("baseline_until", mode="before")
    @classmethod
    def _a_date(cls, value: object) -> str | None:  # TOML knows dates without quotes
        if value is None:
            return None
        try:
            return date.fromisoformat(str(value)).isoformat()
        except ValueError:
            raise ValueError(f"{value!r} is not an ISO date such as 2026-06-30") from None


class AlertPolicy(_Section):
    repeat_after_s: float = Field(3600.0, ge=0, description="seconds before the same alert is sent again")
    run_waiting_s: float = Field(
        900.0, gt=0, description="seconds that a run may wait, for its turn or for a pool, before people are told"
    )


class RunsPolicy(_Section):
    max_interruptions: int = Field(
        10,
        ge=0,
        description="runs for one piece of work (a label state, a batch, a candidate) that were killed and are not "
        "counted as attempts; more count, so that work which brings the machine down is given up",
    )


class Policy(_Section):
    class_map: ClassMap = ClassMap()
    data: DataPolicy = DataPolicy()
    split: SplitPolicy = SplitPolicy()
    training: TrainingPolicy = TrainingPolicy()
    evaluation: EvaluationPolicy = EvaluationPolicy()
    gate: GatePolicy = GatePolicy()
    release: ReleasePolicy = ReleasePolicy()
    inference: InferencePolicy = InferencePolicy()
    monitoring: MonitoringPolicy = MonitoringPolicy()
    business: BusinessPolicy = BusinessPolicy()
    alerts: AlertPolicy = AlertPolicy()
    runs: RunsPolicy = RunsPolicy()

    def digest(self) -> str:
        """First 12 hex digits of the sha256 of the policy as sorted JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
