"""What to try next, by Optuna. Its storage is a projection of the ledger of trials, rebuilt where the two differ.

The sampler's chance is of the seed and of the trial's number alone, so that a study which goes on after a kill, or with
a new storage, asks for the same trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.experiments.study.planning import StudyPlan
from carsdepo_assets.experiments.study.space import FAMILY
from carsdepo_assets.lake.trials import Trial
from carsdepo_assets.policy import Dimension
from carsdepo_assets.redaction import redact

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_LOCK_S = 60  # seconds for which a busy SQLite file is waited for
_SEEDS = 100_003  # numbers of one study are apart from those of the next seed


class Sampler:
    """Asks Optuna for the parameters of trials, and tells it what came of them.

    Args:
        plan: of the study.
        url: of Optuna's storage, as SQLAlchemy writes it; it may hold a password.
    """

    def __init__(self, plan: StudyPlan, url: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan, self._url = plan, url
        options = {"connect_args": {"timeout": _LOCK_S}} if url.startswith("sqlite") else {}
        with _usable(url):
            self._storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
        self._asked: dict[int, optuna.Trial] = {}

    def ask(self, ledger: Sequence[Trial]) -> dict[str, Any]:
        """The parameters of the next trial, given all trials so far."""
        with _usable(self._url):
            self.synchronise(ledger)
            study = self._study(len(ledger))
            trial = study.ask()
            self._asked[trial.number] = trial
            return suggested(trial, self._plan)

    def tell(self, trial: Trial, ledger: Sequence[Trial]) -> None:
        """Tells Optuna how a trial ended."""
        with _usable(self._url):
            self._tell(trial, ledger)

    def _tell(self, trial: Trial, ledger: Sequence[Trial]) -> None:
        from optuna.trial import TrialState

        running = self._asked.pop(trial.number, None)
        if running is None:  # it was asked for by a process that is gone, or is trial 0
            self.synchronise(ledger)
            return
        assert trial.ended is not None
        for rung, value in sorted(trial.ended.curve.items()):
            running.report(value, rung)
        study = self._study(trial.number)
        if trial.value is not None:
            study.tell(running, trial.value)
        else:
            study.tell(running, state=TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL)

    def synchronise(self, ledger: Sequence[Trial]) -> bool:
        """Makes Optuna's study say what the ledger says.

        Returns:
            Whether it had to be built anew: it was lost, or a kill came between the two.
        """
        import optuna

        name = self._plan.study
        if name in optuna.get_all_study_names(self._storage):
            stored = optuna.load_study(study_name=name, storage=self._storage).trials
            if [_key(t) for t in stored] == [self._key_of(t) for t in ledger]:
                return False
            optuna.delete_study(study_name=name, storage=self._storage)
        self._asked.clear()
        study = optuna.create_study(study_name=name, storage=self._storage, direction="maximize")
        study.set_user_attr("dataset", self._plan.dataset)
        for trial in ledger:
            study.add_trial(self._frozen(trial))
        return True

    def _study(self, number: int) -> optuna.Study:
        import optuna

        settings = self._plan.settings
        sampler = optuna.samplers.TPESampler(
            seed=(settings.seed * _SEEDS + number) % 2**32, n_startup_trials=settings.startup_trials
        )
        return optuna.load_study(study_name=self._plan.study, storage=self._storage, sampler=sampler)

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        """A trial of the ledger as Optuna stores it; parameters outside the space are left out, as today's may be."""
        from optuna.trial import TrialState, create_trial

        state = {
            "asked": TrialState.RUNNING,
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }[trial.state]
        spaces = distributions(self._plan)
        inside = {n: v for n, v in trial.asked.params.items() if n in spaces and is_inside(spaces[n], v)}
        curve = {} if trial.ended is None else dict(trial.ended.curve)
        value = trial.value
        if state == TrialState.COMPLETE and value is None:  # Optuna takes no complete trial without a score
            state = TrialState.FAIL
        if state == TrialState.PRUNED:
            value = curve[max(curve)] if curve else None
        return create_trial(
            state=state,
            value=value,
            params=inside,
            distributions={n: spaces[n] for n in inside},
            intermediate_values=curve,
        )

    def _key_of(self, trial: Trial) -> tuple[Any, ...]:
        return _key(self._frozen(trial))


