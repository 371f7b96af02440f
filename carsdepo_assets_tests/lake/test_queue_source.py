"""lake/queue_source.py: objects of which events tell, each once, and messages that are deleted when that is durable."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from carsdepo_assets.lake.event_account import EventAccount, read_account
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.message_queue import MessageQueue, region_of
from carsdepo_assets.lake.objects import ObjectInfo
from carsdepo_assets.lake.queue_source import QueueSource
from carsdepo_assets.lake.source_choice import source_for
from carsdepo_assets.lake.sources import Memory, S3ListingSource
from carsdepo_assets_tests.lake.simulated_queue import (
    QUEUE,
    SimulatedQueue,
    bucket_lake,
    by_topic,
    told_by_eventbridge,
    told_directly,
)
from carsdepo_assets_tests.lake.source_contract import Remembered, SourceContract

UPLOADS = "raw/uploads"


class TestQueueSource(SourceContract):
    """With the events that moto's S3 writes to moto's SQS, through boto3."""

    @pytest.fixture
    def lake(self, s3_url: str, tmp_path: Path) -> Lake:
        import boto3  # type: ignore[import-untyped]

        bucket = f"uploads-{uuid.uuid4().hex}"
        s3, sqs = (boto3.client(name, region_name="eu-central-1") for name in ("s3", "sqs"))
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        self.queue = sqs.create_queue(QueueName=bucket)["QueueUrl"]
        notify = {"QueueArn": f"arn:aws:sqs:eu-central-1:123456789012:{bucket}"}
        notify["Events"] = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]  # type: ignore[assignment]
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [notify]}
        )
        return Lake.open(f"s3://{bucket}/a lake", cache=tmp_path / "cache")

    def source(self, lake: Lake, memory: Memory) -> QueueSource:
        listing = S3ListingSource(lake, UPLOADS, memory)
        return QueueSource(lake, UPLOADS, memory, MessageQueue(self.queue), listing, wait_s=0)

    def test_keys_come_as_they_are_however_they_are_written(self, lake: Lake) -> None:
        names = ["a b.jpg", "a+b.jpg", "a%2Bb.jpg", "100%.jpg", "Zo\u00eb.jpg", "日本/🚗 1.jpg", "a#1&b=?.jpg"]
        for name in names:
            lake.put(f"{UPLOADS}/{name}", b"1")
        memory = Remembered()
        assert self.deliver(lake, memory) == sorted(f"{UPLOADS}/{name}" for name in names)
        assert self.source(lake, memory).reconcile()[:2] == ([], [])  # of the same facts as a listing gives

    def test_a_deleted_object_is_told_as_gone(self, lake: Lake) -> None:
        memory = Remembered()
        lake.put(f"{UPLOADS}/a.jpg", b"1")
        self.deliver(lake, memory)
        lake.delete(f"{UPLOADS}/a.jpg")
        source = self.source(lake, memory)
        objects, cursor = source.poll(None)
        assert (objects, source.gone(cursor)) == ([], [f"{UPLOADS}/a.jpg"])
        source.ack(cursor)
        assert MessageQueue(self.queue).receive(10, 1000, 0, 0) == []


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Told:
    """A lake of which a simulated queue tells, and a memory."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.queue = SimulatedQueue(clock=self.clock, most_receives=3)
        self.lake, self.memory = bucket_lake(folder), Remembered()

    def source(self, memory: Memory | None = None, most: int = 1000, most_bytes: int = 10**6) -> QueueSource:
        """As a process that has just started opens it."""
        known = self.memory if memory is None else memory
        everything, queue = S3ListingSource(self.lake, UPLOADS, known), MessageQueue(QUEUE, self.queue)
        return QueueSource(self.lake, UPLOADS, known, queue, everything, most=most, most_bytes=most_bytes)

    def tick(self) -> tuple[list[str], list[str]]:
        """One tick to its end: the keys that are delivered, and those that are told as gone."""
        source = self.source()
        objects, cursor = source.poll(None)
        gone = source.gone(cursor)
        self.memory.keep(objects)
        for key in gone:
            del self.memory.objects[key]
        source.ack(cursor)
        return sorted(o.key.removeprefix(f"{UPLOADS}/") for o in objects), gone

    def account(self) -> EventAccount:
        """What was counted."""
        return read_account(self.memory, UPLOADS)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def _s3(*names: str, **more: str) -> str:
    return told_directly(*(f"lake/{UPLOADS}/{name}" for name in names), **more)


