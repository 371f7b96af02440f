"""Ticks: what every sensor costs with nothing new, and what 500 new photographs and labels cost, by the lake's size.

The lakes are synthetic: tables of N photographs, N labels and N answers are written directly, half of the photographs
in batches of one each, and the files in raw/ are empty, 1,000 a folder. One process builds the index of what is known,
another ticks: a sensor's first tick of the process, imports included, and its next. Seconds are those of the clock, and
of the processor behind them; ratios are of the latter, as others may use the machine. Against: the limits of the
design, and the same work in an empty lake.

`python -m benchmarks ticks --sizes 10000,100000` leaves the largest out, whose files take minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SIZES = (10_000, 100_000, 1_000_000)
COLD_S, WARM_S = 5.0, 0.5
MORE_S = {"uploads": 1.0, "labels": 2.0}  # than in an empty lake, for NEW files
NEW = 500
FOLDER, BATCH, COMMIT = 1000, 2000, 20_000
FILES_A_MINUTE = 400_000
LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
KINDS = (("uploads", "jpg", "image"), ("labels", "txt", "read"))


def build(root: Path, count: int) -> None:
    """Writes the tables and files of a lake of `count` known photographs and labels."""
    from carsdepo_assets.lake.lake import Lake

    lake = Lake.open(root)
    lake.append("objects", [], "takeover")
    for start in range(0, count, COMMIT):
        _append(lake, start, min(count, start + COMMIT), count)
    if count:
        moment = datetime.now(UTC)
        report = {"report_id": "r", "at": moment, "window_from": LONG_AGO, "window_to": moment, "computed": True}
        lake.append("drift", [{**report, "band": "none"}], "r")
        lake.append("routes", [{"report_id": "r", "at": moment, "band": "none", "actions": [], "said": ""}], "r")
    for kind, suffix, _ in KINDS:
        folder = root / "raw" / kind / "web"
        for number in range(count):
            if number % FOLDER == 0:
                below = folder / f"{number // FOLDER:05d}"
                below.mkdir(parents=True)
            path = f"{below}/photo-{number:07d}.{suffix}"
            os.close(os.open(path, os.O_CREAT))
            os.utime(path, (LONG_AGO.timestamp(),) * 2)
        for path in [root / "raw" / kind, *(root / "raw" / kind).glob("web"), *folder.glob("*")]:
            if path.is_dir():
                os.utime(path, (LONG_AGO.timestamp(),) * 2)


def _append(lake: Any, start: int, end: int, count: int) -> None:
    """The rows of the photographs from start to end: those of the first half are batches of one each."""
    import pyarrow as pa

    n, ts = end - start, pa.timestamp("us", tz="UTC")
    numbers = [i if i < count // 2 else i // BATCH * BATCH for i in range(start, end)]
    batches = [f"20260101T{number:012d}-{'0' * 12}" for number in numbers]
    ids = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(start, end)]
    at = pa.array([LONG_AGO] * n, ts)
    columns: dict[str, dict[str, Any]] = {
        "uploads": {"bytes": [0] * n, "modified_at": at, "sha256": ids, "outcome": ["new"] * n, "ingested_at": at},
        "images": {"image_id": ids, "bytes": [0] * n, "width": [64] * n, "height": [48] * n, "phash": ["0" * 16] * n},
        "processed": {"image_id": ids, "width": [64] * n, "height": [48] * n},
        "annotations": {
            "revision_id": [one[:16] for one in ids], "image_id": ids, "created_at": at, "origin": ["yolo"] * n,
            "sequence": list(range(start, end)), "class_map_version": [1] * n, "boxes": [[]] * n,
        },
    }  # fmt: skip
    for (kind, suffix, state), tables in zip(KINDS, (("uploads", "images"), ("annotations",)), strict=True):
        keys = [f"raw/{kind}/web/{i // FOLDER:05d}/photo-{i:07d}.{suffix}" for i in range(start, end)]
        for table in tables:
            lake.append(table, pa.table({**columns[table], "batch_id": batches, "key": keys}), str(start))
        own = sorted(set(batches))
        objects = {
            "key": [*keys, *(f"batches/{kind}/{batch}.json" for batch in own)],
            "kind": [kind] * (n + len(own)),
            "size": pa.array([0] * n + [None] * len(own), pa.int64()),
            "modified_at": pa.array([LONG_AGO] * n + [None] * len(own), ts),
            "sha256": [*ids, *[None] * len(own)],
            "batch_id": [*batches, *own],
            "state": [state] * n + ["ingested"] * len(own),
            "sequence": [start] * (n + len(own)),
        }
        lake.append("objects", pa.table(objects), f"{kind}:{start}")
    lake.append("processed", pa.table({**columns["processed"], "batch_id": batches}), str(start))
    answered = pa.array([LONG_AGO + timedelta(seconds=i * 2_000_000 / count) for i in range(start, end)], ts)
    answers = {
        "prediction_id": ids, "image_id": ids, "at": answered, "stage": ["production"] * n, "digest": ["d"] * n,
        "segment": [f"capture/{start}"] * n,
    }  # fmt: skip
    lake.append("inferences", pa.table(answers), str(start))


def measure(phase: str, home: Path, lake_root: Path) -> dict[str, list[tuple[float, float]]]:
    """One phase of the work on a lake: what it took, by name; called in a process of its own."""
    from carsdepo_assets.settings import Settings

    settings = Settings.read({"CARSDEPO_LAKE": str(lake_root), "CARSDEPO_POLICY_FOLDER": str(home)}, home=home)
    seconds = {"index": _index, "ticks": _all_ticks, "ingestion": _ingestion}[phase](settings, lake_root)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**seconds, f"peak memory of {phase}": [(peak, 0.0)]}


def _index(settings: Any, root: Path) -> dict[str, list[tuple[float, float]]]:
    """The index built from the table, as on another machine, and the looks at everything, one before the first tick."""
    from carsdepo_assets.data.batches.batches import plan_batches
    from carsdepo_assets.data.photographs.metadata_corrections import manifests_due
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.lake.object_index import open_index

    lake, policy = Lake.open(root), settings.policy()
    times: dict[str, list[tuple[float, float]]] = {}
    with _timed(times.setdefault("index built from the table", [])), open_index(lake):
        pass
    for kind, _, _ in KINDS:
        with _timed(times.setdefault(f"all of raw/{kind} looked at, once in data.reconcile_s", [])):
            plan_batches(lake, kind, policy, datetime.now(UTC))  # type: ignore[arg-type]
    manifests_due(lake)
    return times


def _all_ticks(settings: Any, root: Path) -> dict[str, list[tuple[float, float]]]:
    from carsdepo_assets.commands.pipeline import Pipeline

    with Pipeline.open(settings) as pipeline:
        names = sorted(sensor.name for sensor in pipeline.definitions.sensors or [])
        return {name: ticks for name in names if (ticks := _ticks(pipeline, name))}


def _ticks(pipeline: Any, name: str) -> list[tuple[float, float]] | None:
    """(clock, processor) of the first ticks and of one more when the sensor asks for nothing; None where it has none.

    A sensor that asks for runs at its first tick, as of days whose labels it has never seen, is given its cursor back.
    """
    import dagster as dg

    from carsdepo_assets.environments import resources

    definition = pipeline.definitions.resolve_sensor_def(name)
    if isinstance(definition, dg.RunStatusSensorDefinition):
        return None  # Dagster asks it about its own runs, and the lake's size does not matter
    cursor, ticks = None, []
    for _ in range(3):
        with dg.build_sensor_context(
            instance=pipeline.instance, sensor_name=name, definitions=pipeline.definitions, cursor=cursor,
            resources=resources(pipeline.settings),
        ) as context:  # fmt: skip
            with _timed(ticks):
                result = definition.evaluate_tick(context)
            cursor = result.cursor or cursor
    return [ticks[0], ticks[-1]]


@contextmanager
def _timed(into: list[tuple[float, float]]) -> Iterator[None]:
    clock, processor = time.perf_counter(), time.process_time()
    yield
    into.append((time.perf_counter() - clock, time.process_time() - processor))


def _ingestion(settings: Any, root: Path) -> dict[str, list[tuple[float, float]]]:
    """NEW photographs and labels: the tick that closes their batch, and the steps that a run does."""
    from carsdepo_assets.data.batches.batches import plan_batches
    from carsdepo_assets.data.labels.label_revisions import ingest_labels
    from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
    from carsdepo_assets.lake.lake import Lake

    lake, policy = Lake.open(root), settings.policy()
    times: dict[str, list[tuple[float, float]]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        with _timed(times.setdefault(name, [])):
            return work()

    lake.put("raw/labels/new/classes.txt", b"scratch\ndent\n")
    for number in range(NEW):
        _drop(lake, f"raw/uploads/new/{number}.jpg", _photograph(number))
        _drop(lake, f"raw/labels/new/{number}.txt", b"0 0.5 0.5 0.2 0.2\n")
    (batch,) = timed("new_uploads, closing", lambda: plan_batches(lake, "uploads", policy, datetime.now(UTC)))
    timed("uploads", lambda: ingest_uploads(lake, batch.batch_id, policy))
    timed("images", lambda: build_images(lake, batch.batch_id, policy))
    timed("processed_images", lambda: build_processed(lake, batch.batch_id, policy))
    (batch,) = timed("new_labels, closing", lambda: plan_batches(lake, "labels", policy, datetime.now(UTC)))
    timed("labels", lambda: ingest_labels(lake, batch.batch_id, policy, datetime.now(UTC)))
    rows = lake.read("annotations", ["batch_id"], [("batch_id", "=", batch.batch_id)]).num_rows
    if rows != NEW:
        raise RuntimeError(f"{rows} of {NEW} labels were read")
    return times


def _drop(lake: Any, key: str, data: bytes) -> None:
    lake.put(key, data)
    os.utime(lake.local_path(key), (LONG_AGO.timestamp(),) * 2)


def _photograph(number: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    colour = (number % 256, number // 256, 90)
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(out, "JPEG", comment=f"{colour}".encode())
    return out.getvalue()


def _of_size(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="carsdepo-bench-") as name:
        home, lake = Path(name, "home"), Path(name, "lake")
        home.mkdir()
        print(
            f"  {count:,} objects of each kind: about {1 + 2 * count // FILES_A_MINUTE} minutes to write …", flush=True
        )
        started = time.monotonic()
        build(lake, count)
        print(f"  written in {time.monotonic() - started:.0f} s; measured …", flush=True)
        measured = {}
        for phase in ("index", "ticks", "ingestion"):
            command = [sys.executable, "-m", "benchmarks.ticks", phase, "--home", str(home), "--lake", str(lake)]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=3600)
            if answer.returncode:
                raise RuntimeError(f"the lake of {count} was not measured:\n{answer.stderr[-4000:]}")
            measured[phase] = json.loads(answer.stdout.splitlines()[-1])
        return measured


def run(sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """Rows name, value, unit, against, ratio; a ratio above 1 is within the limit."""
    empty = _of_size(0)["ingestion"]
    rows = []
    for count in sizes:
        measured = _of_size(count)
        for sensor, ticks in measured["ticks"].items():
            if len(ticks) == 2:
                rows.append(
                    _row(f"{count:,}: {sensor}, first tick of a process", ticks[0], f"limit {COLD_S:g} s", COLD_S)
                )
                rows.append(_row(f"{count:,}: {sensor}, next tick", ticks[1], f"limit {WARM_S:g} s", WARM_S))
        for name, (seconds,) in measured["index"].items():
            rows.append(_row(f"{count:,}: {name}", seconds, "", None))
        for step, (seconds,) in measured["ingestion"].items():
            before, more = empty[step][0], MORE_S.get(step)
            limit = before[1] + more if more else None
            against = f"empty lake {before[0]:.2f} s (CPU {before[1]:.2f})" + (f", and {more:g} s more" if more else "")
            rows.append(_row(f"{count:,}: {NEW} new files, {step}", seconds, against, limit))
        memory = max(
            seconds[0][0] for phase in measured.values() for name, seconds in phase.items() if "memory" in name
        )
        rows.append({"name": f"{count:,}: peak memory", "value": round(memory), "unit": "MB"})
    return [row for row in rows if "memory of" not in row["name"]]


def _row(name: str, seconds: tuple[float, float], against: str, limit: float | None) -> dict[str, Any]:
    clock, processor = seconds
    ratio = round(limit / max(processor, 0.001), 2) if limit else None
    unit = f"s (CPU {processor:.2f})"
    return {"name": name, "value": round(clock, 3), "unit": unit, "against": against, "ratio": ratio}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("phase")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--lake", type=Path, required=True)
    given = parser.parse_args()
    print(json.dumps(measure(given.phase, given.home, given.lake)))
