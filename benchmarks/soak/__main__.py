"""The soak: runs the whole platform under random kills. `python -m benchmarks.soak --minutes 30 --seed 1`.

The exit code is 0 when everything held, and 1 with the reasons when not.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from benchmarks.soak.feeding import FIRST, Feeding
from benchmarks.soak.processes import Killer, Memory, mine
from benchmarks.soak.supervisor import Platform
from benchmarks.soak.verdict import breaches, outstanding, runs
from carsdepo_assets.commands.instances import dagster_instance
from carsdepo_assets.environments import resources
from carsdepo_assets.registry import ledger
from carsdepo_assets.settings import Settings

KILL_S, SAMPLE_S, POLL_S = 60.0, 5.0, 5.0
STILL_S = 300.0  # without any change of anything: it is stuck, and the soak ends with what is left
RESTS = 3  # looks in a row that find nothing left
MOST_RUNS = 200  # after the last kill: more means that it never comes to rest
POLICY = """
[data]
batch_max_age_s = 1
[training]
steps = 30
minutes = 0.4
debounce_s = 3
[evaluation]
floor_map50 = 0.0
[gate]
mode = "point"
resamples = 200
floor_map50 = 0.0
floor_recall = 0.0
map50_tolerance = 1.0
recall_tolerance = 1.0
slice_harm = 1.0
latency_p95_ms = 60000.0
[release]
wait_s = 240.0
validation_photographs = 4
[inference]
segment_age_s = 1.0
[monitoring]
measure_every_s = 90
resamples = 200
queue_size = 6
retrain_below = 0.98
no_retraining_from = 0.99
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes of killing, after the first release")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of what is killed, and of the photographs")
    parser.add_argument(
        "--home", type=Path, help="folder for the state, kept; default: a temporary one, kept on failure"
    )
    parser.add_argument("--json", type=Path, help="where the figures go as JSON, beside the tables that are printed")
    options = parser.parse_args()
    folder = (options.home or Path(tempfile.mkdtemp(prefix="carsdepo-soak-"))).resolve()
    if (folder / "home").exists():
        parser.error(f"{folder} holds the state of another soak: name an empty folder.")
    figures = soak(folder, options.minutes, options.seed)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    _print(figures)
    if figures["breaches"]:
        print(f"Its state, with the logs of all processes in home/logs, is kept in {folder}", file=sys.stderr)
        return 1
    if options.home is None:
        import shutil

        shutil.rmtree(folder)
    return 0


def soak(folder: Path, minutes: float, seed: int) -> dict[str, Any]:
    """Runs it in the folder; every figure, and the breaches."""
    settings = _settings(folder)
    os.environ.update(settings.variables())
    feeding = Feeding(settings, folder, seed)
    tracking = resources(settings)["tracking"].tracking()
    started = time.monotonic()
    with dagster_instance(settings) as instance, Platform(settings) as platform:

        def left() -> list[str]:
            return outstanding(feeding.lake, instance, tracking, settings.policy(), feeding.acknowledged)

        feeding.drop(FIRST)
        first = _until(lambda: ledger.desired(feeding.lake, "production") is not None, feeding)
        _say(started, "The first model is in production." if first else "No first model came.")
        killer, memory = Killer(settings.home, seed), Memory(settings.home)
        killing = time.monotonic()
        if first:
            feeding.start()
            while (now := time.monotonic() - killing) < minutes * 60:
                memory.sample(now)
                if now >= KILL_S * (len(killer.kills) + 1) - KILL_S / 2 and (kind := killer.kill_one()):
                    _say(started, f"Killed: {kind}.")
                time.sleep(SAMPLE_S)
            feeding.stop()
        seconds = time.monotonic() - killing
        _say(started, "No more kills, drops or traffic: the platform comes to rest.")
        settling = time.monotonic()
        rest = _rest(left, instance, feeding, started)
        settled = time.monotonic() - settling
        reasons = breaches(feeding.lake, instance, settings.home, feeding.acknowledged, memory, seconds, rest)
        reasons += feeding.errors if first else ["the first model never came into production"]
        rows = runs(instance)
    outlived = [f"{kind} {process.pid}" for kind, process in mine(settings.home)]
    if outlived:
        reasons.append(f"processes that outlived the platform: {', '.join(outlived)}")
    return {
        "minutes": minutes,
        "seed": seed,
        "seconds to the first release": round(killing - started, 1),
        "seconds of killing": round(seconds, 1),
        "seconds to rest": round(settled, 1),
        "kills": killer.kills,
        "kills by kind": killer.by_kind(),
        "restarts": dict(platform.restarts),
        "answers": dict(feeding.answers),
        "acknowledged": len(feeding.acknowledged),
        "answers stored": feeding.lake.read("inferences").num_rows,
        "label revisions": feeding.lake.read("annotations").num_rows,
        "quarantined": feeding.lake.read("quarantine").num_rows,
        "releases": sum(e.action == "promote" for e in ledger.events(feeding.lake)),
        "runs": rows,
        "memory": {kind: memory.thirds(kind, seconds) for kind in sorted(memory.samples)},
        "breaches": reasons,
    }


