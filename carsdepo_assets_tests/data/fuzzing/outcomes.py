"""What became of the folders of some seeds. Processes that are started import this module, and never a `__main__`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from carsdepo_assets_tests.data.fuzzing.trial import Trial, run


def outcome(trial: Trial) -> str:
    """What became of a folder, for the count at the end."""
    if trial.faults:
        return "faulty"
    if trial.account is None:
        return "refused before anything was copied"
    return "imported, with something to look at" if trial.account.failures else "imported"


def of_seeds(first: int, end: int) -> list[tuple[str, str]]:
    """(outcome, description) of each folder from one seed up to another."""
    with tempfile.TemporaryDirectory() as folder:
        return [(outcome(trial), str(trial)) for trial in run(range(first, end), Path(folder))]
