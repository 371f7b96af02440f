"""What the plan assumes and cannot measure here: each with its source. Prices are estimates, of the date below."""

from __future__ import annotations

PRICED_ON = "2026-11-27"
# us-east-1, USD. Fargate as stated by vantage.sh and cloudburn.io (March 2026) from AWS's page; the others are list
# prices as known then, which nobody has compared with a bill.
PRICES = {
    "vcpu_hour": 0.04048,
    "gb_hour": 0.004445,
    "g5_xlarge_hour": 1.006,
    "rds_month": 232.0,  # db.m6g.large, Multi-AZ
    "rds_gb_month": 0.23,  # gp3, Multi-AZ
    "s3_gb_month": 0.021,  # the first 50 TB cost 0.023
    "s3_put": 0.005 / 1000,
    "s3_get": 0.0004 / 1000,
    "sqs_request": 0.40 / 1_000_000,
}
TASK_VCPU, TASK_GB = 2, 8
SERVICES_VCPU, SERVICES_GB = 4, 16  # two webservers, daemon, code server: of 1 vCPU and 4 GB each
START_S = 60.0
REQUEST_S = 0.4
LOOKUP_S = 0.7e-6
S3_WAIT_S, S3_THREADS, S3_HASHED_AT_ONCE = 0.03, 4, 8
PHOTOGRAPH_BYTES, PROCESSED_BYTES = 320_000, 250_000
TRAINING_S = 4 * 3600.0
TICK_ROW_BYTES, SENSORS_A_DAY, TICK_DAYS = 1500, 75_000, 7

ASSUMED = {
    "a task starts in": (START_S, "s", "RunTask, image and container: no AWS account was at hand"),
    "creating a run": (REQUEST_S, "s", "Dagster's daemon, measured at 0.37 s on 2026-11-25 (0.4 in data/sensors.py)"),
    "between two RunTasks": (1.0, "s", "backfills and the daemon start about one run a second (dagster#28998)"),
    "a batch is compared with each known photograph in": (
        LOOKUP_S,
        "s",
        "`uploads` of 500 with a million known, less the same with none (`ticks`); extrapolated",
    ),
    "an S3 request waits": (S3_WAIT_S, "s", f"first byte in the region; {S3_THREADS} threads ask"),
    "runs that lose their machine": (0.02, "share", "as if on spot; no source, each is run again"),
    "a task": (TASK_VCPU, "vCPU", f"and {TASK_GB} GB; its work runs on one of them"),
    "a photograph": (PHOTOGRAPH_BYTES, "bytes", f"of 1280 x 960 (DESIGN.md), processed {PROCESSED_BYTES}"),
    "a training": (TRAINING_S, "s", "on a g5.xlarge"),
    "an answer is ingested in": (0.0002, "s", "tables of JSON lines; not measured here"),
    "ticks of all sensors": (SENSORS_A_DAY, "a day", f"{TICK_ROW_BYTES} bytes each, kept {TICK_DAYS} days (aws.yaml)"),
    "label files": (10_000, "a day", "1 % of the photographs, by people at work"),
}
