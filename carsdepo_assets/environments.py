"""Which resource stands behind each name in each environment; no other module decides that."""

from __future__ import annotations

from typing import Any

import dagster as dg

from carsdepo_assets.alerts.resources import AlertsResource, FiguresResource
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.settings_file import read_compute
from carsdepo_assets.redaction import without_credentials
from carsdepo_assets.registry.resources import MlflowTracking, ModelSigning
from carsdepo_assets.release.sagemaker_services import SageMakerServicesResource
from carsdepo_assets.release.sagemaker_settings import read_endpoints
from carsdepo_assets.resources import AccountLake, LakeResource, PolicyResource, ServicesResource, StudyStorage
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_variables import plain


def local(settings: Settings) -> dict[str, Any]:
    """The resources of one machine: a folder (or an S3 URL) as the lake, subprocesses for training, MLflow on SQLite.

    Jobs run on ECS or SageMaker where the file that CARSDEPO_COMPUTE names says so.

    Secrets are given as names of environment variables, since Dagster shows every value of a resource's configuration.

    Args:
        settings: the addresses, folders and variables of this machine.

    Returns:
        The resources by the names that assets ask for.
    """
    home, named, server = str(settings.home), settings.policy_named, plain(settings.mlflow_server)
    return {
        "lake": LakeResource(**_lake(settings)),
        "policy": PolicyResource(
            files=[str(layer.path) for layer in settings.policy_files if not layer.required],
            file=str(named) if named else None,
        ),
        "compute": read_compute(
            settings.compute_file,
            LocalCompute(
                s3_bucket=settings.pipes_bucket, variables=settings.variables(), secrets=list(settings.worker_secrets())
            ),
            without_credentials(server or ""),
            {} if settings.metrics_namespace is None else {"CARSDEPO_METRICS_NAMESPACE": settings.metrics_namespace},
        ),
        "tracking": MlflowTracking(home=home, uri=_named("CARSDEPO_MLFLOW", settings.mlflow_server)),
        "studies": StudyStorage(home=home, uri=_named("CARSDEPO_STUDIES", settings.studies)),
        "signing": ModelSigning(private=str(settings.signing_key), public=str(settings.verification_key)),
        "services": _services(settings),
        "alerts": AlertsResource(
            webhook=_named("CARSDEPO_ALERT_WEBHOOK", settings.alert_webhook),
            urls=[dg.EnvVar("CARSDEPO_ALERT_URLS")] if settings.alert_urls else [],
            topic=settings.alert_topic,
            dagster_url=settings.dagster_for_people,
        ),
        "figures": FiguresResource(namespace=settings.metrics_namespace),
    }


def aws(settings: Settings) -> dict[str, Any]:
    """The resources of an AWS account: what `local` has, where `Settings` has made sure that nothing is on this disk.

    The lake is in S3, jobs run where the file that CARSDEPO_COMPUTE names says so, MLflow is a server, alerts go to an
    SNS topic where one is named, and figures to CloudWatch. Nothing of AWS is asked, and boto3 not imported, before the
    first use.

    Args:
        settings: of an installation in an AWS account.

    Returns:
        The resources by the names that assets ask for: the same names as of `local`.
    """
    return local(settings) | {"lake": AccountLake(**_lake(settings))}


def _lake(settings: Settings) -> dict[str, Any]:
    return {
        "url": settings.lake,
        "home": str(settings.home),
        "site": settings.site_for_people,
        "uploads_queue": settings.uploads_queue,
        "labels_queue": settings.labels_queue,
        "inventory": settings.inventory,
    }


def _services(settings: Settings) -> ServicesResource:
    """The services over HTTP, or SageMaker's endpoints where CARSDEPO_ENDPOINTS names a file."""
    if settings.endpoints_file is None:
        return ServicesResource(
            production=settings.service_url("production"),
            staging=settings.service_url("staging"),
            api_key=_named("CARSDEPO_API_KEY", settings.api_key),
        )
    named = settings.policy_named
    return SageMakerServicesResource(
        production=settings.service_url("production"),
        lake=settings.lake,
        endpoints=read_endpoints(settings.endpoints_file, settings.lake).model_dump_json(),
        verification_key=str(settings.verification_key),
        policy_files=[str(layer.path) for layer in settings.policy_files if not layer.required],
        policy_file=str(named) if named else None,
        models_queue=settings.models_queue,
    )


def _named(variable: str, secret: object) -> dg.EnvVar | None:
    """The variable that Dagster reads when the resource is used; None where it is unset, which would be an error."""
    return None if secret is None else dg.EnvVar(variable)


def resources(settings: Settings) -> dict[str, Any]:
    """The resources of the environment that `settings.environment` names, by the names that assets ask for."""
    return {"local": local, "aws": aws}[settings.environment](settings)
