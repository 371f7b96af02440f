"""A code location whose runs wait for a file, for tests of what happens around them meanwhile."""

import os
import time
from pathlib import Path

import dagster as dg

from carsdepo_assets.orchestration.attempts import RETRY_TAGS
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.training.sensors import settle_runs

FOLDER = "CARSDEPO_TEST_FOLDER"
LIMIT_S = 240.0


class Waits(dg.Config):
    name: str


@dg.asset
def waited(context: dg.AssetExecutionContext, config: Waits) -> dg.MaterializeResult:
    """Writes NAME.started with its process, and ends when NAME.go is there."""
    folder = Path(os.environ[FOLDER])
    with (folder / f"{config.name}.started").open("a") as file:
        file.write(f"{os.getpid()}\n")
    limit = time.monotonic() + LIMIT_S
    while not (folder / f"{config.name}.go").exists():
        if time.monotonic() > limit:
            raise TimeoutError(f"{config.name}.go did not come")
        time.sleep(0.1)
    return dg.MaterializeResult(metadata={"name": config.name})


@dg.definitions
def defs() -> dg.Definitions:
    """The location of the code server."""
    return dg.Definitions(
        assets=[waited],
        jobs=[dg.define_asset_job("wait", selection=[waited], tags=RETRY_TAGS)],
        sensors=[settle_runs],
        resources={"tracking": MlflowTracking(home=os.environ[FOLDER])},
        executor=dg.in_process_executor,
    )
