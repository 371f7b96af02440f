"""data/datasets/golden_extension.py, data/jobs.py: the golden set grows by photographs that were held out, as a new
version."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.data.datasets.golden_extension import NothingToAdd, extend
from carsdepo_assets.data.datasets.splitting import POOL
from carsdepo_assets.data.jobs import extend_golden_job
from carsdepo_assets.detectors.training_set import training_set
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.registry.ledger import person
from carsdepo_assets.resources import LakeResource
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import car, dataset, label, upload

pytestmark = pytest.mark.slow


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def deliver(lake: Lake, cars: range) -> dict[str, str]:
    """A photograph each of these cars, labelled; {image_id: split} of the dataset built then."""
    upload(lake, {f"c{c}.jpg": car(c) for c in cars}, {f"c{c}.jpg": f"car{c}" for c in cars})
    label(lake, {f"c{c}.txt": f"{c % 2} 0.5 0.5 0.25 0.5\n" for c in cars})
    return {r["image_id"]: r["split"] for r in dataset(lake).manifest.to_pylist()}


def test_it_grows_twice_and_no_split_changes(lake: Lake) -> None:
    first = deliver(lake, range(8))
    closed = golden.current(lake)
    assert closed is not None
    second = deliver(lake, range(8, 40))
    pool = {i for i, s in second.items() if s == POOL}
    assert len(pool) >= 2  # else the rest says nothing
    extended = extend(lake, "ann@desk", "  more cars ", NOW)
    assert extended.version == 2
    assert set(extended.images) == {*closed.images, *pool}
    assert (extended.added_by, extended.reason, extended.at) == ("ann@desk", "more cars", NOW.isoformat())
    assert golden.current(lake) == extended
    assert golden.read(lake, 1) == closed

    third = deliver(lake, range(40, 60))
    assert first.items() <= second.items() <= third.items()  # the extension moved nothing
    later = {i for i, s in third.items() if s == POOL} - pool
    assert later
    again = extend(lake, "bob@desk", "still more", NOW + timedelta(days=1))
    assert (again.version, set(again.images)) == (3, {*extended.images, *later})
    assert golden.read(lake, 2) == extended


def test_nothing_of_the_golden_set_or_the_pool_is_trained_or_tuned_on(lake: Lake) -> None:
    deliver(lake, range(8))
    splits = deliver(lake, range(8, 40))
    held_out = {i for i, s in splits.items() if s in ("test", POOL)}
    version = dataset(lake).version

    def learnt() -> set[str]:
        return {i.image_id for i in training_set(lake, version, class_names=("scratch", "dent")).images}

    before = learnt()
    assert before == {i for i, s in splits.items() if s in ("train", "val")}
    extended = extend(lake, "ann", "more", NOW)
    assert set(extended.images) == held_out
    assert learnt() == before


def test_refused_where_nothing_would_be_added(lake: Lake) -> None:
    with pytest.raises(NothingToAdd, match="no golden set yet"):
        extend(lake, "ann", "more", NOW)
    deliver(lake, range(8))
    with pytest.raises(NothingToAdd, match="Nothing to add: golden set 1 has every"):
        extend(lake, "ann", "more", NOW)
    deliver(lake, range(8, 40))
    for actor, reason in (("ann", "  "), ("", "more")):
        with pytest.raises(ValueError, match="for a reason"):
            extend(lake, actor, reason, NOW)
    extend(lake, "ann", "more", NOW)
    with pytest.raises(NothingToAdd, match="golden set 2 has every"):
        extend(lake, "ann", "more", NOW)
    assert [o.key for o in lake.list("golden")] == ["golden/1.json", "golden/2.json"]


def test_a_version_that_stands_is_not_written_again(lake: Lake) -> None:
    """What would happen on S3, where no lock keeps two apart."""
    deliver(lake, range(8))
    with pytest.raises(LakeError, match="exists already"):
        golden.write(lake, golden.Golden(1, ("x",)))


def test_the_job_extends_and_says_by_whom(lake: Lake) -> None:
    resources = {"lake": LakeResource(url=lake.url, home=lake.url)}

    def run(**config: str) -> dg.ExecuteInProcessResult:
        ops = {"extend_golden_set": {"config": config}}
        return extend_golden_job.execute_in_process(run_config={"ops": ops}, resources=resources, raise_on_error=False)

    deliver(lake, range(8))
    refused = run(reason="more")
    assert not refused.success
    [failure] = [e for e in refused.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    assert "Nothing to add" in str(failure.step_failure_data.user_failure_data.description)
    deliver(lake, range(8, 40))
    assert run(reason="night came in").success
    golden_set = golden.current(lake)
    assert golden_set is not None
    assert (golden_set.version, golden_set.added_by, golden_set.reason) == (2, person(), "night came in")
