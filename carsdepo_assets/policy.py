"""The policy: every threshold that the business sets, as a typed value with its unit, its meaning and its default.

`carsdepo.toml` files override the defaults (see policy_layers.py). The meanings are printed by `carsdepo policy show`
and by the generated policy reference of the documentation. The sections `data` and `split` are in policy_data.py,
`training` in policy_training.py, `augmentation` in policy_augmentation.py, `study` in policy_study.py, `compute` in
policy_compute.py.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from carsdepo_assets.policy_augmentation import AugmentationPolicy
from carsdepo_assets.policy_compute import ComputePolicy as ComputePolicy
from carsdepo_assets.policy_data import DataPolicy as DataPolicy
from carsdepo_assets.policy_data import SplitPolicy as SplitPolicy
from carsdepo_assets.policy_study import Dimension as Dimension
from carsdepo_assets.policy_study import StudyPolicy as StudyPolicy
from carsdepo_assets.policy_training import Fallback as Fallback
from carsdepo_assets.policy_training import Longer as Longer
from carsdepo_assets.policy_training import OtherDetector as OtherDetector
from carsdepo_assets.policy_training import OtherStart as OtherStart
from carsdepo_assets.policy_training import TrainingPolicy
from carsdepo_assets.policy_values import Count, NotNegative, PolicySection, Positive, Share, policy_value


class PolicyError(ValueError):
    """A policy file cannot be read, or it holds a key or a value that the policy does not allow."""


class ClassMap(PolicySection):
    """The damage classes. A class's id is its position in the list; a new version only appends, it never renumbers.

    The lake keeps the names under which its labels were drawn, and refuses a list that gives an id in use another name.
    """

    version: int = policy_value(1, "", "Version of the list of classes.")
    names: tuple[str, ...] = policy_value(
        ("scratch", "dent"), "", "Names of the classes, in the order of their ids.", min_length=1
    )

    not_damage: tuple[str, ...] = policy_value(
        ("reflection", "dirt", "shadow"),
        "",
        "Names of what looks like damage and is none. Labels of them are kept as hard negatives, apart from damage; "
        "`--map glare=reflection` leads an import's class to one.",
    )

    @field_validator("names", "not_damage")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(name.strip() for name in names):
            raise ValueError("each class has a name of its own")
        return names

    @model_validator(mode="after")
    def _damage_or_not(self) -> ClassMap:
        both = {name.strip().casefold() for name in self.names} & {name.strip().casefold() for name in self.not_damage}
        if both:
            raise ValueError(f"{', '.join(sorted(both))}: both a class of damage and in not_damage")
        return self


class EvaluationPolicy(PolicySection):
    """How detections are scored against labels."""

    iou: float = policy_value(
        0.5, "IoU", "A detection that overlaps a labelled damage by at least this counts as finding it.", gt=0, lt=1
    )
    max_detections: Count = policy_value(100, "detections", "The best ones of a photograph, which alone are scored.")
    floor_map50: Share = policy_value(0.02, "mAP@.5", "A model below this is not registered as a candidate.")


class GatePolicy(PolicySection):
    """When a new model (the challenger) may replace the one in production (the champion).

    Tolerances are differences of figures between 0 and 1: 0.02 is two points.
    """

    mode: Literal["interval", "point"] = policy_value(
        "interval",
        "",
        "interval: the bootstrap interval of the difference decides; point: its middle decides, for small data.",
    )
    level: float = policy_value(0.95, "share", "Confidence level of the paired bootstrap's interval.", gt=0.5, lt=1)
    resamples: int = policy_value(1000, "resamples", "Bootstrap samples of groups.", ge=100)
    map50_tolerance: NotNegative = policy_value(
        0.02, "mAP@.5", "The challenger's overall mAP@.5 may lie this far below the champion's."
    )
    recall_tolerance: NotNegative = policy_value(
        0.03, "recall", "A class may not lose significantly more than this, at equal false alarms."
    )
    precision_tolerance: NotNegative = policy_value(
        0.05, "precision", "A class may not lose significantly more than this, at equal false alarms."
    )
    footing_false_alarms: Positive = policy_value(
        0.125,
        "false alarms per photograph",
        "The rate at which recall and precision of the classes are compared; a higher one where both models give more "
        "false alarms at their own thresholds.",
    )
    floor_map50: Share = policy_value(0.05, "mAP@.5", "No model below this goes to production.")
    floor_recall: Share = policy_value(0.02, "recall", "No model with a class below this goes to production.")
    slice_min_boxes: Count = policy_value(
        300, "boxes", "A slice of the test set (light, camera) with fewer boxes cannot block a promotion."
    )
    slice_harm: NotNegative = policy_value(0.05, "mAP@.5", "A slice may not lose significantly more than this.")
    veto_min_groups: int = policy_value(
        10, "cars", "A class or slice whose boxes are of fewer cars cannot block: chance would decide.", ge=2
    )
    latency_p95_ms: Positive = policy_value(
        2000.0, "milliseconds", "Highest 95th percentile of the time for one photograph over HTTP at staging."
    )
    parity_share: float = policy_value(
        0.98,
        "share of boxes",
        "The exported model must give back at least this share of the weights' detections.",
        gt=0,
        le=1,
    )


class ReleasePolicy(PolicySection):
    """How a model goes to staging and to production."""

    approval: Literal["automatic", "person"] = policy_value(
        "automatic", "", "Who promotes a model that passed the gate: the machine by itself, or a person."
    )
    wait_s: Positive = policy_value(60.0, "seconds", "How long a release waits for a service to serve the new model.")
    validation_photographs: Count = policy_value(16, "photographs", "Real requests that staging must answer correctly.")


class InferencePolicy(PolicySection):
    """What the inspection service accepts, how it answers and what it keeps."""

    runtime: Literal["auto", "onnxruntime", "openvino", "torch"] = policy_value(
        "auto",
        "",
        "What executes the model. auto: of those that agree with the weights, the fastest where it is served.",
    )
    max_photographs: Count = policy_value(16, "photographs", "Most photographs in one request.")
    max_request_bytes: Count = policy_value(64 * 2**20, "bytes", "Larger requests are refused.")
    max_photograph_bytes: Count = policy_value(16 * 2**20, "bytes", "Larger photographs are refused.")
    max_pixels: Count = policy_value(50_000_000, "pixels", "Larger photographs are refused.")
    max_request_pixels: Count = policy_value(
        200_000_000, "pixels", "A request whose photographs have more of them together is refused."
    )
    heic: bool = policy_value(
        False,
        "",
        "Whether HEIC photographs are answered, and so scored, where the optional package for them is installed. The "
        "pipeline reads them in any case.",
    )
    unsure_share: Share = policy_value(
        0.6,
        "share of the threshold",
        "An answer whose best score lies between this share of the threshold and the threshold is marked for a person "
        "to look at.",
    )
    require_signature: bool = policy_value(
        True, "", "Whether the service refuses models that are not signed. A wrong signature is refused in any case."
    )
    keep_photographs: bool = policy_value(
        True, "", "Whether photographs that were sent are stored, so that they can be labelled."
    )
    open_operations: bool = policy_value(
        False, "", "Whether /metrics, /docs and /openapi.json answer without the API key, where one is configured."
    )
    segment_lines: Count = policy_value(500, "answers", "A file of captured answers closes at this size.")
    segment_age_s: Positive = policy_value(5.0, "seconds", "A file of captured answers closes at this age.")


class MonitoringPolicy(PolicySection):
    """When drift is measured, and what follows from how much there is.

    Drift below `retrain_below` retrains by itself; from there to `no_retraining_from` it retrains and a person must
    approve the promotion; from `no_retraining_from` on nothing is retrained by itself.
    """

    window_hours: Positive = policy_value(24.0, "hours", "Period of answers that one drift report looks at.")
    min_photographs: Count = policy_value(50, "photographs", "With fewer in the period, drift is not measured.")
    min_groups: int = policy_value(
        10, "cars", "With photographs of fewer cars in the period, drift is not measured.", ge=2
    )
    alpha: float = policy_value(
        0.01, "share", "Share of periods without drift in which drift is reported by chance (family-wise).", gt=0, lt=1
    )
    resamples: int = policy_value(
        1000, "resamples", "Samples of groups for the null distribution and the intervals.", ge=200
    )
    bins: int = policy_value(10, "bins", "Bins of a feature's histogram, cut at the reference's quantiles.", ge=2)
    retrain_below: float = policy_value(
        0.05, "share of the traffic", "Less drift than this retrains by itself.", gt=0, lt=1
    )
    no_retraining_from: float = policy_value(
        0.08, "share of the traffic", "From this much drift on, nothing is retrained by itself.", gt=0, le=1
    )
    queue_size: Count = policy_value(120, "photographs", "Size of one labelling queue.")
    missing_rise: Share = policy_value(
        0.1,
        "share of photographs",
        "An alert goes out when the share without a camera, region, source or time rises by this much.",
    )
    measure_every_s: NotNegative = policy_value(
        3600.0, "seconds", "Time between two drift reports that nobody asked for."
    )
    reference_answers: int = policy_value(
        2000, "photographs", "How many a model answers so that its own answers become part of its reference.", ge=50
    )
    queue_in_reference: Literal["excluded", "weighted"] = policy_value(
        "excluded",
        "",
        "Photographs that were labelled because a drift report chose them. excluded: they are left out of the "
        "reference. weighted: they count as much as the share of traffic that the report measured.",
    )

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, values: Any) -> Any:  # of policies that older releases stored; files are renamed in layers
        if isinstance(values, dict) and "other_world" in values and "no_retraining_from" not in values:
            return {("no_retraining_from" if k == "other_world" else k): v for k, v in values.items()}
        return values

    @model_validator(mode="after")
    def _ordered(self) -> MonitoringPolicy:
        if self.retrain_below > self.no_retraining_from:
            raise ValueError("retrain_below must not lie above no_retraining_from")
        return self


class BusinessPolicy(PolicySection):
    """The business's goals, and how its figures are computed. Money is in the currency of the tables."""

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
        description="Goal of the KPI of that name: the value to reach or exceed; for latency the value not to exceed. "
        "false: the KPI has no goal.",
        json_schema_extra={"unit": "as the KPI"},
    )
    baseline_until: str | None = policy_value(
        None,
        "ISO date",
        "Last day before the platform, whose figures the KPIs compare with; none: the day of production's first model.",
    )
    error_tolerance_points: NotNegative = policy_value(
        2.0, "points", "Loss of accuracy that the business tolerates. The gate's tolerance is a separate value."
    )
    currency: str = policy_value(
        "EUR", "", "Currency of all money; rows in another one are refused.", min_length=3, max_length=3
    )
    decimal_comma: bool | None = policy_value(
        None,
        "",
        "What a comma in a number of a business file is. true: the decimal sign, in files that have no decimal point. "
        "false: none; numbers have a decimal point. none: not known; a file in which it matters goes to quarantine.",
    )
    window_days: Count = policy_value(
        30, "days", "Period behind figures of the present, such as automation and latency."
    )
    dispute_days: Count = policy_value(
        30, "days", "A dispute counts within this time after the sale; younger sales are left out of the rate."
    )
    settle_s: NotNegative = policy_value(10.0, "seconds", "A business file is read when its last change is this old.")
    max_attempts: Count = policy_value(
        3, "runs", "Failed runs over one state of the business files after which the sensor gives up."
    )
    max_refused_share: Share = policy_value(
        0.05, "share of rows", "A table with a larger share of its rows in quarantine gives a warning."
    )

    @field_validator("baseline_until", mode="before")
    @classmethod
    def _a_date(cls, value: object) -> str | None:  # TOML knows dates without quotes
        if value is None:
            return None
        try:
            return date.fromisoformat(str(value)).isoformat()
        except ValueError:
            raise ValueError(f"{value!r} is not an ISO date such as 2026-06-30") from None