def _settings(folder: Path) -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    policy = folder / "carsdepo.toml"
    policy.write_text(POLICY)
    ports = {f"CARSDEPO_{name}_PORT": str(_free_port()) for name in ("DAGSTER", "MLFLOW", "STAGING", "PRODUCTION")}
    return Settings.read({"CARSDEPO_POLICY": str(policy), **ports}, home=folder / "home")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _state(feeding: Feeding) -> dict[str, int]:
    """When what changes as long as anything happens last did: logs of runs, checkpoints of trainings, tables."""
    home = feeding.settings.home
    places = ("dagster/history/runs/*-*.db*", "work/training/*/*", "lake/tables/*/_delta_log/*")
    changed = {}
    for place in places:
        for path in home.glob(place):
            with suppress(OSError):  # replaced while it was looked at
                changed[str(path)] = path.stat().st_mtime_ns
    return changed


def _until(ready: Callable[[], bool], feeding: Feeding) -> bool:
    """Whether it became ready; given up when nothing at all has changed for STILL_S."""
    state, since = _state(feeding), time.monotonic()
    while not ready():
        time.sleep(POLL_S)
        now = _state(feeding)
        if now != state:
            state, since = now, time.monotonic()
        elif time.monotonic() - since > STILL_S:
            return False
    return True


def _rest(left: Callable[[], list[str]], instance: dg.DagsterInstance, feeding: Feeding, started: float) -> list[str]:
    """What is left once nothing is, or once nothing moves any more, or runs follow each other without an end."""
    looks: list[list[str]] = []
    begun, printed = instance.get_runs_count(), time.monotonic()

    def ready() -> bool:
        nonlocal printed
        try:
            feeding.label_queues()
            looks.append(left())
        except Exception as error:  # a table or the database was being written: the next look tells
            looks.append([f"the state could not be read: {type(error).__name__}: {error}"])
        if looks[-1] and time.monotonic() - printed > 30:
            printed = time.monotonic()
            _say(started, "Still to do: " + "; ".join(looks[-1]))
        return (not any(looks[-RESTS:]) and len(looks) >= RESTS) or instance.get_runs_count() - begun > MOST_RUNS

    _until(ready, feeding)
    return looks[-1]


def _say(started: float, text: str) -> None:
    print(f"{time.monotonic() - started:7.0f} s  {text}", flush=True)


def _print(figures: dict[str, Any]) -> None:
    console = Console(width=120)
    table = Table("what", "value", title="Soak")
    for name, value in figures.items():
        if name not in ("runs", "memory", "breaches", "kills"):
            shown = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            table.add_row(name, shown)
    console.print(table)
    columns = ["success", "interrupted", "failed", "canceled"]
    table = Table("job", *columns, title="Runs")
    for row in figures["runs"]:
        table.add_row(row["job"], *(str(row.get(c, 0)) for c in columns))
    console.print(table)
    table = Table("kind", "middle third, MB", "last third, MB", title="Memory, median of resident size")
    for kind, parts in figures["memory"].items():
        table.add_row(kind, *("too few samples" if part is None else f"{part:.0f}" for part in parts))
    console.print(table)
    for reason in figures["breaches"]:
        console.print(f"[bold red]Breach:[/] {reason}", highlight=False)
    if not figures["breaches"]:
        console.print("[bold green]Everything held.[/]")


if __name__ == "__main__":
    sys.exit(main())
