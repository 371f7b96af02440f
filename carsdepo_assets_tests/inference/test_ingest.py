"""inference/ingest.py, inference/assets.py, inference/sensors.py: every captured answer becomes one row."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.inference import sensors
from carsdepo_assets.inference.assets import inference_log
from carsdepo_assets.inference.ingest import ingest, read_segment, summary, waiting
from carsdepo_assets.inference.records import MalformedLine, row
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.resources import LakeResource
from carsdepo_assets_tests.inference.records import FEATURES, a_record
from carsdepo_assets_tests.inference.served_models import ROOT

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
LINE = a_record(1).line("e1", AT)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def put_segment(lake: Lake, name: str, numbers: range, at: datetime = AT, extra: bytes = b"") -> str:
    key = f"capture/production/{at:%Y/%m/%d/%H}/{name}.jsonl"
    lake.put(key, b"".join(a_record(n).line(f"e{n}", at) for n in numbers) + extra)
    return key


def test_a_line_is_data_capture_and_comes_back_as_it_was() -> None:
    event = json.loads(LINE)
    assert set(event) == {"captureData", "eventMetadata", "eventVersion"}
    assert event["eventMetadata"] == {
        "eventId": "e1",
        "inferenceId": "p1",
        "inferenceTime": "2026-03-01T12:30:15.123456Z",
    }
    given, out = event["captureData"]["endpointInput"], event["captureData"]["endpointOutput"]
    assert (given["mode"], out["mode"], given["observedContentType"]) == ("INPUT", "OUTPUT", "image/jpeg")
    assert (given["encoding"], out["encoding"]) == ("JSON", "JSON")
    parsed = row(LINE, "s")
    record = a_record(1)
    assert parsed["at"] == AT
    assert parsed["segment"] == "s"
    assert parsed["boxes"] == [{"class_id": 1, "x1": 1.5, "y1": 2.0, "x2": 3.0, "y2": 4.0, "score": 0.75}]
    assert {k: parsed[k] for k in FEATURES} == FEATURES
    assert parsed["source"] == record.sent.source
    assert {"prediction_id", "request_id", "digest", "decision", "n_boxes", "milliseconds"} <= set(parsed)


def changed(path: str, value: Any) -> bytes:
    """LINE with one value replaced (None: removed); inside data too."""
    event = json.loads(LINE)
    for side in ("endpointInput", "endpointOutput"):
        event["captureData"][side]["data"] = json.loads(event["captureData"][side]["data"])
    *parents, last = path.split(".")
    place = event
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    for side in ("endpointInput", "endpointOutput"):
        part = event["captureData"].get(side)
        if isinstance(part, dict) and not isinstance(part.get("data"), str):
            part["data"] = json.dumps(part["data"])
    return json.dumps(event).encode()


OUT = "captureData.endpointOutput.data"
MALFORMED = {
    "text": b"hello",
    "bytes": b"\xff\xfe\x00",
    "half": LINE[: len(LINE) // 2],
    "a list": b"[]",
    "null": b"null",
    "other version": changed("eventVersion", "1"),
    "no output": changed("captureData.endpointOutput", None),
    "no id": changed("eventMetadata.inferenceId", None),
    "no zone": changed("eventMetadata.inferenceTime", "2026-03-01T12:30:15"),
    "no time": changed("eventMetadata.inferenceTime", "noon"),
    "a decision that there is not": changed(f"{OUT}.decision", "maybe"),
    "a score above 1": changed(f"{OUT}.max_score", 1.5),
    "no number": changed(f"{OUT}.features.luma_mean", float("nan")),
    "a class id too large for the table": changed(
        f"{OUT}.boxes", [{**a_record().answer.boxes[0].model_dump(), "class_id": 2**31}]
    ),
    "text for a number": changed(f"{OUT}.width", "wide"),
    "a short digest": changed("captureData.endpointInput.data.image_id", "ab"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_lines_go_to_quarantine_and_the_others_arrive(lake: Lake, case: str) -> None:
    line = MALFORMED[case]
    with pytest.raises(MalformedLine):
        row(line, "s")
    key = put_segment(lake, "s", range(1), extra=line + b"\n" + a_record(9).line("e9", AT))
    result = ingest(lake, waiting(lake))
    assert (result.segments, result.answers, result.quarantined) == (1, 2, 1)
    assert sorted(lake.read("inferences")["prediction_id"].to_pylist()) == ["p0", "p9"]
    (refused,) = lake.read("quarantine").to_pylist()
    assert (refused["key"], refused["kind"], refused["line"]) == (key, "capture", 2)
    assert refused["detail"]


def test_unknown_fields_of_a_later_release_are_ignored() -> None:
    assert row(changed(f"{OUT}.colour", "red"), "s") == row(LINE, "s")


def test_ingestion_is_idempotent_also_for_segments_without_an_answer(lake: Lake) -> None:
    put_segment(lake, "a", range(3))
    put_segment(lake, "b", range(0), extra=b"nothing but this\n")
    lake.put("capture/production/2026/03/01/12/c.jsonl.open", LINE)
    lake.put("capture/production/2026/13/01/12/d.jsonl", LINE)  # no day
    lake.put("capture/photographs/ab/x.jpg", b"")
    segments = waiting(lake)
    assert len(segments) == 2
    assert ingest(lake, segments).answers == 3
    assert ingest(lake, segments).segments == 0
    assert waiting(lake) == []
    assert (lake.read("inferences").num_rows, lake.read("quarantine").num_rows) == (3, 1)


def test_an_ingestion_killed_halfway_is_finished_by_the_next(lake: Lake) -> None:
    """Killed after the quarantine's rows of the second segment, before its answers."""
    for name in "abc":
        put_segment(lake, name, range(ord(name), ord(name) + 5), extra=b"malformed\n")
    code = (
        "import os, sys\nfrom carsdepo_assets.inference.ingest import ingest, waiting\n"
        "from carsdepo_assets.lake.lake import Lake\n"
        "lake, real = Lake.open(sys.argv[1]), Lake.append\n"
        "def append(self, table, rows, unit):\n"
        "    if table == 'inferences' and unit.endswith('b.jsonl'): os.kill(os.getpid(), 9)\n"
        "    return real(self, table, rows, unit)\n"
        "Lake.append = append\ningest(lake, waiting(lake))\n"
    )
    completed = subprocess.run([sys.executable, "-c", code, lake.url], cwd=ROOT, timeout=60)
    assert completed.returncode == -signal.SIGKILL
    assert (lake.read("inferences").num_rows, lake.read("quarantine").num_rows) == (5, 2)
    assert ingest(lake, waiting(lake)).segments == 2
    assert sorted(lake.read("inferences")["prediction_id"].to_pylist()) == sorted(
        f"p{n}" for name in "abc" for n in range(ord(name), ord(name) + 5)
    )
    assert lake.read("quarantine").num_rows == 3


