"""The demo's inspections: by API Gateway and Lambda to the endpoint, captured, ingested, compared, labelled."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from carsdepo_assets.demo.sample.annotator import annotate
from carsdepo_assets.demo.sample.traffic_windows import WINDOWS
from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.lake import queues
from deploy.demo_aws.driving import Demo
from deploy.demo_aws.installation import carsdepo
from deploy.demo_aws.intake import await_labels, keys

PHOTOGRAPHS = 60  # of the window; drift needs 50, of 10 cars


def inspect(demo: Demo) -> None:
    """Sends a window of traffic through the front and ingests what was captured."""
    with demo.step("inspections by API Gateway and Lambda") as step:
        folder = demo.folder / "night"
        if not (folder / ".complete").exists():
            # All by night: of so few cars half of it may be chance.
            write_sample(folder, PHOTOGRAPHS, WINDOWS["night"].seed, lights="night", day=WINDOWS["night"].day)
            (folder / ".complete").touch()
        # One at a time: what the function gives up after 27 seconds on a busy machine would be sent and captured again.
        sent = json.loads(carsdepo(demo.variables, "send", str(folder), "--clients", "1", "--json"))
        ids = set(sent["prediction_ids"])
        demo.prove(
            "the front answers every photograph",
            f"{len(ids)} of {PHOTOGRAPHS} by {demo.account.front.rpartition('/restapis/')[2]}",
            holds=len(ids) == PHOTOGRAPHS and not sent["failures"],
        )

        def rows() -> list[str]:
            logged = demo.rows("inferences", "prediction_id", "stage")
            return [row["prediction_id"] for row in logged if row["stage"] == "production"]

        demo.drive("new_inferences", lambda: ids <= set(rows()), "ingesting what SageMaker captured")
        demo.pipeline.tick("new_inferences")  # there is nothing left that could come a second time
        came = rows()
        demo.prove(
            "each captured answer is ingested once",
            f"{len(ids)} answers, {len(came)} rows of inferences, {len(set(came))} of them different",
            holds=sorted(came) == sorted(ids),
        )
        step.outcome = f"{PHOTOGRAPHS} photographs by night, answered, captured and ingested once each"


def measure(demo: Demo) -> str:
    """Has drift measured and routed, and the labelling queue cut; returns the queue's id."""
    with demo.step("drift") as step:
        demo.drive("measure_drift", lambda: bool(demo.rows("drift", "report_id")), "a drift report")
        demo.drive("drift_router", lambda: bool(demo.rows("routes", "report_id")), "the report's route")
        [report], [route] = demo.rows("drift"), demo.rows("routes")
        demo.prove(
            "traffic by night is drift",
            f"{100 * (report['drift'] or 0.0):.1f} % in {report['worst_feature']}, {report['photographs']} photographs",
            holds=bool(report["computed"] and report["detected"]),
        )
        queue_id = str(route["queue_id"])
        demo.drive("cut_drift_queues", lambda: demo.lake.exists(queues.queue_key(queue_id)), "a labelling queue")
        size = f"{100 * report['drift']:.1f} % in {report['worst_feature']}"
        step.outcome = f"drift {size}; {', '.join(route['actions'])}"
        return queue_id


def label_queue(demo: Demo, queue_id: str) -> None:
    """Has the sample's annotator label the queue; photographs and labels come by events, as all others."""
    with demo.step("labels for the queue") as step:
        queued = [photograph.upload_key for photograph in queues.read(demo.lake, queue_id).photographs]

        def there() -> bool:
            return set(queued) <= set(keys(demo)) and demo.waiting("Uploads") == 0

        demo.drive("new_uploads", there, "ingesting the queue's photographs")
        before = len(demo.rows("annotations", "image_id"))
        annotated = annotate(demo.lake, queue_id, [demo.folder / "night"], datetime.now(UTC))
        await_labels(demo, before + len(annotated.labelled))
        step.outcome = f"{len(annotated.labelled)} of {len(queued)} photographs labelled, by events"
