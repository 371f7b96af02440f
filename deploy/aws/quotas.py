"""The quotas of an account that a size needs, by its parameters: those that a new account has not, or often has not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.aws.parameters import SIZES, read_sizes

_GPU_VCPUS = {"xlarge": 4, "2xlarge": 8, "4xlarge": 16}  # of g5 and g6
RUNS = 60  # max_concurrent_runs in deploy/dagster/aws.yaml; a test compares them
SERVERS = 5  # services, of which two are webservers and one is the code server
_SPARE = 1.5  # two generations of a service at once, and jobs that are stopping


def needed(size: str) -> dict[tuple[str, str], int]:
    """By service and name, as Service Quotas has them, what to ask for."""
    return {(service, name): number for service, name, number in _rows(read_sizes(size))}


def _rows(given: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, int]]:
    dagster, gpu, front = given["dagster"], given["gpu"], given["front"]
    vcpus = {key: int(dagster[key]) / 1024 for key in ("ServerCpu", "CodeCpu", "RunCpu", "WorkerCpu")}
    if dagster["Place"] == "sagemaker":
        for kind in ("for training job usage", "for spot training job usage"):
            yield "SageMaker", f"{dagster['TrainInstance']} {kind}", 1
    else:
        machines = int(gpu["GpuMost"]) * _GPU_VCPUS[gpu["GpuInstance"].partition(".")[2]]
        for name in ("Running On-Demand G and VT instances", "All G and VT Spot Instance Requests"):
            yield "EC2", f"{name} (vCPUs)", machines
    # An update has the instances twice, and staging has one more.
    instances = 2 * int(dagster["EndpointInstances"]) + 1
    yield "SageMaker", f"{dagster['EndpointInstance']} for endpoint usage", instances
    yield "SageMaker", "Maximum total instances across active endpoints", instances
    servers = (SERVERS - 3 + 2 * int(dagster["WebserverCount"])) * vcpus["ServerCpu"] + vcpus["CodeCpu"]
    yield "Fargate", "Fargate On-Demand vCPU resource count", round(_SPARE * (servers + RUNS * vcpus["RunCpu"]))
    yield "Fargate", "Fargate Spot vCPU resource count", round(RUNS * vcpus["WorkerCpu"])
    yield "Lambda", "Concurrent executions", int(front["Concurrency"]) + 100  # that many must remain unreserved
    yield "EC2", "EC2-VPC Elastic IPs", 1
    yield "VPC", "VPCs per Region", 1


def table() -> str:
    """The quotas of all sizes as a table of Markdown."""
    by_size = {size: needed(size) for size in SIZES}
    names = dict.fromkeys(key for size in SIZES for key in by_size[size])
    rows = [f"| service | quota | {' | '.join(SIZES)} |", "|---|---|" + "---:|" * len(SIZES)]
    for service, name in names:
        values = [by_size[size].get((service, name)) for size in SIZES]
        rows.append(f"| {service} | `{name}` | {' | '.join('' if v is None else f'{v:,}' for v in values)} |")
    return "\n".join(rows)