def test_summary_counts_the_day_and_no_other(lake: Lake) -> None:
    put_segment(lake, "a", range(100))
    put_segment(lake, "b", range(100, 103), AT + timedelta(days=1))
    ingest(lake, waiting(lake))
    summary_of_day = summary(lake, AT.date())
    assert (summary_of_day.answers, summary_of_day.decisions, summary_of_day.stages) == (
        100,
        {"damage": 100},
        {"production": 100},
    )
    assert (summary_of_day.p50, summary_of_day.p95, summary_of_day.p99) == pytest.approx(
        (59.5, 104.05, 108.01)
    )  # of 10, 11 ... 109
    assert [(m["digest"], m["answers"]) for m in summary_of_day.models] == [("d" * 16, 100)]
    assert len(summary_of_day.latest) == 10
    nothing = summary(lake, date(2026, 5, 1))
    assert (nothing.answers, nothing.p50, nothing.latest) == (0, None, [])


def test_a_last_line_without_newline_counts_when_it_is_whole() -> None:
    rows, refused = read_segment("s", LINE + LINE.rstrip(b"\n"), AT)
    assert (len(rows), len(refused)) == (2, 0)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as created:
        yield created


def resource(lake: Lake) -> LakeResource:
    return LakeResource(url=lake.url, home=lake.url)


def defs(lake: Lake) -> dg.Definitions:
    return dg.Definitions(
        assets=[inference_log],
        jobs=[sensors.ingest_inferences_job],
        sensors=[sensors.new_inferences],
        resources={"lake": resource(lake)},
        executor=dg.in_process_executor,
    )


