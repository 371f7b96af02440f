"""The demo from the first release on: release, three windows of traffic, drift, labels, retraining, release, KPIs.

Under `make dev` a daemon evaluates the sensors; the demo evaluates the same sensors itself, one after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.commands.loop_steps import Loop, studied, train
from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.commands.progress import Watch
from carsdepo_assets.demo.progress import DemoProgress, step_unless_finished
from carsdepo_assets.demo.traffic_ahead import TrafficAhead
from carsdepo_assets.demo.traffic_windows import Traffic
from carsdepo_assets.demo.training_budget import budget
from carsdepo_assets.settings_variables import plain

if TYPE_CHECKING:
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry.ledger import Event

Say = Callable[[str], None]
# Seconds. What they cap takes seconds on a quiet machine: they are long, so that a busy one changes no outcome.
CAPTURE_WAIT_S = 900.0  # until the service must have closed its last capture segment
ANSWER_WAIT_S = 900.0  # for the answer to one photograph, repeated requests included
CLIENTS = 8  # photographs that are sent at the same time


@dataclass(frozen=True)
class DemoContext:
    """What every step of the demo works with."""

    pipeline: Pipeline
    lake: Lake
    loop: Loop
    """Lists the steps with their outcomes, and the reports."""
    progress: DemoProgress
    """Which steps earlier demos in this home have finished."""
    say: Say
    """Prints a line for the user."""
    watch: Watch
    rendered: bool
    """Whether the photographs are the rendered sample; False for a user's own."""
    ahead: TrafficAhead
    """Writes the windows of traffic in the background."""


def run(context: DemoContext, windows: list[Traffic], *, minutes: float | None, detector: str | None) -> None:
    """Runs the steps from the first release to the KPI report; steps that are finished already are not run again.

    Args:
        context: What the steps work with.
        windows: The windows of traffic, in the order in which they are sent.
        minutes: Of wall time for the second training, as the user asked; None for the demo's own budget.
        detector: As the user asked; None where the policy decides.

    Raises:
        PipelineError: Where a step fails, or the gate refuses the first model on the sample.
    """
    loop = context.loop
    release(context, "first release", first=True)
    queue_id = None
    for window in windows:
        queue_id = send_window(context, window) or queue_id
    if queue_id is None:
        loop.note("labels", "no window drifted far enough for a labelling queue")
    else:
        label_and_retrain(context, queue_id, [w.folder for w in windows], minutes=minutes, detector=detector)
        release(context, "second release", first=False)
    report_kpis(context)


def release(context: DemoContext, name: str, *, first: bool) -> None:
    """Takes the newest candidate through staging, its validation and the promotion gate.

    Args:
        context: What the steps work with.
        name: Of the step in the table.
        first: Whether it is the demo's first release. Where the gate then refuses a model of a user's own photographs,
            it is approved in the name of the person who runs the demo, since no other model could serve; the ledger
            holds the reason. On the sample the gate has the last word.

    Raises:
        PipelineError: Where the gate refuses the first model on the sample.
    """
    from carsdepo_assets.registry.ledger import desired

    with step_unless_finished(context.loop, context.progress, name, context.say) as step:
        if step is None:
            return
        gates_before = context.lake.read("gates").num_rows
        tick = context.pipeline.tick("release_candidate")
        serving = desired(context.lake, "production")
        if serving is None and first and not context.rendered:
            serving = _approved_by_the_user(context)
        if serving is None:
            raise PipelineError(_refusal_message(context.lake, tick.skipped))
        gate = _latest_gate(context.lake)
        if not first and gate["verdict"] == "promote" and gate["challenger"] != serving.digest:
            serving = _approved_after_drift(context, gate["challenger"]) or serving
        if context.lake.read("gates").num_rows == gates_before and not first:
            step.outcome = f"not released: {tick.skipped} Production keeps version {serving.version}"
        elif gate["challenger"] == serving.digest:
            step.outcome = f"version {serving.version} ({serving.digest}) in production, by {serving.actor}"
        else:
            why = "; ".join(gate["reasons"])
            step.outcome = f"gate: {gate['verdict']}: {why}; production keeps version {serving.version}"
        context.loop.reports["gate"] = f"{context.lake.url}/{gate['report_key']}"
        context.pipeline.tick("release_news")  # the alert is sent now, not when `dev` runs the sensors


