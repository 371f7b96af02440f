"""The demo's trainings and releases: jobs and endpoints of SageMaker, and a person's approval of each package."""

from __future__ import annotations

import httpx

from carsdepo_assets.commands.pipeline import PipelineError
from carsdepo_assets.registry import ledger
from carsdepo_assets.release.sagemaker_following import Remembered
from deploy.demo_aws.account import ENV
from deploy.demo_aws.driving import Demo, DemoFailed
from deploy.demo_aws.faults import training_killed

GROUP = f"carsdepo-{ENV}"
MODEL_HEADER = "X-Carsdepo-Model"  # of /ping


def train(demo: Demo, name: str, *, kill: bool = False) -> str:
    """Has the sensor `retrain` train on what is new; returns the new model's digest.

    Args:
        demo: the demo.
        name: of the step.
        kill: whether the first training's container is killed.
    """
    with demo.step(name) as step:
        before = {row["digest"] for row in demo.rows("evaluations", "digest")}
        if kill:
            _train_and_kill(demo)

        def trained() -> bool:
            return any(row["digest"] not in before for row in demo.rows("evaluations", "digest"))

        demo.drive("retrain", trained, "a training")
        [digest] = {row["digest"] for row in demo.rows("evaluations", "digest")} - before
        jobs = [job for job in demo.account.sagemaker.jobs.values() if job.kind == "training"]
        if kill:
            killed, finished = jobs[0], jobs[-1]
            resumed = "Going on from the checkpoint" in finished.log
            demo.prove(
                "a training whose container is killed is trained by a second job",
                f"{killed.name}: {killed.status}, {(killed.reason or '').splitlines()[0].strip()}; {finished.name}: "
                f"{finished.status}, {'from the checkpoint' if resumed else 'anew: there was no checkpoint yet'}",
                holds=killed.status == "Failed"
                and "exit code: 137" in (killed.reason or "")
                and (len(jobs), finished.name, finished.status) == (2, f"{killed.name}-2", "Completed"),
            )
        step.outcome = f"model {digest} by the training job {jobs[-1].name}"
        return str(digest)


def _train_and_kill(demo: Demo) -> None:
    with training_killed(demo.runner, demo.lake) as told:
        try:
            demo.pipeline.tick("retrain")
        except PipelineError as error:
            if not told:
                raise
            demo.say(f"   {told[0]}")
            demo.say(f"   the run failed, as it must: {str(error).splitlines()[0][:200]}")
            return
    raise DemoFailed("The first training was to be killed, and ended before it could be.")


def release(demo: Demo, digest: str, name: str) -> None:
    """Takes a model through staging, the gate, a person's approval in SageMaker, and to production."""
    with demo.step(f"{name}: staging and gate") as step:
        demo.drive("release_candidate", lambda: _package(demo, digest) == "PendingManualApproval", "a package")
        demo.drive("release_candidate", lambda: bool(_verdict(demo, digest)), "a verdict of the gate")
        served = ledger.desired(demo.lake, "production")
        demo.prove(
            f"{name}: a package that waits for approval deploys nothing",
            f"{_package(demo, digest)}; production serves {served.digest if served else 'nothing'}",
            holds=_package(demo, digest) == "PendingManualApproval" and (served is None or served.digest != digest),
        )
        step.outcome = f"endpoint carsdepo-{ENV}-staging serves {digest}; the gate says {_verdict(demo, digest)}"
    with demo.step(f"{name}: approval and production") as step:
        demo.drive("endpoints_follow_ledger", lambda: _is_settled(demo), "a look at all packages before the approval")
        looked_at = _remembered(demo).packages_at
        sagemaker = demo.account.client("sagemaker")
        sagemaker.update_model_package(
            ModelPackageArn=_arn(demo, digest), ModelApprovalStatus="Approved", ApprovalDescription="seen in the demo"
        )

        def entered() -> bool:
            event = ledger.LedgerHistory.read(demo.lake).latest_decision(digest)
            return event is not None and event.action == "approve"

        demo.drive("endpoints_follow_ledger", entered, "entering the approval in the ledger")
        decision = ledger.LedgerHistory.read(demo.lake).latest_decision(digest)
        assert decision is not None
        demo.prove(
            f"{name}: the approval arrives by SageMaker's event",
            f"approved by {decision.actor}, event {decision.sequence} of the ledger, by no look at all packages",
            holds=_remembered(demo).packages_at == looked_at,
        )

        def promoted() -> bool:
            event = ledger.desired(demo.lake, "production")
            return event is not None and event.digest == digest

        demo.drive("release_candidate", promoted, "the promotion")
        demo.drive("endpoints_follow_ledger", lambda: demo.waiting("Models") == 0, "reading SageMaker's events")
        demo.pipeline.tick("release_news")
        pinged = ping(demo)
        demo.prove(f"{name}: /ping names the model", f"{MODEL_HEADER}: {pinged}", holds=pinged == digest)
        step.outcome = f"package approved, endpoint carsdepo-{ENV}-production serves {digest}"


def ping(demo: Demo) -> str | None:
    """The digest that the container behind production names in its answer to /ping."""
    container = demo.account.sagemaker.endpoints[f"carsdepo-{ENV}-production"].container
    return httpx.get(f"{container.url}/ping", timeout=30.0).headers.get(MODEL_HEADER)


def _remembered(demo: Demo) -> Remembered:
    return Remembered.of(demo.pipeline.cursor("endpoints_follow_ledger"))


def _is_settled(demo: Demo) -> bool:
    """Whether all packages were looked at since the ledger changed, so that the next look is one at events alone."""
    return _remembered(demo).sequence == ledger.LedgerHistory.read(demo.lake).events[-1].sequence


def _arn(demo: Demo, digest: str) -> str | None:
    listed = demo.account.client("sagemaker").list_model_packages(ModelPackageGroupName=GROUP)
    for entry in listed["ModelPackageSummaryList"]:
        if digest in entry.get("ModelPackageDescription", ""):
            return str(entry["ModelPackageArn"])
    return None


def _package(demo: Demo, digest: str) -> str | None:
    """The approval of a model's package; None where there is none."""
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

    try:
        arn = _arn(demo, digest)
    except ClientError:
        return None
    if arn is None:
        return None
    return str(demo.account.client("sagemaker").describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"])


def _verdict(demo: Demo, digest: str) -> str | None:
    verdicts = [row["verdict"] for row in demo.rows("gates", "challenger", "verdict") if row["challenger"] == digest]
    return str(verdicts[-1]) if verdicts else None
