"""The reference of a model, with which drift compares traffic: the photographs of its dataset with their features, and
the model's answers on those that it was not trained on."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from carsdepo_assets.detectors.captured_scores import capture_floor
from carsdepo_assets.imaging.serving import serving_limits
from carsdepo_assets.lake import queues
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.lake.parquet import read_parquet
from carsdepo_assets.lake.schemas import SCORED_BOX
from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.monitoring.features import IMAGE, MODEL, SOURCES, answered, sample_of
from carsdepo_assets.monitoring.profiles import profile_of
from carsdepo_assets.policy import Policy
from carsdepo_assets.quality import profiles

if TYPE_CHECKING:
    from carsdepo_assets.detectors.base import Predictor
    from carsdepo_assets.scoring.boxes import Detections

# A model is surer of photographs that it was trained on than it will ever be again: their scores would make every
# ordinary window look like drift. It has seen neither val nor test.
UNSEEN = ("val", "test", "test_pool")
Rows = list[dict[str, Any]]
Answers = Callable[[Rows], Sequence[Rows | None]]
_META = b"carsdepo"  # key of the Parquet file's metadata: what it was made by
_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)  # of a truncated or foreign file
REFERENCE = pa.schema(
    [
        ("image_id", pa.string()),
        ("group_id", pa.string()),
        ("split", pa.string()),
        ("key", pa.string()),
        ("object_key", pa.string()),
        ("weight", pa.float64()),
        *[pa.field(name, pa.float64()) for name in IMAGE],
        ("camera", pa.string()),
        ("region", pa.string()),
        ("uploader", pa.string()),
        ("asked", pa.bool_()),  # the model's own answer follows
        ("threshold", pa.float64()),
        ("boxes", pa.list_(SCORED_BOX)),
        ("n_boxes", pa.int32()),
        ("max_score", pa.float64()),
    ]
)


class NoReference(LookupError):
    """A model's reference cannot be made; the message says what is missing."""


@dataclass(frozen=True)
class Reference:
    """A stored reference."""

    digest: str
    """Of the model."""
    rows: pa.Table
    """Photographs with the schema REFERENCE, by image_id."""
    class_names: tuple[str, ...]
    left_out: Mapping[str, int]
    """{reason: photographs} of the dataset that are not in it."""

    @property
    def asked(self) -> int:
        """Photographs with an answer of the model."""
        return int(np.sum(self.rows["asked"].to_numpy(zero_copy_only=False)))

    def sample(self, unsure_share: float) -> FeatureSample:
        """The reference as input of the drift test. unsure_share: policy.inference.unsure_share."""
        there = self.rows["asked"].to_numpy(zero_copy_only=False).astype(bool)
        model_features = answered(self.rows.filter(pa.array(there)), self.class_names, unsure_share)
        model: dict[str, NDArray[Any]] = {}
        for name in MODEL:
            text = model_features[name].dtype == object
            model[name] = np.full(len(there), None if text else np.nan, dtype=object if text else float)
            model[name][there] = model_features[name]
        weights = self.rows["weight"].to_numpy(zero_copy_only=False)
        even = np.all(weights == 1)
        return sample_of(self.rows, model, self.rows["group_id"].to_pylist(), weights=None if even else weights)


def reference_key(digest: str) -> str:
    """The key of a model's reference in the lake."""
    return f"references/{digest}.parquet"


def read_reference(lake: Lake, digest: str) -> Reference | None:
    """Reads a model's reference; None where there is none.

    Raises:
        LakeError: the file is damaged.
    """
    key = reference_key(digest)
    if not lake.exists(key):
        return None
    try:
        rows = read_parquet(lake.get(key))
        settings = json.loads(rows.schema.metadata[_META])
    except _DAMAGE as error:
        raise LakeError(f"{key} is damaged ({error}): materialize `reference_profile`, which makes it anew.") from error
    return Reference(digest, rows, tuple(read_card(lake, digest).class_names), settings["left_out"])