def _refusal_message(lake: Lake, skipped: str) -> str:
    """Why the first model is not in production, and what a person can do."""
    why = skipped or "The release ended without a verdict."
    if lake.read("gates").num_rows:
        gate = _latest_gate(lake)
        why = (
            f"The gate's verdict is {gate['verdict']}: {'; '.join(gate['reasons'])} "
            f"Its report: {lake.url}/{gate['report_key']}"
        )
    return (
        f"The first model is not in production, and the demo does not overrule the gate on its own sample. {why} "
        "Train longer (`--minutes`), or change the gate's floors in carsdepo.toml; the next demo goes on from here."
    )


def _approved_after_drift(context: DemoContext, digest: str) -> Event | None:
    """Approves a model that passed the gate and waits for a person, in the name of the person who runs the demo.

    Returns the promotion in the ledger; None where no hold is what it waits for.
    """
    from carsdepo_assets.commands.decisions import approve
    from carsdepo_assets.registry.ledger import LedgerHistory

    if LedgerHistory.read(context.lake).promotion_hold is None:
        return None
    approve(context.pipeline, digest, "the demo's second model: it passed the gate, and high drift asks for a person")
    return LedgerHistory.read(context.lake).served("production")


def _approved_by_the_user(context: DemoContext) -> Event | None:
    """Approves the newest version against the gate's verdict, which is reached first where there is none yet.

    Returns the promotion in the ledger.
    """
    from carsdepo_assets.commands.decisions import approve
    from carsdepo_assets.registry.ledger import desired

    if context.lake.read("gates").num_rows == 0:  # the evaluation refused it as a candidate: the sensor left it
        which = {"config": {"version": "latest"}}
        context.pipeline.run("release", ops=dict.fromkeys(("staging_deployment", "production_model"), which))
    gate = _latest_gate(context.lake)
    why = f"the gate says {gate['verdict']}: {'; '.join(gate['reasons'])}"
    approve(context.pipeline, "latest", f"the demo's first model, approved so that the demo can go on; {why}")
    return desired(context.lake, "production")


def send_window(context: DemoContext, window: Traffic) -> str | None:
    """Sends a window of traffic to the production service, ingests the answers, measures drift and routes it.

    Returns:
        The id of the labelling queue that the drift led to; None where there is none.

    Raises:
        PipelineError: Where a photograph of the sample got no answer, or answers do not reach the log.
    """
    from carsdepo_assets.commands.sending import send_folder

    settings = context.pipeline.settings
    name = f"window {window.name}"
    await_window(context, window)
    with step_unless_finished(context.loop, context.progress, name, context.say) as step:
        if step is None:
            return (context.progress.facts_of(name) or {}).get("queue_id")
        began = datetime.now(UTC)
        with context.watch("sending", "photographs") as advance:
            sent = send_folder(
                settings.service_url("production"),
                window.folder,
                api_key=plain(settings.api_key),
                concurrency=CLIENTS,
                patience_s=ANSWER_WAIT_S,
                progress=advance,
            )
        ended = datetime.now(UTC) + timedelta(milliseconds=1)
        if sent.failures and context.rendered:  # a user's own files need not all be photographs
            file, why = sent.failures[0]
            raise PipelineError(f"{len(sent.failures)} of {sent.photographs} photographs got no answer; {file}: {why}")
        _ingest_answers(context, began, sent.answered)
        context.pipeline.run(
            "drift", ops={"drift_report": {"config": {"from_time": began.isoformat(), "to_time": ended.isoformat()}}}
        )
        context.pipeline.tick("drift_router")
        context.pipeline.tick("cut_drift_queues")
        for day in sorted({began.date(), ended.date()}):
            context.pipeline.run("profile_answers", partition=day.isoformat())
        report = context.lake.read("drift").sort_by([("at", "descending")]).to_pylist()[0]
        routes = [r for r in context.lake.read("routes").to_pylist() if r["report_id"] == report["report_id"]]
        action = routes[-1]["said"] if routes else "not routed"
        step.outcome = (
            f"{window.title}: {sent.answered} answered at {sent.per_second:.0f}/s; {_drift_summary(report)}; {action}"
        )
        queue_id: str | None = next((r["queue_id"] for r in routes if r["queue_id"]), None)
        step.facts["queue_id"] = queue_id
        context.loop.reports[f"drift, {window.name}"] = f"{context.lake.url}/{report['report_key']}"
    return queue_id