def _bridge(name: str, **more: str) -> str:
    return told_by_eventbridge(f"lake/{UPLOADS}/{name}", **more)


ODD = "a b+c\u00e9%2B/100%.jpg"
TEST_EVENT = '{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"photographs"}'
OTHER = '{"detail-type":"Endpoint State Change","source":"aws.sagemaker","detail":{}}'
CASES = {
    "S3 itself": (_s3("a.jpg"), ["a.jpg"], {}),
    "EventBridge": (_bridge("a.jpg"), ["a.jpg"], {}),
    "an odd key from S3": (_s3(ODD), [ODD], {}),
    "an odd key from EventBridge": (_bridge(ODD), [ODD], {}),
    "a plus from EventBridge is a plus": (_bridge("a+b.jpg"), [], {}),
    "a topic's": (by_topic(_s3(ODD)), [ODD], {}),
    "a topic's of EventBridge": (by_topic(_bridge(ODD)), [ODD], {}),
    "a topic's of a topic's": (by_topic(by_topic(_s3("a.jpg"))), ["a.jpg"], {}),
    "several records, one twice": (_s3("a.jpg", "b.jpg", "a.jpg"), ["a.jpg", "b.jpg"], {}),
    "a tag that changed": (_s3("a.jpg", name="ObjectTagging:Put"), ["a.jpg"], {}),
    "an event of a kind to come": (_bridge("a.jpg", kind="Object Polished"), ["a.jpg"], {}),
    "removed, yet there": (_s3("a.jpg", name="ObjectRemoved:Delete"), ["a.jpg"], {}),
    "created, yet gone": (_s3("never.jpg"), [], {}),
    "S3's test": (TEST_EVENT, [], {"tests": 1}),
    "S3's test by a topic": (by_topic(TEST_EVENT), [], {"tests": 1}),
    "another bucket": (_s3("a.jpg", bucket="others"), [], {"elsewhere": 1}),
    "another prefix": (told_directly("lake/raw/labels/a.txt"), [], {"elsewhere": 1}),
    "beside the prefix": (told_directly("lake/raw/uploads-2/a.jpg"), [], {"elsewhere": 1}),
    "above the lake": (told_directly("raw/uploads/a.jpg"), [], {"elsewhere": 1}),
    "a console's folder": (_s3("b/"), [], {"unwanted": 1}),
    "hidden": (_s3(".git/a.jpg"), [], {"unwanted": 1}),
    "unfinished": (_s3("a.jpg.part"), [], {"unwanted": 1}),
}
MALFORMED = {
    "no JSON": "hello",
    "no object": "[1]",
    "deep": "[" * 100_000,
    "nothing in it": "{}",
    "no records": '{"Records": []}',
    "records of another form": '{"Records": {"s3": 1}}',
    "a record without key": '{"Records": [{"s3": {"bucket": {"name": "photographs"}}}]}',
    "a number for a key": '{"Records": [{"s3": {"bucket": {"name": "photographs"}, "object": {"key": 7}}}]}',
    "a key in no encoding": '{"Records": [{"s3": {"bucket": {"name": "photographs"}, "object": {"key": "%ff.jpg"}}}]}',
    "an event of another service": OTHER,
    "a key that none can be": _s3("a//b.jpg"),
    "too many topics": by_topic(by_topic(by_topic(by_topic(_s3("a.jpg"))))),
}


