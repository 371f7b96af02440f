"""data/batches/batches.py: batches of files of which S3's events tell, killed anywhere, and on two machines at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.data.batches.batches import BatchManifest, S3Events, event_account, plan_batches, read_manifest
from carsdepo_assets.data.photographs.metadata_corrections import manifests_due
from carsdepo_assets.data.sensors import new_uploads
from carsdepo_assets.lake import source_choice
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.message_queue import MessageQueue
from carsdepo_assets.lake.object_index import ObjectIndex, open_index
from carsdepo_assets.lake.objects import ObjectInfo
from carsdepo_assets.lake.sources import S3ListingSource
from carsdepo_assets.policy import Policy
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.lake.simulated_queue import QUEUE, SimulatedQueue, bucket_lake, told_directly

POLICY = Policy.model_validate({"data": {"batch_max_images": 3, "batch_max_age_s": 0, "reconcile_s": 10**6}})


class Killed(BaseException):
    """As if the process had been killed."""


class Site:
    """A lake of which a queue tells, looked at by machines with caches of their own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.now = folder, 0.0
        self.queue = SimulatedQueue(clock=lambda: self.now)
        monkeypatch.setattr(source_choice, "MessageQueue", partial(MessageQueue, client=self.queue))
        self.tick()  # the first looks at everything

    def lake(self, machine: str = "machine") -> Lake:
        """As a process of a machine opens it."""
        return bucket_lake(self.folder, machine)

    def tick(self, machine: str = "machine", close_all: bool = False) -> list[BatchManifest]:
        """One tick of the sensor."""
        now = datetime.now(UTC)
        return plan_batches(self.lake(machine), "uploads", POLICY, now, close_all, events=S3Events(QUEUE))

    def upload(self, *names: str, told: bool = True) -> None:
        """Puts photographs, of which events tell."""
        for name in names:
            self.lake().put(f"raw/uploads/{name}", name.encode())
            if told:
                self.queue.send([told_directly(f"lake/raw/uploads/{name}")])

    def batched(self) -> Counter[str]:
        """How often each key is in a batch that counts."""
        lake = self.lake("a third machine")
        batches = lake.read("objects", ["batch_id"], [("state", "=", "closed")])["batch_id"].to_pylist()
        assert len(batches) == len(set(batches))
        names = (o.key.removeprefix("raw/uploads/") for b in batches for o in read_manifest(lake, "uploads", b).objects)
        return Counter(names)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


