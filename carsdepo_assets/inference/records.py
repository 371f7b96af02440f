"""One captured answer in its three forms: the service's record, a line of a segment, a row of `inferences`.

A line has the form of SageMaker's data capture: captureData.endpointInput names the photograph (its key and digest,
never its bytes), captureData.endpointOutput holds the answer as JSON text, eventMetadata the ids and the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

EVENT_VERSION = "0"

Decision = Literal["clear", "damage", "needs_person"]
Finite = Field(allow_inf_nan=False)
# What the columns of `inferences` hold. Python's JSON gives more: half of a pair of surrogates, and any integer.
Text = Annotated[str, Field(min_length=0)]  # with a bound pydantic looks at the characters, which must be of UTF-8
_INT64 = 2**63


class MalformedLine(ValueError):
    """A line of a segment that is not a captured answer; the message says why."""


class _Part(BaseModel):
    # A later release may add fields to its lines: an older one still ingests them.
    model_config = ConfigDict(frozen=True, extra="ignore")


class CapturedBox(_Part):
    """One box with its score: xyxy in pixels of the upright photograph, half-open, clipped to the image."""

    class_id: int = Field(ge=0, lt=2**31)
    x1: float = Finite
    y1: float = Finite
    x2: float = Finite
    y2: float = Finite
    score: float = Field(ge=0, le=1)


class ClientMetadata(_Part):
    """The photograph that a client sent, and the metadata that came with it."""

    image_id: str = Field(min_length=64, max_length=64)  # sha256 of the bytes
    file_name: Text
    content_type: Text
    bytes: int = Field(gt=0, lt=_INT64)
    photograph_key: Text | None = None
    source: Text | None = None
    camera: Text | None = None
    uploader: Text | None = None
    region: Text | None = None
    listing: Text | None = None


class Features(_Part):
    """The image features of the photograph (see imaging.features), measured as the pipeline measures them."""

    luma_mean: float = Finite
    luma_std: float = Finite
    luma_p95: float = Finite
    sharpness: float = Finite
    saturation: float = Finite
    colour_cast: float = Finite
    aspect: float = Finite
    megapixels: float = Finite
    bits_per_pixel: float = Finite


class Answer(_Part):
    """What the service answered about one photograph, by which model.

    The names of the fields are those of the stored JSON and of the columns of `inferences`.
    """

    request_id: Text
    stage: Text
    digest: Text
    version: Annotated[int, Field(ge=-_INT64, lt=_INT64)] | None
    runtime: Text
    threshold: float = Field(ge=0, le=1)
    """Score at and above which a box counts as damage."""
    width: int = Field(gt=0, lt=2**31)
    height: int = Field(gt=0, lt=2**31)
    decision: Decision
    boxes: tuple[CapturedBox, ...]
    """Best first, down to the score of detectors.captured_scores, which is lower than the threshold."""
    n_boxes: int = Field(ge=0, lt=2**31)
    """The number of boxes at or above the threshold."""
    max_score: float = Field(ge=0, le=1)
    """The best score; 0 without boxes."""
    milliseconds: float = Field(ge=0, allow_inf_nan=False)
    """From the photograph's first decoding to its answer, without the wait for a free worker."""
    features: Features


class Record(_Part):
    """The answer about one photograph. prediction_id is also the line's inferenceId."""

    prediction_id: str = Field(min_length=1)
    sent: ClientMetadata
    answer: Answer

    def line(self, event_id: str, at: datetime) -> bytes:
        """The line of a segment, with its newline."""
        event = {
            "captureData": {
                "endpointInput": {
                    "observedContentType": self.sent.content_type,
                    "mode": "INPUT",
                    "data": self.sent.model_dump_json(exclude={"content_type"}),
                    "encoding": "JSON",
                },
                "endpointOutput": {
                    "observedContentType": "application/json",
                    "mode": "OUTPUT",
                    "data": self.answer.model_dump_json(),
                    "encoding": "JSON",
                },
            },
            "eventMetadata": {
                "eventId": event_id,
                "inferenceId": self.prediction_id,
                "inferenceTime": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            },
            "eventVersion": EVENT_VERSION,
        }
        return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def row(line: bytes, segment: str) -> dict[str, Any]:
    """Turns a line of a segment into a row of `inferences`.

    Args:
        line: the line's bytes.
        segment: the key of its segment, which the row names.

    Raises:
        MalformedLine: the line is no captured answer.
    """
    with malformed_otherwise():
        event = json.loads(line)
        at, meta = _checked(event)
        data = event["captureData"]
        given, out = data["endpointInput"], data["endpointOutput"]
        sent = {**json.loads(given["data"]), "content_type": given["observedContentType"]}
        record = Record.model_validate(
            {"prediction_id": meta["inferenceId"], "sent": sent, "answer": json.loads(out["data"])}
        )
    return row_of(record, at, segment)


def captured_at(event: dict[str, Any]) -> datetime:
    """When a captured event of SageMaker's form was answered.

    Raises:
        MalformedLine: it has another version, or a time without a zone.
        KeyError, TypeError, ValueError: it is no such event.
    """
    return _checked(event)[0]


def row_of(record: Record, at: datetime, segment: str) -> dict[str, Any]:
    """The row of `inferences` of a record that was answered at a time; the row names its segment's key."""
    answer = record.answer.model_dump(exclude={"features"})
    return {
        "prediction_id": record.prediction_id,
        "at": at,
        **record.sent.model_dump(exclude={"content_type"}),
        **answer,
        "boxes": list(answer["boxes"]),
        **record.answer.features.model_dump(),
        "segment": segment,
    }


@contextmanager
def malformed_otherwise() -> Iterator[None]:
    """Has whatever a line that is no captured answer raises become MalformedLine."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        raise MalformedLine(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (KeyError, TypeError, AttributeError) as error:  # a field is missing, or a part is no object
        raise MalformedLine(f"not a data-capture event: {type(error).__name__} {error}") from error
    except (ValueError, RecursionError, OverflowError) as error:  # JSON, UTF-8, times; MalformedLine keeps its words
        raise MalformedLine(str(error)) from error


def _checked(event: dict[str, Any]) -> tuple[datetime, dict[str, Any]]:
    """Time and metadata of an event of the version that is read here."""
    meta: dict[str, Any] = event["eventMetadata"]
    if event["eventVersion"] != EVENT_VERSION:
        raise MalformedLine(f"eventVersion {event['eventVersion']!r}, {EVENT_VERSION!r} is read here")
    at = datetime.fromisoformat(meta["inferenceTime"])
    if at.tzinfo is None:
        raise MalformedLine(f"inferenceTime {meta['inferenceTime']!r} has no zone")
    return at.astimezone(UTC), meta  # OverflowError: in UTC it is of no year that there is
