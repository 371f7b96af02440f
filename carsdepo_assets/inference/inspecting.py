"""Photographs to captured answers: the CPU's part of a request. Pure but for `keep`."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import Decoded
from carsdepo_assets.imaging.pipeline import process
from carsdepo_assets.imaging.serving import decode_as_served
from carsdepo_assets.inference.reconciler import Model
from carsdepo_assets.inference.records import (
    CAPTURE_FLOOR,
    Answer,
    CapturedBox,
    ClientMetadata,
    Decision,
    Features,
    Record,
)
from carsdepo_assets.inference.requests import Refused, RequestPhotograph
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections

Keep = Callable[[str, str, bytes], str | None]  # image_id, format, bytes -> key in the lake

# What a refusal by the decoder is over HTTP; 422: an image, and not one that can be judged.
_STATUS = {"not_an_image": 415, "unsupported": 415, "too_large": 413, "too_many_pixels": 413}


@dataclass(frozen=True)
class _Inspected:
    photograph: RequestPhotograph
    data: bytes
    image_id: str
    decoded: Decoded
    detections: Detections
    features: dict[str, float]
    milliseconds: float


def decide(scores: Sequence[float], threshold: float, unsure_share: float) -> Decision:
    """damage: a score at the threshold; needs_person: the best lies in [unsure_share * threshold, threshold)."""
    best = max(scores, default=0.0)
    if best >= threshold:
        return "damage"
    return "needs_person" if scores and best >= unsure_share * threshold else "clear"


def inspect(
    photographs: Sequence[RequestPhotograph],
    model: Model,
    policy: Policy,
    *,
    stage: str,
    request_id: str,
    keep: Keep,
    beside: Executor,
) -> list[Record]:
    """One record a photograph, in their order; all or none.

    Measuring and keeping run in `beside` while the model computes. Photographs are kept once the last one has
    decoded, so a request with a bad one leaves nothing. Raises Refused naming the bad photograph.
    """
    found: list[_Inspected] = []
    kept: list[Future[str | None]] = []
    for number, photograph in enumerate(photographs, 1):
        started = time.perf_counter()
        data = photograph.read()
        try:
            decoded = decode_as_served(data, policy)
            # The pipeline's own measurement, on its own decoding: reference and traffic compare to the last bit.
            measured = beside.submit(process, data, policy.data)
            image_id = hashlib.sha256(data).hexdigest()
            if number == len(photographs):
                kept = [beside.submit(keep, f.image_id, f.decoded.format, f.data) for f in found]
                kept.append(beside.submit(keep, image_id, decoded.format, data))
            detections = model.loaded.predictor.predict([decoded.rgb], _floor(model, policy))[0]
            features = measured.result().features
        except BadImage as error:
            named = f"photograph {number} of {len(photographs)}, {photograph.file_name!r}: {error.detail}"
            raise Refused(_STATUS.get(error.reason, 422), error.reason, named) from error
        milliseconds = 1000 * (time.perf_counter() - started)
        found.append(_Inspected(photograph, data, image_id, decoded, detections, features, milliseconds))
    return [_record(f, k.result(), model, policy, stage, request_id) for f, k in zip(found, kept, strict=True)]


def _floor(model: Model, policy: Policy) -> float:
    """The lowest score that is asked of the model: what is captured, and what the decision looks at."""
    return min(CAPTURE_FLOOR, policy.inference.unsure_share * model.loaded.card.threshold)


def _record(found: _Inspected, key: str | None, model: Model, policy: Policy, stage: str, request_id: str) -> Record:
    card, detections, photograph = model.loaded.card, found.detections, found.photograph
    scores = detections.scores.tolist()
    boxes = tuple(
        CapturedBox(class_id=class_id, x1=x1, y1=y1, x2=x2, y2=y2, score=min(1.0, score))
        for (x1, y1, x2, y2), class_id, score in zip(
            detections.xyxy.tolist(), detections.classes.tolist(), scores, strict=True
        )
    )
    sent = ClientMetadata(
        image_id=found.image_id,
        file_name=photograph.file_name,
        content_type=f"image/{found.decoded.format}",
        bytes=len(found.data),
        photograph_key=key,
        **{"camera": found.decoded.exif["camera"], **photograph.said},
    )
    answer = Answer(
        request_id=request_id,
        stage=stage,
        digest=model.digest,
        version=model.version,
        runtime=model.loaded.runtime,
        threshold=card.threshold,
        width=found.decoded.width,
        height=found.decoded.height,
        decision=decide(scores, card.threshold, policy.inference.unsure_share),
        boxes=boxes,
        n_boxes=sum(score >= card.threshold for score in scores),
        max_score=max((box.score for box in boxes), default=0.0),
        milliseconds=found.milliseconds,
        features=Features(**found.features),
    )
    return Record(prediction_id=uuid.uuid4().hex, sent=sent, answer=answer)
