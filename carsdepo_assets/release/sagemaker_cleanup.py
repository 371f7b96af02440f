"""Removes what costs money and serves nobody: idle staging endpoints, and configurations and models left behind.

What any endpoint of the account names, or any configuration that stays, is never removed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from carsdepo_assets.lake import data_capture
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry.ledger import Stage
from carsdepo_assets.release.sagemaker_asked import keep_asked, read_asked
from carsdepo_assets.release.sagemaker_calls import described, listed, removed
from carsdepo_assets.release.sagemaker_plan import is_ours
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings

# What was made so lately may be about to be used: between its creation and its endpoint there is a moment.
KEPT_AT_LEAST = timedelta(hours=1)


def remove_idle(
    lake: Lake,
    settings: EndpointsSettings,
    clients: Callable[[str], Any],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> str | None:
    """Removes staging's endpoint where nobody has asked it anything for `idle_minutes`.

    That it was removed is noted before it is, so that it is not taken for one that somebody deleted.

    Args:
        lake: keeps the note.
        settings: of the endpoints.
        clients: of boto3, by service: sagemaker and cloudwatch.
        now: the present.

    Returns:
        A sentence about the removal; None where there was none.
    """
    own = settings.staging
    if own.idle_minutes is None:
        return None
    sagemaker = clients("sagemaker")
    standing = described(sagemaker, "endpoint", EndpointName=own.endpoint)
    if standing is None or standing["EndpointStatus"] != "InService":
        return None
    idle_since = now() - timedelta(minutes=own.idle_minutes)
    asked = read_asked(lake, own.endpoint)
    if asked is None or asked.served_at is None:  # never seen to serve: a release is under way, or it is not ours
        return None
    if max(standing["LastModifiedTime"], asked.served_at) > idle_since:
        return None
    answer = clients("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[
            {"Name": "EndpointName", "Value": own.endpoint},
            {"Name": "VariantName", "Value": data_capture.VARIANT},
        ],
        StartTime=idle_since,
        EndTime=now(),
        Period=60 * math.ceil(own.idle_minutes),
        Statistics=["Sum"],
    )
    if any(point["Sum"] > 0 for point in answer["Datapoints"]):
        return None
    noted = asked.model_copy(update={"idle_removed_at": now()})
    keep_asked(lake, own.endpoint, noted)
    removed(sagemaker, "endpoint", EndpointName=own.endpoint)
    return f"{own.endpoint} was removed: nobody had asked it anything for {own.idle_minutes} minutes."


def remove_left_behind(
    settings: EndpointsSettings,
    wanted: set[str],
    sagemaker: Any,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[str]:
    """Removes configurations and models that `plan` named and that nothing uses any more.

    Args:
        settings: of the endpoints.
        wanted: names that are wanted now, whether an endpoint has them yet or not.
        sagemaker: a boto3 client.
        now: the present.

    Returns:
        The names of what was removed. While an endpoint is being changed nothing is removed.
    """
    used = set(wanted)
    for entry in listed(sagemaker, "endpoints", "Endpoints"):
        endpoint = described(sagemaker, "endpoint", EndpointName=entry["EndpointName"])
        if endpoint is None:
            continue
        if endpoint["EndpointStatus"] not in ("InService", "Failed", "OutOfService"):
            return []  # which configurations it goes from and to is not told
        used.add(endpoint["EndpointConfigName"])
    models_in_use = set(used)  # a model has its configuration's name, which somebody may have deleted
    gone = []
    for entry in list(listed(sagemaker, "endpoint_configs", "EndpointConfigs")):
        name = entry["EndpointConfigName"]
        old = now() - entry["CreationTime"] > KEPT_AT_LEAST
        if old and name not in used and _made_here(settings, name):
            if removed(sagemaker, "endpoint_config", EndpointConfigName=name):
                gone.append(name)
            continue
        config = described(sagemaker, "endpoint_config", EndpointConfigName=name) or {}
        variants = [*config.get("ProductionVariants", ()), *config.get("ShadowProductionVariants", ())]
        models_in_use |= {variant["ModelName"] for variant in variants if "ModelName" in variant}
    for entry in list(listed(sagemaker, "models", "Models")):
        name = entry["ModelName"]
        old = now() - entry["CreationTime"] > KEPT_AT_LEAST
        if (
            old
            and name not in models_in_use
            and _made_here(settings, name)
            and removed(sagemaker, "model", ModelName=name)
        ):
            gone.append(name)
    return sorted(set(gone))


def _made_here(settings: EndpointsSettings, name: str) -> bool:
    return any(is_ours(name, settings.stage(stage).endpoint) for stage in get_args(Stage))
