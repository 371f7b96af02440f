"""A Dagster run in a process of its own: python -m carsdepo_assets_tests.orchestration.dagster_run FOLDER RUN_ID."""

import os
import sys
from pathlib import Path

import dagster as dg

from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.registry.resources import MlflowTracking

WORKER = "carsdepo_assets_tests.compute.pretend_worker"
FOLDER = "CARSDEPO_TEST_FOLDER"
DOES = "CARSDEPO_TEST_DOES"
POOL = "training"


@dg.asset(pool=POOL)
def model(context: dg.AssetExecutionContext, compute: LocalCompute, mlflow: MlflowTracking) -> dg.MaterializeResult:
    with mlflow.during(context) as run_id:
        spec = {"does": os.environ[DOES], "pids": f"{os.environ[FOLDER]}/pids", "run": run_id}
        return compute.run(context, "train", spec, module=WORKER)


def instance_in(folder: Path) -> dg.DagsterInstance:
    """SQLite in the folder, telemetry off, pools of one slot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(
        "telemetry:\n  enabled: false\nrun_retries:\n  enabled: true\n  max_retries: 0\n"
        "concurrency:\n  pools:\n    granularity: op\n    default_limit: 1\n"
    )
    return dg.DagsterInstance.local_temp(str(folder))


def resources(home: str) -> dict[str, object]:
    return {"compute": LocalCompute(grace_s=2, poll_s=0.1), "mlflow": MlflowTracking(home=home)}


def make_job() -> dg.JobDefinition:
    """Runs its step in a second process, as `dagster dev` does."""
    return dg.Definitions(
        assets=[model], jobs=[dg.define_asset_job("train")], resources=resources(os.environ[FOLDER])
    ).resolve_job_def("train")


if __name__ == "__main__":
    with instance_in(Path(sys.argv[1]) / "dagster") as instance:
        run = instance.create_run_for_job(make_job(), run_id=sys.argv[2])
        from dagster._core.execution.api import execute_run

        result = execute_run(dg.reconstructable(make_job), run, instance)
        sys.exit(0 if result.success else 1)
