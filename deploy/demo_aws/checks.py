"""The last checks of the demo: the chain, the queues, the alerts, the metrics."""

from __future__ import annotations

import json
from pathlib import Path

from carsdepo_assets.demo.chain import difference
from deploy.demo_aws import releases
from deploy.demo_aws.driving import Demo
from deploy.demo_aws.installation import carsdepo

NAMES = ("Uploads", "Labels", "Models")


def check_chain(demo: Demo, first: str, second: str) -> None:
    """The chain of production's model, as `carsdepo lineage --json` gives it.

    Args:
        demo: the demo.
        first: digest of the model that was released first.
        second: of the second one.
    """
    with demo.step("lineage") as step:
        trace = json.loads(carsdepo(demo.variables, "lineage", "--stage", "production", "--json"))
        (demo.folder / "lineage.json").write_text(json.dumps(trace, indent=1))
        model = trace["model"]
        pinged = releases.ping(demo)
        demo.prove(
            "`carsdepo lineage --json` and /ping name the same model",
            f"{model['digest']} and {pinged}",
            holds=model["digest"] == pinged == second,
        )
        demo.prove(
            "the chain has the fields that the local demo's has",
            difference(trace) or "the same names, carsdepo_assets/demo/chain.py",
            holds=difference(trace) is None,
        )
        demo.prove(
            "the second model goes on from the first",
            f"started from {model['started_from']}, trained at {model['environment'].get('place')}",
            holds=model["started_from"] == first and model["environment"].get("place") == "sagemaker",
        )
        step.outcome = f"{demo.folder / 'lineage.json'}"


def check_leftovers(demo: Demo) -> None:
    """Nothing waits in a queue, none was given up; alerts came by SNS, and metrics are lines."""
    with demo.step("queues, alerts, metrics") as step:
        for sensor in ("new_uploads", "new_labels", "endpoints_follow_ledger", "ledger_projection"):
            demo.pipeline.tick(sensor)
        left = {name: demo.waiting(name) for name in (*NAMES, *(f"{name}Dead" for name in NAMES))}
        demo.prove("no message is left in a queue", f"{left}", holds=not any(left.values()))
        raised = [row for row in demo.rows("alerts") if row["sent"]]
        published = demo.account.alerts()
        demo.prove(
            "alerts reach the SNS topic",
            f"{len(raised)} raised, {len(published)} came by the topic: {', '.join(sorted(set(published)))}",
            holds=len(raised) == len(published) > 0,
        )
        demo.pipeline.tick("publish_figures")
        lines = emf_lines(demo.log)
        demo.prove(
            "metrics are lines of CloudWatch's embedded metric format",
            f"{lines} lines on stdout",
            holds=lines > 0,
        )
        step.outcome = f"nothing left, {len(published)} alerts, {lines} lines of metrics"


def emf_lines(log: Path) -> int:
    """The lines of a log that CloudWatch would make metrics of."""
    count = 0
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{") and '"_aws"' in line:
            count += bool(json.loads(line)["_aws"]["CloudWatchMetrics"])
    return count
