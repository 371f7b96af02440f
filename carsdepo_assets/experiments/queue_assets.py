"""Step 1's labelling queue as an asset: what to label next, and the experiment that high drift opens."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from carsdepo_assets import __version__
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource

_ROWS_SHOWN = 12


class LabellingQueueConfig(dg.Config):
    """report_id: of the drift report whose photographs to label; empty: by the model's uncertainty."""

    report_id: str | None = None


@dg.asset(
    group_name="experiments",
    deps=["images", "labels", "drift_report"],
    code_version=__version__,
    kinds={"jpeg"},
    pool="labelling_queue",
)
def labelling_queue(
    config: LabellingQueueConfig, lake: LakeResource, policy: PolicyResource, tracking: MlflowTracking
) -> dg.MaterializeResult:
    """Which photographs to label next, in order and with the reason, at `queues/<queue_id>/`.

    Those that drifted first, then those the model is unsure of, spread over cars and sources; none that is labelled,
    queued or nearly the same. Each is copied to `raw/uploads/queue/`, so that it enters ordinary intake. A report of
    the band `high` opens an experiment too.
    """
    from carsdepo_assets.experiments.labelling_queue import cut
    from carsdepo_assets.experiments.open_experiment import experiment_key, open_experiment
    from carsdepo_assets.lake import queues
    from carsdepo_assets.reporting.page import data_uri

    opened, report_id = lake.open(), config.report_id or None
    rules = policy.read()
    queue = cut(opened, rules, report_id, datetime.now(UTC))
    metadata: dict[str, Any] = {"photographs": len(queue.photographs), "reason": queue.reason}
    if queue.photographs:
        folder = f"{queues.FOLDER}/{queue.queue_id}"
        shown = [
            dg.TableRecord({k: str(getattr(p, k) or "") for k in ("priority", "why", "source", "camera", "listing")})
            for p in queue.photographs[:_ROWS_SHOWN]
        ]
        sheet = data_uri(opened.get(f"{folder}/contact_sheet.png"))
        metadata |= {
            "queue": queue.queue_id,
            "first photographs": dg.MetadataValue.table(shown),
            "contact sheet": dg.MetadataValue.md(f"![contact sheet]({sheet})"),
            "list": lake.link(f"{folder}/queue.csv"),
            "photographs to label": dg.MetadataValue.path(f"{lake.url}/{queues.UPLOADS}/{queue.queue_id}"),
            "labels belong in": dg.MetadataValue.path(f"{lake.url}/{queues.LABELS}/{queue.queue_id}"),
        }
    if report_id is not None:
        metadata["drift report"] = report_id
        bands = {r["report_id"]: r["band"] for r in opened.read("drift", columns=["report_id", "band"]).to_pylist()}
        if bands[report_id] == "high":
            asked = queue.queue_id if queue.photographs else None
            experiment = open_experiment(opened, tracking.tracking(), report_id, queue.reason, asked, rules)
            metadata |= {
                "experiment": dg.MetadataValue.path(f"{lake.url}/{experiment_key(report_id)}"),
                "question": experiment["question"],
                "mlflow run": experiment["mlflow"]["run_id"],
            }
    return dg.MaterializeResult(data_version=dg.DataVersion(queue.queue_id), metadata=metadata)
