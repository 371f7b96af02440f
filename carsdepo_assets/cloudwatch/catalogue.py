"""Every metric that is published to CloudWatch: name, unit, dimension, meaning. Dashboards and alarms name these.

A metric has one dimension, so that the account pays for it once a value of that dimension. A further metric is a
further row; docs/aws.md shows the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["Percent", "Seconds", "Milliseconds", "Count", "None"]
Dimension = Literal["Part", "Kind", "Stage", "Job"]
LOOP = "loop"
"""The one value of the dimension Part."""
# The values that each dimension has.
DIMENSIONS: dict[Dimension, tuple[str, ...]] = {
    "Part": (LOOP,),
    "Kind": ("uploads", "labels"),
    "Stage": ("production", "staging"),
    "Job": ("train", "evaluate", "export", "reference", "process"),
}


@dataclass(frozen=True)
class Metric:
    """A metric of CloudWatch."""

    name: str
    unit: Unit
    dimension: Dimension
    meaning: str
    """What a value says, and when there is none."""


# Of the loop: by the sensor publish_figures, each minute.
DRIFT_SHARE = Metric(
    "DriftShare", "Percent", "Part", "share of changed traffic in the newest drift report that could be computed"
)
DRIFT_REPORT_AGE = Metric("DriftReportAge", "Seconds", "Part", "age of that report; none before the first")
LIVE_F1 = Metric(
    "LiveQualityF1", "Percent", "Part", "F1 of production's model on the newest day of its answers that has labels"
)
LIVE_RECALL = Metric("LiveQualityRecall", "Percent", "Part", "recall on that day")
LIVE_PRECISION = Metric("LiveQualityPrecision", "Percent", "Part", "precision on that day")
RUNS_FAILED = Metric(
    "RunsFailed",
    "Count",
    "Part",
    "a run that failed and is not retried; a 0 each minute beside it, so that its Sum counts",
)
RUNS_WAITING = Metric("RunsWaiting", "Count", "Part", "runs that wait for their turn, a pool or a machine")
OLDEST_RUN_WAITING = Metric("OldestRunWaiting", "Seconds", "Part", "how long the first of them waits; 0 without one")
ALERTS_UNDELIVERED = Metric(
    "AlertsUndelivered", "Count", "Part", "alerts of the last hour that a channel refused and did not take since"
)
FILES_WAITING = Metric("FilesWaiting", "Count", "Kind", "files in raw/ that no batch lists yet")
OPEN_BATCHES = Metric("OpenBatches", "Count", "Kind", "batches that are closed and not ingested")
INGESTION_LAG = Metric(
    "IngestionLag", "Seconds", "Kind", "age of the oldest photograph that is not ingested; 0 without one; uploads only"
)
MODEL_AGE = Metric("ModelAge", "Seconds", "Stage", "how long the stage is to serve its model; none before the first")

# Of a service: by the service itself, each minute, and sooner when MOST_VALUES requests have come.
REQUESTS = Metric("Requests", "Count", "Stage", "requests that were answered, whatever the answer")
REQUESTS_FAILED = Metric("RequestsFailed", "Count", "Stage", "of them, by a fault of the service (500)")
REQUESTS_UNAVAILABLE = Metric("RequestsUnavailable", "Count", "Stage", "of them, asked to come again (503)")
REQUESTS_REFUSED = Metric("RequestsRefused", "Count", "Stage", "of them, for a fault of the request (4xx)")
LATENCY = Metric(
    "Latency",
    "Milliseconds",
    "Stage",
    "of every inspection, from the request's head to its answer: percentiles are exact",
)
PHOTOGRAPHS = Metric("Photographs", "Count", "Stage", "photographs that were inspected")
CAPTURE_LAG = Metric("CaptureLag", "Seconds", "Stage", "age of the oldest answer that ingestion cannot see yet")
READY = Metric("Ready", "None", "Stage", "1 where a request would be answered now, else 0; none where nothing runs")
CPU_USE = Metric("CpuUse", "Percent", "Stage", "of the cores that the service may use")
MEMORY_USE = Metric("MemoryUse", "Percent", "Stage", "of the memory that its container may use")
GPU_USE = Metric("GpuUse", "Percent", "Stage", "mean over its GPUs; none without a GPU")
GPU_MEMORY_USE = Metric("GpuMemoryUse", "Percent", "Stage", "of the fullest GPU's memory; none without a GPU")

# Of a job: by the worker, each minute.
JOB_CPU_USE = Metric("JobCpuUse", "Percent", "Job", "of the cores that the job may use")
JOB_MEMORY_USE = Metric("JobMemoryUse", "Percent", "Job", "of the memory that its container may use")
JOB_GPU_USE = Metric("JobGpuUse", "Percent", "Job", "mean over its GPUs; none without a GPU")
JOB_GPU_MEMORY_USE = Metric("JobGpuMemoryUse", "Percent", "Job", "of the fullest GPU's memory; none without a GPU")

PUBLISHERS: dict[str, tuple[Metric, ...]] = {
    "the loop": (
        DRIFT_SHARE, DRIFT_REPORT_AGE, LIVE_F1, LIVE_RECALL, LIVE_PRECISION, RUNS_FAILED, RUNS_WAITING,
        OLDEST_RUN_WAITING, ALERTS_UNDELIVERED, FILES_WAITING, OPEN_BATCHES, INGESTION_LAG, MODEL_AGE,
    ),
    "a service": (
        REQUESTS, REQUESTS_FAILED, REQUESTS_UNAVAILABLE, REQUESTS_REFUSED, LATENCY, PHOTOGRAPHS, CAPTURE_LAG, READY,
        CPU_USE, MEMORY_USE, GPU_USE, GPU_MEMORY_USE,
    ),
    "a job": (JOB_CPU_USE, JOB_MEMORY_USE, JOB_GPU_USE, JOB_GPU_MEMORY_USE),
}  # fmt: skip
METRICS: dict[str, Metric] = {metric.name: metric for metrics in PUBLISHERS.values() for metric in metrics}
"""Every metric by its name."""
