"""Step 5 as an asset: what the services answered, in the lake."""

import hashlib
from datetime import date
from typing import Any

import dagster as dg

from carsdepo_assets import __version__
from carsdepo_assets.resources import LakeResource

# With today's partition, which is written all day long.
inference_days = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC", end_offset=1)


@dg.asset(group_name="inference", partitions_def=inference_days, code_version=__version__, kinds={"deltalake"})
def inference_log(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Every answer of the services on this day (UTC): photograph, features, boxes, decision, model and latency."""
    from carsdepo_assets.inference.ingest import ingest, summary, waiting

    day, opened = date.fromisoformat(context.partition_key), lake.open()
    done = ingest(opened, waiting(opened, [day]))
    found = summary(opened, day)
    metadata: dict[str, Any] = {
        "answers": found.answers,
        "new answers": done.answers,
        "segments ingested": done.segments,
        "quarantined lines": done.quarantined,
        "by decision": dg.MetadataValue.json(found.decisions),
        "by stage": dg.MetadataValue.json(found.stages),
    }
    if found.answers:
        metadata |= {"p50 ms": found.p50, "p95 ms": found.p95, "p99 ms": found.p99}
        metadata["models"] = _table(found.models)
        metadata["newest answers"] = _table(found.latest)
    version = hashlib.sha256(f"{day}:{found.answers}:{found.segments}".encode()).hexdigest()[:16]
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=metadata)


def _table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue:
    """Values as text; rows must not be empty."""
    records = [dg.TableRecord({k: "" if v is None else str(v) for k, v in row.items()}) for row in rows]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(name) for name in rows[0]]))
