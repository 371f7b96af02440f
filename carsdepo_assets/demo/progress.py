"""What a demo has done already: demo.json in the home folder, one entry a step, written when the step is done.

Places below the home are kept relative to it: what a home has done holds where it is moved or copied to.
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


class Memo:
    """Steps of one set of parameters; other parameters begin a new memory.

    forgot: what the memory that is left behind was of, in words; None where none is.
    """

    def __init__(self, path: Path, parameters: dict[str, Any]) -> None:
        self._path = path
        parameters = self._relative(parameters)
        self._said: dict[str, Any] = {"parameters": parameters, "steps": {}}
        self.forgot: str | None = None
        if path.exists():
            try:
                kept = json.loads(path.read_text())
            except ValueError:  # damaged, or edited by hand: the steps find for themselves what stands
                kept = None
            if _whole(kept) and self._relative(kept["parameters"]) == parameters:
                self._said = kept
            elif _whole(kept):
                self.forgot = f"the last demo here was run with {_words(kept['parameters'], parameters)}"
            else:
                self.forgot = f"{path} is damaged"

    def get(self, step: str) -> dict[str, Any] | None:
        """What `done` said of the step; None where it has not been done."""
        found = self._said["steps"].get(step)
        return dict(_replaced(found, _HOME, str(self._path.parent))) if found is not None else None

    def done(self, step: str, **facts: Any) -> None:
        self._said["steps"][step] = facts
        said = self._relative(json.loads(json.dumps(self._said, default=str)))
        write_atomic(self._path, json.dumps(said, indent=1).encode())

    def _relative(self, said: Any) -> Any:
        return _replaced(said, str(self._path.parent), _HOME)


def _replaced(said: Any, old: str, new: str) -> Any:
    """The same with texts that are the place `old`, or a place below it, put below `new`."""
    if isinstance(said, dict):
        return {k: _replaced(v, old, new) for k, v in said.items()}
    if isinstance(said, list):
        return [_replaced(v, old, new) for v in said]
    if isinstance(said, str) and (said == old or said.startswith(f"{old}/")):
        return new + said[len(old) :]
    return said


def _words(were: Any, are: dict[str, Any]) -> str:
    """The parameters that differ: what they were, and what they are."""
    former = were if isinstance(were, dict) else {}
    names = [name for name in {**former, **are} if former.get(name) != are.get(name)]

    def said(of: dict[str, Any]) -> str:
        return ", ".join(f"{name} {'by default' if of.get(name) is None else of[name]}" for name in names)

    return f"{said(former)}; this one with {said(are)}"


def _whole(said: Any) -> bool:
    """Whether it has the form that `done` writes."""
    if not isinstance(said, dict) or not {"parameters", "steps"} <= said.keys():
        return False
    steps = said["steps"]
    return isinstance(steps, dict) and all(isinstance(facts, dict) for facts in steps.values())


@contextmanager
def remembered(loop: Loop, memo: Memo, name: str, say: Callable[[str], None]) -> Iterator[Step | None]:
    """The step, or None when the memo says that it has been done: it is listed as reused then."""
    kept = memo.get(name)
    if kept is not None:
        loop.note(name, f"{kept.get('outcome', '')} (reused)".strip())
        loop.reports |= kept.get("reports", {})
        yield None
        return
    before = dict(loop.reports)
    with loop.step(name, say) as step:
        yield step
    new = {k: v for k, v in loop.reports.items() if before.get(k) != v}
    memo.done(name, outcome=step.outcome, reports=new, **step.facts)
