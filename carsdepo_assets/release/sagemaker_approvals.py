"""Decisions in Studio reach the ledger, the ledger's reach the packages, and what disagrees is said.

The ledger is the one truth. A status that somebody set in SageMaker is a decision of that person and is entered in the
ledger; where the ledger has a decision of its own that the package does not show yet, the ledger's stands.
Events only say which package to look at: what it says now is asked of SageMaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from carsdepo_assets.compute.pipes.aws_errors import code_of, explained
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import model_manifest_key
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.ledger import LedgerHistory
from carsdepo_assets.release.sagemaker_findings import EndpointFinding
from carsdepo_assets.release.sagemaker_known import deleted_packages, of_no_model, unknown_packages, without_record
from carsdepo_assets.release.sagemaker_packages import (
    LEDGERS_WORDS,
    PENDING,
    ModelPackage,
    group_entries,
    packages_among,
    read_package,
    show_status,
    wanted_status,
)
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings

# What SageMaker says of a package that cannot be changed, such as one that failed; a permission lacks for all of them.
_OF_ONE_PACKAGE = frozenset({"ValidationException", "ConflictException", "ResourceNotFound", "ResourceInUse"})


def project_packages(
    lake: Lake, settings: EndpointsSettings, sagemaker: Any, arns: Sequence[str] | None = None, s3: Any = None
) -> list[EndpointFinding]:
    """Takes over decisions that were made in SageMaker, then gives each package the status that the ledger has.

    Called again it changes nothing, and after a kill at any point it finishes what was begun.

    Args:
        lake: whose ledger is read and written.
        settings: name the group.
        sagemaker: a boto3 client.
        arns: of the packages to look at, such as an event's; None: all of the group.
        s3: a boto3 client, with which packages are made again that somebody deleted; None: they are not.

    Returns:
        What people should know.
    """
    entries = group_entries(settings, sagemaker)
    of_group = packages_among(entries)
    arns_of_group = [arn for _, arn in of_group]
    asked_for = arns_of_group if arns is None else [arn for arn in arns if arn in arns_of_group]
    looked_at = [read_package(sagemaker, arn) for arn in asked_for]
    findings = [*_doubled(of_group), *unknown_packages(entries)]
    ours: list[ModelPackage] = []
    for package in looked_at:
        if package is None:
            continue
        if lake.exists(model_manifest_key(package.digest)):
            ours.append(package)
        else:
            findings.append(of_no_model(package))
    findings += deleted_packages(lake, settings, of_group, sagemaker, s3)
    taken: list[ModelPackage] = []
    for package in sorted(ours, key=lambda p: str(p.modified or "")):  # the decision that came last counts last
        finding, is_decision = _take_over(lake, package)
        findings += [finding] if finding is not None else []
        taken += [package] if is_decision and package.status == "Approved" else []
    history = LedgerHistory.read(lake)
    for package in ours:
        if package.created == "Failed":
            body = f"{package.arn} of model {package.digest} could not be made: SageMaker's page of it says why."
            findings.append(EndpointFinding(f"package:{package.arn}:failed", "warning", "A model package failed", body))
        try:
            show_status(package, history, lake, sagemaker)
        except Exception as error:
            if code_of(error) not in _OF_ONE_PACKAGE:
                raise
            findings.append(_not_shown(package, error))
    return findings + _several_approved(history, ours, taken)


def _take_over(lake: Lake, package: ModelPackage) -> tuple[EndpointFinding | None, bool]:
    """Enters a decision that was made in SageMaker; says whether it did."""
    if package.status == package.ledger_status:
        return None, False
    history = LedgerHistory.read(lake)
    wanted, event = wanted_status(history, package.digest)
    if package.ledger_status is None:
        return (without_record(package, wanted) if package.status != wanted else None), False
    name = f"version {package.version}" if package.version is not None else f"model {package.digest}"
    key = f"package:{package.arn}:{package.status}:{package.modified}"
    event_id = f"studio:{package.arn}:{package.status}:{package.modified}"
    if any(e.event_id == event_id for e in history.events):  # entered, and killed before the package was told
        return None, True
    if package.status == PENDING:
        body = f"{package.by} set {name} back to pending. The ledger says {wanted}, which stands."
        return EndpointFinding(key, "warning", "A model package disagreed with the ledger", body), False
    if wanted != package.ledger_status and event is not None and wanted != package.status:
        body = (
            f"{package.by} set {name} to {package.status} in SageMaker, and the ledger says {wanted} since event "
            f"{event.sequence} ({event.action} by {event.actor}), which stands. `carsdepo approve` or `carsdepo "
            "reject` decides anew."
        )
        return EndpointFinding(key, "warning", "A model package disagreed with the ledger", body), False
    entered = ledger.record(
        lake,
        "production",
        "approve" if package.status == "Approved" else "reject",
        digest=package.digest,
        version=package.version,
        actor=package.by,
        reason=_own_reason(package, history) or f"set to {package.status} in SageMaker, {ledger.UNREASONED}",
        event_id=event_id,
    )
    body = (
        f"{package.by} set {name} to {package.status} in SageMaker: entered in the ledger as event {entered.sequence}."
    )
    served = history.served("production")
    if package.status == "Rejected" and served is not None and served.digest == package.digest:
        body += " Production serves this model and goes on: `carsdepo rollback` has it serve the one before."
    return EndpointFinding(key, "info", f"A decision about {name} came from SageMaker", body), True


def _own_reason(package: ModelPackage, history: LedgerHistory) -> str:
    """What the person wrote with the decision; empty where the description is an earlier decision's, which SageMaker
    keeps where none is given, or the ledger's."""
    earlier = {e.reason for e in history.events if e.event_id.startswith(f"studio:{package.arn}:")}
    is_anothers = package.reason.startswith(LEDGERS_WORDS) or package.reason in earlier
    return "" if is_anothers else package.reason


