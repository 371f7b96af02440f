"""data/batches/roll_up.py, data/jobs.py: old manifests are in few files and are read as before; a kill loses none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance

from carsdepo_assets.data.batches.batches import BatchManifest, list_batches, open_batches, plan_batches, read_manifest
from carsdepo_assets.data.batches.roll_up import oldest_kept, roll_up
from carsdepo_assets.data.jobs import maintain, maintenance_job
from carsdepo_assets.data.objects.manifests import BatchError, list_manifests
from carsdepo_assets.data.objects.object_states import mark_ingested
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.data.photograph_files import NOW

pytestmark = pytest.mark.slow

RULES = Policy(data=DataPolicy(batch_max_images=2))
OLD = NOW - timedelta(days=300)


class Killed(BaseException):
    pass


def closed(lake: Lake, count: int, at: datetime) -> list[BatchManifest]:
    for i in range(count):
        lake.put(f"raw/uploads/{at:%Y%m%d}/{i} ü.jpg", f"{at}{i}".encode())
    return plan_batches(lake, "uploads", RULES, at, close_all=True)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three old batches, of which the middle one is not ingested, and a new one."""
    lake = Lake.open(tmp_path / "lake")
    old, new = closed(lake, 6, OLD), closed(lake, 1, NOW)
    for manifest in (old[0], old[2], *new):
        mark_ingested(lake, "uploads", manifest.batch_id, NOW)
    return lake


def manifests(lake: Lake) -> list[BatchManifest]:
    return [read_manifest(lake, "uploads", batch) for batch in list_batches(lake, "uploads")]


def roll(lake: Lake, objects_a_file: int = 100) -> int:
    return roll_up(lake, "uploads", oldest_kept(NOW, 90), objects_a_file)


@pytest.mark.parametrize("objects_a_file", [1, 100])
def test_old_ingested_batches_are_rolled_up_and_read_as_before(lake: Lake, objects_a_file: int) -> None:
    before = manifests(lake)
    assert roll(lake, objects_a_file) == 2
    assert len(list(lake.list("batches/rolled"))) == (2 if objects_a_file == 1 else 1)
    assert list_manifests(lake, "uploads") == [before[1].batch_id, before[3].batch_id]
    assert manifests(lake) == before
    assert roll(lake) == 0
    mark_ingested(lake, "uploads", before[1].batch_id, NOW)  # its place lies within the range of a file that stands
    assert roll(lake) == 1
    assert manifests(lake) == before
    with pytest.raises(BatchError, match="no uploads batch"):
        read_manifest(lake, "uploads", f"{before[0].batch_id[:-1]}{'0' if before[0].batch_id[-1] != '0' else '1'}")
    assert plan_batches(lake, "uploads", RULES, NOW + timedelta(days=1), close_all=True) == []


@pytest.mark.parametrize("objects_a_file", [1, 100])
@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_killed_anywhere_every_manifest_is_there_once_it_is_run_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, writes: int, objects_a_file: int
) -> None:
    before, counted = manifests(lake), 0

    def deadly(method: str) -> None:
        plain = getattr(Lake, method)

        def call(self: Lake, key: str, *data: bytes) -> None:
            nonlocal counted
            if counted == writes:
                raise Killed
            counted += 1
            plain(self, key, *data)

        patch.setattr(Lake, method, call)

    with monkeypatch.context() as patch:
        deadly("put")
        deadly("delete")
        if writes < (4 if objects_a_file == 1 else 3):
            with pytest.raises(Killed):
                roll(lake, objects_a_file)
        else:
            roll(lake, objects_a_file)
    assert manifests(lake) == before
    roll(lake, objects_a_file)
    assert manifests(lake) == before
    assert list_manifests(lake, "uploads") == [before[1].batch_id, before[3].batch_id]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


def test_the_job_takes_old_partitions_off_the_pages_and_the_schedule_asks_where_needed(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    lake = Lake.open(tmp_path / "lake")
    old = closed(lake, 6, datetime(2020, 1, 1, tzinfo=UTC))  # long ago by any clock
    for manifest in old[:2]:
        mark_ingested(lake, "uploads", manifest.batch_id, NOW)
    batches = list_batches(lake, "uploads")
    instance.add_dynamic_partitions("upload_batch", batches)
    resources = {"lake": LakeResource(url=lake.url, home=f"{lake.url}/home"), "policy": PolicyResource()}

    def asked() -> object:
        with dg.build_schedule_context(instance=instance, resources=resources) as context:
            return maintain(context)

    assert isinstance(asked(), dg.RunRequest)
    assert maintenance_job.execute_in_process(instance=instance, resources=resources).success
    assert instance.get_dynamic_partitions("upload_batch") == open_batches(lake, "uploads") == batches[2:]
    assert list_batches(lake, "uploads") == batches
    assert isinstance(asked(), dg.SkipReason)
