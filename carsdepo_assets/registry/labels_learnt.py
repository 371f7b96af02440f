"""Whether a model has learnt the newest labels; if not, which trainings were tried and what comes next.

Everything is read from the lake and the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from carsdepo_assets.lake.label_state import label_state, trained_state
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import RECIPE_ITSELF, Outcome, outcomes
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import LedgerHistory

_NO_MODEL = ("under_floor", "hopeless")  # outcomes of a recipe that was tried, and that fallbacks change


@dataclass(frozen=True)
class LabelCoverage:
    """How far the labels are learnt."""

    label_state: int
    """Number of label revisions in the lake."""
    unlearnt: int
    """Revisions that no model which met the floor of quality was trained on."""
    tries: tuple[Outcome, ...] = ()
    """What came of the trainings on these labels, oldest first."""
    next: str | None = None
    """`recipe` for the training that new labels start, or the fallback whose turn it is; None: no more by itself."""
    settled: str | None = None
    """What a person did about labels that could not be learnt; None: nothing yet."""

    @property
    def base_recipe(self) -> str | None:
        """Digest of the recipe that the fallbacks change: the usual one for these labels, whose model was under the
        floor or whose training was hopeless; None before that came out."""
        return base_recipe(self.tries)

    @property
    def trainable(self) -> int:
        """Label revisions that a training will still take up by itself."""
        return self.unlearnt if self.next is not None and self.settled is None else 0

    @property
    def needs_person(self) -> bool:
        """Whether nothing more is tried by itself and no person has decided yet."""
        return self.unlearnt > 0 and self.next is None and self.settled is None

    @property
    def in_trouble(self) -> bool:
        """Whether trainings on these labels have given no good model so far and no person has decided yet."""
        return self.unlearnt > 0 and bool(self.tries) and self.settled is None

    @property
    def message(self) -> str:
        """The state of learning in a sentence or two, for people."""
        evaluated = [o for o in self.tries if o.outcome == "under_floor" and o.map50 is not None]
        begin = f"{self.unlearnt} label revisions are not learnt"
        if evaluated:
            best = max(evaluated, key=lambda o: o.map50 or 0.0)
            begin += (
                f": {_count(len({o.digest for o in evaluated}), 'model')} under the floor, the best with mAP@.5 "
                f"{best.map50:.3f} of {best.floor:.3f}"
            )
        elif self.tries:
            begin += f": {self.tries[-1].reason}"
        if self.settled is not None:
            return f"{begin}. {self.settled}"
        if self.next is not None:
            what = (
                "the usual training, which `carsdepo dev` starts by itself"
                if self.next == RECIPE_ITSELF
                else f"fallback {self.next}"
            )
            return f"{begin}. Next: {what}."
        return f"{begin}. Nothing more is tried by itself: a person is asked."

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "label_state": self.label_state,
            "unlearnt": self.unlearnt,
            "said": self.message,
            "needs_person": self.needs_person,
            "next": self.next,
            "tries": [o.model_dump(mode="json") for o in self.tries],
        }


def label_coverage(lake: Lake, policy: Policy, history: LedgerHistory | None = None) -> LabelCoverage:
    """How far the labels in the lake are learnt, and what comes next.

    Args:
        lake: The lake.
        policy: Names the fallbacks that are tried when the usual training fails.
        history: The ledger, where it was read already.
    """
    state = label_state(lake)
    unlearnt = max(0, state - trained_state(lake))
    if not unlearnt:
        return LabelCoverage(state, 0)
    tries = outcomes(lake, state)
    coming = _next(tries, policy)
    settled = _settled(tries, coming, history or LedgerHistory.read(lake))
    return LabelCoverage(state, unlearnt, tuple(tries), coming, settled)


def base_recipe(tries: Sequence[Outcome]) -> str | None:
    """See `LabelCoverage.base_recipe`."""
    own = (o for o in tries if o.asked_by == "retrain" and o.fallback is None and o.outcome in _NO_MODEL)
    return next((o.recipe for o in own), None)


def _next(tries: Sequence[Outcome], policy: Policy) -> str | None:
    """What the sensor tries next; a person's trainings are not its own."""
    own = {o.tried: o.outcome for o in tries if o.asked_by == "retrain"}
    if own.get(RECIPE_ITSELF) not in _NO_MODEL:
        return None if own.get(RECIPE_ITSELF) == "did_not_finish" else RECIPE_ITSELF
    return next((change.name for change in policy.training.fallbacks if change.name not in own), None)


def _settled(tries: Sequence[Outcome], coming: str | None, history: LedgerHistory) -> str | None:
    """A person's approval of one of the models that no rejection followed, or a person's training after the sensor had
    tried all it has."""
    digests = {o.digest for o in tries if o.digest is not None}
    for event in reversed(history.events):
        if event.action == "reject":
            digests.discard(event.digest)
        elif event.action == "approve" and event.digest in digests:
            return f"{event.actor} approved model {event.digest} all the same: {event.reason}"
    tried = [o.at for o in tries if o.asked_by == "retrain"]
    with_model = [o for o in tries if o.asked_by == "person" and o.digest is not None]
    later = [o for o in with_model if not tried or o.at > max(tried)]
    if coming is None and later:
        return f"A person trained model {later[-1].digest} since: {later[-1].reason}"
    return None


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
