"""The loop's second half: release, three windows of traffic, drift, labels, retraining, release again, KPIs.

What a daemon does under `make dev` is done here by ticking the same sensors, one after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.commands.progress import Watch
from carsdepo_assets.demo.progress import Memo, remembered
from carsdepo_assets.demo.traffic import Traffic
from carsdepo_assets.demo.traffic_ahead import TrafficAhead
from carsdepo_assets.demo.train_loop import Loop, train
from carsdepo_assets.demo.training_budget import budget
from carsdepo_assets.settings import plain

if TYPE_CHECKING:
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry.ledger import Event

Say = Callable[[str], None]
# Far caps, in seconds, on what takes seconds on a quiet machine: no outcome hangs on how busy this one is.
CAPTURE_WAIT_S = 900.0  # until the last capture segment must have been closed
ANSWER_WAIT_S = 900.0  # for the answer to a single photograph, a service's "try again" included
CLIENTS = 8  # at once


@dataclass(frozen=True)
class Parts:
    """What every step needs. rendered: on the sample, not on a user's own photographs. ahead: writes the traffic."""

    pipeline: Pipeline
    lake: Lake
    loop: Loop
    memo: Memo
    say: Say
    watch: Watch
    rendered: bool
    ahead: TrafficAhead


def run(parts: Parts, windows: list[Traffic], *, minutes: float | None, detector: str | None) -> None:
    """Staging to KPI report. Steps that the memo has are not done again; the table says so."""
    loop = parts.loop
    release(parts, "first release", first=True)
    queue_id = None
    for window in windows:
        queue_id = traffic(parts, window) or queue_id
    if queue_id is None:
        loop.note("labels", "no window drifted far enough to cut a labelling queue")
    else:
        learn(parts, queue_id, [w.folder for w in windows], minutes=minutes, detector=detector)
        release(parts, "second release", first=False)
    business(parts)


def release(parts: Parts, name: str, *, first: bool) -> None:
    """The newest candidate through staging, validation and gate.

    first: where the floors refuse a model of a user's own photographs, the person who runs the demo approves it, since
    nothing else could serve; the ledger's reason says so. On the sample the gate has the last word: raises
    PipelineError where it refuses the first model.
    """
    from carsdepo_assets.registry.ledger import desired

    with remembered(parts.loop, parts.memo, name, parts.say) as step:
        if step is None:
            return
        judged = parts.lake.read("gates").num_rows
        tick = parts.pipeline.tick("release_candidate")
        serving = desired(parts.lake, "production")
        if serving is None and first and not parts.rendered:
            serving = _by_a_person(parts)
        if serving is None:
            raise PipelineError(_refused(parts.lake, tick.skipped))
        gate = _last_gate(parts.lake)
        if parts.lake.read("gates").num_rows == judged and not first:
            step.outcome = f"not released: {tick.skipped} Production keeps version {serving.version}"
        elif gate["challenger"] == serving.digest:
            step.outcome = f"version {serving.version} ({serving.digest}) in production, by {serving.actor}"
        else:
            why = "; ".join(gate["reasons"])
            step.outcome = f"gate: {gate['verdict']}: {why}; production keeps version {serving.version}"
        parts.loop.reports["gate"] = f"{parts.lake.url}/{gate['report_key']}"
        parts.pipeline.tick("release_news")  # people are told now, not when `dev` runs the sensors


def _refused(lake: Lake, skipped: str) -> str:
    """Why the first model is not in production, and what a person can do."""
    why = skipped or "The release came to no verdict."
    if lake.read("gates").num_rows:
        gate = _last_gate(lake)
        why = (
            f"The gate says {gate['verdict']}: {'; '.join(gate['reasons'])} Its report: {lake.url}/{gate['report_key']}"
        )
    return (
        f"The first model is not in production, and the demo does not overrule the gate on its own sample. {why} "
        "Train longer (`--minutes`), or change the floors in carsdepo.toml; the next demo goes on from here."
    )


