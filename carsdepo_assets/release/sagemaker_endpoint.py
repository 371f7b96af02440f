"""Makes a stage's endpoint follow the ledger, one look after the other: each look does what can be done now.

A model is deployed when the endpoint is InService, the configuration that DescribeEndpoint names is ours, and the
service behind it answers with the digest of the model. A look may be cut off at any call and repeated: what is made has
a name that follows from its content, and what was asked of SageMaker is noted before it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from carsdepo_assets.compute.pipes.aws_errors import code_of, explained, trouble_of
from carsdepo_assets.lake import data_capture
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.ledger import LedgerHistory, Stage
from carsdepo_assets.release.sagemaker_archive import archive_of, ensure_archive
from carsdepo_assets.release.sagemaker_asked import AskedOfSageMaker, keep_asked, read_asked
from carsdepo_assets.release.sagemaker_callers import EndpointVersions
from carsdepo_assets.release.sagemaker_calls import create_once, described, is_busy, is_there, removed
from carsdepo_assets.release.sagemaker_findings import EndpointFinding
from carsdepo_assets.release.sagemaker_packages import ensure_package, read_package, show_status
from carsdepo_assets.release.sagemaker_plan import EndpointPlan, finding_key, plan
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings
from carsdepo_assets.release.sagemaker_versions import ensure_versions

_UNDER_WAY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
Clients = Callable[[str], Any]
"""A boto3 client by the name of its service."""


@dataclass(frozen=True)
class EndpointState:
    """What a look at an endpoint has found, in the words of the service's own /healthz."""

    status: Literal["serving", "empty", "loading", "failed"]
    message: str
    """A sentence for people."""
    digest: str | None = None
    """Of the model that the service behind the endpoint says it serves."""
    health: dict[str, Any] = field(default_factory=dict)
    """The service's whole answer; empty where it was not asked."""
    is_final: bool = False
    """A failure that another look will not change."""
    findings: tuple[EndpointFinding, ...] = ()