def _not_shown(package: ModelPackage, error: Exception) -> EndpointFinding:
    """Says that SageMaker refuses to change one package, which keeps no other from being changed."""
    body = (
        f"{package.arn} of model {package.digest} cannot be given the status that the ledger has: {explained(error)} "
        "The ledger's decision stands and is carried out all the same."
    )
    key = f"package:{package.arn}:refused:{code_of(error)}"
    return EndpointFinding(key, "warning", "A model package cannot be changed", body)


def _doubled(of_group: Sequence[tuple[str, str]]) -> list[EndpointFinding]:
    digests = [digest for digest, _ in of_group]
    findings = []
    for digest in sorted({d for d in digests if digests.count(d) > 1}):
        arns = ", ".join(arn for d, arn in of_group if d == digest)
        body = f"Model {digest} has several packages, of which the first counts: {arns}. Delete the others."
        findings.append(EndpointFinding(f"package:{digest}:doubled", "warning", "A model has several packages", body))
    return findings


def _several_approved(
    history: LedgerHistory, ours: Sequence[ModelPackage], taken: Sequence[ModelPackage]
) -> list[EndpointFinding]:
    """Says that several models are approved and none of them serves: one of them is promoted, the newest approved."""
    waiting = history.pending_approval
    if waiting is None:
        return []
    open_approvals = []
    for package in ours:
        decision = history.latest_decision(package.digest)
        if decision is not None and decision.action == "approve":
            open_approvals.append((decision.sequence, package))
    if len(open_approvals) < 2 and len(taken) < 2:
        return []
    names = ", ".join(f"version {p.version} ({p.digest})" for _, p in sorted(open_approvals, key=lambda pair: pair[0]))
    body = (
        f"{names} are approved at once. The one that was approved last, {waiting.digest}, is promoted; reject the "
        "others, or approve the one that you want after it."
    )
    key = "package:approved:" + ":".join(sorted(p.digest for _, p in open_approvals))
    return [EndpointFinding(key, "warning", "Several models are approved at once", body)]
