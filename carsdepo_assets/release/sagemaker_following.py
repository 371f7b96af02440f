"""One round of looks at SageMaker: decisions, endpoints, and what nobody uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import LedgerHistory, Stage
from carsdepo_assets.release.sagemaker_approvals import project_packages
from carsdepo_assets.release.sagemaker_asked import read_asked
from carsdepo_assets.release.sagemaker_cleanup import remove_idle, remove_left_behind
from carsdepo_assets.release.sagemaker_endpoint import EndpointState
from carsdepo_assets.release.sagemaker_findings import EndpointFinding
from carsdepo_assets.release.sagemaker_news import ModelNews, receive_news
from carsdepo_assets.release.sagemaker_services import SageMakerServicesResource
from carsdepo_assets.release.sagemaker_versions import remove_leftover_versions

# Seconds between two looks at what is left behind, and, where events tell of packages, at all of these.
SELDOM_S = 3600.0


class Remembered(BaseModel):
    """What a round leaves to the next one, as the sensor's cursor keeps it."""

    model_config = ConfigDict(frozen=True)

    cleaned_at: float = 0.0
    """Seconds since 1970 at the last look at what is left behind."""
    packages_at: float = 0.0
    """The same of all packages."""
    sequence: int = -1
    """The ledger's newest event at that look."""

    @classmethod
    def of(cls, cursor: str | None) -> Remembered:
        """What a cursor says; nothing for none, or for one of another form."""
        try:
            return cls.model_validate_json(cursor or "{}")
        except ValidationError:
            return cls()


@dataclass(frozen=True)
class FollowingRound:
    """What a round has found and done."""

    messages: tuple[str, ...]
    findings: tuple[EndpointFinding, ...]
    did_something: bool
    remembered: Remembered
    errors: tuple[Exception, ...] = ()
    """What kept a part of the round from being done; the other parts were done."""


def follow(
    lake: Lake,
    policy: Policy,
    services: SageMakerServicesResource,
    remembered: Remembered = Remembered(),  # noqa: B008 - it is frozen
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FollowingRound:
    """Looks once at packages and endpoints; waits for nothing, and may be cut off anywhere and repeated.

    News, packages, each endpoint and what is left behind are parts of their own: one that cannot be done, such as
    staging for want of a quota, keeps none of the others from being done.

    All packages are looked at, which is a request a package. Where events tell of those that changed, all of them are
    looked at when the ledger has changed, and once in SELDOM_S for what events lost.

    Args:
        lake: with ledger and models.
        policy: in force.
        services: the endpoints.
        remembered: of the round before.
        now: the present.
    """
    settings, sagemaker, at = services.settings(), services.clients("sagemaker"), now()
    errors: list[Exception] = []
    findings: list[EndpointFinding] = []
    with _part(errors):
        remembered = _follow_packages(lake, services, remembered, at, findings)
    states: dict[Stage, EndpointState] = {}
    for stage in get_args(Stage):
        with _part(errors):
            states[stage] = services.follower(lake, policy).look(stage, asks=False)
            findings += states[stage].findings
    messages = [state.message for state in states.values()]
    idle: str | None = None
    with _part(errors):
        idle = remove_idle(lake, settings, services.clients)
    if idle is not None:
        messages.append(idle)
        key = f"idle:{settings.staging.endpoint}:{at:%Y%m%d%H%M}"
        findings.append(EndpointFinding(key, "info", "An idle endpoint was removed", idle))
    are_settled = not errors and idle is None and all(s.status in ("serving", "empty") for s in states.values())
    gone: list[str] = []
    if are_settled and at.timestamp() - remembered.cleaned_at >= SELDOM_S:
        with _part(errors):
            noted = [read_asked(lake, settings.stage(stage).endpoint) for stage in states]
            wanted = {asked.config for asked in noted if asked is not None and asked.idle_removed_at is None}
            for stage in states:
                findings += services.follower(lake, policy).make_again(stage)
            gone += remove_left_behind(settings, wanted, sagemaker)
            gone += remove_leftover_versions(lake, settings, services.clients("s3"))
            remembered = remembered.model_copy(update={"cleaned_at": at.timestamp()})
    if gone:
        messages.append(f"Removed, since nothing uses them: {', '.join(gone)}.")
    did_something = bool(findings or gone or idle) or any(state.status == "loading" for state in states.values())
    return FollowingRound(tuple(messages), tuple(findings), did_something, remembered, tuple(errors))


@contextmanager
def _part(errors: list[Exception]) -> Iterator[None]:
    """Keeps the error of a part of the round, so that the next part is done."""
    try:
        yield
    except Exception as error:
        errors.append(error)


def _follow_packages(
    lake: Lake,
    services: SageMakerServicesResource,
    remembered: Remembered,
    at: datetime,
    findings: list[EndpointFinding],
) -> Remembered:
    """Looks at the packages that are to be looked at, then deletes the messages that told of them."""
    settings, queue = services.settings(), services.queue()
    news = ModelNews() if queue is None else receive_news(queue, settings.package_group)
    findings += [_unreadable(message, why) for message, why in news.unreadable.items()]
    events = LedgerHistory.read(lake).events
    sequence = events[-1].sequence if events else -1
    is_all = queue is None or sequence != remembered.sequence or at.timestamp() - remembered.packages_at >= SELDOM_S
    if is_all or news.arns:
        arns = None if is_all else sorted(news.arns)
        findings += project_packages(lake, settings, services.clients("sagemaker"), arns, services.clients("s3"))
    if queue is not None:
        queue.delete(news.receipts)  # one that is not deleted comes again, and changes nothing
    if not is_all:
        return remembered
    # What it entered in the ledger itself makes the next round look at all of them again.
    return remembered.model_copy(update={"packages_at": at.timestamp(), "sequence": sequence})


def _unreadable(message: str, why: str) -> EndpointFinding:
    body = f"Message {message} of CARSDEPO_MODELS_QUEUE: {why}. It stays there, for the queue's dead-letter queue."
    return EndpointFinding(f"news:{message}", "warning", "An event of SageMaker could not be read", body)
