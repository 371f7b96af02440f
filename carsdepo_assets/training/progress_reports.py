"""Shows how a running training gets on: in the lake, in the run's log and in MLflow, every few seconds.

A thread of its own writes to the lake, so that neither a validation nor a slow disk stops the signs of life or the
training. Lines for the log and figures for MLflow are written by the training itself, between two steps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.detectors.base import Progress, Trained
from carsdepo_assets.detectors.pace import Every
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.training_findings import TrainingFinding
from carsdepo_assets.lake.training_progress import TrainingProgress, steps_text, write_progress
from carsdepo_assets.policy import TrainingPolicy
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.training.trial import TrialPruned


class Watching:
    """Reports a training while the block `with Watching(...) as watching` runs; an exception is a failed training.

    Args:
        policy: how often to report.
        first: the progress at the start, which names the training.
        tracking: None, like run_id, where MLflow is not used.
    """

    def __init__(
        self,
        lake: Lake,
        events: Events,
        policy: TrainingPolicy,
        first: TrainingProgress,
        tracking: Tracking | None,
        run_id: str | None,
    ) -> None:
        self.lake, self.events, self.policy, self.tracking, self.run_id = lake, events, policy, tracking, run_id
        self.now = first
        self.updated_at = time.monotonic()  # when `now` was last updated: its seconds go on from there
        self.logging = Every(policy.log_every_s)
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.trouble: str | None = None
        self.thread = threading.Thread(target=self._beat, name="training-progress", daemon=True)

    def __enter__(self) -> Watching:
        self._write()
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            detail = str(error).strip() or type(error).__name__
            if isinstance(error, TrialPruned):
                self._set(state="finished", detail=detail[:500], seconds_left=None)
                detail = ""
            elif isinstance(error, SystemExit | KeyboardInterrupt):
                detail = "it was told to stop; it goes on from its checkpoint when the job runs again."
            if detail:
                self._set(state="failed", detail=detail[:500], seconds_left=None)
        self.over.set()
        self.thread.join()
        self._write()

    def watch(self, progress: Progress) -> None:
        """Takes the progress that a detector reports between its steps."""
        figures = self.now.figures | ({} if progress.loss is None else {"loss": progress.loss})
        self._set(
            state="evaluating" if progress.validating else "running",
            epoch=progress.epoch,
            steps=progress.steps,
            planned_steps=progress.planned_steps,
            seconds=progress.seconds,
            seconds_left=progress.seconds_left,
            figures=figures,
        )
        if progress.validating or not self.logging.due():
            return
        self.events.log(steps_text(self.now))
        if self.trouble is not None:
            self.events.log(f"This training's progress could not be written to the lake: {self.trouble}")
            self.trouble = None
        if progress.loss is not None:
            self._log({"train_loss": progress.loss}, progress.steps)

    def report(self, row: Mapping[str, float]) -> None:
        """Takes the figures that a detector reports after an epoch."""
        figures = {k: v for k, v in row.items() if k not in ("epoch", "steps", "epochs_planned")}
        text = ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if k != "planned_steps")
        self.events.log(f"epoch {int(row['epoch'])}/{int(row['epochs_planned'])}: step {int(row['steps'])}, {text}")
        kept = {k: v for k, v in row.items() if k == "loss" or k.startswith("val_")}
        self._set(figures=self.now.figures | kept, steps=int(row["steps"]), planned_steps=int(row["planned_steps"]))
        self._log({**figures, "epoch": row["epoch"]}, int(row["steps"]))

    def show_findings(self, findings: tuple[TrainingFinding, ...]) -> None:
        """Takes all that is found wrong with the training so far."""
        self._set(findings=findings)

    def trained(self, trained: Trained) -> None:
        """The last step is taken; the model is evaluated on the validation split next, then stored."""
        self.events.log(f"The training ended: {trained.ended}.")
        self._set(
            state="evaluating",
            detail=trained.ended,
            steps=trained.steps,
            planned_steps=trained.planned_steps,
            seconds_left=None,
        )

    def stored(self, trained: Trained, figures: Mapping[str, float]) -> None:
        """The model is in the lake; the figures are logged with those of the epochs."""
        self._log(figures, trained.steps)
        self._set(state="stopped_by_time" if trained.stopped_by_time else "finished")

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        if self.tracking is not None and self.run_id is not None:
            self.tracking.log_row(self.run_id, figures, step=step)

    def _set(self, **changes: object) -> None:
        with self.lock:
            if "state" in changes and "seconds" not in changes:
                changes["seconds"] = self._seconds()
            if "seconds" in changes:
                self.updated_at = time.monotonic()
            self.now = self.now.model_copy(update=changes)

    def _seconds(self) -> float:
        return self.now.seconds + time.monotonic() - self.updated_at

    def _beat(self) -> None:
        while not self.over.wait(self.policy.progress_every_s):
            self._write()

    def _write(self) -> None:
        """Writes to the lake; a lake that cannot be written to is a line in the log and does not end the training."""
        with self.lock:
            changes: dict[str, object] = {"updated_at": datetime.now(UTC)}
            if self.now.state in ("running", "evaluating"):
                changes["seconds"] = self._seconds()
            progress = self.now.model_copy(update=changes)
        try:
            write_progress(self.lake, progress)
        except (LakeError, OSError) as error:
            self.trouble = str(error)


def first_progress(run_id: str | None, detector: str, dataset: str, recipe: str) -> TrainingProgress:
    """The progress of a training that begins now; recipe: its digest."""
    now = datetime.now(UTC)
    return TrainingProgress(
        run_id=run_id,
        detector=detector,
        dataset=dataset,
        recipe=recipe,
        started_at=now,
        updated_at=now,
    )
