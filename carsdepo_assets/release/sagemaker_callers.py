"""Keeps the versions of an endpoint that serves several as the ledger has them, and has callers name the right one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry.ledger import Event, Stage
from carsdepo_assets.release.sagemaker_findings import EndpointFinding
from carsdepo_assets.release.sagemaker_plan import EndpointPlan, finding_key
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings
from carsdepo_assets.release.sagemaker_versions import (
    CallersVersion,
    ensure_versions,
    kept_archives,
    put_callers,
    read_callers,
)


class EndpointVersions:
    """What an EndpointFollower does for endpoints of several versions; for others it does nothing.

    Args:
        lake: with ledger and models.
        settings: of the endpoints.
        clients: of boto3, by service.
        now: the present.
    """

    def __init__(
        self, lake: Lake, settings: EndpointsSettings, clients: Callable[[str], Any], now: Callable[[], datetime]
    ) -> None:
        self._lake, self._settings, self._clients, self._now = lake, settings, clients, now

    def keep(
        self, stage: Stage, wanted: Event, target: EndpointPlan, before: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[EndpointFinding, ...]]:
        """Puts the archives that the endpoint is to have.

        Args:
            stage: of the endpoint.
            wanted: the ledger's event that is carried out.
            target: the plan for it.
            before: names of the archives that were there.

        Returns:
            The names of all that are there now, and what people should know.
        """
        if target.target is None:
            return (), ()
        archives = kept_archives(self._lake, self._settings, stage)
        put = ensure_versions(self._lake, self._settings, target.endpoint, archives, self._clients("s3"))
        findings = []
        for name in sorted(set(before) & set(put)):
            body = (
                f"The archive {name} of {target.endpoint} was gone: somebody deleted it. It was put there again, since "
                "the ledger has this version kept; an instance that had loaded it went on meanwhile."
            )
            key = finding_key(target, wanted, f"archive-{name}-{self._now():%Y%m%d}")
            findings.append(EndpointFinding(key, "warning", "The archive of a version was deleted", body))
        return tuple(sorted(archives)), tuple(findings)

    def name_first(self, target: EndpointPlan, wanted: Event) -> None:
        """Has callers name a version before there is one to ask, where the endpoint comes to have several.

        Callers whose endpoint does not know names yet are refused and ask again without one.
        """
        if target.target is None:
            return
        callers = read_callers(self._settings, target.endpoint, self._clients("s3"))
        if callers is None or callers.target_model is None:
            put_callers(self._settings, target.endpoint, _callers(target, wanted), self._clients("s3"))

    def name(self, target: EndpointPlan, wanted: Event, is_settled: bool) -> tuple[EndpointFinding, ...]:
        """Has callers name the version that has answered.

        Args:
            target: the plan.
            wanted: the ledger's event.
            is_settled: whether they were to name it before, so that somebody has changed what differs now.
        """
        if target.target is None and is_settled:
            return ()
        callers = read_callers(self._settings, target.endpoint, self._clients("s3"))
        before, now_named = None if callers is None else callers.target_model, _callers(target, wanted)
        if before == now_named.target_model:
            return ()
        put_callers(self._settings, target.endpoint, now_named, self._clients("s3"))
        if not is_settled:
            return ()
        body = (
            f"Callers of {target.endpoint} were to name {before or 'no version'}, and the ledger says "
            f"{now_named.target_model} (event {wanted.sequence}): somebody changed it. It was set back."
        )
        key = finding_key(target, wanted, f"callers-{before}-{self._now():%Y%m%d}")
        return (EndpointFinding(key, "warning", "What callers ask for was changed", body),)


def _callers(target: EndpointPlan, wanted: Event) -> CallersVersion:
    name = None if target.target is None else target.target.name
    return CallersVersion(target_model=name, digest=target.digest, sequence=wanted.sequence)
