"""What the tests of the ECS client share: an emulated account, and a Dagster asset that runs a worker in it."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from carsdepo_assets.compute.pipes.ecs_calls import TaskLimits
from carsdepo_assets.compute.pipes.ecs_request import CapacityProvider
from carsdepo_assets.compute.pipes.ecs_task import PipesECSTaskClient
from deploy.emulators.ecs_on_moto import EcsOnMoto
from deploy.emulators.ecs_tasks import EmulatedTask

BUCKET = "jobs"
MARKS = "marks"  # prefix of what a worker and its test tell one another
SPOT = CapacityProvider("FARGATE_SPOT", spot=True, price_per_hour=36.0)
ON_DEMAND = CapacityProvider("FARGATE", price_per_hour=72.0)
QUICK = TaskLimits(
    poll_s=0.05, poll_most_s=0.1, starts=4, patience_s=30, short_patience_s=3, missing_polls=3, stop_s=20,
    interruptions=2,
)  # fmt: skip
ENTRYPOINT = str(Path(__file__).parents[2] / "deploy" / "images" / "entrypoint.py")
WORKER = [sys.executable, str(Path(__file__).with_name("ecs_worker.py"))]


def task_params(does: str) -> dict[str, Any]:
    """What run_task is given for a worker that does as told."""
    task = json.dumps({"does": does, "bucket": BUCKET, "marks": MARKS})
    override = {"name": "worker", "command": [task]}
    return {"cluster": "c", "taskDefinition": "train", "overrides": {"containerOverrides": [override]}}


@dataclass
class Account:
    """An emulated account with a cluster, a task definition and a bucket."""

    ecs: EcsOnMoto
    instance: dg.DagsterInstance
    limits: TaskLimits = QUICK

    def run(self, does: str, *, job: str = "job-1", key: str = "STEP", **options: Any) -> dg.ExecuteInProcessResult:
        """Materializes an asset whose worker does as told; failures are in the result."""
        params = task_params(does) | options.pop("params", {})
        limits = options.pop("limits", self.limits)
        if "session" in options:
            client = PipesECSTaskClient(BUCKET, "pipes", session=options.pop("session"), limits=limits)
        else:
            given = self.ecs.client("ecs", key), self.ecs.client("s3"), self.ecs.client("logs")
            client = PipesECSTaskClient(BUCKET, "pipes", *given, limits)
        options.setdefault("providers", (SPOT, ON_DEMAND))

        @dg.asset
        def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            done = client.run(context=context, job_name=job, run_task_params=params, **options)
            return done.get_materialize_result(implicit_materialization=False)

        return dg.materialize([model], instance=self.instance, raise_on_error=False)

    def mark(self, name: str) -> None:
        """Tells the workers something."""
        self.ecs.client("s3").put_object(Bucket=BUCKET, Key=f"{MARKS}/{name}", Body=b"")

    def started(self) -> int:
        """How many workers have begun."""
        listed = self.ecs.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{MARKS}/started/")
        return int(listed.get("KeyCount", 0))

    def wait_for_mark(self, name: str, seconds: int = 20) -> None:
        """Waits until a worker has set a mark."""
        s3 = self.ecs.client("s3")
        for _ in range(20 * seconds):
            if s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{MARKS}/{name}").get("KeyCount"):
                return
            self.pause()
        raise TimeoutError(f"No worker has set the mark {name}.")

    def pause(self) -> None:
        """Lets a moment pass."""
        threading.Event().wait(0.05)

    def first_task(self, seconds: int = 20) -> EmulatedTask:
        """The first task, as soon as it is there."""
        for _ in range(20 * seconds):
            if self.ecs.tasks():
                return self.ecs.tasks()[0]
            self.pause()
        raise TimeoutError("No task was started.")


@contextmanager
def account(folder: Path) -> Iterator[Account]:
    """An account in which the image worker:1 runs ecs_worker.py."""
    with EcsOnMoto(folder, {"worker:1": WORKER}) as ecs, dg.DagsterInstance.ephemeral() as instance:
        client = ecs.client("ecs")
        client.create_cluster(clusterName="c")
        define(client)
        ecs.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": client.meta.region_name}
        )
        yield Account(ecs, instance)


def define(client: Any, image: str = "worker:1", family: str = "train", **more: Any) -> None:
    """Registers a task definition with one container named worker."""
    client.register_task_definition(
        family=family,
        containerDefinitions=[
            {"name": "worker", "image": image, "essential": True, "memory": 512, "stopTimeout": 60, **more}
        ],
    )


def meanwhile(act: Callable[[], object]) -> threading.Thread:
    """Acts while the test runs a job."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def failure(result: dg.ExecuteInProcessResult) -> str:
    """All that a failed step says."""
    assert not result.success
    [failed] = [e for e in result.all_node_events if e.is_step_failure]
    data = failed.step_failure_data
    assert data.error is not None
    return data.error.to_string() + str(data.user_failure_data)


def logged(account: Account, result: dg.ExecuteInProcessResult) -> str:
    """All messages of a run."""
    return "\n".join(e.user_message for e in account.instance.all_logs(result.run_id))


def facts(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the asset."""
    assert result.success, [e.message for e in result.all_node_events if e.is_step_failure]
    [event] = result.asset_materializations_for_node("model")
    return {name: value.value for name, value in event.metadata.items()}
