"""Packages that the ledger does not know, and those that it knows and that are gone from SageMaker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import ModelFilesError
from carsdepo_assets.registry.ledger import Event, LedgerHistory
from carsdepo_assets.release.sagemaker_archive import archive_of, ensure_archive
from carsdepo_assets.release.sagemaker_findings import EndpointFinding
from carsdepo_assets.release.sagemaker_packages import PENDING, ModelPackage, ensure_package, is_ours
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings

_DISAGREED = "A model package disagreed with the ledger"


def unknown_packages(entries: Iterable[dict[str, Any]]) -> list[EndpointFinding]:
    """Says which packages of the group were decided about that are not ours: nothing is deployed by them.

    Args:
        entries: of ListModelPackages.
    """
    findings = []
    for entry in entries:
        status = entry.get("ModelApprovalStatus", PENDING)
        if is_ours(entry) or status == PENDING:
            continue
        arn = entry["ModelPackageArn"]
        body = (
            f"SageMaker says {status} of {arn}, and the ledger knows no such model: no release made this package, and "
            "nothing is deployed by it. Delete it or keep it in another group; a model is released after `carsdepo "
            "train` has registered it."
        )
        findings.append(EndpointFinding(f"package:{arn}:unknown:{status}", "warning", "An unknown package", body))
    return findings


def of_no_model(package: ModelPackage) -> EndpointFinding:
    """Says that a package names a model that the lake does not have; it is left as it is."""
    body = (
        f"SageMaker says {package.status} of {package.arn} (by {package.by}), which is named as a package of model "
        f"{package.digest}, and the lake has no such model: nothing is deployed by it. Delete the package."
    )
    return EndpointFinding(f"package:{package.arn}:unknown:{package.status}", "warning", "An unknown package", body)


def without_record(package: ModelPackage, wanted: str) -> EndpointFinding:
    """Says that a package lacks what the ledger gave it last, so that its status counts as no decision."""
    body = (
        f"SageMaker says {package.status} of {package.arn} (by {package.by}), the ledger says {wanted} of model "
        f"{package.digest}, and the package has lost its metadata `ledger_status`, by which a decision is known. It "
        "was set back; decide again in SageMaker, or with `carsdepo approve` or `carsdepo reject`."
    )
    key = f"package:{package.arn}:{package.status}:{package.modified}"
    return EndpointFinding(key, "warning", _DISAGREED, body)


def deleted_packages(
    lake: Lake, settings: EndpointsSettings, of_group: Sequence[tuple[str, str]], sagemaker: Any, s3: Any
) -> list[EndpointFinding]:
    """Says which packages are gone, and makes those again that the ledger is about now.

    These are the models that a stage serves and the one whose approval waits. Those of other models stay away.

    Args:
        lake: keeps a note of the packages that were there.
        settings: name the group.
        of_group: digests and ARNs of the packages that are there.
        sagemaker: a boto3 client.
        s3: another; None: no package is made.
    """
    before, arns = known_packages(lake, settings), {arn for _, arn in of_group}
    present = dict(reversed(of_group))  # of several the first counts
    history = LedgerHistory.read(lake)
    current = {e.digest: e for e in _current(history) if e.digest is not None}
    findings = []
    for digest, gone in sorted((d, arn) for d, arn in before.items() if arn not in arns):
        if digest not in present and digest in current and s3 is not None:
            with suppress(ModelFilesError):  # its files are gone, too: the look at its endpoint says so
                archive = archive_of(lake, digest, settings.bucket, settings.prefix)
                ensure_archive(lake, archive, s3)
                version = current[digest].version
                present[digest] = ensure_package(lake, settings, archive, version, sagemaker, s3, gone)
        what = "It stays away; a deployment of the model makes it again."
        if digest in present:
            what = f"It was made again as {present[digest]}, and gets the status that the ledger has."
        body = (
            f"SageMaker has no package of model {digest} any more: {gone} was deleted. The ledger knows the model all "
            f"the same, and what is served does not change. {what}"
        )
        findings.append(EndpointFinding(f"package:{gone}:deleted", "warning", "A model package was deleted", body))
    if present != before:
        lake.put(_key(settings), json.dumps(present, indent=1, sort_keys=True).encode())
    return findings


def known_packages(lake: Lake, settings: EndpointsSettings) -> dict[str, str]:
    """ARNs of the packages that were there at the last look, by the models' digests; none where that is damaged."""
    key = _key(settings)
    try:
        arns = json.loads(lake.get(key)) if lake.exists(key) else {}
    except ValueError:
        return {}
    return {digest: str(arn) for digest, arn in arns.items()} if isinstance(arns, dict) else {}


def _key(settings: EndpointsSettings) -> str:
    return f"endpoints/packages/{settings.package_group}.json"


def _current(history: LedgerHistory) -> list[Event]:
    events = (history.served("staging"), history.served("production"), history.pending_approval)
    return [event for event in events if event is not None]
