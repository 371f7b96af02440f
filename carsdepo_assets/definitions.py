"""The whole graph: the definitions of every step merged, with the resources of this environment."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from carsdepo_assets.alerts import definitions as alerts
from carsdepo_assets.business import definitions as business
from carsdepo_assets.compute.settings_file import check_assets
from carsdepo_assets.data import definitions as data
from carsdepo_assets.environments import resources
from carsdepo_assets.experiments import definitions as experiments
from carsdepo_assets.inference import definitions as inference
from carsdepo_assets.monitoring import definitions as monitoring
from carsdepo_assets.orchestration import redacted_errors
from carsdepo_assets.release import definitions as release
from carsdepo_assets.settings import Settings
from carsdepo_assets.training import definitions as training

STEPS = (data, experiments, training, release, inference, monitoring, business, alerts)


def graph(by_name: Mapping[str, Any]) -> dg.Definitions:
    """The definitions of every step merged.

    Args:
        by_name: the resources that assets ask for.

    Raises:
        ComputeSettingsError: the file that says where jobs run names an asset that is not there.
    """
    merged = dg.Definitions.merge(
        *(step.defs for step in STEPS),
        dg.Definitions(
            resources=by_name,
            # One process a run: an ingest run costs seconds, and training is a process of its own anyway.
            executor=dg.in_process_executor,
        ),
    )
    check_assets(by_name["compute"], [key.to_user_string() for key in merged.resolve_all_asset_keys()])
    return merged


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads: `dagster dev`, `dg` and the `carsdepo` command all start here."""
    redacted_errors.install()
    return graph(resources(Settings.read()))
