"""Model packages: one for each registered version that was exported and signed, with its figures, card and lineage.

The deployment ledger decides; a package shows what it says. A package carries the status that the ledger's side gave
it last (`ledger_status`), in the same call as the status itself: where the two differ, somebody decided in SageMaker.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.redaction import legible
from carsdepo_assets.registry.ledger import SERVES, Event, LedgerHistory
from carsdepo_assets.release.sagemaker_archive import ModelArchive
from carsdepo_assets.release.sagemaker_calls import create_once, described, listed
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings

Status = Literal["Approved", "Rejected", "PendingManualApproval"]
PENDING: Status = "PendingManualApproval"
_OURS = re.compile(r"carsdepo model ([0-9a-f]{16})\b")
_REFUSED = re.compile(r"[^\w .:/=+\-@]")  # in metadata (API reference, CustomerMetadataValue)
_KEY, _VALUE, _DESCRIPTION = 128, 256, 1024  # characters
_MOST_METADATA = 50  # entries of CustomerMetadataProperties (API reference); people may add some of theirs
_MOST_FIGURES = 8  # of each kind that is shown
_CONTENT = "application/json"
LEDGERS_WORDS = ("as the ledger has it", "ledger event ")  # begin an approval's description that we wrote


@dataclass(frozen=True)
class ModelPackage:
    """A model package as DescribeModelPackage tells of it."""

    arn: str
    digest: str
    version: int | None
    """The model's number in our registry."""
    status: Status
    ledger_status: Status | None
    """The status that the ledger's side gave it last."""
    created: str
    """Its own status: Completed, Failed and so on; not the approval's."""
    by: str
    """Who changed it last: a Studio user's profile, an IAM identity, or a placeholder."""
    reason: str
    """The approval's description."""
    modified: datetime | None
    metadata: dict[str, str]


def wanted_status(history: LedgerHistory, digest: str) -> tuple[Status, Event | None]:
    """What the ledger says of a model's approval, and the event that says it."""
    about = [
        e
        for e in history.events
        if e.stage == "production" and (digest == e.digest or (e.action == "rollback" and digest == e.previous))
    ]
    if not about:
        return PENDING, None
    if digest in history.barred:
        return "Rejected", about[-1]
    approvals = [e for e in about if e.action == "approve" or (e.action in SERVES and e.digest == digest)]
    return ("Approved", approvals[-1]) if approvals else (PENDING, None)


def ensure_group(settings: EndpointsSettings, sagemaker: Any) -> None:
    """Makes the group of packages where it is missing."""
    create_once(
        sagemaker,
        "model_package_group",
        {
            "ModelPackageGroupName": settings.package_group,
            "ModelPackageGroupDescription": "Models of Carsdepo. Its deployment ledger decides what is served.",
        },
    )


def packages(settings: EndpointsSettings, sagemaker: Any) -> list[tuple[str, str]]:
    """Digest and ARN of the group's packages that are ours, oldest first."""
    return packages_among(group_entries(settings, sagemaker))


