"""compute/pipes/s3_channel.py: messages in order and once, over restarts of a container, lost and doubled chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import dagster as dg
import pytest
from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD
from moto import mock_aws

from carsdepo_assets.compute.pipes.s3_channel import S3PrefixContextInjector, S3PrefixMessageReader

pytestmark = pytest.mark.slow

BUCKET, PREFIX = "channel", "jobs/one"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        client.create_bucket(Bucket=BUCKET)
        yield client


class Heard:
    """Takes the handler's place and keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Any]] = []

    def handle_message(self, message: dict[str, Any]) -> None:
        params = message["params"] or {}
        self.messages.append((message["method"], params.get("message") or params.get("data_version")))

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.messages]

    @property
    def logged(self) -> list[str]:
        return [text for method, text in self.messages if method == "log"]


def message(method: str, **params: Any) -> str:
    return json.dumps({PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION, "method": method, "params": params})


def log(text: str) -> str:
    return message("log", message=text, level="info")


def report(version: str) -> str:
    return message("report_asset_materialization", asset_key="model", metadata={}, data_version=version)


def write(s3: Any, folder: str, number: int, *lines: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/messages/{folder}/{number}.json", Body="\n".join(lines).encode())


@pytest.fixture
def reader(s3: Any) -> Iterator[tuple[S3PrefixMessageReader, Heard]]:
    heard = Heard()
    reader = S3PrefixMessageReader(s3, BUCKET, PREFIX)
    with reader.read_messages(heard) as params:  # type: ignore[arg-type]
        assert params == {
            "bucket": BUCKET, "key_prefix": f"{PREFIX}/messages", "include_stdio_in_messages": False,
        }  # fmt: skip
        yield reader, heard


def test_chunks_come_in_order_while_the_job_runs(s3: Any, reader: tuple[S3PrefixMessageReader, Heard]) -> None:
    it, heard = reader
    assert it.poll() == 0
    write(s3, "a", 2, log("two"))
    assert it.poll() == 0  # its predecessor is on its way
    write(s3, "a", 1, message("opened"), log("one"), "a line of the container", '{"json": "of another"}')
    write(s3, "a", 10, log("ten"))
    assert it.poll() == 3
    assert heard.logged == ["one", "two"]
    assert not it.closed
    assert it.missing == []


def test_a_chunk_that_never_comes_is_named_at_the_end(s3: Any, reader: tuple[S3PrefixMessageReader, Heard]) -> None:
    it, heard = reader
    write(s3, "a", 1, message("opened"))
    write(s3, "a", 4, report("v"), message("closed"))
    it.poll()
    it.finish()
    assert heard.methods == ["opened", "report_asset_materialization", "closed"]
    assert it.missing == [f"{PREFIX}/messages/a/2.json", f"{PREFIX}/messages/a/3.json"]


def test_a_container_that_starts_again_is_one_session(s3: Any, reader: tuple[S3PrefixMessageReader, Heard]) -> None:
    it, heard = reader
    write(s3, "b", 1, message("opened"), log("first"), message("closed", exception={"message": "interrupted"}))
    it.poll()
    assert it.closed
    time.sleep(1.1)  # S3's clock counts in seconds
    write(s3, "a", 1, message("opened"), log("second"))  # its name sorts before: S3's clock decides
    it.poll()
    assert not it.closed
    write(s3, "a", 2, report("v"), message("closed"))
    it.finish()
    assert heard.methods == ["opened", "log", "log", "report_asset_materialization", "closed"]


def test_a_report_that_comes_twice_counts_once(s3: Any, reader: tuple[S3PrefixMessageReader, Heard]) -> None:
    it, heard = reader
    write(s3, "a", 1, message("opened"), report("v"))
    write(s3, "a", 2, report("v"), message("closed"))
    it.finish()
    assert heard.methods == ["opened", "report_asset_materialization", "closed"]
    assert it.repeated == 1
    assert it.remark == "1 reports came again, of which the last counts; 0 chunks were lost."


def test_two_reports_of_one_container_are_both_relayed(s3: Any, reader: tuple[S3PrefixMessageReader, Heard]) -> None:
    it, heard = reader
    write(s3, "a", 1, message("opened"), report("one"), report("another"), message("closed"))
    it.finish()
    assert heard.methods.count("report_asset_materialization") == 2  # for the caller to refuse
    assert it.remark == ""


CLOSED, FAILED = message("closed"), message("closed", exception={"name": "E", "message": "no", "stack": []})


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        ([report("first"), CLOSED], [report("second"), CLOSED], "second"),
        ([report("first")], [report("second"), CLOSED], "second"),
        ([report("first"), CLOSED], [report("second"), FAILED], "first"),
        ([report("first"), CLOSED], [CLOSED], "first"),
        ([report("first")], [report("second")], "second"),
    ],
)
def test_the_report_of_the_last_complete_container_counts(
    first: list[str], second: list[str], counts: str, s3: Any, reader: tuple[S3PrefixMessageReader, Heard]
) -> None:
    it, heard = reader
    write(s3, "b", 1, message("opened"), *first)
    it.poll()
    time.sleep(1.1)  # S3's clock counts in seconds
    write(s3, "a", 1, message("opened"), *second)
    it.finish()
    assert [text for method, text in heard.messages if method == "report_asset_materialization"] == [counts]
    assert it.repeated == sum("report_asset" in line for line in first + second) - 1
    it.finish()
    assert heard.methods.count("report_asset_materialization") == 1