def await_window(context: DemoContext, window: Traffic) -> None:
    """Waits until all photographs of a window are written, which a background thread does, and shows its progress."""
    with context.loop.step(f"traffic {window.name}", context.say) as step:
        with context.watch("rendering" if context.rendered else "darkening", "photographs") as advance:
            reused = not context.ahead.await_window(window.name, advance)
        count = sum(1 for _ in (window.folder / "images").iterdir())
        step.outcome = f"{count} photographs, {window.title}{' (reused)' if reused else ''}"


def _ingest_answers(context: DemoContext, began: datetime, answered: int) -> None:
    """Ingests capture segments until all answers since `began` are in the log; the last segment closes by its age."""
    limit = time.monotonic() + CAPTURE_WAIT_S
    while True:
        context.pipeline.tick("new_inferences")
        logged = context.lake.read("inferences", columns=["at", "stage"]).to_pylist()
        count = sum(r["at"] >= began and r["stage"] == "production" for r in logged)
        if count >= answered:
            return
        if time.monotonic() > limit:
            raise PipelineError(
                f"{answered} photographs were answered; after {CAPTURE_WAIT_S:.0f} s {count} answers are in the log."
            )
        time.sleep(1.0)


def label_and_retrain(
    context: DemoContext, queue_id: str, truth: list[Path], *, minutes: float | None, detector: str | None
) -> None:
    """Labels a queue, adds the golden set's share of the new labels to it, and trains on from production's model.

    Args:
        context: What the steps work with.
        queue_id: The labelling queue.
        truth: Folders with images/ and labels/, out of which the simulated annotator takes the labels.
        minutes: Of wall time for the training, as the user asked; None for the demo's own budget.
        detector: As the user asked; None where the policy decides.
    """
    from carsdepo_assets.demo.sample.annotator import annotate

    with step_unless_finished(context.loop, context.progress, "labels for the queue", context.say) as step:
        if step is not None:
            annotated = annotate(context.lake, queue_id, truth, datetime.now(UTC))
            context.pipeline.ingest("uploads")
            context.pipeline.ingest("labels")
            context.pipeline.tick("measure_quality")
            step.outcome = (
                f"queue {queue_id}: {len(annotated.labelled) + len(annotated.standing)} labelled by the annotator"
            )
    with step_unless_finished(context.loop, context.progress, "golden set", context.say) as step:
        if step is not None:
            step.outcome = _extend_golden(context, f"labels of queue {queue_id}")
    study_recipes(context, queue_id)
    facts = context.progress.facts_of("retraining")
    if facts is None:
        policy = context.pipeline.settings.policy().training
        length, why = budget(policy, rendered=context.rendered, again=True, minutes=minutes, detector=detector)
        context.say(f"second training, from the model in production: {why}")
        train(context.pipeline, context.loop, context.say, watch=context.watch, length=length)
        outcome = context.loop.steps[-1].outcome
        context.progress.record("retraining", outcome=outcome, figures=context.loop.figures, report=context.loop.report)
    else:
        context.loop.note("retraining", f"{facts['outcome']} (reused)")
        context.loop.figures, context.loop.report = facts["figures"], facts["report"]