@pytest.mark.parametrize("case", CASES)
def test_a_message_is_of_use_or_counted_and_then_deleted(told: Told, case: str) -> None:
    body, delivered, counted = CASES[case]
    for name in ("a.jpg", "b.jpg", "a b.jpg", ODD):
        told.lake.put(f"{UPLOADS}/{name}", b"1")
    told.queue.send([body])
    assert told.tick() == (delivered, [])
    assert told.queue.left() == []
    account = told.account()
    counts = {name: getattr(account, name) for name in ("tests", "elsewhere", "unwanted", "malformed", "unanswered")}
    assert {name: n for name, n in counts.items() if n} == counted
    assert account.messages == 1


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_message_stays_with_its_reason_until_redrive_takes_it(told: Told, case: str) -> None:
    told.lake.put(f"{UPLOADS}/a.jpg", b"1")
    told.queue.send([MALFORMED[case], _s3("a.jpg")])
    assert told.tick() == (["a.jpg"], [])  # it holds nothing up
    assert told.queue.left() == [MALFORMED[case]]
    for _ in range(3):
        told.clock.now += 301
        assert told.tick() == ([], [])
    assert (told.queue.left(), told.queue.dead) == ([], [MALFORMED[case]])
    account = told.account()
    assert account.malformed == 3
    assert account.problem.startswith("message m1: ")
    assert "3 came that name no object" in account.sentence()


def test_the_good_records_of_a_message_are_delivered_though_it_stays(told: Told) -> None:
    told.lake.put(f"{UPLOADS}/a.jpg", b"1")
    body = _s3("a.jpg").replace("]}", ', {"s3": null}]}')
    told.queue.send([body])
    assert told.tick() == (["a.jpg"], [])
    assert told.queue.left() == [body]


def test_late_and_out_of_order_events_bring_no_old_facts_back(told: Told) -> None:
    told.lake.put(f"{UPLOADS}/a.jpg", b"old")
    told.queue.send([_s3("a.jpg", sequencer="01")])
    told.tick()
    told.lake.put(f"{UPLOADS}/a.jpg", b"newer")
    told.queue.send([_s3("a.jpg", sequencer="03"), _s3("a.jpg", sequencer="02", name="ObjectRemoved:Delete")])
    assert told.tick() == (["a.jpg"], [])
    assert told.memory.objects[f"{UPLOADS}/a.jpg"].size == 5
    told.lake.delete(f"{UPLOADS}/a.jpg")
    told.queue.send([_s3("a.jpg", sequencer="04", name="ObjectRemoved:Delete")])
    assert told.tick() == ([], [f"{UPLOADS}/a.jpg"])
    told.queue.send([_s3("a.jpg", sequencer="02")])  # of before, an hour late
    assert told.tick() == ([], [])  # gone is told once
    told.lake.put(f"{UPLOADS}/a.jpg", b"again")
    told.queue.send([_bridge("a.jpg")] * 2)
    assert told.tick() == (["a.jpg"], [])
    assert told.queue.left() == []


def test_a_message_is_deleted_by_its_acknowledgement_and_not_before(told: Told) -> None:
    for name in ("a", "b"):
        told.lake.put(f"{UPLOADS}/{name}.jpg", b"1")
    told.queue.send([_s3("a.jpg")])
    source = told.source()
    first, cursor = source.poll(None)
    told.queue.send([_s3("b.jpg"), TEST_EVENT])
    source.poll(cursor)  # whose cursor is never acknowledged
    told.memory.keep(first)
    assert len(told.queue.left()) == 3
    source.ack(cursor)
    assert told.queue.left() == [_s3("b.jpg"), TEST_EVENT]
    assert told.tick() == (["b.jpg"], [])  # at once, as it was received and not acknowledged
    assert told.queue.left() == []


def test_without_its_memory_a_message_comes_again_when_its_time_is_over(told: Told) -> None:
    told.lake.put(f"{UPLOADS}/a.jpg", b"1")
    told.queue.send([_s3("a.jpg")])
    first, second = told.source(Remembered()), told.source(Remembered())  # two machines
    delivered, cursor = first.poll(None)
    assert [o.key for o in delivered] == [f"{UPLOADS}/a.jpg"]
    assert second.poll(None)[0] == []
    told.clock.now += 301  # the first machine is slow, or dead
    again, newer = second.poll(None)
    assert again == delivered
    second.ack(newer)
    first.ack(cursor)  # of a receipt that counts no more
    assert told.queue.left() == []


