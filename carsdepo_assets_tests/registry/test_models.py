"""registry/models.py: registered versions, once for each digest, found by number, digest or `latest`."""

import pytest

from carsdepo_assets.registry import models
from carsdepo_assets.registry.tracking import Tracking


def register(
    tracking: Tracking, digest: str, map50: float = 0.5, run_id: str | None = None, lake_url: str = "/home/lake"
) -> models.ModelVersion:
    return models.register(
        tracking,
        digest=digest,
        lake_url=lake_url,
        dataset_version="d1",
        detector="yolov8n",
        figures={"map50": map50},
        run_id=run_id,
    )


def test_none_yet(tracking: Tracking) -> None:
    assert models.latest(tracking) is None
    assert models.versions(tracking) == []
    with pytest.raises(models.RegistryError, match="carsdepo train"):
        models.get(tracking, "latest")


def test_a_digest_is_registered_once(tracking: Tracking) -> None:
    run = tracking.begin("dagster-1", "train")
    first = register(tracking, "aaaa1111", run_id=run)
    assert first == models.ModelVersion(
        1,
        "aaaa1111",
        "d1",
        "models/aaaa1111",
        "models/aaaa1111/lineage.json",
        {"map50": 0.5},
        run,
        ("candidate",),
    )
    second = register(tracking, "bbbb2222", 0.6)
    assert (second.version, second.aliases) == (2, ("candidate",))
    assert models.get(tracking, 1).aliases == ()
    again = register(tracking, "aaaa1111", 0.7)
    assert (again.version, again.figures, again.aliases) == (1, {"map50": 0.7}, ("candidate",))
    assert [v.version for v in models.versions(tracking)] == [1, 2]


@pytest.mark.parametrize("asked", ["2", 2, "aaab", "aaab2222", "latest"])
def test_found(tracking: Tracking, asked: str | int) -> None:
    register(tracking, "aaaa1111")
    register(tracking, "aaab2222")
    assert models.get(tracking, asked).digest == "aaab2222"


@pytest.mark.parametrize("asked", ["3", 0, "aaa", "cccc", ""])
def test_not_found_says_what_there_is(tracking: Tracking, asked: str | int) -> None:
    register(tracking, "aaaa1111")
    with pytest.raises(models.RegistryError, match=r"Registered: 1 \(aaaa1111\)"):
        models.get(tracking, asked)


def test_an_ambiguous_digest_is_refused(tracking: Tracking) -> None:
    register(tracking, "aaaa1111")
    register(tracking, "aaaa2222")
    with pytest.raises(models.RegistryError, match="Several"):
        models.get(tracking, "aaaa")


def test_the_source_is_the_runs_own_artifact(tracking: Tracking) -> None:
    run = tracking.begin("dagster-1", "train")
    register(tracking, "aaaa1111", run_id=run, lake_url="s3://bucket/lake/")
    [version] = tracking.client.search_model_versions("name = 'carsdepo'")
    assert version.source == tracking.client.get_run(run).info.artifact_uri + "/model"
    assert version.tags["lake_uri"] == "s3://bucket/lake/models/aaaa1111"
