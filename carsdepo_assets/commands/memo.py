"""What a demo has done already: demo.json in the home folder, one entry a step, written when the step is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from carsdepo_assets.lake.objects import write_atomic


class Memo:
    """Steps of one set of parameters; other parameters begin a new memory.

    forgot: what the memory that is left behind was of, in words; None where none is.
    """

    def __init__(self, path: Path, parameters: dict[str, Any]) -> None:
        self._path = path
        self._said: dict[str, Any] = {"parameters": parameters, "steps": {}}
        self.forgot: str | None = None
        if path.exists():
            try:
                kept = json.loads(path.read_text())
            except ValueError:  # damaged, or edited by hand: the steps find for themselves what stands
                kept = None
            if _whole(kept) and kept["parameters"] == parameters:
                self._said = kept
            elif _whole(kept):
                self.forgot = f"the last demo here was run with {_words(kept['parameters'], parameters)}"
            else:
                self.forgot = f"{path} is damaged"

    def get(self, step: str) -> dict[str, Any] | None:
        """What `done` said of the step; None where it has not been done."""
        found = self._said["steps"].get(step)
        return dict(found) if found is not None else None

    def done(self, step: str, **facts: Any) -> None:
        self._said["steps"][step] = facts
        write_atomic(self._path, json.dumps(self._said, indent=1, default=str).encode())


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
