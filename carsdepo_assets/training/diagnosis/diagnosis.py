"""Listens to a training, keeps its record and its findings, and stops it where it is hopeless."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from carsdepo_assets.detectors.signals import StepSignals, ValidationSignals
from carsdepo_assets.lake.training_findings import StoredDiagnosis, TrainingFinding
from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
from carsdepo_assets.training.diagnosis.kinds import BY_NAME
from carsdepo_assets.training.diagnosis.record import SignalRecord
from carsdepo_assets.training.diagnosis.rules import STEP_RULES, VALIDATION_RULES, Rule, not_finite

_LOOK_EVERY = 10  # steps between two looks of the rules: they cost more than taking a step's signals


class HopelessTraining(RuntimeError):
    """A training cannot become a usable model: it is stopped. The message names the finding and what to do.

    Attributes:
        finding: why.
    """

    def __init__(self, finding: TrainingFinding) -> None:
        super().__init__(f"hopeless, {finding.text}")
        self.finding = finding


class Diagnosis:
    """The listener of one training.

    Args:
        policy: the thresholds.
        fresh: whether the training starts from weights that have never detected anything (scratch, imagenet).
        floor: mAP@.5 from which a model is of use: policy.evaluation.floor_map50.
        on_finding: told of every new finding, once.
    """

    def __init__(
        self,
        policy: DiagnosisPolicy,
        *,
        fresh: bool,
        floor: float,
        on_finding: Callable[[TrainingFinding], None] = lambda finding: None,
    ) -> None:
        self.policy, self.on_finding = policy, on_finding
        self.gradients_every = policy.gradients_every
        self.record = SignalRecord(policy.window, policy.samples, fresh=fresh, floor=floor)
        self.by_name: dict[str, TrainingFinding] = {}
        """Findings by their names."""

    @property
    def findings(self) -> tuple[TrainingFinding, ...]:
        """What was found, in the order in which it was."""
        return tuple(sorted(self.by_name.values(), key=lambda f: (f.since, f.name)))

    def stepped(self, signals: StepSignals) -> None:
        """Takes a step.

        Raises:
            HopelessTraining: the training is stopped.
        """
        # An earlier attempt's steps are taken again; one whose loss was no number is in no record.
        if signals.step <= max(self.record.step, *(f.since for f in self.by_name.values()), 0):
            self.by_name = {name: f for name, f in self.by_name.items() if f.since < signals.step}
        broken = not_finite(signals)
        if broken is not None:
            self._add(broken)
            return
        self.record.add_step(signals)
        if signals.step % _LOOK_EVERY == 0:
            self._look(STEP_RULES)

    def validated(self, signals: ValidationSignals) -> None:
        """Takes a validation.

        Raises:
            HopelessTraining: the training is stopped.
        """
        self.record.add_validation(signals)
        seen = self._look(VALIDATION_RULES)
        self.by_name = {n: f for n, f in self.by_name.items() if n in seen or not BY_NAME[n].passes}

    def ended(self) -> None:
        """The training's last step is taken: what its last steps show is named, too.

        Raises:
            HopelessTraining: its model is not evaluated.
        """
        self.record.ended = True
        self._look((*STEP_RULES, *VALIDATION_RULES))

    def figures(self) -> dict[str, float]:
        """Figures of the newest steps, for MLflow."""
        newest = list(self.record.newest)
        if not newest:
            return {}
        waited, computed = sum(s.loader_s for s in newest), sum(s.compute_s for s in newest)
        figures = {"lr": newest[-1].lr}
        if waited + computed > 0:
            figures["loader_waiting_share"] = waited / (waited + computed)
        if self.record.gradients:
            last = self.record.gradients[-1]
            figures |= {"gradient_norm": last.gradient_norm or 0.0, "dead_gradients_share": last.dead_share or 0.0}
        return figures

    def stored(self, key: str, run_id: str | None) -> StoredDiagnosis:
        """What the lake keeps of it; key and run_id: of the training."""
        return StoredDiagnosis(
            key=key,
            run_id=run_id,
            updated_at=datetime.now(UTC),
            step=self.record.step,
            findings=self.findings,
            stopped=self.policy.stop_hopeless and any(f.severity == "hopeless" for f in self.findings),
            signals=self.record.to_dict(),
        )

    def restore(self, stored: StoredDiagnosis) -> None:
        """Goes on from what a killed attempt left; what cannot be read is left out."""
        try:
            self.record.restore(stored.signals)
        except (KeyError, TypeError, ValueError):
            return
        self.by_name = {f.name: f for f in stored.findings}

    def _look(self, applied: Sequence[Rule]) -> set[str]:
        """The names of what the rules see now."""
        names = set()
        for rule in applied:
            seen = rule(self.record, self.policy)
            if seen is not None:
                names.add(seen.name)
                self._add(seen)
        return names

    def _add(self, seen: TrainingFinding) -> None:
        """Keeps the first of each name; a warning that became hopeless takes its place."""
        earlier = self.by_name.get(seen.name)
        if earlier is None or (earlier.severity, seen.severity) == ("warning", "hopeless"):
            self.by_name[seen.name] = seen if earlier is None else seen.model_copy(update={"since": earlier.since})
            self.on_finding(self.by_name[seen.name])
        if seen.severity == "hopeless" and self.policy.stop_hopeless:
            raise HopelessTraining(self.by_name[seen.name])


def starts_fresh(init: str) -> bool:
    """Whether a recipe's `init` names weights that have never detected anything."""
    return init in ("scratch", "imagenet")
