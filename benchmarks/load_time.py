"""Loading the code location against `import dagster`, each in a fresh process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

RUNS = 7


def _seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def run() -> list[dict[str, Any]]:
    """Median of interleaved runs, after one of each that is not counted."""
    ours, bare = "from carsdepo_assets.definitions import defs; defs()", "import dagster"
    pairs = [(_seconds(ours), _seconds(bare)) for _ in range(RUNS + 1)][1:]
    return [
        {
            "name": "load the code location",
            "value": statistics.median(a for a, _ in pairs),
            "unit": "s",
            "against": f"import dagster, {statistics.median(b for _, b in pairs):.2f} s",
            "ratio": statistics.median(a / b for a, b in pairs),
        }
    ]
