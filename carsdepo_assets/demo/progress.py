"""Which steps of the demo are finished, so that a second `carsdepo demo` goes on where the first one stopped.

The file demo.json in the home folder has one entry for each finished step. Paths below the home are stored relative to
it, so that the file stays valid when the home is moved or copied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from carsdepo_assets.commands.loop_steps import Loop, Step
from carsdepo_assets.lake.objects import write_atomic

_HOME = "@home"  # stands for the folder of demo.json


class DemoProgress:
    """The finished steps of a demo that is run with one set of parameters; other parameters start from nothing."""

    restart_reason: str | None
    """Why the steps that the file lists are not reused, as a sentence; None where they are, or where there are none."""

    def __init__(self, path: Path, parameters: dict[str, Any]) -> None:
        """Reads the file.

        Args:
            path: Of demo.json, which need not exist.
            parameters: What the user asked for, JSON values by name.
        """
        self._path = path
        parameters = self._relative(parameters)
        self._state: dict[str, Any] = {"parameters": parameters, "steps": {}}
        self.restart_reason = None
        if path.exists():
            try:
                stored = json.loads(path.read_text())
            except ValueError:  # damaged, or edited by hand: each step looks for itself at what the lake has
                stored = None
            if not _is_valid(stored):
                self.restart_reason = f"{path} is damaged"
            elif self._relative(stored["parameters"]) == parameters:
                self._state = stored
            else:
                difference = _difference(stored["parameters"], parameters)
                self.restart_reason = f"the last demo here was run with {difference}"

    def facts_of(self, step: str) -> dict[str, Any] | None:
        """What `record` stored of a step; None where the step is not finished."""
        facts = self._state["steps"].get(step)
        return dict(_moved(facts, _HOME, str(self._path.parent))) if facts is not None else None

    def record(self, step: str, **facts: Any) -> None:
        """Notes in the file that a step is finished, with what later runs need of it (JSON values by name)."""
        self._state["steps"][step] = facts
        state = self._relative(json.loads(json.dumps(self._state, default=str)))
        write_atomic(self._path, json.dumps(state, indent=1).encode())

    def _relative(self, value: Any) -> Any:
        return _moved(value, str(self._path.parent), _HOME)


def _moved(value: Any, old: str, new: str) -> Any:
    """A JSON value in which every text that is the path `old`, or a path below it, begins with `new` instead."""
    if isinstance(value, dict):
        return {k: _moved(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_moved(v, old, new) for v in value]
    if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
        return new + value[len(old) :]
    return value


def _difference(stored: Any, current: dict[str, Any]) -> str:
    """The parameters that differ, with their values in the stored and in the current demo."""
    former = stored if isinstance(stored, dict) else {}
    names = [name for name in {**former, **current} if former.get(name) != current.get(name)]

    def listed(parameters: dict[str, Any]) -> str:
        return ", ".join(
            f"{name} {'by default' if parameters.get(name) is None else parameters[name]}" for name in names
        )

    return f"{listed(former)}; this one with {listed(current)}"


def _is_valid(stored: Any) -> bool:
    """Whether a JSON value has the form that `record` writes."""
    if not isinstance(stored, dict) or not {"parameters", "steps"} <= stored.keys():
        return False
    steps = stored["steps"]
    return isinstance(steps, dict) and all(isinstance(facts, dict) for facts in steps.values())


@contextmanager
def step_unless_finished(
    loop: Loop, progress: DemoProgress, name: str, say: Callable[[str], None]
) -> Iterator[Step | None]:
    """Runs the block as a step of the loop, and records it as finished when the block ends without an error.

    Yields None when an earlier demo has finished the step: the block then does nothing, and the loop lists the step as
    reused, with its outcome and reports.

    Args:
        loop: Lists the steps and the reports.
        progress: Which steps are finished.
        name: The step's, unique in the demo.
        say: Prints a line for the user.
    """
    facts = progress.facts_of(name)
    if facts is not None:
        loop.note(name, f"{facts.get('outcome', '')} (reused)".strip())
        loop.reports |= facts.get("reports", {})
        yield None
        return
    before = dict(loop.reports)
    with loop.step(name, say) as step:
        yield step
    new = {k: v for k, v in loop.reports.items() if before.get(k) != v}
    progress.record(name, outcome=step.outcome, reports=new, **step.facts)
