"""training/assets.py: what the assets record when Dagster runs them, and that each reads what the one before wrote."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.detectors import catalogue
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.experiments.assets import recipe
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.label_state import trained_at, trained_state
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.orchestration.ui_metadata import significant
from carsdepo_assets.registry.ledger import record
from carsdepo_assets.registry.models import CANDIDATE, versions
from carsdepo_assets.registry.resources import MlflowTracking, ModelSigning
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets.training import candidates
from carsdepo_assets.training.assets import evaluation, registered_model
from carsdepo_assets_tests.compute.in_process import in_process
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle, made_up_model
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[DarkestRectangle, ModelCard]:
        return DarkestRectangle(), read_card(lake, digest)

    monkeypatch.setattr(catalogue, "load_model", load_model)
    return Lake.open(tmp_path / "lake")


def materialize(
    lake: Lake, tmp_path: Path, assets: Sequence[dg.AssetsDefinition], **config: object
) -> dg.ExecuteInProcessResult:
    resources = {
        "lake": LakeResource(url=lake.url, home=str(tmp_path)),
        "policy": PolicyResource(files=[str(tmp_path / "absent.toml")]),
        "tracking": MlflowTracking(home=str(tmp_path)),
        "signing": ModelSigning(private=str(tmp_path / "key"), public=str(tmp_path / "key.pub")),
        "alerts": AlertsResource(),
        "compute": in_process(),
    }
    ops = {name: {"config": settings} for name, settings in config.items()}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(assets, resources=resources, run_config={"ops": ops}, instance=instance)


def recorded(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    [materialization] = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in materialization.metadata.items()}


def table(value: object) -> list[dict[str, object]]:
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_the_recipe_starts_from_what_production_serves(lake: Lake, tmp_path: Path) -> None:
    tiny_dataset(lake)
    champion = made_up_model(lake, b"one", dataset="earlier")
    first = recorded(materialize(lake, tmp_path, [recipe], recipe={"detector": "yolov8n"}), "recipe")
    assert first["initial_weights"] == "scratch"
    record(lake, "production", "promote", digest=champion, version=1, actor="ann", reason="test")
    second = recorded(materialize(lake, tmp_path, [recipe], recipe={"detector": "yolov8n"}), "recipe")
    assert second["initial_weights"] == f"champion {champion}"
    assert first["digest"] != second["digest"]
    assert candidates.plan(lake).recipe.champion == champion
    assert f"Goes on from the weights of the champion {champion}." in str(second["why"])
    assert "detector_change" not in second
    followed = recorded(
        materialize(lake, tmp_path, [recipe]), "recipe"
    )  # the photographs are real: it follows all the same
    assert followed["digest"] == second["digest"]
    assert f"the champion {champion} is followed" in candidates.plan(lake).why[0]
    other = recorded(materialize(lake, tmp_path, [recipe], recipe={"detector": "faster_rcnn"}), "recipe")
    assert other["initial_weights"] == "imagenet"
    assert other["detector_change"] == "from yolov8n to faster_rcnn"
    assert "since this run asks for it" in str(other["why"])


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_golden_figures_reach_the_registry(lake: Lake, tmp_path: Path) -> None:
    dirt = {"cause": "dirt", "x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0}
    dataset = tiny_dataset(lake, negatives={"test0": [dirt]})
    golden.write(lake, Golden(1, ("test0", "test1", "test2")))
    old, new = (made_up_model(lake, name, dataset=dataset) for name in (b"old", b"new"))
    record(lake, "production", "promote", digest=old, version=1, actor="ann", reason="test")
    plan = candidates.Plan(dataset=dataset, recipe=Recipe(), label_state=14, seen_at=datetime(2026, 3, 4, tzinfo=UTC))
    candidates.write(lake, plan, new)
    result = materialize(lake, tmp_path, [evaluation, registered_model])
    metadata = recorded(result, "evaluation")
    assert (metadata["golden_version"], metadata["dataset_version"], metadata["champion"]) == (1, dataset, old)
    assert "champion_comparison" in metadata
    assert [record["cause"] for record in table(metadata["false_alarms_by_cause"])] == ["dirt", "none named"]
    [version] = versions(MlflowTracking(home=str(tmp_path)).tracking())
    assert (version.digest, version.aliases) == (new, (CANDIDATE,))
    assert version.figures["map50"] == pytest.approx(1.0)
    # The registry keeps all digits, the UI shows four.
    assert metadata["map50"] == significant(version.figures["map50"])
    assert trained_state(lake) == 14
    assert trained_at(lake) == plan.seen_at
