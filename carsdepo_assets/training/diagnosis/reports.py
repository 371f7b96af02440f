"""Tells of a running training's findings: in its log, in MLflow, and in the lake, where a killed one goes on from."""

from __future__ import annotations

from collections.abc import Callable

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.detectors.pace import Every
from carsdepo_assets.detectors.signals import StepSignals, ValidationSignals
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.training_findings import TrainingFinding, read_diagnosis, write_diagnosis
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.training.diagnosis.diagnosis import Diagnosis, starts_fresh
from carsdepo_assets.training.diagnosis.kinds import KINDS

TAG = "carsdepo.finding."  # of an MLflow run; the finding's name follows
_STORE_SHARE = 0.005  # of the training's time that storing the signals may take


class DiagnosisReports:
    """The listener of a training that a job runs; it goes on with what an earlier attempt stored.

    Args:
        key: of the training, as TrainingSpec.key gives it.
        init: the recipe's.
        events: the job's log.
        tracking: None, like run_id, where MLflow is not used.
        dagster_run_id: of the run that the job works for.
        shown: called with all findings whenever they change.
    """

    def __init__(
        self,
        lake: Lake,
        key: str,
        policy: Policy,
        init: str,
        events: Events,
        tracking: Tracking | None = None,
        run_id: str | None = None,
        dagster_run_id: str | None = None,
        shown: Callable[[tuple[TrainingFinding, ...]], None] = lambda findings: None,
    ) -> None:
        self.lake, self.key, self.events, self.shown = lake, key, events, shown
        self.tracking, self.run_id, self.dagster_run_id = tracking, run_id, dagster_run_id
        self.diagnosis = Diagnosis(
            policy.training.diagnosis,
            fresh=starts_fresh(init),
            floor=policy.evaluation.floor_map50,
            on_finding=self._report,
        )
        self.gradients_every = self.diagnosis.gradients_every
        self.storing = Every(policy.training.progress_every_s, _STORE_SHARE)
        self.logging = Every(policy.training.log_every_s)
        self.trouble = False
        earlier = read_diagnosis(lake, key)
        if earlier is not None:
            self.diagnosis.restore(earlier)

    @property
    def findings(self) -> tuple[TrainingFinding, ...]:
        """What was found so far."""
        return self.diagnosis.findings

    def stepped(self, signals: StepSignals) -> None:
        """Takes a step; see Diagnosis.stepped."""
        before = self.diagnosis.by_name
        self.diagnosis.stepped(signals)
        if len(self.diagnosis.by_name) < len(before):  # a killed attempt's findings: it takes those steps again
            self.shown(self.findings)
        if self.logging.due() and self.tracking is not None and self.run_id is not None:
            self.tracking.log_row(self.run_id, self.diagnosis.figures(), step=signals.step)
        if self.storing.due():
            self.store()

    def validated(self, signals: ValidationSignals) -> None:
        """Takes a validation; see Diagnosis.validated."""
        before = self.findings
        self.diagnosis.validated(signals)
        if self.findings != before:
            self.shown(self.findings)
        if self.storing.due():
            self.store()

    def ended(self) -> None:
        """The last step is taken; see Diagnosis.ended. MLflow keeps the tags of what stands."""
        self.diagnosis.ended()
        self.store()
        if self.tracking is not None and self.run_id is not None:
            tags = self.tracking.client.get_run(self.run_id).data.tags
            for kind in KINDS:
                if f"{TAG}{kind.name}" in tags and kind.name not in self.diagnosis.by_name:
                    self.tracking.client.delete_tag(self.run_id, f"{TAG}{kind.name}")

    def store(self) -> None:
        """Writes signals and findings to the lake; a lake that cannot be written to does not end the training."""
        try:
            with self.storing.timed():
                write_diagnosis(self.lake, self.diagnosis.stored(self.key, self.dagster_run_id))
        except (LakeError, OSError) as error:
            if not self.trouble:
                self.events.log(f"The training's diagnosis could not be written to the lake: {error}")
            self.trouble = True

    def _report(self, finding: TrainingFinding) -> None:
        self.events.log(f"{'HOPELESS' if finding.severity == 'hopeless' else 'Finding'}: {finding.text}")
        if self.tracking is not None and self.run_id is not None:
            self.tracking.client.set_tag(self.run_id, f"{TAG}{finding.name}", f"{finding.severity}: {finding.text}")
        self.shown(self.findings)
        self.store()
