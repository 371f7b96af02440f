"""The lake's tables: the list of them, and the columns of those about releases, answers and drift.

The columns of the others are in data_schemas.py, training_schemas.py, feature_schemas.py and business_schemas.py.

A column may be added (nullable) but is never renamed or dropped, so that every release reads the lakes of all releases
before it.

These are the names of one photograph on its way from upload to KPI; `ID` stands for its image_id, `II` for the first
two digits of it:

| Name | What it is |
|---|---|
| `key` | path of a file below the lake's root; of a photograph: where it was uploaded, `raw/uploads/PATH/NAME.jpg` |
| `sha256` | hex digest of a file's bytes: in `uploads` the photograph's, in `processed` those of its processed copy |
| `image_id` | the photograph itself: the sha256 of its original bytes, whatever its path and however often it came |
| `object_key` | path of its processed copy (upright, reduced, without metadata): `objects/II/ID.jpg` |
| `photograph_key` | path of the bytes that the service was sent: `capture/photographs/II/ID.jpg`; null: not kept |
| `upload_key` | the key to which a labelling queue copies these for intake: `raw/uploads/queue/QUEUE/ID.jpg` |

An upload is a row of `uploads` (key, sha256). Its bytes become one row of `images` (image_id = sha256; key: the first
upload of these bytes) and of `processed` (image_id, object_key); its labels are rows of `annotations` (image_id). A
dataset's manifest holds image_id, key and object_key. An answer of the service is a row of `inferences` (image_id,
photograph_key). A labelling queue (`queues/QUEUE/queue.json`) names image_id, photograph_key and upload_key; what it
copied to upload_key enters as an upload with that key and the same image_id. Live quality, drift and the KPIs join
these tables by image_id alone.

Some tables mean another file: in `annotations` key and sha256 are those of the label file, in `quarantine` those of the
refused file of any kind. In `alerts` key is no path: it names what the alert is about, so that it is not sent twice.
"""

from __future__ import annotations

import pyarrow as pa

from carsdepo_assets.lake.business_schemas import DISPUTES, INSPECTIONS, TRANSACTIONS
from carsdepo_assets.lake.data_schemas import (
    ANNOTATIONS,
    BOX,
    IMAGES,
    IMPORTS,
    LICENCES,
    METADATA,
    OBJECTS,
    PROCESSED,
    QUARANTINE,
    SPLITS,
    UPLOADS,
)
from carsdepo_assets.lake.feature_schemas import PHOTOGRAPH_FEATURES
from carsdepo_assets.lake.training_schemas import CANDIDATES, EVALUATIONS, TRAININGS, TRIALS

_ts = pa.timestamp("us", tz="UTC")

CHECKS_SOURCE = "validation"  # source of the requests by which the platform checks a model at staging

# The ledger: one row per event of a stage, never changed. What a stage serves is its newest row that names a digest to
# serve (see registry/ledger.py).
DEPLOYMENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("sequence", pa.int64()),
        ("at", _ts),
        ("stage", pa.string()),  # staging | production
        ("action", pa.string()),  # deploy | promote | rollback | approve | reject | hold
        ("digest", pa.string()),  # of the model that the event is about; null: hold
        ("version", pa.int64()),  # of MLflow's registry
        ("previous", pa.string()),  # digest that was served before
        ("actor", pa.string()),
        ("reason", pa.string()),
        ("policy_digest", pa.string()),
        ("dagster_run_id", pa.string()),
    ]
)

# One row per verdict of the promotion gate.
GATES = pa.schema(
    [
        ("gate_id", pa.string()),
        ("at", _ts),
        ("challenger", pa.string()),
        ("champion", pa.string()),  # null: the first model
        ("golden", pa.int32()),  # version of the golden set
        ("verdict", pa.string()),  # promote | reject | undecided
        ("mode", pa.string()),  # interval | point
        ("reasons", pa.list_(pa.string())),
        ("figures", pa.string()),  # JSON
        ("policy_digest", pa.string()),
        ("report_key", pa.string()),
        ("dagster_run_id", pa.string()),
    ]
)

SCORED_BOX = pa.struct([*BOX, pa.field("score", pa.float64())])

