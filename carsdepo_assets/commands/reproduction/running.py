"""Runs a reproduction: checks what the model was made of, trains in a clean folder, compares field by field.

Nothing is written into the model's lake. The folder can be killed at any moment: the next call compares the data again
and goes on with the training from its checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import ValidationError

from carsdepo_assets import redaction
from carsdepo_assets.commands.reproduction.environment import (
    environment_fields,
    initial_weights,
    policy_of,
    recipe_digest_of,
    threads_of,
)
from carsdepo_assets.commands.reproduction.fields import (
    ComparedField,
    NotReproducible,
    Reproduction,
    compared,
    explanations,
    unlike,
)
from carsdepo_assets.commands.reproduction.outcome import figure_fields, first_evaluation, training_fields
from carsdepo_assets.commands.reproduction.rebuilding import clear, rebuild
from carsdepo_assets.compute.worker.evaluate import EvaluationSpec
from carsdepo_assets.compute.worker.watchdog import PARENT_VARIABLE
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.clock import ClockDecisions
from carsdepo_assets.lake.evaluations import EvaluationRecord
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import clock_key, is_complete, read_result
from carsdepo_assets.lake.objects import TEMPORARY_PREFIX, write_atomic
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import Lineage, read_lineage
from carsdepo_assets.settings import Settings
from carsdepo_assets.training.worker import TrainingSpec

Say = Callable[[str], None]
RECORD, OUTCOME, TRAINED, LOCK = "reproduction.json", "outcome.json", "trained.json", ".lock"
_PARTS = ("lake", "home", "work", OUTCOME, TRAINED, "spec.json")


def reproduce(
    settings: Settings, source: Lake, digest: str, folder: Path, say: Say, *, anyway: bool = False
) -> Reproduction:
    """Makes a model again and compares it.

    Args:
        settings: the installation's.
        source: its lake, with the model; nothing is written there.
        digest: the model.
        folder: for the clean home and lake; empty, missing, or of an earlier call for the same model.
        say: announces what begins.
        anyway: train although the data is not the same any more.

    Raises:
        NotReproducible: the folder holds something else, another process works there, or the model's records are of a
            release that this one does not understand.
    """
    lineage = read_lineage(source, digest)
    _refuse_other(folder, source, digest)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            _prepare(folder, source, digest)
            result = _Run(settings, source, lineage, folder, say).reproduce(anyway)
            write_atomic(folder / OUTCOME, json.dumps(result.as_json(), indent=1).encode())
            return result
    except Timeout:
        raise NotReproducible(f"Another process makes a model again in {folder}: wait for its end.") from None


def _refuse_other(folder: Path, source: Lake, digest: str) -> None:
    """Raises NotReproducible for a folder that is not for this; nothing is written."""
    if source.root is not None and folder.resolve().is_relative_to(source.root.resolve()):
        raise NotReproducible(f"{folder} lies in the lake of the model, where nothing is written: name another folder.")
    # A call that was killed before its record was written leaves these alone.
    if not folder.exists() or all(one.name.startswith((LOCK, TEMPORARY_PREFIX)) for one in folder.iterdir()):
        return
    try:
        before = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        before = None
    if before != _record(source, digest):
        raise NotReproducible(
            f"{folder} is not empty and holds no reproduction of model {digest} of this lake: name another folder "
            "by --into, or remove it."
        )
    if source.root is not None and source.root.resolve().is_relative_to(folder.resolve()):
        raise NotReproducible(f"{folder} holds the lake itself: name another folder by --into.")


def _record(source: Lake, digest: str) -> dict[str, str]:
    return {"model": digest, "lake": source.url}


def _prepare(folder: Path, source: Lake, digest: str) -> None:
    """Takes up an earlier call's folder; a finished one is begun anew. The caller holds the folder's lock."""
    _refuse_other(folder, source, digest)  # another call may have taken it since
    if (folder / OUTCOME).exists():
        for part in _PARTS:
            place = folder / part
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
    write_atomic(folder / RECORD, json.dumps(_record(source, digest)).encode())


class _Run:
    def __init__(self, settings: Settings, source: Lake, lineage: Lineage, folder: Path, say: Say) -> None:
        self.settings, self.source, self.lineage, self.folder, self.say = settings, source, lineage, folder, say
        clear(folder / "lake")
        self.clean = Lake.open(folder / "lake")
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.notes: list[str] = []
        self.fields: list[ComparedField] = []

    def reproduce(self, anyway: bool) -> Reproduction:
        """All steps; ends before the training where that could not give the same model."""
        lineage, digest = self.lineage, self.lineage.digest
        with self._understood():
            policy, of_policy = policy_of(lineage, self.settings.policy())
            recipe = Recipe.model_validate(lineage.recipe)
        self.fields += [*environment_fields(lineage), of_policy]
        for sentence in explanations(self.fields):
            self.say(f"not as it was: {sentence}")
        self.fields.append(
            compared("training", "recipe digest", lineage.recipe_digest, recipe_digest_of(lineage.recipe))
        )
        key, weights = initial_weights(self.source, self.clean, lineage)
        if weights is not None:
            self.fields.append(weights)
        if lineage.initialised_from:
            self.notes.append(
                f"The training started from model {lineage.initialised_from}, whose weights are taken by their digest. "
                f"`carsdepo reproduce {lineage.initialised_from}` makes that one again."
            )
        evaluation = first_evaluation(self.source, digest)
        built = rebuild(self.source, self.clean, lineage, evaluation, policy, self.say)
        self.fields += built.fields
        self.notes += built.notes
        absent = [f for f in self.fields if f.state == "missing" and f.part != "environment"]
        if built.version is None or (unlike(self.fields) and not anyway) or (absent and weights in absent):
            return self._result("not made again", None)
        clock, what = self._clock(recipe)
        self.notes += what
        got = self._train(recipe, policy, built.version, key, clock)
        self.fields += training_fields(self.source, digest, self.clean, got)
        self.fields += self._figures(got, evaluation, policy)
        return self._result("differs" if unlike(self.fields) else "same", got)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Says which fields of a stored policy or recipe this release does not know, or a package brings no more."""
        try:
            yield
        except ValidationError as error:
            what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise NotReproducible(
                f"Model {self.lineage.digest} was trained by {self.lineage.code.version}, and what it was trained with "
                f"is not understood here ({what}): make it again with that release, and the packages of then."
            ) from error

    def _result(self, verdict: Literal["same", "differs", "not made again"], got: str | None) -> Reproduction:
        others = unlike(self.fields)
        why = [f"{f.name} {'is missing' if f.state == 'missing' else 'differs'}{_colon(f.note)}." for f in others]
        if any(f.part != "data" for f in others):  # bytes that were changed are explained by nothing here
            why += [f"It may come from this: {sentence}" for sentence in explanations(self.fields)]
        return Reproduction(
            self.lineage.digest, str(self.folder), tuple(self.fields), verdict, tuple(why), tuple(self.notes), got
        )

    def _clock(self, recipe: Recipe) -> tuple[ClockDecisions | None, list[str]]:
        """What the clock decided in the first training; None where nothing hung on it."""
        result = read_result(self.source, self.lineage.digest)
        absent = [name for name in ("steps", "history") if name not in result]
        if absent:
            raise NotReproducible(f"models/{self.lineage.digest}/result.json says nothing of {' and '.join(absent)}.")
        if recipe.minutes is None or (recipe.steps is not None and not result.get("stopped_by_time")):
            return None, []
        sentence = (
            f"Minutes ended the training: it is made again with its {result['steps']} steps, at their learning rates"
        )
        key = clock_key(self.lineage.digest)
        if self.source.exists(key):
            try:
                return ClockDecisions.of_state(json.loads(self.source.get(key))), [f"{sentence}."]
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise NotReproducible(f"{key} is damaged ({type(error).__name__}: {error}).") from error
        decisions = ClockDecisions.of_history(result["steps"], result["history"])
        if recipe.steps is None and recipe.detector.startswith("yolo"):
            return decisions, [f"{sentence}."]
        return decisions, [
            f"Minutes ended the training, and its learning rates, which followed the clock, were not recorded: its "
            f"{result['steps']} steps are made again at rates that may differ."
        ]

    def _train(
        self, recipe: Recipe, policy: Policy, version: str, weights: str | None, clock: ClockDecisions | None
    ) -> str:
        spec = TrainingSpec(
            lake=self.clean.url,
            policy=policy,
            dataset_version=version,
            recipe=recipe,
            initial_weights=weights,
            clock=None if clock is None else clock.state(),
        )
        text, file = spec.model_dump_json(), self.folder / TRAINED
        if file.exists():  # killed after the training
            before = json.loads(file.read_text())
            if before["spec"] == text and is_complete(self.clean, before["digest"]):
                return str(before["digest"])
        self.say(f"{recipe.detector} is trained, with {threads_of(self.lineage)} threads")
        report = self._worker("carsdepo_assets.training.worker", text)
        write_atomic(file, json.dumps({"spec": text, "digest": report["digest"]}).encode())
        return str(report["digest"])

    def _figures(self, got: str, record: EvaluationRecord | None, policy: Policy) -> list[ComparedField]:
        if record is None:
            self.notes.append("The model was never evaluated: there are no figures to compare.")
            return []
        self.say("the model is scored")
        if record.policy_digest not in (None, policy.digest(), self.lineage.policy_digest):
            self.notes.append(f"It was evaluated under policy {record.policy_digest}, which is not the training's.")
        spec = EvaluationSpec(
            lake=self.clean.url,
            policy=policy,
            digests=(got,),
            dataset_version=record.dataset,
            golden=record.golden or None,
        )
        self._worker("carsdepo_assets.compute.worker.evaluate", spec.model_dump_json())
        return figure_fields(self.clean, got, record, policy)

    def _worker(self, module: str, spec: str) -> dict[str, Any]:
        """Runs a worker with the threads of then; its lines are said, and its report is given back.

        Raises:
            NotReproducible: it failed; its last lines are in the message.
        """
        place = self.folder / "spec.json"
        write_atomic(place, spec.encode())
        variables = {
            "CARSDEPO_HOME": str(self.home),
            "CARSDEPO_WORK": str(self.folder / "work"),
            "OMP_NUM_THREADS": str(threads_of(self.lineage)),
            PARENT_VARIABLE: str(os.getpid()),  # it ends with this process, whatever ends that
        }
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", module, "--spec", str(place)],
            env={**redaction.environment(os.environ), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        report: dict[str, Any] | None = None
        last: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith('{"data_version"'):
                    report = json.loads(line)
                elif line.strip():
                    last = [*last[-19:], line.rstrip()]
                    if line.startswith(("epoch ", "Going on")):
                        self.say(line.rstrip())
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if process.returncode != 0 or report is None:
            raise NotReproducible("\n".join([f"{module} ended with {process.returncode}:", *last]))
        return report


def _colon(note: str) -> str:
    return f": {note.rstrip('.')}" if note else ""
