"""What the asset catalogue shows of every asset besides its description: owners, tags, code version, source."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import ModuleType

import dagster as dg

from carsdepo_assets.orchestration.code_version import code_version_of

OWNERS = ("team:ml-platform",)
STEP_TAG = "carsdepo/step"
UNIT_TAG = "carsdepo/unit_of_work"


def catalogued_assets(step: str, *modules: ModuleType) -> Sequence[dg.AssetsDefinition]:
    """The assets of some modules, each with owners, tags, a code version and a reference to its source.

    Args:
        step: the step that the assets belong to; it becomes the tag `carsdepo/step`.
        modules: the modules in which the assets are defined, each with its own code version.

    Returns:
        The assets, ready for `dagster.Definitions`.
    """
    described = [asset for module in modules for asset in _described(step, module)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # the link from the UI to the code is beta in Dagster 1.13
        linked = dg.with_source_code_references(described)
    return [asset for asset in linked if isinstance(asset, dg.AssetsDefinition)]


def _described(step: str, module: ModuleType) -> list[dg.AssetsDefinition]:
    version = code_version_of(module.__name__)

    def with_attributes(spec: dg.AssetSpec) -> dg.AssetSpec:
        tags = {STEP_TAG: step, UNIT_TAG: _unit_of_work(spec.partitions_def)}
        return spec.replace_attributes(owners=OWNERS, code_version=version).merge_attributes(tags=tags)

    assets = [asset for asset in dg.load_assets_from_modules([module]) if isinstance(asset, dg.AssetsDefinition)]
    return [asset.map_asset_specs(with_attributes) for asset in assets]


def _unit_of_work(partitions: dg.PartitionsDefinition | None) -> str:
    """What one run of an asset works on: `upload_batch`, `label_batch`, `day`; `all` without partitions."""
    if isinstance(partitions, dg.DynamicPartitionsDefinition):
        return partitions.name or "batch"
    return "day" if isinstance(partitions, dg.DailyPartitionsDefinition) else "all"
