"""orchestration/catalogue.py: what every asset of a step gets besides its own decorator's arguments."""

from pathlib import Path

import dagster as dg

from carsdepo_assets.data import assets as data_assets
from carsdepo_assets.inference import assets as inference_assets
from carsdepo_assets.orchestration.catalogue import OWNERS, catalogued_assets
from carsdepo_assets.orchestration.code_version import code_version_of
from carsdepo_assets.resources import LakeResource


def test_assets_keep_their_own_attributes_and_get_the_common_ones() -> None:
    specs = {asset.key.to_user_string(): next(iter(asset.specs)) for asset in catalogued_assets("data", data_assets)}
    assert set(specs) == {"uploads", "images", "processed_images", "labels", "dataset"}
    for name, spec in specs.items():
        assert list(spec.owners) == list(OWNERS)
        assert spec.code_version == code_version_of("carsdepo_assets.data.assets")
        assert spec.tags["carsdepo/step"] == "data"
        assert spec.metadata["dagster/code_references"].code_references[0].file_path == data_assets.__file__
        own = next(iter(getattr(data_assets, name).specs))
        assert (spec.group_name, spec.kinds, spec.description) == (own.group_name, own.kinds, own.description)
        assert (spec.deps, spec.partitions_def) == (own.deps, own.partitions_def)
    units = {name: spec.tags["carsdepo/unit_of_work"] for name, spec in specs.items()}
    assert units == {
        "uploads": "upload_batch",
        "images": "upload_batch",
        "processed_images": "upload_batch",
        "labels": "label_batch",
        "dataset": "all",
    }


def test_a_materialization_records_the_code_version(tmp_path: Path) -> None:
    lake = LakeResource(url=str(tmp_path / "lake"), home=str(tmp_path))
    assets = catalogued_assets("inference", inference_assets)
    result = dg.materialize(assets, resources={"lake": lake}, partition_key="2026-03-01")
    [event] = result.asset_materializations_for_node("inference_log")
    assert event.tags is not None
    assert event.tags["dagster/code_version"] == code_version_of("carsdepo_assets.inference.assets")
