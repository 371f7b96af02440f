"""Who asked for a run on a server with authentication in front, and who decides where a run carries a decision out.

Dagster's webserver authenticates nobody and records no user. In front of it a proxy authenticates people and names them
in the header USER_HEADER, which it takes from no client. AttributedRunCoordinator writes that name into the run's tag
USER_TAG, and decisions enter it in the ledger. The header counts for as much as the way to the webserver is closed to
everyone but the proxy.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.workspace.context import WorkspaceRequestContext

from carsdepo_assets.registry.ledger import person

USER_HEADER = "X-Carsdepo-User"
USER_TAG = "carsdepo/user"
ACTOR = "who decides; leave it out: it is the person who is logged in, or where nobody logs in the process's user"
NOBODY = ""  # the tag's value where someone who was not authenticated had set it


class AttributedRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, which also tags each run with the authenticated person who asked for it."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Sets the run's tag USER_TAG, whatever it held, and queues the run.

        A run that is asked for over HTTP gets the name in USER_HEADER, and NOBODY without one. A run that the daemon
        submits keeps the name only as a retry of a run that has it: sensors, schedules and backfills name no person.
        """
        run = context.dagster_run
        named = context.get_request_header(USER_HEADER) if _is_request(context) else self._of_parent(run)
        user = (named or NOBODY).strip()
        if run.tags.get(USER_TAG, NOBODY) != user:
            self._instance.add_run_tags(run.run_id, {USER_TAG: user})
        return super().submit_run(context)

    def _of_parent(self, run: dg.DagsterRun) -> str:
        parent = self._instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
        return parent.tags.get(USER_TAG, NOBODY) if parent is not None else NOBODY


def decider(instance: dg.DagsterInstance, run: dg.DagsterRun, stated: str | None) -> str:
    """Who decides in a run, for the ledger.

    Args:
        instance: The run's; its run coordinator says whether people are authenticated.
        run: The run that carries the decision out.
        stated: Who decides according to the run's configuration; None: it does not say.

    Returns:
        The authenticated person where people are; elsewhere who is stated, or the user of this process.

    Raises:
        dagster.Failure: People are authenticated, and the run has no such person or states another.
    """
    if not isinstance(instance.run_coordinator, AttributedRunCoordinator):
        return stated or person()
    user = run.tags.get(USER_TAG, NOBODY)
    if not user:
        raise dg.Failure(
            "No authenticated person asked for this run, so nothing is entered in the ledger: log in at the server's "
            "address and start the job there.",
            allow_retries=False,
        )
    if stated not in (None, "", user):
        raise dg.Failure(
            f"The configuration names {stated!r} as the one who decides, and {user!r} is logged in: leave `actor` out.",
            allow_retries=False,
        )
    return user


def _is_request(context: SubmitRunContext) -> bool:
    """Whether the run is asked for over HTTP, and not by the daemon."""
    return isinstance(context.workspace, WorkspaceRequestContext) and context.workspace.source is not None
