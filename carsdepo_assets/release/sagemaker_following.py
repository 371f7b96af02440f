"""One round of looks at SageMaker: decisions, endpoints, and what nobody uses."""

from __future__ import annotations

import time
from dataclasses import dataclass

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.release.sagemaker_approvals import EndpointFinding, project_packages
from carsdepo_assets.release.sagemaker_cleanup import STAGES, remove_idle, remove_left_behind
from carsdepo_assets.release.sagemaker_endpoint import read_asked
from carsdepo_assets.release.sagemaker_services import SageMakerServicesResource

CLEANUP_S = 3600.0  # seconds between two looks for what is left behind


@dataclass(frozen=True)
class FollowingRound:
    """What a round has found and done."""

    messages: tuple[str, ...]
    findings: tuple[EndpointFinding, ...]
    did_something: bool
    last_cleanup: float
    """Seconds since 1970 at the last look for what is left behind."""


def follow(
    lake: Lake, policy: Policy, services: SageMakerServicesResource, *, last_cleanup: float = 0.0
) -> FollowingRound:
    """Looks once at packages and endpoints; waits for nothing, and may be cut off anywhere and repeated.

    Args:
        lake: with ledger and models.
        policy: in force.
        services: the endpoints.
        last_cleanup: seconds since 1970 at the last look for what is left behind.
    """
    settings, sagemaker = services.settings(), services.clients("sagemaker")
    findings = project_packages(lake, settings, sagemaker)
    follower = services.follower(lake, policy)
    states = {stage: follower.look(stage, asks=False) for stage in STAGES}
    messages = [state.message for state in states.values()]
    for state in states.values():
        findings += state.findings
    idle = remove_idle(lake, settings, services.clients)
    if idle is not None:
        messages.append(idle)
        key = f"idle:{settings.staging.endpoint}:{time.strftime('%Y%m%d%H%M')}"
        findings.append(EndpointFinding(key, "info", "An idle endpoint was removed", idle))
    is_settled = idle is None and all(state.status in ("serving", "empty") for state in states.values())
    gone: list[str] = []
    if is_settled and time.time() - last_cleanup >= CLEANUP_S:
        noted = [read_asked(lake, settings.stage(stage).endpoint) for stage in STAGES]
        wanted = {asked.config for asked in noted if asked is not None and asked.idle_removed_at is None}
        gone = remove_left_behind(settings, wanted, sagemaker)
        last_cleanup = time.time()
    if gone:
        messages.append(f"Removed, since nothing uses them: {', '.join(gone)}.")
    did_something = bool(findings or gone or idle) or any(state.status == "loading" for state in states.values())
    return FollowingRound(tuple(messages), tuple(findings), did_something, last_cleanup)