def test_what_a_dead_process_held_is_nobody_elses_while_the_next_one_works(told: Told) -> None:
    told.lake.put(f"{UPLOADS}/a.jpg", b"1")
    told.queue.send([_s3("a.jpg")])
    told.source().poll(None)
    told.clock.now += 200
    again, cursor = told.source().poll(None)
    assert [o.key for o in again] == [f"{UPLOADS}/a.jpg"]
    told.clock.now += 200  # 400 s after the first receipt
    assert told.source(Remembered()).poll(None)[0] == []
    told.source().ack(cursor)
    assert told.queue.left() == []


def test_a_poll_is_bounded_in_messages_and_bytes(told: Told) -> None:
    names = [f"{n:02}.jpg" for n in range(45)]
    for name in names:
        told.lake.put(f"{UPLOADS}/{name}", b"1")
    told.queue.send(_s3(name) for name in names)
    source = told.source(most=25)
    objects, cursor = source.poll(None)
    assert len(objects) == 25
    assert len(source.poll(None)[0]) == 25  # no more than may be held
    told.memory.keep(objects)
    source.ack(cursor)
    assert len(told.queue.left()) == 20
    assert len(told.source(most_bytes=1).poll(None)[0]) == 10


def test_what_cannot_be_looked_at_stays_in_the_queue(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        told.lake.put(f"{UPLOADS}/{name}.jpg", b"1")
    told.queue.send([_s3("a.jpg", "b.jpg"), _s3("b.jpg")])
    info, refused = told.lake.info, {f"{UPLOADS}/a.jpg"}

    def refusing(key: str) -> ObjectInfo | None:
        if key in refused:
            raise LakeError("403: Access Denied")
        return info(key)

    monkeypatch.setattr(told.lake, "info", refusing)
    assert told.tick() == (["b.jpg"], [])
    assert told.queue.left() == [_s3("a.jpg", "b.jpg")]
    assert "403: Access Denied" in told.account().sentence()
    told.clock.now += 301
    refused.add(f"{UPLOADS}/b.jpg")
    with pytest.raises(LakeError, match="403"):  # S3 tells nothing at all
        told.tick()
    refused.clear()
    told.clock.now += 301
    assert told.tick() == (["a.jpg"], [])
    assert told.queue.left() == []


def test_deletions_that_failed_are_tried_again_or_told(
    told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    told.lake.put(f"{UPLOADS}/a.jpg", b"1")
    told.queue.send([_s3("a.jpg")])
    told.queue.failures = [("InternalError", False)] * 2
    told.tick()
    assert told.queue.left() == []
    for failures in ([("ReceiptHandleIsInvalid", True)], [("InternalError", False)] * 4):
        told.queue.send([_s3("a.jpg")])
        told.queue.failures = list(failures)
        told.tick()
        assert len(told.queue.left()) == 1
        assert f"were not deleted ({failures[0][0]}" in caplog.text
        told.clock.now += 301
        assert told.tick() == ([], [])
        assert told.queue.left() == []


def test_a_queue_that_does_not_answer_is_an_error_that_names_it(
    told: Told, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://sqs.eu-central-1.amazonaws.com/123456789012/nothing"
    with pytest.raises(LakeError, match=r"123456789012/nothing.*NonExistentQueue.*sqs:ReceiveMessage"):
        MessageQueue(url).receive(1, 1, 0, 1)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("vpce-1.sqs.us-east-2.vpce.amazonaws.com", "us-east-2"),
        ("eu-west-3.queue.amazonaws.com", "eu-west-3"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("localhost:4566", "xx-1"),
    ],
)
def test_the_region_is_that_of_the_url(monkeypatch: pytest.MonkeyPatch, host: str, region: str) -> None:
    monkeypatch.setenv("AWS_REGION", "xx-1")
    assert region_of(f"https://{host}/123456789012/uploads") == region


def test_events_are_of_a_lake_on_s3(told: Told, folder_lake: Lake) -> None:
    assert isinstance(source_for(told.lake, UPLOADS, Remembered(), queue=QUEUE), QueueSource)
    assert isinstance(source_for(told.lake, UPLOADS, Remembered()), S3ListingSource)
    with pytest.raises(ValueError, match="is a folder"):
        source_for(folder_lake, UPLOADS, Remembered(), queue=QUEUE)
