"""Opens the Dagster instance of one installation, and creates its databases where there are none yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of settings.home, whose folder must exist. Dagster is imported here, which takes seconds.

    One process at a time creates the databases: of two that start together one would fail with "table runs already
    exists".
    """
    import dagster as dg

    folder = str(settings.dagster_home())
    with FileLock(settings.home / ".dagster.lock"):
        instance = dg.DagsterInstance.from_config(folder)
    with instance:
        yield instance


def make_databases(settings: Settings) -> None:
    """Creates the databases before servers start that open the instance at the same time."""
    with dagster_instance(settings) as instance:
        instance.get_runs_count()