class EndpointFollower:
    """Follows the ledger with the endpoint of a stage.

    Args:
        lake: with ledger and models.
        settings: of the endpoints.
        policy: by which the containers answer.
        verification_key: the public key (PEM) that must have signed the models.
        clients: of boto3, by service.
        now: the present.
    """

    def __init__(
        self,
        lake: Lake,
        settings: EndpointsSettings,
        policy: Policy,
        verification_key: str,
        clients: Clients,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lake, self._settings, self._policy = lake, settings, policy
        self._verification_key, self._clients, self._now = verification_key, clients, now
        self._versions = EndpointVersions(lake, settings, clients, now)

    def look(self, stage: Stage, *, wakes: bool = False, asks: bool = True) -> EndpointState:
        """Looks at an endpoint and does what can be done now; it waits for nothing.

        Args:
            stage: staging or production.
            wakes: whether an endpoint that was removed for being idle is made again.
            asks: whether the service is asked for its digest also where it was seen to serve the model before. A
                question counts as a request, so that a look that only watches asks once.
        """
        wanted = ledger.desired(self._lake, stage)
        if wanted is None or wanted.digest is None:
            return EndpointState("empty", f"The ledger has {stage} serve nothing.")
        name = self._settings.stage(stage).endpoint
        standing = described(self._clients("sagemaker"), "endpoint", EndpointName=name)
        asked = read_asked(self._lake, name)
        is_current = asked is not None and asked.sequence == wanted.sequence
        if standing is None and is_current and asked is not None and asked.idle_removed_at is not None and not wakes:
            return EndpointState(
                "empty",
                f"{name} was removed at {asked.idle_removed_at:%Y-%m-%d %H:%M} UTC: nobody had asked it anything for "
                f"{self._settings.stage(stage).idle_minutes} minutes. A release makes it again.",
            )
        status = "" if standing is None else str(standing["EndpointStatus"])
        if standing is not None and status in _UNDER_WAY:
            return self._under_way(name, standing)
        target = self._plan(stage, wanted)
        if standing is None:
            return self._create(stage, wanted, target, asked if is_current else None)
        if status != "InService":
            return self._failed(wanted, target, asked, standing)
        if standing["EndpointConfigName"] == target.name:
            return self._served(stage, wanted, target, asked, asks)
        rolled_back = self._rolled_back(wanted, target, asked, standing)
        if rolled_back is not None:
            return rolled_back
        return self._update(stage, wanted, target, asked, standing)

    def make_again(self, stage: Stage) -> tuple[EndpointFinding, ...]:
        """Makes what an endpoint needs for another instance and somebody deleted: its archive, Model or EndpointConfig.

        The endpoint goes on without them until an instance is replaced or added, so that a look does not notice.
        """
        wanted = ledger.desired(self._lake, stage)
        name, sagemaker = self._settings.stage(stage).endpoint, self._clients("sagemaker")
        standing = described(sagemaker, "endpoint", EndpointName=name)
        if wanted is None or wanted.digest is None or standing is None:
            return ()
        target = self._plan(stage, wanted)
        if (standing["EndpointStatus"], standing["EndpointConfigName"]) != ("InService", target.name):
            return ()
        archive = archive_of(self._lake, target.digest, self._settings.bucket, self._settings.prefix)
        lacking = [archive.url] if ensure_archive(self._lake, archive, self._clients("s3")) else []
        for kind, request in (("model", target.model), ("endpoint_config", target.config)):
            lacking += [f"the {kind} {target.name}"] if create_once(sagemaker, kind, request) else []
        if not lacking:
            return ()
        body = (
            f"{name} serves and lacked {', '.join(lacking)}: somebody deleted it. It was made again, since SageMaker "
            "needs it for another instance."
        )
        key = f"made_again-{self._now():%Y%m%d}"
        return (self._finding(target, wanted, key, "warning", "What an endpoint needs was deleted", body),)

    def _plan(self, stage: Stage, wanted: ledger.Event) -> EndpointPlan:
        assert wanted.digest is not None
        archive = archive_of(self._lake, wanted.digest, self._settings.bucket, self._settings.prefix)
        return plan(
            self._settings,
            stage,
            wanted,
            archive,
            self._policy,
            lake=self._lake.url,
            verification_key=self._verification_key,
        )

    def _prepared(self, wanted: ledger.Event, target: EndpointPlan) -> None:
        """Archive, package, Model and EndpointConfig; each is made once."""
        sagemaker, s3 = self._clients("sagemaker"), self._clients("s3")
        archive = archive_of(self._lake, target.digest, self._settings.bucket, self._settings.prefix)
        ensure_archive(self._lake, archive, s3)
        arn = ensure_package(self._lake, self._settings, archive, wanted.version, sagemaker, s3)
        package = read_package(sagemaker, arn)
        if package is not None and package.status == (package.ledger_status or package.status):
            # Where they differ a person decided in SageMaker: `project_packages` takes that over first.
            show_status(package, LedgerHistory.read(self._lake), self._lake, sagemaker)
        if target.target is not None:
            ensure_versions(self._lake, self._settings, target.endpoint, {target.target.name: archive}, s3)
        data_capture.note_endpoint(self._lake, target.endpoint)
        create_once(sagemaker, "model", target.model)
        create_once(sagemaker, "endpoint_config", target.config)

    def _create(
        self, stage: Stage, wanted: ledger.Event, target: EndpointPlan, asked: AskedOfSageMaker | None
    ) -> EndpointState:
        findings: tuple[EndpointFinding, ...] = ()
        if asked is not None and asked.served_at is not None and asked.idle_removed_at is None:
            body = (
                f"The endpoint {target.endpoint} served model {target.digest} and is gone: somebody deleted it. It is "
                "made again, as the ledger has it; to have it serve nothing, remove CARSDEPO_ENDPOINTS first."
            )
            findings = (
                self._finding(target, wanted, "deleted", "critical", f"The {stage} endpoint was deleted", body),
            )
        self._prepared(wanted, target)
        self._versions.name_first(target, wanted)
        self._note(target, wanted, None)
        try:
            self._clients("sagemaker").create_endpoint(
                EndpointName=target.endpoint, EndpointConfigName=target.name, Tags=target.tags
            )
        except Exception as error:
            if not is_there(error):
                raise
        return EndpointState("loading", f"{target.endpoint} is being made.", findings=findings)

    def _update(
        self,
        stage: Stage,
        wanted: ledger.Event,
        target: EndpointPlan,
        asked: AskedOfSageMaker | None,
        standing: dict[str, Any],
    ) -> EndpointState:
        findings: tuple[EndpointFinding, ...] = ()
        if asked is not None and asked.config == target.name and asked.served_at is not None:
            body = (
                f"The endpoint {target.endpoint} has the configuration {standing['EndpointConfigName']}, which the "
                f"ledger does not ask for: somebody changed it. It is set back to {target.name}."
            )
            findings = (self._finding(target, wanted, "changed", "warning", f"The {stage} endpoint was changed", body),)
        self._prepared(wanted, target)
        self._versions.name_first(target, wanted)
        self._note(target, wanted, standing["LastModifiedTime"])
        how = {"DeploymentConfig": target.deployment} if target.deployment is not None else {}
        try:
            self._clients("sagemaker").update_endpoint(
                EndpointName=target.endpoint, EndpointConfigName=target.name, **how
            )
        except Exception as error:
            if not is_busy(error):
                raise
        return EndpointState("loading", f"{target.endpoint} changes to {target.name}.", findings=findings)

    def _served(
        self,
        stage: Stage,
        wanted: ledger.Event,
        target: EndpointPlan,
        asked: AskedOfSageMaker | None,
        asks: bool,
    ) -> EndpointState:
        """InService with our configuration: whether the service says that it serves the model."""
        was_seen = asked is not None and asked.config == target.name and asked.served_at is not None
        is_settled = was_seen and asked is not None and asked.sequence == wanted.sequence
        if target.target is not None and not is_settled:  # the endpoint stands, and this version is new to it
            self._prepared(wanted, target)
        versions, findings = self._versions.keep(stage, wanted, target, () if asked is None else asked.versions)
        if is_settled and asked is not None:
            findings += self._versions.name(target, wanted, is_settled)
            if asked.versions != versions:
                keep_asked(self._lake, target.endpoint, asked.model_copy(update={"versions": versions}))
        if is_settled and not asks:
            text = f"{target.endpoint} serves model {target.digest}."
            return EndpointState("serving", text, target.digest, findings=findings)
        name = None if target.target is None else target.target.name
        try:
            health = served_health(self._clients("sagemaker-runtime"), target.endpoint, name)
        except Exception as error:
            if trouble_of(error) is None and not isinstance(error, ValueError):
                raise
            return self._unanswered(wanted, target, error, findings)
        digest = health.get("digest")
        if health.get("status") != "serving" or digest != target.digest:
            body = (
                f"{target.endpoint} is InService with {target.name}, and its service is {health.get('status')} with "
                f"{digest or 'no model'} instead of {target.digest}: {health.get('error') or 'see its log'}."
            )
            finding = self._finding(target, wanted, "other", "critical", "An endpoint serves another model", body)
            return EndpointState("failed", body, digest, health, findings=(*findings, finding))
        if not is_settled:
            self._versions.name(target, wanted, is_settled)
            before = asked if asked is not None and asked.config == target.name else None
            noted = before or AskedOfSageMaker(
                sequence=wanted.sequence, config=target.name, asked_at=self._now(), changed_before=None
            )
            now_served = {"sequence": wanted.sequence, "served_at": self._now(), "idle_removed_at": None}
            keep_asked(self._lake, target.endpoint, noted.model_copy(update={**now_served, "versions": versions}))
        text = f"{target.endpoint} serves model {target.digest}."
        return EndpointState("serving", text, str(digest), health, findings=findings)

    def _unanswered(
        self, wanted: ledger.Event, target: EndpointPlan, error: Exception, findings: tuple[EndpointFinding, ...]
    ) -> EndpointState:
        """InService, and the question for what it serves failed."""
        if code_of(error) == "ModelNotReadyException":
            return EndpointState("loading", f"{target.endpoint} is loading model {target.digest}.", findings=findings)
        text = f"{target.endpoint} is InService and does not say what it serves: {explained(error)}"
        if target.target is None or code_of(error) != "ModelError":
            return EndpointState("failed", text, findings=findings)
        body = f"{text} Callers go on with the version before; `carsdepo rollback` has the ledger name it again."
        finding = self._finding(target, wanted, "not_loaded", "critical", "A version cannot be served", body)
        return EndpointState("failed", body, is_final=True, findings=(*findings, finding))

    def _rolled_back(
        self, wanted: ledger.Event, target: EndpointPlan, asked: AskedOfSageMaker | None, standing: dict[str, Any]
    ) -> EndpointState | None:
        """The failure of an update that SageMaker took back; None where none was asked, or it never arrived."""
        if asked is None or (asked.sequence, asked.config) != (wanted.sequence, target.name):
            return None
        if asked.served_at is not None or asked.changed_before is None:
            return None
        if standing["LastModifiedTime"] <= asked.changed_before:
            return None  # noted, and cut off before SageMaker was asked
        why = standing.get("FailureReason") or "it gives no reason: see the alarms of the canary and the service's log"
        body = (
            f"SageMaker rolled {target.endpoint} back to {standing['EndpointConfigName']} instead of changing it to "
            f"{target.name} (model {target.digest}): {str(why).rstrip('.')}. The ledger still names the model, and "
            "it is not tried again by itself: `carsdepo rollback` has the ledger name the model that is served, a new "
            "promotion tries again."
        )
        finding = self._finding(target, wanted, "rolled_back", "critical", "An update was rolled back", body)
        return EndpointState("failed", body, is_final=True, findings=(finding,))

    def _failed(
        self, wanted: ledger.Event, target: EndpointPlan, asked: AskedOfSageMaker | None, standing: dict[str, Any]
    ) -> EndpointState:
        status, why = standing["EndpointStatus"], str(standing.get("FailureReason") or "it gives no reason").rstrip(".")
        is_this = asked is not None and (asked.sequence, asked.config) == (wanted.sequence, target.name)
        if status == "Failed" and not is_this:
            # It cannot be updated. For a new decision it makes place, and the next look creates it.
            removed(self._clients("sagemaker"), "endpoint", EndpointName=target.endpoint)
            return EndpointState("loading", f"{target.endpoint} had failed ({why}) and is made anew.")
        body = (
            f"The endpoint {target.endpoint} is {status}: {why}. Once the cause is mended, delete it (`aws sagemaker "
            f"delete-endpoint --endpoint-name {target.endpoint}`): it is then made again."
        )
        finding = self._finding(target, wanted, status, "critical", f"An endpoint is {status}", body)
        return EndpointState("failed", body, is_final=True, findings=(finding,))

    def _under_way(self, name: str, standing: dict[str, Any]) -> EndpointState:
        since, status = standing["LastModifiedTime"], standing["EndpointStatus"]
        if self._now() - since <= timedelta(minutes=self._settings.stuck_minutes):
            return EndpointState("loading", f"{name} is {status}.")
        body = (
            f"The endpoint {name} is {status} since {since:%Y-%m-%d %H:%M} UTC, longer than stuck_minutes "
            f"({self._settings.stuck_minutes}). The log group /aws/sagemaker/Endpoints/{name} shows what its container "
            "does; it cannot be deleted before SageMaker gives up."
        )
        key = f"endpoint:{name}:{status}:{since:%Y%m%d%H%M}"
        finding = EndpointFinding(key, "critical", f"An endpoint is stuck in {status}", body)
        return EndpointState("loading", body, findings=(finding,))

    def _note(self, target: EndpointPlan, wanted: ledger.Event, before: datetime | None) -> None:
        """Notes what is asked, before it is asked."""
        asked = AskedOfSageMaker(
            sequence=wanted.sequence, config=target.name, asked_at=self._now(), changed_before=before
        )
        keep_asked(self._lake, target.endpoint, asked)

    def _finding(
        self, target: EndpointPlan, wanted: ledger.Event, what: str, severity: Any, title: str, body: str
    ) -> EndpointFinding:
        return EndpointFinding(finding_key(target, wanted, what), severity, title, body)


def served_health(runtime: Any, endpoint: str, target: str | None = None) -> dict[str, Any]:
    """What the service behind an endpoint says of itself, as at /healthz.

    Args:
        runtime: a boto3 client of sagemaker-runtime.
        endpoint: its name.
        target: TargetModel, where the endpoint has several versions.

    Raises:
        ValueError: It answers with something else.
    """
    named = {} if target is None else {"TargetModel": target}
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint,
        ContentType=data_capture.HEALTH_QUESTION,
        Accept="application/json",
        Body=b"health",
        **named,
    )
    health = json.loads(answer["Body"].read())
    if not isinstance(health, dict) or "status" not in health:
        raise ValueError(f"{endpoint} answers {str(health)[:200]}, which no inspection service does.")
    return health
