"""benchmarks/soak/processes.py: whose memory is judged after a soak."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak.processes import Memory

SECONDS = 90.0


@pytest.mark.parametrize(
    ("kind", "last_mb", "grown"),
    [
        ("production", 500.0, True),
        ("production", 330.0, False),  # within the bound
        ("code server", 700.0, True),
        # A process of its own for each run: an import is half as large as a release.
        ("run worker", 500.0, False),
        ("trainer", 1400.0, False),
    ],
)
def test_growth_is_that_of_long_lived_processes(tmp_path: Path, kind: str, last_mb: float, grown: bool) -> None:
    memory = Memory(tmp_path)
    for second in range(int(SECONDS)):
        memory.samples[kind].append((float(second), 300.0 if second < 60 else last_mb))
    assert memory.grown_kinds(SECONDS) == ({kind: (300.0, last_mb)} if grown else {})


def test_too_few_samples_say_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.samples["daemon"] += [(40.0, 100.0), (80.0, 900.0)]
    assert memory.grown_kinds(SECONDS) == {}
