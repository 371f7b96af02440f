"""Which resource stands behind each name: the only place that knows."""

from __future__ import annotations

from typing import Any

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource, ServicesResource
from carsdepo_assets.settings import Settings


def local(settings: Settings) -> dict[str, Any]:
    """One machine: a folder (or an S3 URL) as lake, subprocesses, MLflow on SQLite, services beside it."""
    return {
        "lake": LakeResource(url=settings.lake, home=str(settings.home), site=settings.service_url("production")),
        "policy": PolicyResource(file=str(settings.policy_file)),
        "compute": LocalCompute(s3_bucket=settings.pipes_bucket, variables=settings.variables()),
        "tracking": MlflowTracking(home=str(settings.home), uri=settings.mlflow_server),
        "services": ServicesResource(
            production=settings.service_url("production"),
            staging=settings.service_url("staging"),
            api_key=settings.api_key,
        ),
        "alerts": AlertsResource(
            webhook=settings.alert_webhook,
            urls=list(settings.alert_urls),
            dagster_url=f"http://127.0.0.1:{settings.dagster_port}",
        ),
    }


def resources(settings: Settings) -> dict[str, Any]:
    """The resources of settings.environment."""
    return {"local": local}[settings.environment](settings)