def test_a_later_process_reads_from_the_beginning(s3: Any, reader: tuple[S3PrefixMessageReader, Heard]) -> None:
    write(s3, "a", 1, message("opened"), log("one"))
    reader[0].poll()
    again, heard = S3PrefixMessageReader(s3, BUCKET, PREFIX), Heard()
    with again.read_messages(heard):  # type: ignore[arg-type]
        again.poll()
    assert heard.logged == ["one"]


def test_a_failure_of_s3_skips_nothing(s3: Any) -> None:
    class Flaky:
        def __init__(self) -> None:
            self.failures = 1

        def get_object(self, **request: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("reset")
            return s3.get_object(**request)

        def __getattr__(self, name: str) -> Any:
            return getattr(s3, name)

    write(s3, "a", 1, message("opened"), log("one"))
    it, heard = S3PrefixMessageReader(Flaky(), BUCKET, PREFIX), Heard()
    with it.read_messages(heard):  # type: ignore[arg-type]
        with pytest.raises(ConnectionError):
            it.poll()
        assert it.poll() == 2
    assert heard.methods == ["opened", "log"]


def test_the_context_stays_for_containers_that_start_again(s3: Any) -> None:
    injector = S3PrefixContextInjector(s3, BUCKET, PREFIX)
    with injector.inject_context({"extras": {"a": 1}}) as params:  # type: ignore[typeddict-item]
        assert params == {"bucket": BUCKET, "key": f"{PREFIX}/context.json"}
    body = s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}/context.json")["Body"].read()
    assert json.loads(body)["extras"] == {"a": 1}
    assert dg.PipesContextInjector in type(injector).__mro__


class Session:
    """A Dagster step that reads what a job wrote."""

    def __init__(self, s3: Any) -> None:
        self.reader = S3PrefixMessageReader(s3, BUCKET, PREFIX)
        self.results: list[Any] | None = None

        @dg.asset
        def model(context) -> None:  # type: ignore[no-untyped-def]  # Dagster reads no annotation that is text
            injector = S3PrefixContextInjector(s3, BUCKET, PREFIX)
            with dg.open_pipes_session(
                context=context, context_injector=injector, message_reader=self.reader
            ) as session:
                self.reader.poll()
                self.reader.finish()
            self.results = list(session.get_reported_results())

        dg.materialize([model], raise_on_error=False)  # it keeps what it heard instead of returning it


@pytest.mark.parametrize(
    "garbled",
    [
        json.dumps({PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION}),
        json.dumps({PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION, "method": ["log"], "params": {}}),
        json.dumps({PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION, "method": "closed", "params": 1}),
        message("dance"),
        message("log", text="a word of another release"),
        message("log", message="a line", level="whisper"),
    ],
)
def test_a_message_that_cannot_be_used_is_left_out_in_every_process_that_reads_the_job(s3: Any, garbled: str) -> None:
    write(s3, "a", 1, message("opened"), garbled, report("v"), message("closed"))
    for session in (Session(s3), Session(s3)):
        assert [r.data_version.value for r in session.results or ()] == ["v"]
        assert "1 messages could not be used" in session.reader.remark
        assert session.reader.refused == []


def test_a_report_that_cannot_be_used_is_named(s3: Any) -> None:
    write(s3, "a", 1, message("opened"), message("report_asset_materialization", asset_key=5), message("closed"))
    session = Session(s3)
    assert session.results == []
    [why] = session.reader.refused
    assert "what it reported cannot be used (TypeError" in why