def tick(instance: dg.DagsterInstance, lake: Lake, cursor: str | None = None) -> Any:
    context = dg.build_sensor_context(
        instance=instance, definitions=defs(lake), cursor=cursor, resources={"lake": resource(lake)}
    )
    return sensors.new_inferences.evaluate_tick(context)


def run(instance: dg.DagsterInstance, lake: Lake, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    job = defs(lake).resolve_job_def(sensors.INGEST_JOB)
    return job.execute_in_process(
        instance=instance, partition_key=request.partition_key, tags=request.tags, raise_on_error=False
    )


def test_the_sensor_starts_a_run_a_day_and_the_asset_says_what_came_in(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    assert tick(instance, lake).skip_message == "Every closed segment is ingested."
    put_segment(lake, "a", range(3), extra=b"malformed\n")
    put_segment(lake, "b", range(3, 5), AT - timedelta(days=1))
    requests = tick(instance, lake).run_requests
    assert [r.partition_key for r in requests] == ["2026-02-28", "2026-03-01"]
    assert len({r.run_key for r in requests}) == 2
    assert all(run(instance, lake, r).success for r in requests)
    assert tick(instance, lake).run_requests == []
    event = instance.get_latest_materialization_event(dg.AssetKey("inference_log"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/partition_row_count"].value == 3
    assert metadata["quarantined_lines"].value == 1
    assert metadata["answers_by_decision"].value == {"damage": 3}
    assert metadata["latency_p50_ms"].value == 11.0
    newest = metadata["newest_answers"]
    assert isinstance(newest, dg.TableMetadataValue)
    assert len(newest.records) == 3
    put_segment(lake, "late", range(5, 6))
    (again,) = tick(instance, lake).run_requests
    assert again.run_key not in {r.run_key for r in requests}


@pytest.mark.parametrize("year", ["0001", "2025", "2999"])
def test_segments_of_a_wrong_clock_hold_up_no_others_and_are_said(
    lake: Lake, instance: dg.DagsterInstance, year: str
) -> None:
    strange = f"capture/production/{year}/12/31/10/i-1.jsonl"
    lake.put(strange, LINE)
    assert f"the clock of a service was wrong, first {strange}" in tick(instance, lake).skip_message
    put_segment(lake, "a", range(3))
    assert [r.partition_key for r in tick(instance, lake).run_requests] == ["2026-03-01"]


def test_today_has_a_partition() -> None:
    assert inference_log.partitions_def is not None
    assert datetime.now(UTC).date().isoformat() in inference_log.partitions_def.get_partition_keys()[-2:]


def test_a_failed_run_is_tried_again_under_another_key_and_then_rests(
    lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = put_segment(lake, "a", range(3))
    keys = []
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "append", lambda *_: (_ for _ in ()).throw(OSError("the lake is away")))
        for _ in range(sensors.PAUSE.after_failures):
            (request,) = tick(instance, lake).run_requests
            keys.append(request.run_key)
            assert not run(instance, lake, request).success
        assert "failed" in tick(instance, lake).skip_message
    assert len(set(keys)) == sensors.PAUSE.after_failures
    monkeypatch.setattr(sensors, "PAUSE", replace(sensors.PAUSE, seconds=0.0))
    (request,) = tick(instance, lake).run_requests
    assert run(instance, lake, request).success
    assert lake.committed("inferences", key)


def test_ordinary_ticks_look_at_recent_days_and_now_and_then_at_all(lake: Lake, instance: dg.DagsterInstance) -> None:
    put_segment(lake, "old", range(1))
    now = datetime.now(UTC)
    put_segment(lake, "new", range(1, 2), now)
    recent = tick(instance, lake, cursor=str(now.timestamp()))
    assert [r.partition_key for r in recent.run_requests] == [now.date().isoformat()]
    late = tick(instance, lake, cursor=str(now.timestamp() - sensors.FULL_LOOK_S))
    assert [r.partition_key for r in late.run_requests] == ["2026-03-01", now.date().isoformat()]
    assert float(late.cursor) >= now.timestamp()
