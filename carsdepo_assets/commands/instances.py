"""Opens the Dagster instance of one installation, and makes its databases where there are none yet."""

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
    """The instance of settings.home, whose folder exists. Dagster is imported here: that takes seconds.

    One process at a time makes the databases: of two that begin together one would fail, "table runs already exists".
    """
    import dagster as dg

    folder = str(settings.dagster_home())
    with FileLock(settings.home / ".dagster.lock"):
        instance = dg.DagsterInstance.from_config(folder)
    with instance:
        yield instance


def make_databases(settings: Settings) -> None:
    """For servers that start together and open the instance by themselves: they find the databases made."""
    with dagster_instance(settings) as instance:
        instance.get_runs_count()