class AlertPolicy(PolicySection):
    """When alerts are sent."""

    repeat_after_s: NotNegative = policy_value(3600.0, "seconds", "The same alert is not sent again before this time.")
    run_waiting_s: Positive = policy_value(
        900.0, "seconds", "An alert goes out when a run waited this long for its turn or for a pool."
    )


class RunsPolicy(PolicySection):
    """How often work that was interrupted is started again."""

    max_interruptions: int = policy_value(
        10,
        "runs",
        "Killed runs of one piece of work (a state of the labels, a batch, a candidate) that do not count as attempts. "
        "Any more do count, so that work which brings the machine down is given up in the end.",
        ge=0,
    )


class Policy(PolicySection):
    """All sections of the policy. `Policy()` is the built-in one."""

    class_map: ClassMap = ClassMap()
    data: DataPolicy = DataPolicy()
    split: SplitPolicy = SplitPolicy()
    training: TrainingPolicy = TrainingPolicy()
    augmentation: AugmentationPolicy = AugmentationPolicy()
    study: StudyPolicy = StudyPolicy()
    evaluation: EvaluationPolicy = EvaluationPolicy()
    gate: GatePolicy = GatePolicy()
    release: ReleasePolicy = ReleasePolicy()
    inference: InferencePolicy = InferencePolicy()
    monitoring: MonitoringPolicy = MonitoringPolicy()
    business: BusinessPolicy = BusinessPolicy()
    alerts: AlertPolicy = AlertPolicy()
    runs: RunsPolicy = RunsPolicy()
    compute: ComputePolicy = ComputePolicy()

    def digest(self) -> str:
        """The first 12 hex digits of the sha256 of the policy as sorted JSON: its name in records."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