def _by_a_person(parts: Parts) -> Event | None:
    """The newest version through staging and gate, a candidate or not, then approved over the gate's word."""
    from carsdepo_assets.commands.releasing import approve
    from carsdepo_assets.registry.ledger import desired

    if parts.lake.read("gates").num_rows == 0:  # under the evaluation's floor: no candidate, so the sensor left it
        which = {"config": {"version": "latest"}}
        parts.pipeline.run("release", ops=dict.fromkeys(("staging_deployment", "production_model"), which))
    gate = _last_gate(parts.lake)
    why = f"the gate says {gate['verdict']}: {'; '.join(gate['reasons'])}"
    approve(parts.pipeline, "latest", f"the demo's first model, so that the loop can be seen whole; {why}")
    return desired(parts.lake, "production")


def traffic(parts: Parts, window: Traffic) -> str | None:
    """Sends a window, ingests its answers, measures drift and lets the router act; the queue that was cut, if any."""
    from carsdepo_assets.commands.sending import send_folder

    settings = parts.pipeline.settings
    name = f"window {window.name}"
    prepare(parts, window)
    with remembered(parts.loop, parts.memo, name, parts.say) as step:
        if step is None:
            return (parts.memo.get(name) or {}).get("queue_id")
        began = datetime.now(UTC)
        with parts.watch("sending", "photographs") as advance:
            sent = send_folder(
                settings.service_url("production"),
                window.folder,
                api_key=plain(settings.api_key),
                concurrency=CLIENTS,
                patience_s=ANSWER_WAIT_S,
                progress=advance,
            )
        ended = datetime.now(UTC) + timedelta(milliseconds=1)
        if sent.failures and parts.rendered:  # of a user's own some may be no photographs
            file, why = sent.failures[0]
            raise PipelineError(f"{len(sent.failures)} of {sent.photographs} photographs got no answer; {file}: {why}")
        _ingest(parts, began, sent.answered)
        parts.pipeline.run(
            "drift", ops={"drift_report": {"config": {"from_time": began.isoformat(), "to_time": ended.isoformat()}}}
        )
        parts.pipeline.tick("drift_router")
        parts.pipeline.tick("cut_drift_queues")
        for day in sorted({began.date(), ended.date()}):
            parts.pipeline.run("profile_answers", partition=day.isoformat())
        report = parts.lake.read("drift").sort_by([("at", "descending")]).to_pylist()[0]
        routes = [r for r in parts.lake.read("routes").to_pylist() if r["report_id"] == report["report_id"]]
        said = routes[-1]["said"] if routes else "not routed"
        step.outcome = f"{window.title}: {sent.answered} answered at {sent.per_second:.0f}/s; {_drift(report)}; {said}"
        step.facts["queue_id"] = next((r["queue_id"] for r in routes if r["queue_id"]), None)
        parts.loop.reports[f"drift, {window.name}"] = f"{parts.lake.url}/{report['report_key']}"
    return step.facts["queue_id"]


def prepare(parts: Parts, window: Traffic) -> None:
    """Waits for a window's photographs, which are rendered (or darkened out of a user's own) beside the loop."""
    with parts.loop.step(f"traffic {window.name}", parts.say) as step:
        with parts.watch("rendering" if parts.rendered else "darkening", "photographs") as advance:
            stood = not parts.ahead.await_window(window.name, advance)
        count = sum(1 for _ in (window.folder / "images").iterdir())
        step.outcome = f"{count} photographs, {window.title}{' (reused)' if stood else ''}"


def _ingest(parts: Parts, began: datetime, answered: int) -> None:
    """Until every answer since `began` is in the log: the last segment closes by age."""
    limit = time.monotonic() + CAPTURE_WAIT_S
    while True:
        parts.pipeline.tick("new_inferences")
        logged = parts.lake.read("inferences", columns=["at", "stage"]).to_pylist()
        count = sum(r["at"] >= began and r["stage"] == "production" for r in logged)
        if count >= answered:
            return
        if time.monotonic() > limit:
            raise PipelineError(f"{answered} answers were given, {count} are in the log after {CAPTURE_WAIT_S:.0f} s.")
        time.sleep(1.0)


