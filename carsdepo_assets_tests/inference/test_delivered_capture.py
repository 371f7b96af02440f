"""inference/delivered_capture.py, inference/ingest.py: what SageMaker's data capture delivers is ingested exactly once.

Lines are those of the emulator; the answers in them are made as the service makes them.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.inference.delivered_capture import delivered_line
from carsdepo_assets.inference.ingest import ingest, waiting
from carsdepo_assets.inference.records import MalformedLine
from carsdepo_assets.inference.segments import photograph_key
from carsdepo_assets.lake import data_capture
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.records import a_record
from deploy.emulators.sagemaker_capture import captured_line, file_name

AT = datetime(2026, 3, 1, 12, 59, 30, tzinfo=UTC)
ENDPOINT = "carsdepo-production"
CAPTURE = {
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
}
BASE64 = {"CaptureOptions": CAPTURE["CaptureOptions"]}
BOUNDARY = "b0undary"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    opened = Lake.open(tmp_path / "lake")
    data_capture.note_endpoint(opened, ENDPOINT)
    return opened


def photograph(number: int) -> bytes:
    """Bytes that no text is: line breaks of both kinds, zeros, and no UTF-8."""
    return b"\xff\xd8\r\n\n\x00--" + bytes([number]) + b"\xff\xd9\r\n"


def record(number: int, *, keeps: bool = True) -> dict[str, Any]:
    made = a_record(number).model_dump(mode="json")
    image_id = hashlib.sha256(photograph(number)).hexdigest()
    key = photograph_key(image_id, "jpeg") if keeps else None
    return {**made, "sent": {**made["sent"], "image_id": image_id, "photograph_key": key}}


def line(*numbers: int, capture: dict[str, Any] = CAPTURE, keeps: bool = True, **changes: Any) -> bytes:
    """A request with a photograph as its body, or with several in a form, and its answer."""
    body, kind = photograph(numbers[0]), "image/jpeg"
    if len(numbers) > 1:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photographs"; filename="a"\r\n\r\n'.encode()
        body = b"".join(head + photograph(n) + b"\r\n" for n in numbers) + f"--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
    answer = {"request_id": "r", "photographs": [], "records": [record(n, keeps=keeps) for n in numbers]}
    return captured_line(
        capture,
        changes.get("kind", kind),
        changes.get("body", body),
        "application/json",
        json.dumps({**answer, **changes.get("answer", {})}).encode(),
        AT,
    )


def put(lake: Lake, *lines: bytes, at: datetime = AT, cut: int | None = None) -> str:
    key = f"{data_capture.place_of(ENDPOINT)}/{at:%Y/%m/%d/%H}/{file_name(at)}"
    lake.put(key, b"".join(lines)[:cut])
    return key


def ids(lake: Lake) -> list[str]:
    return sorted(lake.read("inferences")["prediction_id"].to_pylist())


@pytest.mark.parametrize("capture", [CAPTURE, BASE64], ids=["json", "base64"])
def test_photographs_arrive_as_they_were_sent_and_answers_as_rows(lake: Lake, capture: dict[str, Any]) -> None:
    key = put(lake, line(1, capture=capture), line(2, 3, capture=capture))
    result = ingest(lake, waiting(lake))
    assert (result.segments, result.answers, result.quarantined) == (1, 3, 0)
    rows = {r["prediction_id"]: r for r in lake.read("inferences").to_pylist()}
    assert sorted(rows) == ["p1", "p2", "p3"]
    for number in (1, 2, 3):
        row = rows[f"p{number}"]
        assert (row["at"], row["segment"], row["stage"], row["luma_mean"]) == (AT, key, "production", 100.0)
        assert lake.get(row["photograph_key"]) == photograph(number)
    assert waiting(lake) == []


def test_where_the_policy_keeps_no_photographs_none_is_stored(lake: Lake) -> None:
    put(lake, line(1, keeps=False))
    assert ingest(lake, waiting(lake)).answers == 1
    assert lake.read("inferences")["photograph_key"].to_pylist() == [None]
    assert list(lake.list("capture/photographs")) == []


def test_lines_that_come_twice_count_once_in_a_file_and_across_files(lake: Lake) -> None:
    put(lake, line(1), line(1), line(2))
    assert ingest(lake, waiting(lake)).answers == 2
    put(lake, line(2), line(3), at=AT + timedelta(minutes=1))
    assert ingest(lake, waiting(lake)).answers == 1
    put(lake, line(3), at=AT + timedelta(minutes=2))
    assert ingest(lake, waiting(lake)).answers == 0
    assert ids(lake) == ["p1", "p2", "p3"]
    assert waiting(lake) == []


def test_a_file_that_comes_an_hour_late_is_found_by_the_look_at_its_day(lake: Lake) -> None:
    put(lake, line(1), at=AT + timedelta(hours=1))
    assert ingest(lake, waiting(lake, [AT.date()])).answers == 1
    late = put(lake, line(2))  # below the hour before
    (found,) = waiting(lake, [AT.date()])
    assert (found.key, found.day) == (late, AT.date())
    assert ingest(lake, [found]).answers == 1
    assert ids(lake) == ["p1", "p2"]


def test_a_truncated_file_gives_what_is_whole_and_says_the_rest(lake: Lake) -> None:
    key = put(lake, line(1), line(2), cut=-40)
    result = ingest(lake, waiting(lake))
    assert (result.answers, result.quarantined) == (1, 1)
    (refused,) = lake.read("quarantine").to_pylist()
    assert (refused["key"], refused["reason"], refused["line"], refused["kind"]) == (key, "truncated", 2, "capture")
    assert "the file ends within a line" in refused["detail"]
    assert waiting(lake) == []


def test_questions_about_health_and_refusals_are_no_answers(lake: Lake) -> None:
    asked = captured_line(CAPTURE, data_capture.HEALTH_QUESTION, b"health", "application/json", b"{}", AT)
    refusal = json.dumps({"error": {"reason": "truncated", "detail": "it ends early"}, "request_id": "r"}).encode()
    put(lake, asked, captured_line(CAPTURE, "image/jpeg", b"no", "application/json", refusal, AT))
    result = ingest(lake, waiting(lake))
    assert (result.segments, result.answers, result.quarantined) == (1, 0, 0)
    assert waiting(lake) == []


def _without_output() -> bytes:
    event = json.loads(line(1))
    del event["captureData"]["endpointOutput"]
    return json.dumps(event).encode()


def _changed(side: str, **values: str) -> bytes:
    event = json.loads(line(1))
    event["captureData"][side].update(values)
    return json.dumps(event).encode()


def _answered(part: str, **values: Any) -> bytes:
    """A line whose record has these values in `sent` or `answer`."""
    return line(1, answer={"records": [{**record(1), part: {**record(1)[part], **values}}]})


def _at(time: str) -> bytes:
    event = json.loads(line(1))
    event["eventMetadata"]["inferenceTime"] = time
    return json.dumps(event).encode() + b"\n"


@pytest.mark.parametrize(
    "odd",
    [
        _answered("sent", bytes=2**63),
        _answered("sent", file_name="\ud800.jpg"),
        _answered("sent", source="\udfff"),
        _answered("answer", version=2**63),
        _answered("answer", digest="\ud800"),
        _at("0001-01-01T00:00:00+14:00"),
        _at("9999-12-31T23:59:59-14:00"),
    ],
)
def test_a_value_that_no_column_holds_puts_its_line_and_no_other_into_quarantine(lake: Lake, odd: bytes) -> None:
    put(lake, line(2), odd)
    result = ingest(lake, waiting(lake))
    assert (result.answers, result.quarantined, waiting(lake)) == (1, 1, [])
    assert lake.read("inferences").to_pylist()[0]["prediction_id"] == "p2"


OTHER_KEY = {"records": [{**record(1), "sent": {**record(1)["sent"], "photograph_key": "models/x/model.json"}}]}


@pytest.mark.parametrize(
    ("malformed", "says"),
    [
        (line(1, body=b"another photograph"), "holds no photograph"),
        (line(1, answer={"records": []}), "no records"),
        (line(1, answer={"records": [{"prediction_id": "p"}]}), "sent"),
        (line(1, answer=OTHER_KEY), "is not the key of photograph"),
        (line(1, 2, kind="multipart/form-data"), "No boundary given"),
        (_without_output(), "endpointOutput"),
        (_changed("endpointInput", encoding="PICKLE"), "PICKLE"),
        (_changed("endpointInput", data="§"), "ASCII"),
        (_changed("endpointOutput", data="[]"), "not a data-capture event"),
        (_changed("endpointOutput", data="{"), "Expecting"),
    ],
)
def test_a_malformed_line_is_refused_with_its_reason(malformed: bytes, says: str) -> None:
    with pytest.raises(MalformedLine, match=says):
        delivered_line(malformed, "s")
