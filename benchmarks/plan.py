"""A year at a million photographs a day through the planner, on a simulated clock: does the design hold?

What comes in has days, nights and weeks, a burst of five times as much for six hours, a day on which the platform is
down, and an import of two million at once. The product's rules plan it (see plan_year.py); what its work costs is
measured first, on small parts (plan_costs.py), and what cannot be measured here is assumed and printed with its source
(plan_prices.py). The year is planned twice: with the settings before this benchmark was made, and with those of now.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.plan_arrivals import MINUTES, at_once, labels, photographs
from benchmarks.plan_costs import Measured, measured
from benchmarks.plan_lags import lags, quantile
from benchmarks.plan_prices import (
    ASSUMED,
    LOOKUP_S,
    PHOTOGRAPH_BYTES,
    PRICED_ON,
    PRICES,
    PROCESSED_BYTES,
    REQUEST_S,
    S3_HASHED_AT_ONCE,
    S3_THREADS,
    S3_WAIT_S,
    SENSORS_A_DAY,
    SERVICES_GB,
    SERVICES_VCPU,
    START_S,
    TASK_GB,
    TASK_VCPU,
    TICK_DAYS,
    TICK_ROW_BYTES,
    TRAINING_S,
)
from benchmarks.plan_year import BATCHES, DAY, HOUR, Costs, Design, Load, Planner, Year

A_DAY, DAYS, SEED = 1_000_000, 365, 1
BURST, DOWN, IMPORT = 100, 200, 300  # the days
IMPORTED = 2_000_000
LABELS_A_DAY = 10_000
MORE_STEPS = {"train": 5, "release": 3}  # steps of a run; ingest_uploads has 3, all others 1
Row = dict[str, Any]


def load_of(days: int = DAYS, a_day: float = A_DAY, seed: int = SEED, imported: int = IMPORTED) -> Load:
    """What comes in; a year of fewer days than 301 has its events on its second day."""
    burst, down, at = (BURST, DOWN, IMPORT) if days > IMPORT else (1, 1, 1)
    came = photographs(a_day, days, seed, (burst * MINUTES + 600, burst * MINUTES + 960))
    streams = {
        "uploads": ("uploads", came),
        "import": ("uploads", at_once(imported, at * MINUTES + 540, days)),
        "labels": ("labels", labels(a_day * LABELS_A_DAY / A_DAY, days, seed)),
    }
    lasts = DAY if days > IMPORT else HOUR
    return Load(days, streams, came, (down * DAY, down * DAY + lasts), seed)


def costs_of(unit_costs: Measured, one_question: bool = True) -> Costs:
    """The costs of the simulation from those that were measured; runs are one process and one more for each step."""
    waits = (unit_costs.gets_a_photograph + unit_costs.puts_a_photograph) * S3_WAIT_S / S3_THREADS
    families = ("inferences", "drift", "profile", "route", "quality", "maintain")
    return Costs(
        plan_s={"uploads": unit_costs.plan_s, "labels": unit_costs.plan_s + S3_WAIT_S / S3_HASHED_AT_ONCE},
        ask_s=unit_costs.ask_s if one_question else unit_costs.ask_each_s,
        request_s=REQUEST_S,
        start_s=START_S,
        lookup_s=LOOKUP_S,
        run_s={
            "uploads": unit_costs.batch_s + 4 * unit_costs.load_s,
            "labels": 5 + 2 * unit_costs.load_s,
            "train": TRAINING_S,
            "release": 60 + 4 * unit_costs.load_s,
            **dict.fromkeys(families, 10 + 2 * unit_costs.load_s),
        },
        file_s={
            "uploads": unit_costs.photograph_s + waits,
            "labels": unit_costs.label_s + S3_WAIT_S / S3_THREADS,
            "inferences": 0.0002,
        },
    )


def designs() -> dict[str, Design]:
    """Before and now. Before: no batch closed by its oldest file, a tick took all that came, 20 runs of any kind,
    the index was built in one piece."""
    from carsdepo_assets.data.batches.batches import FILES_A_TICK
    from carsdepo_assets.data.sensors import REQUESTS_A_TICK
    from carsdepo_assets.lake.object_index import ROWS_A_PART
    from carsdepo_assets.policy import Policy

    training = {"min_new_labels": 20_000}
    endless = Policy.model_validate({"data": {"batch_max_wait_s": 1e9}, "training": training})
    return {
        "before": Design(endless, REQUESTS_A_TICK, 20, 20),
        "now": Design(
            Policy.model_validate({"training": training}), REQUESTS_A_TICK, 60, 50, dict(FILES_A_TICK), ROWS_A_PART
        ),
    }


def rows_of(year: Year, load: Load, design: Design, unit_costs: Measured, name: str) -> Iterator[Row]:
    """The figures of a year, each with its limit where it has one."""
    counts = np.bincount((np.array(year.asked_at) // HOUR).astype(int), minlength=load.days * 24)
    runs = sum(year.runs.values())

    def row(what: str, value: float, unit: str, limit: float | None = None, why: str = "") -> Row:
        against = "" if limit is None else f"limit {limit:,g}" + (f": {why}" if why else "")
        shown = round(value, 3 if abs(value) < 10 else 0)
        ratio = None if limit is None else round(limit / value, 2) if value > 0 else (math.inf if limit >= 0 else 0.0)
        line = {"name": f"{name}: {what}", "value": shown, "unit": unit, "against": against or why, "ratio": ratio}
        return line if limit is None else {**line, "holds": value <= limit}

    yield row("files in no batch, batches that are not ingested", year.left, "", 0)
    uploads = lags(year, load, "uploads", until=min(BURST * DAY, load.down[0]))
    yield row("photograph to ingested, half of them", quantile(uploads, 0.5), "s", 300, "ordinary days")
    yield row("photograph to ingested, 95 %", quantile(uploads, 0.95), "s", 1200, "ordinary days")
    yield row("photograph to ingested, longest", quantile(uploads, 1), "s", 1800, "ordinary days")
    if load.days > IMPORT:
        for what, day, limit in (("burst of 5 times", BURST, 3600), ("day down", DOWN, DAY + 4 * HOUR)):
            points = lags(year, load, "uploads", day * DAY, (day + 2) * DAY)
            yield row(f"photograph to ingested, longest, {what}", quantile(points, 1), "s", limit)
        caught = max(
            batch.ingested or math.inf
            for batch in year.batches
            if batch.stream == "uploads" and load.streams["uploads"][1].at(batch.start) < load.down[1]
        )
        yield row("caught up after a day down", (caught - load.down[1]) / HOUR, "h", 4)
        late = lags(year, load, "uploads", since=(load.days - 30) * DAY)
        yield row("photograph to ingested, half of them, last month", quantile(late, 0.5), "s", 900)
        imported = [b.ingested or math.inf for b in year.batches if b.stream == "import"]
        at = IMPORT * DAY + 9 * HOUR
        yield row(f"{IMPORTED:,} imported at once", (max(imported) - at) / HOUR, "h", 6)
        seconds_beside = [
            (b.ingested or math.inf) - load.streams["uploads"][1].at(b.start)
            for b in year.batches
            if b.stream == "uploads" and at <= b.closed < at + 6 * HOUR
        ]
        yield row("photograph to ingested beside the import, longest", max(seconds_beside), "s", 3 * HOUR)
    labelled = lags(year, load, "labels", until=load.down[0])
    yield row("label to ingested, 95 %", quantile(labelled, 0.95), "s", 1200, "ordinary days")
    yield row("longest tick", year.longest_tick_s, "s", 30, "Dagster ends a tick at 60")
    yield row("share of time in ticks that close batches", year.busy_s / (load.days * DAY), "", 0.25)
    others = [second for family, waits in year.waited.items() if family not in BATCHES for second in waits]
    yield row("run that ingests no batch, longest in the queue", max(others, default=0.0), "s", 300, "alert at 900")
    yield row("runs an hour, mean", runs / (load.days * 24), "")
    yield row("runs an hour, 95 %", float(np.percentile(counts, 95)), "")
    yield row("runs an hour, most", float(counts.max()), "", 3600, "about one a second is started")
    yield row("tasks at once, most", year.most_at_once, "", design.max_runs, "max_concurrent_runs")
    yield row("vCPUs of tasks at once, most", year.most_at_once * TASK_VCPU, "", None, "quota to request; 6 at first")
    yield row("runs in the queue, most", year.most_queued, "", 2000, "the coordinator reads all of them")
    yield row("partitions, most", year.most_partitions, "", 100_000, "Dagster's advice for an asset")
    for family, number in year.runs.most_common():
        yield row(f"runs of {family} a day", number / load.days, "")
    yield from _stored(year, load, design, unit_costs, row)
    yield from _money(year, load, unit_costs, row)


def _stored(year: Year, load: Load, design: Design, unit_costs: Measured, row: Any) -> Iterator[Row]:
    photographed = sum(arrivals.total for kind, arrivals in load.streams.values() if kind == "uploads")
    grown, batches = _database_bytes(year, unit_costs), sum(b.kind == "uploads" for b in year.batches) / load.days
    yield row(f"growth of Dagster's database ({unit_costs.database}) a day", grown / load.days / 1e6, "MB")
    ticks = TICK_ROW_BYTES * SENSORS_A_DAY * TICK_DAYS
    yield row("Dagster's database after the year", (grown + ticks) / 1e9, "GB", 200, "runs are never deleted")
    yield row("objects on S3 a day", photographed / load.days * (1 + unit_costs.puts_a_photograph), "")
    yield row(
        "commits to tables an hour, by batches", batches / 24 * unit_costs.commits_a_batch, "", 500, "compacted hourly"
    )
    yield row("tables' logs a day, by batches", batches * unit_costs.log_bytes_a_batch / 1e6, "MB")
    objects = sum(arrivals.total for _, arrivals in load.streams.values())
    yield row(
        "local index of objects after the year", objects * unit_costs.index_bytes / 1e9, "GB", 200, "disk of a task"
    )
    yield row(
        "index built again on a new machine", objects * unit_costs.index_s / HOUR, "h", 4, "no batch closes meanwhile"
    )
    in_memory = min(objects, design.index_rows)
    yield row("memory while it is built", in_memory * unit_costs.index_memory / 1e9, "GB", 8, "of a task; keys by date")


def _database_bytes(year: Year, unit_costs: Measured) -> float:
    step = unit_costs.run_bytes / 3
    return sum(number * step * ({"uploads": 3} | MORE_STEPS).get(family, 1) for family, number in year.runs.items())


def _money(year: Year, load: Load, unit_costs: Measured, row: Any) -> Iterator[Row]:
    months, price = load.days / 365 * 12, PRICES
    hour = TASK_VCPU * price["vcpu_hour"] + TASK_GB * price["gb_hour"]
    batch_h = sum(year.task_s[kind] for kind in BATCHES) / HOUR / months
    other_h = sum(year.task_s.values()) / HOUR / months - batch_h
    gpu_h = year.runs["train"] * TRAINING_S / HOUR / months
    yield row("hours of Fargate a month, batches", batch_h, "h")
    yield row("hours of Fargate a month, other runs", other_h, "h")
    yield row("hours of GPU a month", gpu_h, "h")
    photographed = sum(arrivals.total for kind, arrivals in load.streams.values() if kind == "uploads") / months
    tables = len(year.batches) / months * unit_costs.commits_a_batch * 2
    gets, puts = photographed * unit_costs.gets_a_photograph, photographed * (1 + unit_costs.puts_a_photograph) + tables
    yield row("S3 PUTs a day", puts * months / load.days, "")
    yield row("S3 GETs a day", gets * months / load.days, "")
    stored = photographed * months * (PHOTOGRAPH_BYTES + PROCESSED_BYTES) / 1e9
    running = {
        "Fargate": (batch_h + other_h) * hour,  # on demand: EcsRunLauncher starts runs so
        "services and daemon": 730 * (SERVICES_VCPU * price["vcpu_hour"] + SERVICES_GB * price["gb_hour"]),
        "RDS": price["rds_month"] + _database_bytes(year, unit_costs) / 1e9 * price["rds_gb_month"],
        "S3 and SQS requests": puts * price["s3_put"]
        + gets * price["s3_get"]
        + 3 * photographed * price["sqs_request"],
        "GPU": gpu_h * price["g5_xlarge_hour"],
    }
    for what, money in running.items():
        yield row(f"USD a month, {what}", money, "USD", None, f"estimate, list prices of {PRICED_ON}")
    each = sum(running.values()) / photographed * 1000
    yield row("USD a thousand photographs, without storage", each, "USD", 0.10, f"estimate of {PRICED_ON}")
    yield row("USD a month, S3 storage, in the last month", stored * price["s3_gb_month"], "USD", None, "estimate")


def run(days: int = DAYS) -> list[Row]:
    """Rows name, value, unit, against, ratio, and holds where there is a limit: false where it is broken."""
    print("  about 4 minutes: costs are measured in 2, the year is planned twice …", flush=True)
    unit_costs = measured()
    rows: list[Row] = [
        {"name": f"measured: {what}", "value": value if isinstance(value, str) else float(value), "unit": ""}
        for what, value in vars(unit_costs).items()
    ]
    rows += [
        {"name": f"assumed: {what}", "value": value, "unit": unit, "against": source}
        for what, (value, unit, source) in ASSUMED.items()
    ]
    load = load_of(days)
    for name, design in designs().items():
        year = Planner(load, design, costs_of(unit_costs, one_question=name == "now")).run()
        planned = list(rows_of(year, load, design, unit_costs, name))
        if name == "before":  # shown, and not judged
            planned = [{**row, "against": _verdict(row)} for row in planned]
            planned = [{key: value for key, value in row.items() if key != "holds"} for row in planned]
        rows += planned
    return rows


def _verdict(row: Row) -> str:
    return f"BROKEN, {row['against']}" if row.get("holds") is False else row["against"]
