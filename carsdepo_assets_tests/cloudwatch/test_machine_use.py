"""cloudwatch/machine_use.py: the shares of CPU, memory and GPU, within a container's limits and without them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from carsdepo_assets.cloudwatch.machine_use import MachineUse, nvidia_smi


def look(container: Path, gpus: str | None = None) -> MachineUse:
    """What looks at this process, by a clock that goes ten seconds further each time."""
    return MachineUse(iter(range(0, 10_000, 10)).__next__, container, lambda: gpus)


def burn(seconds: float) -> None:
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass


def test_cpu_is_a_share_of_what_the_container_may_use(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")  # half a core: 5 s of 10
    machine = look(tmp_path)
    burn(0.25)
    cpu = machine.look().cpu
    assert cpu is not None
    assert 4.5 < cpu < 60.0
    calm = machine.look().cpu
    assert calm is not None
    assert calm < cpu


def test_without_a_limit_the_cores_that_the_process_may_use_count(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    machine = look(tmp_path)
    burn(0.2)
    cpu = machine.look().cpu
    assert cpu is not None
    assert cpu > 100 * 0.15 / (10 * len(os.sched_getaffinity(0)))


def test_children_count_while_they_run_and_afterwards(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    machine = look(tmp_path)
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    running = machine.look().cpu
    child.communicate("\n")
    ended = machine.look().cpu
    assert running is not None
    assert running > 2.5  # the kernel counts in hundredths of a second
    assert ended is not None
    assert ended >= 0.0  # its seconds went over to this process, and are not counted again
    assert ended < running


def test_memory_is_a_share_of_the_limit_without_the_page_cache(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{400 * 2**20}\n")
    (tmp_path / "memory.current").write_text(f"{300 * 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {200 * 2**20}\n")
    assert look(tmp_path).look().memory == 25.0


@pytest.mark.parametrize("limit", ["max", str(2**62), None])
def test_without_a_limit_memory_is_the_machines(limit: str | None, tmp_path: Path) -> None:
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("1\n")
        (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    assert abs(look(tmp_path).look().memory - psutil.virtual_memory().percent) < 20


@pytest.mark.parametrize(
    ("printed", "use", "memory"),
    [
        ("40, 8192, 16384\n", 40.0, 50.0),
        ("40, 8192, 16384\n60, 4096, 16384\n", 50.0, 50.0),
        ("[N/A], 8192, 16384\n", None, 50.0),
        ("40, [N/A], [N/A]\n", 40.0, None),
        ("No devices were found\n", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_gpus(printed: str | None, use: float | None, memory: float | None, tmp_path: Path) -> None:
    seen = look(tmp_path, printed).look()
    assert (seen.gpu, seen.gpu_memory) == (use, memory)


@pytest.mark.parametrize(("script", "answer"), [("echo 1, 2, 3", "1, 2, 3\n"), ("exit 9", None), (None, None)])
def test_a_driver_that_does_not_answer_is_no_error(
    script: str | None, answer: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) if script is None else f"{tmp_path}:/bin:/usr/bin")
    assert nvidia_smi() == answer