def packages_among(entries: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """The same of entries of `group_entries`."""
    digests_and_arns = []
    for entry in entries:
        match = _OURS.match(entry.get("ModelPackageDescription") or "")
        if match is not None:
            digests_and_arns.append((match[1], str(entry["ModelPackageArn"])))
    return digests_and_arns


def is_ours(entry: dict[str, Any]) -> bool:
    """Whether an entry of `group_entries` says of itself that it is a package of ours."""
    return _OURS.match(entry.get("ModelPackageDescription") or "") is not None


def group_entries(settings: EndpointsSettings, sagemaker: Any) -> list[dict[str, Any]]:
    """All packages of the group as ListModelPackages tells of them, oldest first; none where there is no group."""
    group = described(sagemaker, "model_package_group", ModelPackageGroupName=settings.package_group)
    if group is None:
        return []
    return list(
        listed(
            sagemaker,
            "model_packages",
            "ModelPackageSummaryList",
            ModelPackageGroupName=settings.package_group,
            SortBy="CreationTime",
            SortOrder="Ascending",
        )
    )


def read_package(sagemaker: Any, arn: str) -> ModelPackage | None:
    """A package of ours; None where there is none, or it is not ours."""
    answer = described(sagemaker, "model_package", ModelPackageName=arn)
    match = _OURS.match((answer or {}).get("ModelPackageDescription") or "")
    if answer is None or match is None:
        return None
    metadata = dict(answer.get("CustomerMetadataProperties") or {})
    version = metadata.get("version", "")
    told = metadata.get("ledger_status")
    return ModelPackage(
        arn=str(answer["ModelPackageArn"]),
        digest=match[1],
        version=int(version) if version.isdecimal() else None,
        status=answer.get("ModelApprovalStatus", PENDING),
        ledger_status=told if told in ("Approved", "Rejected", PENDING) else None,
        created=str(answer.get("ModelPackageStatus", "")),
        by=_person(answer.get("LastModifiedBy") or {}),
        reason=legible(str(answer.get("ApprovalDescription") or "")),
        modified=answer.get("LastModifiedTime"),
        metadata=metadata,
    )


def ensure_package(
    lake: Lake,
    settings: EndpointsSettings,
    archive: ModelArchive,
    version: int | None,
    sagemaker: Any,
    s3: Any,
    gone: str = "",
) -> str:
    """The ARN of a model's package, which is made where there is none, waiting for approval.

    Args:
        lake: where the model is.
        settings: name the group.
        archive: the model's, which lies there already.
        version: the model's number in the registry.
        sagemaker: a boto3 client.
        s3: another.
        gone: ARN of the model's package that somebody deleted; empty: there was none.
    """
    ensure_group(settings, sagemaker)
    for digest, arn in packages(settings, sagemaker):
        if digest == archive.digest:
            return arn
    put_figures(lake, archive, s3)
    named = "" if version is None else f" version {version}"
    request = {
        "ModelPackageGroupName": settings.package_group,
        "ModelPackageDescription": f"carsdepo model {archive.digest}{named}: finds scratches and dents on photographs",
        "InferenceSpecification": {
            "Containers": [{"Image": settings.image, "ModelDataUrl": archive.url}],
            "SupportedContentTypes": ["image/jpeg", "multipart/form-data"],
            "SupportedResponseMIMETypes": [_CONTENT],
        },
        "ModelApprovalStatus": PENDING,
        "ModelMetrics": {
            "ModelQuality": {
                "Statistics": {
                    "ContentType": _CONTENT,
                    "S3Uri": f"s3://{archive.bucket}/{archive.key_beside('figures.json')}",
                }
            }
        },
        "CustomerMetadataProperties": _metadata(lake, archive, version),
        # Of two processes at once, and after a kill, SageMaker makes one; in place of one that is gone another.
        "ClientToken": f"{archive.digest}-{hashlib.sha256((archive.identity + gone).encode()).hexdigest()[:16]}",
    }
    return str(sagemaker.create_model_package(**request)["ModelPackageArn"])


def put_figures(lake: Lake, archive: ModelArchive, s3: Any) -> None:
    """Stores figures, card and lineage beside the archive, as they are now."""
    figures = {"evaluations": _rows(lake, "evaluations", "digest", archive.digest)}
    figures["gates"] = _rows(lake, "gates", "challenger", archive.digest)
    text = json.dumps(figures, default=str, indent=1, sort_keys=True)
    s3.put_object(
        Bucket=archive.bucket, Key=archive.key_beside("figures.json"), Body=text.encode(), ContentType=_CONTENT
    )
    for name, key in (("card.json", "model.json"), ("lineage.json", "lineage.json")):
        s3.put_object(
            Bucket=archive.bucket,
            Key=archive.key_beside(name),
            Body=lake.get(f"{folder(archive.digest)}/{key}"),
            ContentType=_CONTENT,
        )


def show_status(package: ModelPackage, history: LedgerHistory, lake: Lake, sagemaker: Any) -> bool:
    """Gives a package the status that the ledger has, and the gate's figures; False where it has them.

    Status and `ledger_status` change in one call, so that a kill leaves no package that looks decided elsewhere.
    """
    status, event = wanted_status(history, package.digest)
    told: dict[str, str] = {"ledger_status": status}
    if event is not None:
        told |= _fitting({"ledger_sequence": event.sequence, "ledger_actor": event.actor})
    metadata = dict(package.metadata)
    for key, value in {**told, **_gate(lake, package.digest)}.items():  # SageMaker keeps what is not named
        if key in metadata or len(metadata) < _MOST_METADATA:
            metadata[key] = value
    if package.status == status and metadata == package.metadata:
        return False
    reason = LEDGERS_WORDS[0]
    if event is not None:
        reason = f"{LEDGERS_WORDS[1]}{event.sequence}, {event.action} by {event.actor}: {event.reason}"
    changes: dict[str, Any] = {"ModelPackageArn": package.arn, "CustomerMetadataProperties": metadata}
    if package.status != status:
        changes |= {
            "ModelApprovalStatus": status,
            "ApprovalDescription": reason[:_DESCRIPTION],
        }
    sagemaker.update_model_package(**changes)
    return True


def _metadata(lake: Lake, archive: ModelArchive, version: int | None) -> dict[str, str]:
    card = json.loads(lake.get(f"{folder(archive.digest)}/model.json"))
    lineage = json.loads(lake.get(f"{folder(archive.digest)}/lineage.json"))
    base = f"s3://{archive.bucket}/{archive.key_beside('')}"
    evaluated = _rows(lake, "evaluations", "digest", archive.digest)
    figures = {k: v for k, v in (evaluated[-1] if evaluated else {}).items() if isinstance(v, float)}
    ids = {k: v for k, v in (lineage if isinstance(lineage, dict) else {}).items() if isinstance(v, str | int)}
    return _fitting(
        {
            "digest": archive.digest,
            "version": version,
            "archive": archive.identity,
            "card": f"{base}card.json",
            "lineage": f"{base}lineage.json",
            "model_folder": f"{lake.url}/{folder(archive.digest)}",
            **{name: card.get(name) for name in ("dataset_version", "detector", "threshold")},
            **{f"evaluation_{name}": f"{value:.6g}" for name, value in list(figures.items())[:_MOST_FIGURES]},
            **{f"lineage_{name}": value for name, value in list(ids.items())[:_MOST_FIGURES]},
            "ledger_status": PENDING,
        }
    )


def _gate(lake: Lake, digest: str) -> dict[str, str]:
    rows = _rows(lake, "gates", "challenger", digest)
    if not rows:
        return {}
    newest = rows[-1]
    shown = {k: f"{v:.6g}" for k, v in json.loads(newest["figures"]).items() if isinstance(v, float)}
    figures = {f"gate_{name}": value for name, value in sorted(shown.items())[:_MOST_FIGURES]}
    return _fitting({"gate_verdict": newest["verdict"], "gate_id": newest["gate_id"], **figures})


def _rows(lake: Lake, table: str, column: str, digest: str) -> list[dict[str, Any]]:
    rows = lake.read(table, None, [(column, "=", digest)]).to_pylist()
    return sorted(rows, key=lambda row: row["at"])


def _fitting(values: dict[str, Any]) -> dict[str, str]:
    """Values as CustomerMetadataProperties takes them: not empty, of few characters and few kinds."""
    texts = {_plain(k)[:_KEY]: _plain(v)[:_VALUE] for k, v in values.items() if v is not None}
    return {key: text for key, text in texts.items() if text}


def _plain(value: Any) -> str:
    return _REFUSED.sub(" ", str(value)).strip()


def _person(by: dict[str, Any]) -> str:
    """A name for people: Studio's user profile, or the IAM identity."""
    if by.get("UserProfileName"):
        return f"{by['UserProfileName']}@studio"
    identity = by.get("IamIdentity") or {}
    name = identity.get("SourceIdentity") or str(identity.get("Arn") or "").rpartition("/")[2]
    return f"{name}@aws" if name else "somebody@aws"