def is_current(lake: Lake, digest: str, policy: Policy) -> bool:
    """Whether a model's reference is there, not damaged, and was made under the present policy.

    Raises:
        LakeError: the model's card is damaged.
    """
    card = card_of(lake, digest)
    if card is None or not lake.exists(reference_key(digest)):
        return False
    try:
        rows = read_parquet(lake.get(reference_key(digest)))
        return bool(json.loads(rows.schema.metadata[_META])["policy"] == _settings(policy, card))
    except _DAMAGE:
        return False


def _settings(policy: Policy, card: ModelCard) -> dict[str, Any]:
    """All that decides which photographs a reference has and what the model answers on them.

    Traffic is answered under the present settings: compared with answers under others, a lower floor or a wider limit
    would look like drift.
    """
    return {
        "answers": policy.monitoring.reference_answers,
        "queue": policy.monitoring.queue_in_reference,
        "threshold": card.threshold,
        "floor": float(capture_floor(card.threshold, policy.inference.unsure_share)),
        "limits": asdict(serving_limits(policy)),
        "runtime": policy.inference.runtime,
    }


def check_model_is_here(lake: Lake, digest: str) -> None:
    """Raises NoReference where the model is not in the lake."""
    if not lake.exists(f"models/{digest}/model.json"):
        raise NoReference(f"models/{digest} is not in {lake.url}: production serves a model that is not in this lake.")


def build_reference(
    lake: Lake,
    digest: str,
    policy: Policy,
    answers: Answers | None = None,
) -> Reference:
    """Makes a model's reference and stores it with its profile. The same model and policy give the same reference.

    Args:
        lake: where model, dataset and photographs are.
        digest: of the model.
        policy: the policy in force.
        answers: gives for rows of the dataset's manifest the scored boxes of each, None for one without an answer; by
            default the model itself answers.

    Raises:
        NoReference: the model is not in the lake, or nothing of its dataset can be used.
    """
    check_model_is_here(lake, digest)
    card = read_card(lake, digest)
    manifest = read_manifest(lake, card.dataset_version).to_pylist()
    rows, left_out = _ordinary(lake, manifest, policy)
    if not rows:
        raise NoReference(f"dataset {card.dataset_version} of model {digest} has no photograph of ordinary intake.")
    chosen = _asked(rows, policy.monitoring.reference_answers)
    boxes_of_chosen = (answers or _own_answers(lake, digest, policy))(chosen)
    boxes_by_image = {row["image_id"]: boxes for row, boxes in zip(chosen, boxes_of_chosen, strict=True)}
    for row in rows:
        boxes = boxes_by_image.get(row["image_id"])
        row["asked"] = boxes is not None
        row["threshold"] = card.threshold
        row["boxes"] = boxes
        row["n_boxes"] = None if boxes is None else sum(b["score"] >= card.threshold for b in boxes)
        row["max_score"] = None if boxes is None else max((b["score"] for b in boxes), default=0.0)
    table = pa.table(
        {field.name: pa.array([r[field.name] for r in rows], field.type) for field in REFERENCE}, schema=REFERENCE
    )
    table = table.replace_schema_metadata(
        {_META: json.dumps({"policy": _settings(policy, card), "left_out": left_out})}
    )
    lake.put(f"{profiles.REFERENCE}/{digest}.bin", profile_of(table.to_pandas()))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    lake.put(reference_key(digest), sink.getvalue())
    return Reference(digest, table, tuple(card.class_names), left_out)


def _ordinary(lake: Lake, manifest: Rows, policy: Policy) -> tuple[Rows, dict[str, int]]:
    """Rows of ordinary intake with their features and weights, by image_id, and how many are left out, and why."""
    images = {r["image_id"]: r for r in read_images(lake, ["image_id", *IMAGE, *_stored_sources()]).to_pylist()}
    weights = _queue_weights(lake, manifest) if policy.monitoring.queue_in_reference == "weighted" else {}
    rows: Rows = []
    left_out: dict[str, int] = {}
    for row in sorted(manifest, key=lambda r: r["image_id"]):
        weight = weights.get(_queue_of(row["key"]), 0.0) if _queue_of(row["key"]) else 1.0
        features = images.get(row["image_id"])
        why = (
            "excluded from the dataset's splits"
            if row["split"] == "excluded"
            else "selected by a labelling queue"
            if weight <= 0
            else "without features"
            if features is None or any(features[name] is None for name in IMAGE)
            else None
        )
        if why is None and features is not None:
            kept = {name: row[name] for name in ("group_id", "split", "key", "object_key")}
            rows.append({**features, **kept, "weight": weight})
        elif why is not None:
            left_out[why] = left_out.get(why, 0) + 1
    return rows, left_out


