"""What the planner's work costs, measured on small parts: processor seconds, database bytes, objects and requests."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.temporary_home import temporary_home
from benchmarks.ticks import build

if TYPE_CHECKING:
    import dagster as dg

    from carsdepo_assets.lake.lake import Lake

SMALL, LARGE, RUNS = 4, 40, 8
PHOTOGRAPHS_A_RUN = 50  # as many rows as Dagster's tables show
ASKED, PLANNED, KNOWN = 1000, 4000, 50_000
STEPS = 3  # of a run of ingest_uploads
MORE_EVENTS = 4  # that a step has where it runs in a process of its own
_ONLY_DAGSTER = """
storage:
  postgres:
    postgres_db: {{scheme: postgresql+psycopg2, hostname: 127.0.0.1, port: {port}, username: dagster,
      password: "{password}", db_name: dagster}}
telemetry: {{enabled: false}}
"""


@dataclass(frozen=True)
class Measured:
    """Figures of this machine, in processor seconds where they are seconds."""

    database: str
    """postgres or sqlite: whose bytes and questions were measured."""
    load_s: float
    """A process that loads the code location."""
    batch_s: float
    """A run of ingest_uploads without its photographs and without starting processes for its steps."""
    photograph_s: float
    """The same, for each photograph of 1280 x 960 more."""
    label_s: float
    """A label file in a run of ingest_labels."""
    plan_s: float
    """A new file in a tick of new_uploads."""
    ask_each_s: float
    """Whether a batch has a run, one question a batch."""
    ask_s: float
    """The same, one question for many batches."""
    events_a_run: float
    run_bytes: float
    """What a run of ingest_uploads, with processes for its steps, leaves in Dagster's database."""
    commits_a_batch: float
    log_bytes_a_batch: float
    """Bytes of tables' logs."""
    gets_a_photograph: float
    puts_a_photograph: float
    index_bytes: float
    """Of an object in the local index."""
    index_s: float
    """To build it, for each object that is known."""
    index_memory: float
    """Bytes of memory that building it takes, for each object that is known."""


def measured() -> Measured:
    """Measures everything, which takes about two minutes."""
    figures: dict[str, Any] = {"load_s": _load_s()}
    with temporary_home() as settings:
        settings.home.mkdir(parents=True)
        os.environ.update(settings.variables())
        figures |= _ingestion(settings)
        with _instance(settings.home) as (database, instance, size):
            figures |= {"database": database, **_runs(settings, instance, size)}
            figures |= _questions(instance)
    with temporary_home() as settings:
        figures |= _index(settings.home)
    return Measured(**{field.name: figures[field.name] for field in fields(Measured)})


