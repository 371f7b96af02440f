"""The versions of an endpoint that serves several: their archives below its prefix, and the one that callers name.

An archive's key says what is in it, and it is never overwritten: SageMaker may hold the old one on its instances. What
callers are to name is an object beside the archives. It follows the ledger, as all of SageMaker does, and changes once
the endpoint has answered with the version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from carsdepo_assets.compute.pipes.aws_errors import code_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import ModelFilesError
from carsdepo_assets.lake.target_models import TargetModel
from carsdepo_assets.registry.ledger import SERVES, Event, LedgerError, LedgerHistory, Stage
from carsdepo_assets.release.sagemaker_archive import ABSENT, ModelArchive, archive_of, ensure_archive, is_there
from carsdepo_assets.release.sagemaker_plan import versions_prefix
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings

# An archive stays so long after the ledger has let go of it: a caller may have read its name just before.
KEPT_AT_LEAST = timedelta(hours=1)


class CallersVersion(BaseModel):
    """What callers of an endpoint are to name; the front reads it, and nothing but release code writes it."""

    model_config = ConfigDict(frozen=True)

    target_model: str | None
    """TargetModel of InvokeEndpoint; None: the endpoint has one version, and no name is sent."""
    digest: str | None = None
    """Of the model."""
    sequence: int | None = None
    """The ledger's event."""


def callers_key(settings: EndpointsSettings, endpoint: str) -> str:
    """The key of what callers of an endpoint name, in the bucket of the archives."""
    return f"{settings.prefix}/callers/{endpoint}.json"


def read_callers(settings: EndpointsSettings, endpoint: str, s3: Any) -> CallersVersion | None:
    """What callers of an endpoint name; None where nothing, or nothing that can be read, says so."""
    try:
        body = s3.get_object(Bucket=settings.bucket, Key=callers_key(settings, endpoint))["Body"].read()
        return CallersVersion.model_validate_json(body)
    except ValidationError:
        return None
    except Exception as error:
        if code_of(error) not in ABSENT:
            raise
        return None


def put_callers(settings: EndpointsSettings, endpoint: str, version: CallersVersion, s3: Any) -> None:
    """Has the callers of an endpoint name a version from now on."""
    s3.put_object(
        Bucket=settings.bucket,
        Key=callers_key(settings, endpoint),
        Body=version.model_dump_json(indent=1).encode(),
        ContentType="application/json",
    )


def kept_events(history: LedgerHistory, settings: EndpointsSettings, stage: Stage) -> list[Event]:
    """The ledger's events of the versions that a stage's endpoint is to have; none where it has one version.

    They are, as many as `kept` allows and in this order: what the stage serves, what a rollback would go back to,
    staging's version where `candidate` asks for it, and what was served before, the newest first. A barred model is
    among them only where the ledger has the stage serve it.
    """
    several, served = settings.stage(stage).multi_model, history.served(stage)
    if several is None or served is None:
        return []
    wanted = [served]
    if stage == "production":
        with suppress(LedgerError):  # there is none
            wanted.append(history.rollback_target())
        staged = history.served("staging")
        if several.candidate and staged is not None:
            wanted.append(staged)
    wanted += [e for e in reversed(history.events) if e.stage == stage and e.action in SERVES]
    by_digest: dict[str, Event] = {}
    for event in wanted:
        if event.digest is not None and (event is served or event.digest not in history.barred):
            by_digest.setdefault(event.digest, event)
    return list(by_digest.values())[: several.kept]


def kept_archives(lake: Lake, settings: EndpointsSettings, stage: Stage) -> dict[str, ModelArchive]:
    """The archives that a stage's endpoint is to have, by the names that callers give.

    A version before the present one whose files are gone or damaged is left out: nobody can be given it.
    """
    archives: dict[str, ModelArchive] = {}
    for number, event in enumerate(kept_events(LedgerHistory.read(lake), settings, stage)):
        assert event.digest is not None
        try:
            archive = archive_of(lake, event.digest, settings.bucket, settings.prefix)
        except ModelFilesError:
            if number == 0:
                raise
            continue
        archives[TargetModel(archive.digest, archive.identity, event.version).name] = archive
    return archives


def ensure_versions(
    lake: Lake, settings: EndpointsSettings, endpoint: str, archives: Mapping[str, ModelArchive], s3: Any
) -> list[str]:
    """Puts those archives below an endpoint's prefix that are not there; returns their names.

    Args:
        lake: with the models.
        settings: of the endpoints.
        endpoint: its name.
        archives: by the names that callers give.
        s3: a boto3 client.
    """
    put = []
    for name, archive in archives.items():
        key = versions_prefix(settings, endpoint) + name
        if is_there(s3, settings.bucket, key):
            continue
        ensure_archive(lake, archive, s3)
        s3.copy_object(Bucket=settings.bucket, Key=key, CopySource={"Bucket": archive.bucket, "Key": archive.key})
        put.append(name)
    return put


def remove_leftover_versions(
    lake: Lake,
    settings: EndpointsSettings,
    s3: Any,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[str]:
    """Removes archives below the endpoints' prefixes that the ledger does not have kept, an hour after they came.

    What has no name of ours stays, and so does the version that callers name.

    Args:
        lake: with the ledger.
        settings: of the endpoints.
        s3: a boto3 client.
        now: the present.

    Returns:
        The keys of what was removed.
    """
    gone = []
    for stage in get_args(Stage):
        endpoint = settings.stage(stage).endpoint
        callers = read_callers(settings, endpoint, s3)
        kept = {*kept_archives(lake, settings, stage), callers.target_model if callers else None}
        prefix = versions_prefix(settings, endpoint)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=prefix)
        for entry in [entry for page in pages for entry in page.get("Contents", ())]:
            name = entry["Key"].removeprefix(prefix)
            if TargetModel.parse(name) is None or name in kept or now() - entry["LastModified"] <= KEPT_AT_LEAST:
                continue
            s3.delete_object(Bucket=settings.bucket, Key=entry["Key"])
            gone.append(str(entry["Key"]))
    return gone
