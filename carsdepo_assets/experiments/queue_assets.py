"""The asset `labelling_queue` of step 1: what to label next, and the experiment that high drift opens."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource

_ROWS_SHOWN = 12


class LabellingQueueConfig(dg.Config):
    """What the queue is made of."""

    report_id: str | None = Field(
        None, description="the drift report whose photographs are to be labelled; empty: those the model is unsure of"
    )


@dg.asset(
    group_name="experiments",
    deps=["images", "inference_log", "labels", "drift_report"],
    kinds={"jpeg"},
    pool="labelling_queue",
)
def labelling_queue(
    config: LabellingQueueConfig, lake: LakeResource, policy: PolicyResource, tracking: MlflowTracking
) -> dg.MaterializeResult:
    """The photographs to label next, in order and with the reason for each, at `queues/<queue_id>/`.

    Photographs that drifted come first, then those of which the model is unsure, spread over cars and sources. What is
    labelled, queued or nearly the same as one that is, is left out. Each photograph is copied to `raw/uploads/queue/`,
    so that it enters the ordinary intake. A drift report of the band `high` opens an experiment too.
    """
    from carsdepo_assets.experiments.labelling_queue import make_queue
    from carsdepo_assets.experiments.open_experiment import experiment_key, open_experiment
    from carsdepo_assets.lake import queues
    from carsdepo_assets.reporting.page import data_uri

    opened_lake, report_id = lake.open(), config.report_id or None
    current_policy = policy.read()
    queue = make_queue(opened_lake, current_policy, report_id, datetime.now(UTC))
    metadata: dict[str, Any] = {"photographs": len(queue.photographs), "reason": queue.reason}
    if queue.photographs:
        folder = f"{queues.FOLDER}/{queue.queue_id}"
        shown = [
            dg.TableRecord({k: str(getattr(p, k) or "") for k in ("priority", "why", "source", "camera", "listing")})
            for p in queue.photographs[:_ROWS_SHOWN]
        ]
        sheet = data_uri(opened_lake.get(f"{folder}/contact_sheet.png"))
        metadata |= {
            "queue_id": queue.queue_id,
            "dagster/uri": f"{lake.url}/{folder}",
            "first_photographs": dg.MetadataValue.table(shown),
            "contact_sheet": dg.MetadataValue.md(f"![contact sheet]({sheet})"),
            "list": lake.link(f"{folder}/queue.csv"),
            "photograph_folder": dg.MetadataValue.path(f"{lake.url}/{queues.UPLOADS}/{queue.queue_id}"),
            "label_folder": dg.MetadataValue.path(f"{lake.url}/{queues.LABELS}/{queue.queue_id}"),
        }
    if report_id is not None:
        metadata["drift_report"] = report_id
        bands = {
            r["report_id"]: r["band"] for r in opened_lake.read("drift", columns=["report_id", "band"]).to_pylist()
        }
        if bands[report_id] == "high":
            asked = queue.queue_id if queue.photographs else None
            experiment = open_experiment(
                opened_lake, tracking.tracking(), report_id, queue.reason, asked, current_policy
            )
            metadata |= {
                "experiment": dg.MetadataValue.path(f"{lake.url}/{experiment_key(report_id)}"),
                "question": experiment["question"],
                "mlflow_run_id": experiment["mlflow"]["run_id"],
            }
    return dg.MaterializeResult(data_version=dg.DataVersion(queue.queue_id), metadata=metadata)
