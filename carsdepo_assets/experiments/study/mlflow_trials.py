"""The MLflow runs of a study: one parent, and a run a trial below it. Each is found by its tag, so that none is two."""

from __future__ import annotations

import json
from collections.abc import Sequence

from carsdepo_assets.experiments.open_experiment import NOTE_TAG
from carsdepo_assets.experiments.study.conclusion import Conclusion
from carsdepo_assets.experiments.study.planning import StudyPlan, described
from carsdepo_assets.lake.trials import Trial
from carsdepo_assets.registry.tracking import Terminal, Tracking

STUDY_TAG, TRIAL_TAG = "carsdepo_study", "carsdepo_trial"
_LONGEST_TEXT = 5000  # characters that MLflow takes of a tag
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own: its UI shows such runs below their parent
_ENDS: dict[str, Terminal] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class StudyRuns:
    """The runs of one study in MLflow."""

    def __init__(self, tracking: Tracking, plan: StudyPlan) -> None:
        self._tracking, self._plan = tracking, plan
        text = "\n\n".join(described(plan))[:_LONGEST_TEXT]
        tags = {STUDY_TAG: plan.study, "dataset_version": plan.dataset, NOTE_TAG: text}
        if plan.report_id is not None:
            tags["drift_report"] = plan.report_id
        self.parent = self._run(STUDY_TAG, plan.study, f"study {plan.study}", tags)

    def trial(self, trial: Trial) -> str:
        """The run of a trial, which its worker logs to."""
        name = f"trial {trial.number}: {trial.asked.recipe.get('detector', '')}"
        value = f"{self._plan.study}:{trial.number}"
        tags = {PARENT_TAG: self.parent, TRIAL_TAG: value, "dataset_version": self._plan.dataset}
        return self._run(TRIAL_TAG, value, name, tags)

    def ended(self, trial: Trial) -> None:
        """Gives a trial's run its figures, its parameters and its status."""
        ended = trial.ended
        assert ended is not None
        run_id = self.trial(trial)
        figures = {
            "trial_val_map50": ended.value,
            "trial_val_map50_low": ended.low,
            "trial_val_map50_high": ended.high,
            "trial_seconds": ended.seconds,
            "trial_money": ended.money,
        }
        self._tracking.log_row(run_id, {k: float(v) for k, v in figures.items() if v is not None}, step=trial.number)
        settings = {f"study.{name}": value for name, value in trial.asked.params.items()}
        nested = ("extra", "augmentation")
        recipe = {f"recipe.{k}": v for k, v in trial.asked.recipe.items() if k not in nested}
        recipe |= {f"recipe.augmentation.{k}": v for k, v in trial.asked.recipe.get("augmentation", {}).items()}
        self._tracking.log_params(run_id, settings | recipe | {"dataset_version": self._plan.dataset})
        for tag, text in (("trial_state", trial.state), ("trial_said", ended.message), ("model_digest", ended.digest)):
            if text:
                self._tracking.client.set_tag(run_id, tag, text)
        self._tracking.end(run_id, _ENDS[trial.state])

    def concluded(self, result: Conclusion, ledger: Sequence[Trial]) -> None:
        """Gives the parent its result and ends it."""
        figures = {"trials": float(len(ledger))}
        if result.winner is not None:
            figures |= {"winner": float(result.winner.number), "best_val_map50": result.tied[0].value or 0.0}
        self._tracking.log_row(self.parent, figures, step=0)
        self._tracking.client.set_tag(self.parent, "conclusion", result.text[:_LONGEST_TEXT])
        self._tracking.log_text(self.parent, json.dumps(self._plan.model_dump(mode="json"), indent=1), "plan.json")
        self._tracking.end(self.parent, "FINISHED" if result.winner is not None else "FAILED")

    def _run(self, tag: str, value: str, name: str, tags: dict[str, str]) -> str:
        tracking = self._tracking
        there = tracking.client.search_runs(
            [tracking.experiment_id()],
            f"tags.{tag} = '{value}'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        if there:
            run_id = str(there[0].info.run_id)
            if there[0].info.status != "RUNNING":
                tracking.client.update_run(run_id, status="RUNNING")
            return run_id
        return tracking.begin(None, name, tags)
