"""The types of the service's answers over HTTP, with the examples that /docs shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.inference.idempotency import HEADER, LONGEST, PATTERN
from carsdepo_assets.inference.reconciler import Model, ServingState, Status
from carsdepo_assets.inference.records import Decision, Record
from carsdepo_assets.inference.requests import FORM_BYTES, REFUSED_CHARACTERS, TEXT_MAX
from carsdepo_assets.policy import InferencePolicy

_PHOTOGRAPH = "9f1c3b0e5d7a4c2f8b6e1d0c9a8f7e6d5c4b3a2918070f6e5d4c3b2a19080706"


class ServedModel(BaseModel):
    """The model that this answer came from."""

    version: int | None = Field(description="in the registry", examples=[3])
    digest: str = Field(description="of its weights", examples=["5f0d6c1a9b3e7d24"])
    runtime: str = Field(description="what computes it", examples=["openvino"])
    threshold: float = Field(description="score at and above which a box is damage", examples=[0.31])
    class_names: list[str] = Field(examples=[["scratch", "dent"]])


class Box(BaseModel):
    """One scratch or dent."""

    model_config = ConfigDict(populate_by_name=True)

    class_id: int = Field(examples=[1])
    class_name: str = Field(alias="class", examples=["dent"])
    score: float = Field(description="0..1", examples=[0.87])
    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 in pixels of the upright photograph (EXIF applied)",
        examples=[(412.0, 300.5, 498.2, 361.0)],
    )


class Inspected(BaseModel):
    """The answer about one photograph."""

    prediction_id: str = Field(
        description="under this id the answer is captured", examples=["0c7e4f6a2b9d4e1f8a3c5d7e9f1b2a4c"]
    )
    file_name: str = Field(examples=["left_door.jpg"])
    image_id: str = Field(description="sha256 of the bytes that were sent", examples=[_PHOTOGRAPH])
    width: int = Field(description="of the upright photograph", examples=[1280])
    height: int = Field(examples=[960])
    decision: Decision = Field(
        description="damage: a box at the threshold. needs_person: the best score lies just under it. clear: neither",
        examples=["damage"],
    )
    boxes: list[Box] = Field(description="at or above the threshold, best first")


class Inspection(BaseModel):
    """The answer to a request: one entry for each photograph."""

    request_id: str = Field(examples=["b8d7c6a5f4e34d2c9b1a0f9e8d7c6b5a"])
    model: ServedModel
    photographs: list[Inspected] = Field(description="in the order in which they were sent")


class InspectionWithRecords(Inspection):
    """The answer of a container that does not capture by itself: what calls it captures the whole answer."""

    records: list[Record] = Field(description="what is captured of each photograph, in the order of `photographs`")


class ErrorBody(BaseModel):
    """Why a request was refused."""

    reason: str = Field(description="for programs", examples=["truncated"])
    detail: str = Field(description="for people", examples=["photograph 1 of 1, 'left_door.jpg': the file ends early"])


class RefusalBody(BaseModel):
    """The answer to a request that was refused."""

    error: ErrorBody
    request_id: str = Field(examples=["b8d7c6a5f4e34d2c9b1a0f9e8d7c6b5a"])


class Health(BaseModel):
    """What this service serves now; answered with 200 whatever the status."""

    stage: Literal["staging", "production"]
    ready: bool = Field(description="whether requests are answered now, as /readyz and /ping say")
    not_ready_because: list[str] = Field(description="sentences; empty where it is ready", examples=[[]])
    status: Status = Field(
        description="empty: the ledger names no model for this stage. loading: the first one is on its way. "
        "failed: it cannot be loaded, and is tried again"
    )
    digest: str | None = Field(
        description="of the served model; compare with the ledger's", examples=["5f0d6c1a9b3e7d24"]
    )
    version: int | None = Field(examples=[3])
    runtime: str | None = Field(examples=["openvino"])
    ledger_sequence: int | None = Field(description="the ledger's event that is carried out", examples=[12])
    error: str | None = Field(description="why the served model is not the one that the ledger names", examples=[None])
    started_at: str = Field(examples=["2026-11-24T08:00:00+00:00"])
    lake: str = Field(description="the lake whose ledger is followed", examples=["/srv/carsdepo/lake"])
    policy: str = Field(description="digest of the policy in use, read at the start", examples=["0a1b2c3d4e5f"])
    policy_on_disk: str | None = Field(
        description="digest of the policy that its files hold now; null where they cannot be read",
        examples=["0a1b2c3d4e5f"],
    )
    policy_note: str | None = Field(
        description="why the policy in use is not the one on disk, and what to do", examples=[None]
    )


class Readiness(BaseModel):
    """Whether requests are answered now."""

    ready: bool
    not_ready_because: list[str] = Field(
        description="sentences; empty where it is ready",
        examples=[["Answers cannot be captured: an answer cannot be written below /srv/lake: No space left on device"]],
    )


def reasons_against(state: ServingState, capture_problem: str | None) -> list[str]:
    """Why a service cannot answer requests now; empty where it can.

    Args:
        state: What it serves.
        capture_problem: Why answers cannot be captured; None where they can.
    """
    reasons = []
    if state.model is None:
        reasons.append(f"No model is served: {why_no_model(state)}")
    return reasons + reasons_against_capture(capture_problem)


def reasons_against_capture(problem: str | None) -> list[str]:
    """The part of `reasons_against` that is about capture."""
    return [] if problem is None else [f"Answers cannot be captured: {problem}"]


def why_no_model(state: ServingState) -> str:
    """Why a service serves no model, as the end of a sentence."""
    if state.error is not None:
        return state.error
    if state.status == "empty":
        return "no model was deployed to this stage yet; `carsdepo dev` releases what `carsdepo train` registers"
    return "it is loading"


def inspection(request_id: str, model: Model, records: Sequence[Record]) -> Inspection:
    """The answer to a request from the captured records of its photographs, in their order."""
    card = model.loaded.card
    return Inspection(
        request_id=request_id,
        model=ServedModel(
            version=model.version,
            digest=model.digest,
            runtime=model.loaded.runtime,
            threshold=card.threshold,
            class_names=list(card.class_names),
        ),
        photographs=[_inspected(record, card.class_names) for record in records],
    )


def _inspected(record: Record, class_names: Sequence[str]) -> Inspected:
    answer = record.answer
    return Inspected(
        prediction_id=record.prediction_id,
        file_name=record.sent.file_name,
        image_id=record.sent.image_id,
        width=answer.width,
        height=answer.height,
        decision=answer.decision,
        boxes=[
            Box(class_id=b.class_id, class_name=class_names[b.class_id], score=b.score, box=(b.x1, b.y1, b.x2, b.y2))
            for b in answer.boxes[: answer.n_boxes]
        ],
    )


_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A text of yours for this request, such as a UUID. For a day the same request under it is answered "
    "and captured once; another request under it is refused.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": PATTERN},
}


def form_schema(policy: InferencePolicy) -> dict[str, Any]:
    """The part of an operation in OpenAPI that FastAPI cannot derive, since the form is read within limits by hand.

    Args:
        policy: Its limits are stated.
    """

    def text(description: str, example: str) -> dict[str, Any]:
        return {
            "type": "string",
            "maxLength": TEXT_MAX,
            "pattern": f"^[^{REFUSED_CHARACTERS}]*$",
            "description": description,
            "example": example,
        }

    properties = {
        "photographs": {
            "type": "array",
            "minItems": 1,
            "maxItems": policy.max_photographs,
            "items": {"type": "string", "format": "binary"},
            "description": f"JPEG, PNG, WebP, AVIF, BMP, GIF or TIFF, each of at most {policy.max_photograph_bytes} "
            f"bytes and {policy.max_pixels} pixels, together {policy.max_request_pixels} pixels",
        },
        "source": text("where they come from", "mobile"),
        "camera": text("default: EXIF's", "Pixel 9"),
        "uploader": text("who sends them", "dealer-17"),
        "region": text("where the car is", "north"),
        "listing": text("the car on sale", "L-20481"),
        "metadata": {
            "type": "string",
            "maxLength": FORM_BYTES,
            "description": "JSON: a list of objects, one a photograph, with the keys above; its values go before the "
            "fields that apply to all",
            "example": '[{"listing": "L-20481", "camera": "Pixel 9"}]',
        },
    }
    schema = {
        "type": "object",
        "required": ["photographs"],
        "additionalProperties": False,
        "properties": properties,
    }
    return {
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
    }


def raw_schema(policy: InferencePolicy) -> dict[str, Any]:
    """The same of /invocations, whose body is a photograph or the form of /v1/inspections."""
    described = {
        "type": "string",
        "format": "binary",
        "description": f"JPEG, PNG, WebP, AVIF, BMP, GIF or TIFF of at most {policy.max_photograph_bytes} bytes",
    }
    return {
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {
                "image/jpeg": {"schema": described},
                **form_schema(policy)["requestBody"]["content"],
            },
        },
    }


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {
        "model": RefusalBody,
        "description": "Not a form, text that is not UTF-8, `metadata` that is no JSON, a wrong Idempotency-Key, or "
        "not the service's name",
    },
    401: {"model": RefusalBody, "description": "X-API-Key is missing or wrong"},
    403: {"model": RefusalBody, "description": "Sent by a page of another site, where no key is configured"},
    408: {"model": RefusalBody, "description": "The body arrives too slowly"},
    409: {
        "model": RefusalBody,
        "description": "Another request came under this Idempotency-Key, or one is being worked on",
    },
    413: {"model": RefusalBody, "description": "Too many bytes, pixels or photographs"},
    415: {"model": RefusalBody, "description": "Not multipart, or not an image that is read here"},
    422: {"model": RefusalBody, "description": "An image or field that cannot be used"},
    500: {"model": RefusalBody, "description": "The service failed; its log says why"},
    503: {
        "model": RefusalBody,
        "description": "No model is loaded, too much work is waiting, or capture fails: try later",
    },
}