@contextmanager
def killing(monkeypatch: pytest.MonkeyPatch, site: Site, at: int, is_before: bool) -> Iterator[list[str]]:
    """Kills a tick at a step, before it or after it; the list gets the steps that were taken."""
    steps: list[str] = []

    def step(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            steps.append(name)
            if is_before and len(steps) - 1 == at:
                raise Killed
            result = call(*args, **kwargs)
            if len(steps) - 1 == at:
                raise Killed
            return result

        return counted

    with monkeypatch.context() as patch:
        for owner, name in (
            (SimulatedQueue, "receive_message"),
            (SimulatedQueue, "delete_message_batch"),
            (Lake, "put"),
            (Lake, "append"),
            (ObjectIndex, "keep_place"),
        ):
            patch.setattr(owner, name, step(name, getattr(owner, name)))
        yield steps


@pytest.mark.slow
def test_killed_at_any_step_nothing_is_lost_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, names = 0, [f"{n}.jpg" for n in range(5)]
    taken: list[str] = []
    while True:
        for is_before in (True, False):
            site = Site(tmp_path / f"{at}-{is_before}", monkeypatch)
            site.upload(*names)
            with killing(monkeypatch, site, at, is_before) as steps:
                try:
                    site.tick()
                except Killed:
                    is_killed = True
                else:
                    is_killed = False
            if is_killed and "delete_message_batch" not in steps:
                assert len(site.queue.left()) == 5  # none is deleted before all else is done
            taken = max(taken, steps, key=len)
            site.now += 301
            site.tick()
            assert site.batched() == Counter(names), f"{'before' if is_before else 'after'} step {at} of {steps}"
            assert site.queue.left() == []
        if not is_killed:
            break
        at += 1
    order = [name for name in taken if name != "keep_place"]
    assert order[-4:] == ["put", "put", "append", "delete_message_batch"]


def test_two_machines_that_tick_at_once_share_the_messages(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{n:02}.jpg" for n in range(24)]
    site.tick("second")
    site.upload(*names)
    append, others = Lake.append, list[BatchManifest]()

    def while_the_other_works(lake: Lake, *args: Any) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(Lake, "append", append)
            site.upload("late.jpg")
            others.extend(site.tick("second"))
        monkeypatch.setattr(Lake, "append", append)
        return append(lake, *args)

    monkeypatch.setattr(Lake, "append", while_the_other_works)
    assert sum(len(manifest.objects) for manifest in site.tick()) == 24
    assert [o.key for manifest in others for o in manifest.objects] == ["raw/uploads/late.jpg"]
    assert site.batched() == Counter([*names, "late.jpg"])
    assert site.queue.left() == []


def test_a_message_that_two_machines_got_is_in_one_batch(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its visibility ended while the first machine worked; the second one finds its object known."""
    site.upload("a.jpg", "b.jpg", "c.jpg")
    site.tick()
    site.tick("second")
    site.upload("d.jpg", "e.jpg", "f.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedQueue, "delete_message_batch", _killed)
        with pytest.raises(Killed):
            site.tick()
    assert len(site.queue.left()) == 3
    site.now += 301
    assert site.tick("second") == []
    assert site.batched() == Counter(f"{name}.jpg" for name in "abcdef")
    assert site.queue.left() == []


def _killed(*args: object, **kwargs: object) -> None:
    raise Killed


def test_reconcile_finds_what_events_lost_and_a_deleted_one_is_said(site: Site) -> None:
    site.upload("a.jpg", "b.jpg")
    site.upload("lost.jpg", told=False)
    site.tick()
    assert site.batched() == Counter(["a.jpg", "b.jpg"])
    site.lake().delete("raw/uploads/a.jpg")
    site.queue.send([told_directly("lake/raw/uploads/a.jpg", name="ObjectRemoved:Delete")])
    site.tick()
    gone = site.lake().read("objects", ["key"], [("state", "=", "gone")])["key"].to_pylist()
    assert gone == ["raw/uploads/a.jpg"]
    site.tick(close_all=True)
    assert site.batched() == Counter(["a.jpg", "b.jpg", "lost.jpg"])
    assert event_account(site.lake(), "uploads").gone == 1


def test_the_sensor_says_what_of_the_queue_was_of_no_use(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.queue.send(["hello", told_directly("elsewhere/a.jpg")])
    monkeypatch.setattr(LakeResource, "open", lambda resource: site.lake())
    home = str(site.folder / "home")
    resources = {"lake": LakeResource(url="s3://photographs/lake", home=home, uploads_queue=QUEUE)}
    with dg.DagsterInstance.ephemeral() as instance:
        with dg.build_sensor_context(instance, resources={**resources, "policy": PolicyResource()}) as context:
            skipped = new_uploads(context)
        assert isinstance(skipped, dg.SkipReason)
        assert "1 came that name no object" in str(skipped.skip_message)
        assert "1 objects were of another bucket or prefix" in str(skipped.skip_message)
        assert "it is no JSON: hello" in str(skipped.skip_message)
        unset = {"lake": LakeResource(url="s3://photographs/lake", home=home), "policy": PolicyResource()}
        with dg.build_sensor_context(instance, resources=unset) as context:
            skipped = new_uploads(context)
        assert str(skipped.skip_message) == "Nothing new in s3://photographs/lake/raw/uploads that is due."


def test_a_label_file_of_many_photographs_lists_no_bucket_where_events_tell(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.upload("a.jpg")
    site.tick()
    events, now = S3Events(QUEUE), datetime.now(UTC)
    plan_batches(site.lake(), "labels", POLICY, now, events=events)  # the first looks at everything
    site.lake().put("raw/labels/all.json", b"{}")
    site.queue.send([told_directly("lake/raw/labels/all.json")])
    monkeypatch.setattr(S3ListingSource, "poll", lambda *args: pytest.fail("a bucket was listed"))
    assert plan_batches(site.lake(), "labels", POLICY, now + timedelta(seconds=9), events=events) == []
    [(info, _)] = _waiting(site.lake())
    assert info.key == "raw/labels/all.json"  # until a.jpg is ingested
    assert site.queue.left() == []


def test_a_manifest_csv_is_due_when_an_event_tells_of_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.upload("car/manifest.csv", "car/a.jpg")
    site.upload("untold/manifest.csv", told=False)
    site.tick()
    monkeypatch.setattr(S3ListingSource, "poll", lambda *args: pytest.fail("a bucket was listed"))
    assert [file.key for file in manifests_due(site.lake(), is_told=True)] == ["raw/uploads/car/manifest.csv"]
    site.tick(close_all=True)
    untold = "raw/uploads/untold/manifest.csv"
    assert [file.key for file in manifests_due(site.lake(), is_told=True)] == ["raw/uploads/car/manifest.csv", untold]
    site.lake().delete(untold)
    assert [file.key for file in manifests_due(site.lake(), is_told=True)] == ["raw/uploads/car/manifest.csv"]


def _waiting(lake: Lake) -> list[tuple[ObjectInfo, str | None]]:
    with open_index(lake) as index:
        return index.waiting("labels")


def test_an_import_is_looked_at_without_the_queue(site: Site) -> None:
    site.upload("mine/a.jpg", "b.jpg")
    plan_batches(site.lake(), "uploads", POLICY, datetime.now(UTC), True, "mine", events=S3Events(QUEUE))
    assert site.batched() == Counter(["mine/a.jpg"])
    assert len(site.queue.left()) == 2
    site.tick()
    assert site.batched() == Counter(["mine/a.jpg", "b.jpg"])
