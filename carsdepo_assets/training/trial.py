"""A training that is a trial of a study: whether it is pruned, its score on val, and the result that it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import SpecError
from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.evaluation.predict import Scored
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trials import RUNGS, on_rungs
from carsdepo_assets.policy import Policy
from carsdepo_assets.training.mlflow_run import MlflowError

# A recipe that diverges, does not fit its detector or the memory. LakeError and OSError are not among them.
_OF_THE_RECIPE = (ValueError, ArithmeticError, RuntimeError, MemoryError)
_LONGEST_WHY = 600  # characters


class TrialPruned(Exception):
    """The trial is stopped, since earlier ones were better at the same share of their length."""

    def __init__(self, rung: int, value: float, history: list[dict[str, float]]) -> None:
        super().__init__(
            f"stopped at {100 * rung // RUNGS} % of its length: val mAP@.5 {value:.3f} is too far below the earlier "
            "trials there."
        )
        self.history = history


class Pruning:
    """Follows a trial's epochs and stops it where earlier trials were better. Optuna decides, where the trial trains.

    The epochs are kept in the lake, so that a trial which goes on after a kill knows those before it.

    Args:
        lake: the lake.
        terms: of the trial; None: the training is no trial, and is never stopped.
    """

    def __init__(self, lake: Lake, terms: TrialTerms | None) -> None:
        self._lake, self._terms = lake, terms
        self.history: list[dict[str, float]] = terms.epochs(lake) if terms is not None else []

    def report(self, row: Mapping[str, float]) -> None:
        """Takes the figures that a detector reports after an epoch.

        Raises:
            TrialPruned: earlier trials were better.
        """
        if self._terms is None:
            return
        # An epoch that was killed before its checkpoint is trained, and reported, once more.
        self.history = [*(r for r in self.history if r["epoch"] < row["epoch"]), dict(row)]
        self._terms.keep_epochs(self._lake, self.history)
        planned = int(row["planned_steps"])
        curve = on_rungs(self.history, planned)
        rung = max(curve, default=0)
        if rung < RUNGS and row["steps"] < planned and should_prune(self._terms, curve):
            raise TrialPruned(rung, curve[rung], self.history)


def should_prune(terms: TrialTerms, curve: Mapping[int, float]) -> bool:
    """Whether Optuna's pruner stops a trial with this curve, given the curves of the trials before it."""
    rung = max(curve, default=0)
    if terms.pruner == "none" or rung < max(1, terms.prune_after * RUNGS) or len(terms.curves) < terms.prune_startup:
        return False
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: optuna.pruners.BasePruner = (
        optuna.pruners.MedianPruner(n_startup_trials=terms.prune_startup)
        if terms.pruner == "median"
        else optuna.pruners.HyperbandPruner(min_resource=1, max_resource=RUNGS)
    )
    study = optuna.create_study(study_name=terms.study, direction="maximize", pruner=pruner)
    for earlier in terms.curves:
        last = earlier[max(earlier)] if earlier else None
        if last is not None:
            study.add_trial(optuna.trial.create_trial(value=last, intermediate_values=dict(earlier)))
    trial = study.ask()
    for step, value in sorted(curve.items()):
        trial.report(value, step)
        if trial.should_prune():  # a bracket of Hyperband looks at the first report at or after each of its rungs
            return True
    return False


def scored_result(terms: TrialTerms, scored: Scored, n_classes: int, policy: Policy) -> dict[str, Any]:
    """The trial's score on val: mAP@.5 of our evaluator, with its interval by bootstrap over groups."""
    from carsdepo_assets.scoring.bootstrap import bootstrap_map50

    interval = bootstrap_map50(
        scored.truths,
        scored.detections,
        n_classes,
        [row["group_id"] for row in scored.rows],
        iou=policy.evaluation.iou,
        max_detections=policy.evaluation.max_detections,
        resamples=terms.resamples,
        level=terms.level,
    )
    return {"value": interval.value, "low": interval.low, "high": interval.high, "groups": interval.n_groups}


class _TrialEvents:
    """Keeps what a training reports, for the trial's result; its lines go on to where they go."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.reported: dict[str, Any] = {}

    def log(self, line: str) -> None:
        self._events.log(line)

    def report(self, result: Mapping[str, Any], data_version: str) -> None:
        self.reported = dict(result)


def train_as_trial(lake: Lake, terms: TrialTerms, train: Callable[[Events], None], events: Events) -> None:
    """Trains a trial, unless it has its result already; leaves the result in the lake and reports it.

    A training that cannot be done with this recipe is a failed trial. What has another cause (a lake or an MLflow store
    that does not answer, a full disk, a signal) is no result: the trial goes on when it is started again.
    """
    result = terms.result(lake)
    if result is None:
        started, inner = time.monotonic(), _TrialEvents(events)
        try:
            train(inner)
            figures = ("value", "low", "high", "groups", "digest", "seconds", "mlflow_run_id")
            why = str(inner.reported["training"])
            result = _result("complete", why, terms.epochs(lake)) | {n: inner.reported[n] for n in figures}
        except TrialPruned as pruned:
            result = _result("pruned", str(pruned), pruned.history)
        except _OF_THE_RECIPE as error:
            if isinstance(error, MlflowError | SpecError):
                raise
            why = f"{type(error).__name__}: {error}"
            result = _result("failed", why, terms.epochs(lake))
        if result.get("seconds") is None:
            spent = max((row["seconds"] for row in terms.epochs(lake)), default=0.0)
            result["seconds"] = round(max(spent, time.monotonic() - started), 1)
        terms.leave(lake, result)
    told = {k: v for k, v in result.items() if k != "curve"}
    events.log(f"Trial {terms.number} of study {terms.study} is {result['state']}: {result['why']}")
    events.report(told, f"{terms.study}-{terms.number}")


def _result(state: str, why: str, history: list[dict[str, float]]) -> dict[str, Any]:
    """The result that a trial's worker leaves: how it ended, and the curve of its epochs."""
    last = history[-1] if history else None
    return {
        "state": state,
        "why": why[:_LONGEST_WHY],
        "curve": on_rungs(history, int(last["planned_steps"]) if last else 0),
        "steps": int(last["steps"]) if last else None,
    }
