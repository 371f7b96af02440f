"""Reads a line of SageMaker's data capture: the request with its photographs as they were sent, and the whole answer.

A line has captureData.endpointInput and endpointOutput, each with observedContentType, data and encoding (BASE64, or
text for the types that the endpoint's configuration lists), and eventMetadata with eventId and inferenceTime. The
answer carries the record of each photograph (answers.InspectionWithRecords); the photographs themselves are the
request's bytes and are stored as they are.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from typing import Any

from carsdepo_assets.inference.records import MalformedLine, Record, captured_at, malformed_otherwise, row_of
from carsdepo_assets.inference.segments import ROOT
from carsdepo_assets.lake.data_capture import HEALTH_QUESTION
from carsdepo_assets.lake.lake import Lake


@dataclass(frozen=True)
class DeliveredLine:
    """What one line holds."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of `inferences`: none for a question about health and for a request that was refused."""
    photographs: dict[str, bytes] = field(default_factory=dict)
    """The bytes of each photograph that is to be stored, by its key in the lake."""

    def keep_photographs(self, lake: Lake, prediction_ids: set[str]) -> None:
        """Stores the photographs of the rows with these ids; one that is there already is left as it is."""
        for key in {r["photograph_key"] for r in self.rows if r["prediction_id"] in prediction_ids} & set(
            self.photographs
        ):
            if not lake.exists(key):
                lake.put(key, self.photographs[key])


def delivered_line(line: bytes, key: str) -> DeliveredLine:
    """Reads a line.

    Args:
        line: its bytes.
        key: of its file, which the rows name.

    Raises:
        MalformedLine: it is no captured answer, or a photograph is not the one that the answer is about.
    """
    with malformed_otherwise():
        event = json.loads(line)
        at, data = captured_at(event), event["captureData"]
        given = data["endpointInput"]
        kind = str(given.get("observedContentType", "")).lower()
        if kind == HEALTH_QUESTION:
            return DeliveredLine()
        answer = json.loads(_bytes_of(data["endpointOutput"]))
        if set(answer) == {"error", "request_id"}:  # answers.RefusalBody: nothing was inspected
            return DeliveredLine()
        records = [Record.model_validate(record) for record in answer["records"]]
        if not records:
            raise MalformedLine("the answer has no records")
        sent = {hashlib.sha256(part).hexdigest(): part for part in _photographs(kind, given)}
        photographs: dict[str, bytes] = {}
        for record in records:
            image_id, stored_as = record.sent.image_id, record.sent.photograph_key
            if image_id not in sent:
                raise MalformedLine(f"the request holds no photograph {image_id}, which the answer is about")
            if stored_as is not None:
                if not re.fullmatch(rf"{ROOT}/photographs/{image_id[:2]}/{image_id}\.[a-z]+", stored_as):
                    raise MalformedLine(f"{stored_as!r} is not the key of photograph {image_id}")
                photographs[stored_as] = sent[image_id]
    return DeliveredLine([row_of(record, at, key) for record in records], photographs)


def not_ingested(lake: Lake, rows: list[dict[str, Any]]) -> set[str]:
    """The ids of those rows that `inferences` does not hold: SageMaker may deliver a line in two files."""
    ids = {row["prediction_id"] for row in rows}
    if not ids:
        return ids
    ingested = lake.read("inferences", ["prediction_id"], [("prediction_id", "in", sorted(ids))])
    return ids - set(ingested["prediction_id"].to_pylist())


def _photographs(kind: str, given: dict[str, Any]) -> list[bytes]:
    """The files of a request: its body, or the files of its form."""
    body = _bytes_of(given)
    if not kind.startswith("multipart/form-data"):
        return [body]
    from python_multipart import parse_form
    from python_multipart.exceptions import FormParserError

    files: list[bytes] = []

    def keep(file: Any) -> None:
        file.file_object.seek(0)
        files.append(file.file_object.read())
        file.close()

    headers = {"Content-Type": given["observedContentType"].encode(), "Content-Length": str(len(body)).encode()}
    try:
        parse_form(headers, io.BytesIO(body), on_field=None, on_file=keep)
    except FormParserError as error:
        raise MalformedLine(f"a form that cannot be read: {error}") from error
    return files


def _bytes_of(side: dict[str, Any]) -> bytes:
    """The bytes of a request or an answer."""
    data, encoding = side["data"], side["encoding"]
    if encoding == "BASE64":
        return base64.b64decode(data, validate=True)
    if encoding in ("JSON", "CSV"):
        return str(data).encode()
    raise MalformedLine(f"the encoding {encoding!r} is not read here")