def _stored_sources() -> list[str]:
    return [name for name in SOURCES if name != "source"]  # intake does not know by which way a photograph came


def _queue_of(key: str) -> str | None:
    """The queue that selected the photograph, None for ordinary intake."""
    prefix = f"{queues.UPLOADS}/"
    return key.removeprefix(prefix).split("/")[0] if key.startswith(prefix) else None


def _queue_weights(lake: Lake, manifest: Rows) -> dict[str | None, float]:
    """The weight of one photograph of each queue, by the queue's id.

    Together a queue's photographs weigh d / (1 - d) of ordinary intake, where d is the drift of the report that cut the
    queue; the reference is then like the traffic of that report. Without such a report the weight is 0.
    """
    chosen: dict[str, int] = {}
    for row in manifest:
        queue = _queue_of(row["key"])
        if queue is not None and row["split"] != "excluded":
            chosen[queue] = chosen.get(queue, 0) + 1
    ordinary = sum(_queue_of(r["key"]) is None and r["split"] != "excluded" for r in manifest)
    drift = {r["report_id"]: r["drift"] for r in lake.read("drift", columns=["report_id", "drift"]).to_pylist()}
    reports = {queue.queue_id: queue.report_id for queue, _ in queues.all_queues(lake)}
    weights: dict[str | None, float] = {}
    for queue_id, count in chosen.items():
        share = min(float(drift.get(reports.get(queue_id)) or 0.0), 0.95)
        weights[queue_id] = share / (1 - share) * ordinary / count
    return weights


def _asked(rows: Rows, most: int) -> Rows:
    """Photographs that the model was not trained on, whole groups, at most `most` of them; the same ones every time."""
    groups: dict[str, Rows] = {}
    for row in rows:
        if row["split"] in UNSEEN:
            groups.setdefault(row["group_id"], []).append(row)
    chosen: Rows = []
    for name in sorted(groups, key=lambda g: hashlib.sha256(g.encode()).hexdigest()):
        if len(chosen) + len(groups[name]) <= most:
            chosen += groups[name]
    return chosen


def answers_of(lake: Lake, rows: Rows, predictor: Predictor, threshold: float, policy: Policy) -> Sequence[Rows | None]:
    """A model's answers on photographs as the service would capture them: same decoder, same least score.

    Args:
        lake: where the photographs are.
        rows: of a dataset's manifest.
        predictor: the model.
        threshold: the model's deployed threshold.
        policy: the sections for serving are used.

    Returns:
        The scored boxes on each row's photograph, best first; None for a photograph beyond the service's limits, which
        it would refuse.
    """
    from carsdepo_assets.detectors.predicting import predict_image
    from carsdepo_assets.evaluation.predict import served_if_answered

    floor = float(capture_floor(threshold, policy.inference.unsure_share))
    answers: list[Rows | None] = []
    for row in rows:
        served = served_if_answered(lake, row, predictor, policy)
        answers.append(None if served is None else _boxes(predict_image(predictor, served[1], floor)))
    return answers


def _boxes(detections: Detections) -> Rows:
    corners, scores, classes = (a.tolist() for a in (detections.xyxy, detections.scores, detections.classes))
    return [
        {"class_id": int(c), "score": float(s), **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))}
        for box, s, c in zip(corners, scores, classes, strict=True)
    ]


def _own_answers(lake: Lake, digest: str, policy: Policy) -> Answers:
    def answers(rows: Rows) -> Sequence[Rows | None]:
        # As production computes the answers that are compared with these, which is also faster than torch.
        from carsdepo_assets.detectors.export.runtimes import load_served

        served = load_served(lake, digest, policy)
        return answers_of(lake, rows, served.predictor, served.card.threshold, policy)

    return answers


def card_of(lake: Lake, digest: str) -> ModelCard | None:
    """The card of a model; None where the lake does not have the model."""
    return read_card(lake, digest) if lake.exists(f"models/{digest}/model.json") else None