# One row per photograph that a service answered, from its capture segments.
INFERENCES = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("request_id", pa.string()),
        ("at", _ts),
        ("stage", pa.string()),
        ("digest", pa.string()),
        ("version", pa.int64()),
        ("runtime", pa.string()),
        ("image_id", pa.string()),  # sha256 of the bytes that were sent
        ("file_name", pa.string()),
        ("photograph_key", pa.string()),  # in the lake; null where the policy keeps none
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *[
            pa.field(name, pa.float64())
            for name in (
                "luma_mean", "luma_std", "luma_p95", "sharpness", "saturation",
                "colour_cast", "aspect", "megapixels", "bits_per_pixel",
            )
        ],
        ("decision", pa.string()),  # clear | damage | needs_person
        ("threshold", pa.float64()),
        ("boxes", pa.list_(SCORED_BOX)),  # down to the capture floor, best first
        ("n_boxes", pa.int32()),  # at the threshold
        ("max_score", pa.float64()),
        ("milliseconds", pa.float64()),  # decode to answer, without waiting in the queue
        ("source", pa.string()),  # web | mobile | ...
        ("camera", pa.string()),
        ("uploader", pa.string()),
        ("region", pa.string()),
        ("listing", pa.string()),
        ("segment", pa.string()),
    ]
)  # fmt: skip

# One row per drift report.
DRIFT = pa.schema(
    [
        ("report_id", pa.string()),
        ("at", _ts),
        ("window_from", _ts),
        ("window_to", _ts),
        ("digest", pa.string()),  # the model that answered
        ("photographs", pa.int64()),
        ("groups", pa.int64()),
        ("computed", pa.bool_()),  # false: too few, or no reference; never to be read as "no drift"
        ("detected", pa.bool_()),
        ("p_value", pa.float64()),
        ("drift", pa.float64()),  # 0..1, the worst feature's share of changed traffic; null: not computed
        ("worst_feature", pa.string()),
        ("band", pa.string()),  # none | low | middle | high | unknown
        ("features", pa.string()),  # JSON: every feature's statistic, drift and interval
        ("sources", pa.string()),  # JSON: sources ranked by their share of the drifted photographs
        ("report_key", pa.string()),
        ("dagster_run_id", pa.string()),
        ("missing", pa.string()),  # JSON: inputs that answers and photographs lack, by share, now and before
    ]
)

# One row per day and model whose answers have met labels since; a later row of the same day and model replaces it.
LIVE_QUALITY = pa.schema(
    [
        ("day", pa.string()),  # YYYY-MM-DD, UTC
        ("at", _ts),
        ("digest", pa.string()),
        ("photographs", pa.int64()),  # answered that day and labelled since
        ("answered", pa.int64()),  # answered that day
        ("boxes", pa.int64()),
        ("tp", pa.int64()),
        ("fp", pa.int64()),
        ("fn", pa.int64()),
        ("precision", pa.float64()),
        ("recall", pa.float64()),
        ("f1", pa.float64()),
    ]
)

# One row per answer of the router to a drift report.
ROUTES = pa.schema(
    [
        ("report_id", pa.string()),
        ("at", _ts),
        ("band", pa.string()),
        ("actions", pa.list_(pa.string())),  # queue | retrain | hold | experiment | study | alert
        ("queue_id", pa.string()),
        ("said", pa.string()),
    ]
)

ALERTS = pa.schema(
    [
        ("alert_id", pa.string()),
        ("at", _ts),
        # drift | run_failed | run_waiting | promotion_refused | approval_wanted | service_down | ledger | release |
        # training_under_floor | training_hopeless | training_needs_person
        ("kind", pa.string()),
        ("key", pa.string()),  # the same key within policy.alerts.repeat_after_s is one alert
        ("severity", pa.string()),  # info | warning | critical
        ("title", pa.string()),
        ("body", pa.string()),
        ("sent", pa.list_(pa.string())),  # channels that took it
        ("failed", pa.list_(pa.string())),  # channels that did not, with the reason
    ]
)

TABLES: dict[str, pa.Schema] = {
    "objects": OBJECTS,
    "uploads": UPLOADS,
    "images": IMAGES,
    "metadata": METADATA,
    "processed": PROCESSED,
    "annotations": ANNOTATIONS,
    "splits": SPLITS,
    "quarantine": QUARANTINE,
    "imports": IMPORTS,
    "licences": LICENCES,
    "deployments": DEPLOYMENTS,
    "gates": GATES,
    "inferences": INFERENCES,
    "drift": DRIFT,
    "live_quality": LIVE_QUALITY,
    "routes": ROUTES,
    "trainings": TRAININGS,
    "trials": TRIALS,
    "candidates": CANDIDATES,
    "evaluations": EVALUATIONS,
    "alerts": ALERTS,
    "photograph_features": PHOTOGRAPH_FEATURES,
    "inspections": INSPECTIONS,
    "transactions": TRANSACTIONS,
    "disputes": DISPUTES,
}
