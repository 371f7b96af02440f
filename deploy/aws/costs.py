"""What a month of an environment costs, by stack: an estimate from the dated prices and assumptions of prices.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.aws.account import DeployError
from deploy.aws.parameters import SIZES, read_sizes
from deploy.aws.templates import FOLDER, ORDER, declared, template

RELEASES = "endpoints and jobs, which releases and runs make"
_PHOTOGRAPH_GB = 570e3 / 1e9  # as uploaded and processed, as in benchmarks/plan
_SERVICES = {"webserver": "WebserverCount", "viewer": "WebserverCount", "daemon": None, "mlflow": None}


def estimate(size: str, environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """US dollars a month by stack, and of what releases and runs make.

    Args:
        size: of parameters.SIZES.
        environment: parameters that go before those of the size; None: none.

    Raises:
        DeployError: There is no such size, or the table has no price for an instance type that a parameter names.
    """
    table: dict[str, Any] = json.loads((FOLDER / "prices.json").read_text())
    sizes = read_sizes(size)
    use = table["usage"][size]
    given = {stack: {**_defaults(stack), **sizes.get(stack, {}), **(environment or {})} for stack in ORDER}
    hours, hourly, monthly = table["hours"], table["per_hour"], table["per_month"]

    def price(kind: str) -> float:
        if kind not in hourly:
            raise DeployError(f"deploy/aws/prices.json has no price of {kind}: add it there.")
        return float(hourly[kind])

    def fargate(cpu: str, memory: str) -> float:
        return float(int(cpu) / 1024 * price("fargate_vcpu") + int(memory) / 1024 * price("fargate_gb"))

    network, data, dagster, gpu = given["network"], given["data"], given["dagster"], given["gpu"]
    endpoints = _count("network", "AWS::EC2::VPCEndpoint") - 1  # that of S3 costs nothing
    costs = dict.fromkeys(ORDER, 0.0)
    if network["NatGateway"] == "true":
        costs["network"] += hours * price("nat_gateway") + use["nat_gb"] * table["per_gb"]["nat_gateway"]
    if network["InterfaceEndpoints"] == "true":
        costs["network"] += 2 * endpoints * hours * price("interface_endpoint")
    databases = 2 if data["DatabaseStandby"] == "true" else 1
    costs["data"] = (
        databases * (hours * price(data["DatabaseClass"]) + int(data["DatabaseGb"]) * monthly["database_gb"])
        + use["lake_gb"] * monthly["lake_gb"]
        + use["image_gb"] * monthly["image_gb"]
        + 2 * monthly["secret"]
        + use["uploads_million"] * (3 * table["per_million"]["queue_requests"] + 3 * table["per_million"]["s3_puts"])
    )
    costs["catalogue"] = use["athena_tb"] * table["athena_tb"]
    server = fargate(dagster["ServerCpu"], dagster["ServerMemory"])
    servers = sum(int(dagster[count]) if count else 1 for count in _SERVICES.values())
    costs["dagster"] = (
        hours * (servers * server + fargate(dagster["CodeCpu"], dagster["CodeMemory"]))
        + hours * (int(dagster["CodeDiskGb"]) - 20) * price("fargate_disk_gb")  # 20 GB are in a task's price
        + hours * (price("load_balancer") + price("load_balancer_unit"))
        + use["log_gb"] * table["per_gb"]["logs"]
        + monthly["secret"]
        + 40 * monthly["insights_metric"]
    )
    on_ecs = dagster["Place"] == "ecs"
    costs["gpu"] = use["training_hours"] * price(gpu["GpuInstance"]) * table["spot_share"] if on_ecs else 0.0
    requests = use["requests_million"]
    costs["front"] = (
        monthly["web_acl"]
        + 2 * monthly["web_acl_rule"]
        + requests * (table["per_million"]["api_requests"] + table["per_million"]["web_acl_requests"])
        + requests * table["per_million"]["lambda_requests"]
        + requests * 1e6 * use["lambda_s"] * 0.5 * table["lambda_gb_second"]
    )
    costs["observe"] = (
        _count("observe", "AWS::CloudWatch::Alarm") * monthly["alarm"]
        + _count("observe", "AWS::CloudWatch::CompositeAlarm") * monthly["composite_alarm"]
        + monthly["dashboard"]
    )
    costs[RELEASES] = (
        (hours * int(dagster["EndpointInstances"]) + use["staging_hours"]) * price(dagster["EndpointInstance"])
        + use["run_hours"] * fargate(dagster["RunCpu"], dagster["RunMemory"])
        + use["job_hours"] * fargate(dagster["WorkerCpu"], dagster["WorkerMemory"])
        + (0.0 if on_ecs else use["training_hours"] * price(dagster["TrainInstance"]) * table["spot_share"])
    )
    return costs


def text(size: str, environment: Mapping[str, str] | None = None) -> str:
    """The estimate as people read it."""
    table = json.loads((FOLDER / "prices.json").read_text())
    costs = estimate(size, environment)
    lines = [f"A month of size {size}, estimated (prices of {table['region']}, {table['as_of']}: {table['source']}):"]
    lines += [f"  {_number(amount):>8} USD  {stack}" for stack, amount in costs.items()]
    use = "; ".join(f"{_ASSUMED[key]}: {_number(value)}" for key, value in table["usage"][size].items())
    lines += [f"  {_number(sum(costs.values())):>8} USD  together", f"Assumed use in a month: {use}."]
    return "\n".join(lines)


# What each stack's money is for, in the documentation's table.
_FOR = {
    "network": "VPC, NAT gateway; large also 15 VPC endpoints",
    "data": "lake, queues, images, PostgreSQL; medium and large with a standby",
    "catalogue": "tables for Athena",
    "roles": "who may do what",
    "dagster": "five services on Fargate, load balancer, logs",
    "gpu": "machines with GPUs, none while no job wants one; small trains on SageMaker",
    "front": "API Gateway, function, web ACL",
    "observe": "alarms, dashboard",
}

# The assumptions of prices.json, in the order of the documentation's table.
_ASSUMED = {
    "photographs_a_day": "photographs a day",
    "lake_gb": "GB in the lake",
    "image_gb": "GB of images in ECR",
    "log_gb": "GB of logs",
    "nat_gb": "GB through the NAT gateway",
    "uploads_million": "millions of uploads",
    "requests_million": "millions of inspections",
    "lambda_s": "seconds of the front's function for an inspection",
    "run_hours": "hours of runs on Fargate",
    "job_hours": "hours of the worker's jobs on Fargate",
    "training_hours": "hours of training",
    "staging_hours": "hours of the staging endpoint",
    "athena_tb": "TB that Athena reads",
}


def table() -> str:
    """The estimates of all sizes as a table of Markdown, with the date of the prices and the assumed use."""
    prices = json.loads((FOLDER / "prices.json").read_text())
    estimates, use = {size: estimate(size) for size in SIZES}, prices["usage"]
    rows = [
        f"| US dollars a month, {prices['region']}, prices of {prices['as_of']} | {' | '.join(SIZES)} |",
        "|---|" + "---:|" * len(SIZES),
        _row(_ASSUMED["photographs_a_day"], [use[size]["photographs_a_day"] for size in SIZES]),
    ]
    for part in (*ORDER, RELEASES):
        name = f"`{part}`: {_FOR[part]}" if part in _FOR else part
        rows.append(_row(name, [estimates[size][part] for size in SIZES]))
    rows.append(_row("**together**", [sum(estimates[size].values()) for size in SIZES]))
    below = {key: meaning for key, meaning in _ASSUMED.items() if key != "photographs_a_day"}
    rows += [_row(meaning, [use[size][key] for size in SIZES]) for key, meaning in below.items()]
    grows = [use[size]["photographs_a_day"] * 30 * _PHOTOGRAPH_GB * prices["per_month"]["lake_gb"] for size in SIZES]
    return "\n".join([*rows, _row("each further month of photographs adds, for good", grows)])


def _row(name: str, values: Sequence[float]) -> str:
    return f"| {name} | {' | '.join(map(_number, values))} |"


def _number(value: float) -> str:
    """As people read it, on the terminal and in the documentation alike."""
    return f"{value:,.0f}" if value == int(value) or value >= 10 else f"{value:,.1f}"


def _defaults(stack: str) -> dict[str, str]:
    return {k: str(v["Default"]) for k, v in declared(stack).items() if "Default" in v}


def _count(stack: str, kind: str) -> int:
    return sum(resource["Type"] == kind for resource in template(stack)["Resources"].values())