def study_recipes(context: DemoContext, queue_id: str) -> None:
    """A short study on the dataset that holds the queue's labels; where high drift asked for it, on its behalf."""
    from carsdepo_assets.lake.queues import read as read_queue
    from carsdepo_assets.lake.studies_due import STUDY
    from carsdepo_assets.lake.trials import report_key

    with step_unless_finished(context.loop, context.progress, "study", context.say) as step:
        if step is None:
            return
        report_id = read_queue(context.lake, queue_id).report_id
        routes = context.lake.read("routes").to_pylist()
        asked = any(r["report_id"] == report_id and STUDY in (r["actions"] or []) for r in routes)
        told = studied(context.pipeline, {"report_id": report_id} if asked else {})
        context.loop.reports["study"] = f"{context.lake.url}/{report_key(told['study'])}.html"
        scores = ", ".join(
            f"trial {row['trial']} {row['map50']:.3f}" for row in told["leaderboard"] if row["map50"] is not None
        )
        step.outcome = f"{len(told['leaderboard'])} trials: {scores}. {told['conclusion']}"


def _extend_golden(context: DemoContext, reason: str) -> str:
    """Extends the golden set by the photographs that are due to it, if any; returns the outcome as a phrase."""
    from carsdepo_assets.data.datasets.golden_extension import NothingToAdd, additions
    from carsdepo_assets.lake import golden

    context.pipeline.run("build_dataset")
    before = golden.current(context.lake)
    if before is None or before.reason != reason:  # a demo that was killed here has extended it already
        try:
            additions(context.lake)
        except NothingToAdd as nothing:
            return f"unchanged: {nothing}"
        context.pipeline.run("extend_golden", ops={"extend_golden_set": {"config": {"reason": reason}}})
    now = golden.current(context.lake)
    assert now is not None
    return f"version {now.version}, {len(now.images)} photographs"


def report_kpis(context: DemoContext) -> None:
    """Puts the files of an invented business into the lake, the demo's own answers included, and reports the KPIs."""
    from carsdepo_assets.demo.sample.business_of_demo import business_before, business_of_answers
    from carsdepo_assets.registry.ledger import events

    with step_unless_finished(context.loop, context.progress, "KPI report", context.say) as step:
        if step is None:
            return
        # The invented year ends when the first model went live, so that no improvement comes before a model.
        first_live = next(e.at for e in events(context.lake, "production") if e.action == "promote")
        answers = context.lake.read("inferences", columns=["listing", "at", "decision", "stage"]).to_pylist()
        files = business_before(first_live) | business_of_answers([a for a in answers if a["stage"] == "production"])
        for key, data in files.items():
            context.lake.put(f"raw/business/{key}", data)
        context.pipeline.run("business")
        context.loop.reports["KPI"] = step.facts["report"] = _newest_page(context.lake, "kpi")
        step.outcome = "of invented inspections, transactions and disputes, and of the platform's own figures"


def _drift_summary(report: dict[str, Any]) -> str:
    if not report["computed"]:
        return "drift not computed"
    if not report["detected"]:
        return "no drift"
    return f"drift {100 * report['drift']:.1f} % ({report['worst_feature']})"


def _latest_gate(lake: Lake) -> dict[str, Any]:
    rows: list[dict[str, Any]] = lake.read("gates").sort_by([("at", "descending")]).to_pylist()
    if not rows:
        raise PipelineError("The gate has not evaluated any model: the release's run in Dagster shows why.")
    return rows[0]


def _newest_page(lake: Lake, kind: str) -> str:
    """The address of the newest report's HTML page, by the time that the report states; `none` where there is none."""
    from carsdepo_assets.site.reading import reports

    page = next((r.page for r in reports(lake, kind) if r.trouble is None and r.page is not None), None)
    return "none" if page is None else f"{lake.url}/{page}"