@contextmanager
def _usable(url: str) -> Iterator[None]:
    """Says what to do where the storage fails: it can be made again, and so is never a reason to lose a study."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    # Optuna raises a bare RuntimeError where another version of it made the tables.
    except (SQLAlchemyError, StorageInternalError, RuntimeError, ImportError) as error:
        file = unquote(url.partition(":///")[2]) if url.startswith("sqlite") else ""
        place = f"Optuna's database {file}" if file else "Optuna's database, which CARSDEPO_STUDIES names,"
        reason = redact(str(getattr(error, "orig", None) or error.__cause__ or error)).strip().partition("\n")[0]
        raise StudyError(
            f"{place} cannot be used: {reason.rstrip('.')}. Nothing of the study is lost. Where another process holds "
            "it, end that one; where it is damaged or of another version of Optuna, move it away: it is made again "
            "from the table `trials` when the study goes on."
        ) from error


def suggested(trial: optuna.Trial, plan: StudyPlan) -> dict[str, Any]:
    """The parameters that Optuna suggests for a trial: the family, then what is varied for it."""
    spaces = distributions(plan)
    params: dict[str, Any] = {FAMILY: plan.families[0]}
    if FAMILY in spaces:
        params[FAMILY] = _suggested_value(trial, FAMILY, spaces[FAMILY])
    for dimension in plan.settings.dimensions(str(params[FAMILY])):
        params[dimension.name] = _suggested_value(trial, dimension.name, spaces[dimension.name])
    return params


def _suggested_value(trial: optuna.Trial, name: str, space: BaseDistribution) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(space, CategoricalDistribution):
        return trial.suggest_categorical(name, space.choices)
    if isinstance(space, IntDistribution):
        return trial.suggest_int(name, space.low, space.high, step=space.step, log=space.log)
    assert isinstance(space, FloatDistribution)
    return trial.suggest_float(name, space.low, space.high, step=space.step, log=space.log)


def is_inside(space: BaseDistribution, value: Any) -> bool:
    """Whether Optuna takes a parameter's value into a study, as today's need not be: outside the range, or between
    two steps."""
    from optuna.trial import TrialState, create_trial

    try:
        create_trial(state=TrialState.RUNNING, params={"it": value}, distributions={"it": space})
    except ValueError:
        return False
    return True


def distributions(plan: StudyPlan) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each parameter by name; the family is one where there are several."""
    from optuna.distributions import CategoricalDistribution

    of_family = {FAMILY: CategoricalDistribution(plan.families)} if len(plan.families) > 1 else {}
    return of_family | {d.name: _distribution(d) for d in plan.settings.space}


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    low, high, step = dimension.low, dimension.high, dimension.step
    if step is not None:
        high = low + math.floor((high - low) / step + 1e-9) * step  # the largest value that the steps reach
    if dimension.is_integer:
        return IntDistribution(int(low), int(high), log=dimension.log, step=1 if step is None else int(step))
    return FloatDistribution(low, high, log=dimension.log, step=step)


def _key(trial: optuna.trial.FrozenTrial) -> tuple[Any, ...]:
    """What of a trial must be the same in both: floats to twelve digits, as a database may round them."""

    def rounded(value: Any) -> Any:
        return float(f"{value:.12g}") if isinstance(value, float) and math.isfinite(value) else value

    params = tuple(sorted((n, rounded(v)) for n, v in trial.params.items()))
    value = trial.value if trial.state.name == "COMPLETE" else None
    return trial.state.name, rounded(value), params
