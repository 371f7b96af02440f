"""Inspects the photographs of a request: decodes them, asks the model, measures them, decides."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from carsdepo_assets.detectors.captured_scores import capture_floor
from carsdepo_assets.detectors.predicting import network_of, predict_image
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.resize import NetworkInput
from carsdepo_assets.inference.decode_pool import PoolBusy
from carsdepo_assets.inference.decoding import ClientGone, Measured
from carsdepo_assets.inference.reconciler import Model
from carsdepo_assets.inference.records import (
    Answer,
    CapturedBox,
    ClientMetadata,
    Decision,
    Features,
    Record,
)
from carsdepo_assets.inference.requests import RETRY_AFTER_S, Refused, RequestPhotograph
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections

Decode = Callable[[bytes, NetworkInput | None, Callable[[], bool]], Measured]  # the last: whether the client left
Keep = Callable[[str, str, bytes], str | None]  # image_id, format, bytes -> key in the lake

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
# The HTTP status of a refusal by the decoder; by default 422: an image that cannot be inspected.
_STATUS = {"not_an_image": 415, "unsupported": 415, "too_large": 413, "too_many_pixels": 413}


@dataclass(frozen=True)
class _Inspected:
    photograph: RequestPhotograph
    data: bytes
    image_id: str
    measured: Measured
    """Without its pixels: a request may have many photographs."""
    detections: Detections
    milliseconds: float


def decide(scores: Sequence[float], threshold: float, unsure_share: float) -> Decision:
    """The decision about a photograph.

    Args:
        scores: of all its boxes, in [0, 1].
        threshold: the score from which a box counts as damage.
        unsure_share: share of the threshold from which a person should look.

    Returns:
        damage when a score reaches the threshold; needs_person when the best one reaches unsure_share * threshold;
        else clear.
    """
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
    executor: Executor,
    decode: Decode,
    turn: AbstractContextManager[object],
    is_gone: Callable[[], bool] = lambda: False,
) -> list[Record]:
    """Inspects all photographs of a request, or refuses the request.

    Photographs are stored once the last one has been decoded, so that a request with a bad one leaves nothing behind.

    Args:
        photographs: the request's, in their order.
        model: that answers.
        policy: the sections `data` and `inference` are used.
        stage: staging or production.
        request_id: stored with every record.
        keep: stores a photograph (image id, format, bytes) and returns its key.
        executor: stores photographs while the model computes.
        decode: decodes and measures, as DecodePool.measure.
        turn: held while the model computes, so that as many do as there are cores.
        is_gone: whether the client has left; asked before each photograph.

    Returns:
        One record for each photograph, in their order.

    Raises:
        Refused: a photograph cannot be decoded, or all together are too large; the message names it.
        ClientGone: the client left.
    """
    pixels = 0
    inspected: list[_Inspected] = []
    kept: list[Future[str | None]] = []
    for number, photograph in enumerate(photographs, 1):
        if is_gone():
            raise ClientGone
        started = time.perf_counter()
        data = photograph.read()
        try:
            measured = decode(data, network_of(model.loaded.predictor), is_gone)
            pixels += measured.width * measured.height
            if pixels > policy.inference.max_request_pixels:
                raise BadImage(
                    "too_many_pixels",
                    f"with it the request has {pixels} pixels, at most {policy.inference.max_request_pixels} are "
                    "inspected at once: send fewer photographs in a request",
                )
            image_id = hashlib.sha256(data).hexdigest()
            if number == len(photographs):
                kept = [executor.submit(keep, f.image_id, f.measured.format, f.data) for f in inspected]
                kept.append(executor.submit(keep, image_id, measured.format, data))
            with turn:
                detections = predict_image(model.loaded.predictor, measured.image, _floor(model, policy))
        except BadImage as error:
            named = f"photograph {number} of {len(photographs)}, {photograph.file_name!r}: {error.detail}"
            raise Refused(_STATUS.get(error.reason, 422), error.reason, named) from error
        except PoolBusy as error:
            raise Refused(503, "busy", f"{error}: try again", RETRY_AFTER_S) from error
        milliseconds = 1000 * (time.perf_counter() - started)
        without_pixels = replace(measured, image=_NO_PIXELS)
        inspected.append(_Inspected(photograph, data, image_id, without_pixels, detections, milliseconds))
    return [_record(f, k.result(), model, policy, stage, request_id) for f, k in zip(inspected, kept, strict=True)]


def _floor(model: Model, policy: Policy) -> float:
    """The lowest score that is asked of the model: what is captured, and what the decision looks at."""
    return float(capture_floor(model.loaded.card.threshold, policy.inference.unsure_share))


def _record(
    inspected: _Inspected, key: str | None, model: Model, policy: Policy, stage: str, request_id: str
) -> Record:
    card, detections, photograph = model.loaded.card, inspected.detections, inspected.photograph
    scores = detections.scores.tolist()
    boxes = tuple(
        CapturedBox(class_id=class_id, x1=x1, y1=y1, x2=x2, y2=y2, score=min(1.0, score))
        for (x1, y1, x2, y2), class_id, score in zip(
            detections.xyxy.tolist(), detections.classes.tolist(), scores, strict=True
        )
    )
    sent = ClientMetadata(
        image_id=inspected.image_id,
        file_name=photograph.file_name,
        content_type=f"image/{inspected.measured.format}",
        bytes=len(inspected.data),
        photograph_key=key,
        **{"camera": inspected.measured.camera, **photograph.client_fields},
    )
    answer = Answer(
        request_id=request_id,
        stage=stage,
        digest=model.digest,
        version=model.version,
        runtime=model.loaded.runtime,
        threshold=card.threshold,
        width=inspected.measured.width,
        height=inspected.measured.height,
        decision=decide(scores, card.threshold, policy.inference.unsure_share),
        boxes=boxes,
        n_boxes=sum(score >= card.threshold for score in scores),
        max_score=max((box.score for box in boxes), default=0.0),
        milliseconds=inspected.milliseconds,
        features=Features(**inspected.measured.features),
    )
    return Record(prediction_id=uuid.uuid4().hex, sent=sent, answer=answer)