def learn(parts: Parts, queue_id: str, truth: list[Path], *, minutes: float | None, detector: str | None) -> None:
    """The annotator labels the queue; the golden set takes its share of the new light; a model is trained on."""
    from carsdepo_assets.demo.sample.annotator import annotate

    with remembered(parts.loop, parts.memo, "labels for the queue", parts.say) as step:
        if step is not None:
            done = annotate(parts.lake, queue_id, truth, datetime.now(UTC))
            parts.pipeline.ingest("uploads")
            parts.pipeline.ingest("labels")
            parts.pipeline.tick("measure_quality")
            step.outcome = f"queue {queue_id}: {len(done.labelled) + len(done.standing)} labelled by the annotator"
    with remembered(parts.loop, parts.memo, "golden set", parts.say) as step:
        if step is not None:
            step.outcome = _extend_golden(parts, f"labels of queue {queue_id}")
    kept = parts.memo.get("retraining")
    if kept is None:
        rules = parts.pipeline.settings.policy().training
        length, why = budget(rules, rendered=parts.rendered, again=True, minutes=minutes, detector=detector)
        parts.say(f"second training, from the model in production: {why}")
        train(parts.pipeline, parts.loop, parts.say, watch=parts.watch, length=length)
        outcome = parts.loop.steps[-1].outcome
        parts.memo.done("retraining", outcome=outcome, figures=parts.loop.figures, report=parts.loop.report)
    else:
        parts.loop.note("retraining", f"{kept['outcome']} (reused)")
        parts.loop.figures, parts.loop.report = kept["figures"], kept["report"]


def _extend_golden(parts: Parts, reason: str) -> str:
    """What came of it in words; a queue whose cars all went to train and val leaves the golden set as it is."""
    from carsdepo_assets.data.golden_extension import NothingToAdd, additions
    from carsdepo_assets.lake import golden

    parts.pipeline.run("build_dataset")
    before = golden.current(parts.lake)
    if before is None or before.reason != reason:  # a demo that was killed here has extended it already
        try:
            additions(parts.lake)
        except NothingToAdd as nothing:
            return f"as it was: {nothing}"
        parts.pipeline.run("extend_golden", ops={"extend_golden_set": {"config": {"reason": reason}}})
    now = golden.current(parts.lake)
    assert now is not None
    return f"version {now.version}, {len(now.images)} photographs"


def business(parts: Parts) -> None:
    from carsdepo_assets.demo.sample.business_of_demo import business_before, business_of_answers
    from carsdepo_assets.registry.ledger import events

    with remembered(parts.loop, parts.memo, "KPI report", parts.say) as step:
        if step is None:
            return
        # The invented year ends where the first model went live: no gain comes before one.
        first_live = next(e.at for e in events(parts.lake, "production") if e.action == "promote")
        answers = parts.lake.read("inferences", columns=["listing", "at", "decision", "stage"]).to_pylist()
        files = business_before(first_live) | business_of_answers([a for a in answers if a["stage"] == "production"])
        for key, data in files.items():
            parts.lake.put(f"raw/business/{key}", data)
        parts.pipeline.run("business")
        parts.loop.reports["KPI"] = step.facts["report"] = _newest(parts.lake, "reports/kpi/")
        step.outcome = "invented inspections, transactions and disputes, and the platform's own figures"


def _drift(report: dict[str, Any]) -> str:
    if not report["computed"]:
        return "drift not computed"
    if not report["detected"]:
        return "no drift"
    return f"drift {100 * report['drift']:.1f} % ({report['worst_feature']})"


def _last_gate(lake: Lake) -> dict[str, Any]:
    rows: list[dict[str, Any]] = lake.read("gates").sort_by([("at", "descending")]).to_pylist()
    if not rows:
        raise PipelineError("The gate has not judged any model: see the release's run in Dagster.")
    return rows[0]


def _newest(lake: Lake, prefix: str) -> str:
    pages = [o for o in lake.list(prefix) if o.key.endswith(".html")]
    return f"{lake.url}/{max(pages, key=lambda o: o.modified_at).key}" if pages else "none"
