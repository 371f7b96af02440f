"""Runs the benchmarks, prints tables and writes benchmarks/results.json. `python -m benchmarks NAME ...`: some.

The exit code is 1 where a figure breaks a limit that its benchmark names.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# In the order of minutes: the short ones first.
NAMES = (
    "load_time",
    "evaluator",
    "image_pipeline",
    "rendering",
    "serving_runtime",
    "http_service",
    "rollback",
    "attacks",
    "drift",
    "gate_power",
    "frozen_layers",
    "compute",
    "compute_ecs",
    "plan",
    "ticks",
    "gallery",
    "materialize",
    "edges_baseline",
    "training_overhead",
    "signals_cost",
    "healthy_trainings",
    "reproduce",
    "learning_curve",
    "real_photographs",
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; none: all")
    parser.add_argument(
        "--sizes", help="of `ticks` and `gallery`: how many objects their lakes know, such as 10000,100000"
    )
    parser.add_argument("--only", help="of `real_photographs`: which of its trainings, such as cpu-default,cpu-lite2")
    given = parser.parse_args(arguments)
    wanted: list[str] = given.names
    options: dict[str, dict[str, Any]] = {}
    if given.sizes:
        sizes = {"sizes": tuple(int(size) for size in given.sizes.split(","))}
        options |= {"ticks": sizes, "gallery": sizes}
    if given.only:
        options["real_photographs"] = {"only": tuple(given.only.split(","))}
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        print(f"No benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    # Without compiled modules each process would compile the platform and its libraries anew, which no user's does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    console = Console(width=150)
    target = Path(__file__).with_name("results.json")
    kept = json.loads(target.read_text())["results"] if target.exists() else {}
    broken: list[str] = []
    for name in wanted or NAMES:
        console.print(f"{name} …")
        started = time.monotonic()
        rows = importlib.import_module(f"benchmarks.{name}").run(**options.get(name, {}))
        kept[name] = {"seconds": round(time.monotonic() - started, 1), "rows": rows}
        table = Table("name", "value", "unit", "against", "ratio", title=name)
        broken += broken_limits(name, rows)
        for row in rows:
            table.add_row(
                row["name"], _cell(row["value"]), row.get("unit", ""), row.get("against", ""), _cell(row.get("ratio"))
            )
        console.print(table)
        about = {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }
        target.write_text(json.dumps({"machine": about, "results": kept}, indent=1) + "\n")
    for line in broken:
        console.print(f"BROKEN {line}", markup=False, soft_wrap=True)
    return 1 if broken else 0


def broken_limits(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """A line for each row of a benchmark whose value is beyond its limit."""
    return [f"{name}: {row['name']}: {row['value']} {row['against']}" for row in rows if row.get("holds") is False]


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