@contextmanager
def _instance(home: Path) -> Iterator[tuple[str, dg.DagsterInstance, Any]]:
    """Dagster on Postgres where it is installed, else on SQLite; and what tells the bytes of its database."""
    import dagster as dg

    from carsdepo_assets_tests.deploy.postgres_server import PASSWORD, binaries, postgres_server

    folder = home / "dagster-of-the-benchmark"
    folder.mkdir()
    if binaries() is None:
        (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            yield "sqlite", instance, lambda: sum(f.stat().st_size for f in folder.rglob("*.db*"))
        return
    import psycopg2

    with postgres_server() as server:
        (folder / "dagster.yaml").write_text(_ONLY_DAGSTER.format(port=server.port, password=PASSWORD))

        def size() -> int:
            connection = psycopg2.connect(
                host="127.0.0.1", port=server.port, user="dagster", password=PASSWORD, dbname="dagster"
            )
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_database_size('dagster')")
                (database_bytes,) = cursor.fetchone()
            connection.close()
            return int(database_bytes)

        with dg.DagsterInstance.from_config(str(folder)) as instance:
            yield "postgres", instance, size


def _load_s() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", "from carsdepo_assets.definitions import defs; defs()"]
    for _ in range(2):  # the first one reads the disk
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _drop(lake: Lake, folder: str, count: int, width: int = 1280) -> None:
    from PIL import Image

    long_ago = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    generator = np.random.default_rng(count)
    for number in range(count):
        out = io.BytesIO()
        small = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, width * 3 // 4), Image.Resampling.BICUBIC).save(out, "JPEG", quality=92)
        key = f"raw/uploads/{folder}/{number}.jpg"
        lake.put(key, out.getvalue())
        os.utime(lake.local_path(key), (long_ago, long_ago))


def _closed(lake: Lake, kind: Any, policy: Any) -> str:
    from carsdepo_assets.data.batches.batches import plan_batches

    (manifest,) = plan_batches(lake, kind, policy, datetime.now(UTC), close_all=True)
    return manifest.batch_id


def _ingestion(settings: Any) -> dict[str, float]:
    """The steps of two batches in this process, by which a photograph is told from a batch."""
    from carsdepo_assets.data.labels.label_revisions import ingest_labels
    from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
    from carsdepo_assets.lake.lake import Lake

    lake, policy = Lake.open(settings.lake), settings.policy()
    asked = _counted(lake)
    seconds, requests, commits = {}, {}, {}
    for count in (1, SMALL, LARGE):  # the first one imports what is needed
        _drop(lake, f"of-{count}", count)
        batch = _closed(lake, "uploads", policy)
        asked.clear()
        log, started = _log(lake), time.process_time()
        for step in (ingest_uploads, build_images, build_processed):
            step(lake, batch, policy)
        seconds[count], requests[count] = time.process_time() - started, Counter(asked)
        commits[count] = tuple(after - before for after, before in zip(_log(lake), log, strict=True))
    lake.put("raw/labels/some/classes.txt", b"scratch\ndent\n")
    took = {}
    for count in (1, SMALL, LARGE):
        for number in range(count):
            lake.put(f"raw/labels/of-{count}/{number}.txt", b"0 0.5 0.5 0.2 0.2\n")
        lake.put(f"raw/labels/of-{count}/classes.txt", b"scratch\ndent\n")
        batch, started = _closed(lake, "labels", policy), time.process_time()
        ingest_labels(lake, batch, policy, datetime.now(UTC))
        took[count] = time.process_time() - started
    _many(lake)
    started = time.process_time()
    from carsdepo_assets.data.batches.batches import plan_batches

    if len(plan_batches(lake, "uploads", policy, datetime.now(UTC))) != PLANNED // policy.data.batch_max_images:
        raise RuntimeError("the files of the benchmark are not in two full batches")
    planning = time.process_time() - started

    def each(by_count: dict[int, float]) -> float:
        return max(0.0, (by_count[LARGE] - by_count[SMALL]) / (LARGE - SMALL))

    return {
        "photograph_s": each(seconds),
        "label_s": each(took),
        "plan_s": planning / PLANNED,
        "gets_a_photograph": each({n: of["get"] + of["info"] + of["exists"] for n, of in requests.items()}),
        "puts_a_photograph": each({n: of["put"] for n, of in requests.items()}),
        "commits_a_batch": commits[LARGE][0],
        "log_bytes_a_batch": commits[LARGE][1],
    }


def _many(lake: Lake) -> None:
    long_ago = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    folder = Path(lake.root or "", "raw/uploads/many")
    folder.mkdir(parents=True)
    for number in range(PLANNED):
        (folder / f"{number}.jpg").write_bytes(b"x")
        os.utime(folder / f"{number}.jpg", (long_ago, long_ago))


def _counted(lake: Lake) -> Counter[str]:
    """Counts what is asked of the lake's objects, each of which is a request on S3."""
    counts: Counter[str] = Counter()
    for name in ("get", "put", "info", "exists", "delete"):
        plain = getattr(lake.objects, name)

        def counted(*given: Any, _plain: Any = plain, _name: str = name) -> Any:
            counts[_name] += 1
            return _plain(*given)

        setattr(lake.objects, name, counted)
    return counts


def _log(lake: Lake) -> tuple[int, int]:
    """Commits of all tables, and the bytes of their logs."""
    files = list(Path(lake.root or "", "tables").glob("*/_delta_log/*.json"))
    return len(files), sum(file.stat().st_size for file in files)


def _runs(settings: Any, instance: dg.DagsterInstance, size: Any) -> dict[str, float]:
    """Runs of ingest_uploads in this process, but for its worker: what they cost and leave in the database."""
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.lake.lake import Lake

    pipeline, lake = Pipeline(settings, instance), Lake.open(settings.lake)
    before, started, seconds, events = size(), 0.0, 0.0, 0
    for number in range(RUNS + 1):
        if number == 1:  # the first one makes tables; it alone imports, as each run of an account does
            before, seconds = size(), _processor_s() - started
        _drop(lake, f"run-{number}", PHOTOGRAPHS_A_RUN, width=64)
        batch = _closed(lake, "uploads", settings.policy())
        instance.add_dynamic_partitions("upload_batch", [batch])
        started = _processor_s()
        result = pipeline.run("ingest_uploads", partition=batch)
        events = len(instance.all_logs(result.run_id))
    grown = (size() - before) / RUNS
    with_processes = events + MORE_EVENTS * STEPS
    return {"batch_s": seconds, "events_a_run": with_processes, "run_bytes": grown * with_processes / events}


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _questions(instance: dg.DagsterInstance) -> dict[str, float]:
    """Whether each of ASKED batches has its run: by the clock, as the database works too."""
    import dagster as dg

    from carsdepo_assets.orchestration.attempts import next_run, next_runs

    batches = [f"20270101T{number:012d}-{'0' * 12}" for number in range(ASKED)]
    for batch in batches:
        tags = {"dagster/partition": batch, "dagster/sensor_name": "new_uploads", "dagster/run_key": f"uploads:{batch}"}
        instance.add_run(dg.DagsterRun("ingest_uploads", status=dg.DagsterRunStatus.STARTED, tags=tags))
    started = time.perf_counter()
    for batch in batches[:: ASKED // 100]:
        next_run(instance, "ingest_uploads", {"dagster/partition": batch}, 10)
    each = (time.perf_counter() - started) / 100
    started = time.perf_counter()
    if list(next_runs(instance, "ingest_uploads", "dagster/partition", batches, 10)):
        raise RuntimeError("batches with a run were asked for again")
    return {"ask_each_s": each, "ask_s": (time.perf_counter() - started) / ASKED}


_OPEN = """
import resource, sys, time
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.object_index import open_index
lake, started = Lake.open(sys.argv[1]), time.process_time()
with open_index(lake):
    pass
print(time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _index(home: Path) -> dict[str, float]:
    """What building the index costs: two lakes, by which an object is told from the process."""
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.lake.object_index import index_path

    by_count = {}
    for count in (KNOWN // 10, KNOWN):
        root = home / f"lake-of-{count}"
        build(root, count)
        answer = subprocess.run(
            [sys.executable, "-c", _OPEN, str(root)], check=True, capture_output=True, text=True
        ).stdout.split()
        by_count[count] = (float(answer[0]), 1024 * float(answer[1]), index_path(Lake.open(root)).stat().st_size)
    few, many = by_count[KNOWN // 10], by_count[KNOWN]
    objects = 2 * (KNOWN - KNOWN // 10)  # a photograph and a label each
    seconds, memory, size = (max(0.0, a - b) / objects for a, b in zip(many, few, strict=True))
    return {"index_s": seconds, "index_memory": memory, "index_bytes": size}
