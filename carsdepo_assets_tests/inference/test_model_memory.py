"""inference/model_memory.py: another model is refused where what is loaded has taken the room."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.inference.model_memory import ModelMemory, container_bytes

MIB = 2**20


class Process:
    """What a process has in memory."""

    def __init__(self) -> None:
        self.bytes = 100 * MIB

    def load(self, memory: ModelMemory, name: str, digest: str, grows: int, files: int = 10 * MIB) -> str | None:
        refusal = memory.refusal(digest, files)
        if refusal is None:
            before = memory.began()
            self.bytes += grows
            memory.loaded(name, digest, files, before)
        return refusal


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_model_that_does_not_fit_beside_the_others_is_refused(process: Process) -> None:
    memory = ModelMemory(400 * MIB, lambda: process.bytes)
    assert process.load(memory, "a", "one", 120 * MIB) is None
    assert process.load(memory, "b", "two", 120 * MIB) is None
    refusal = process.load(memory, "c", "three", 120 * MIB)
    assert refusal == "model three needs about 120 MiB beside the 2 that are loaded, which have 340 of 400 MiB"


def test_memory_that_the_process_keeps_after_an_unload_counts_as_free(process: Process) -> None:
    memory = ModelMemory(400 * MIB, lambda: process.bytes)
    process.load(memory, "a", "one", 120 * MIB)
    process.load(memory, "b", "two", 120 * MIB)
    memory.unloaded("a")  # the system got nothing back
    assert process.load(memory, "c", "three", 0) is None
    assert process.load(memory, "d", "one", 0) is not None  # the third grew by nothing, and counts all the same


def test_the_only_model_is_tried_and_large_files_count(process: Process) -> None:
    memory = ModelMemory(50 * MIB, lambda: process.bytes)
    assert process.load(memory, "a", "one", 0, 500 * MIB) is None
    assert process.load(memory, "b", "two", 0, 500 * MIB) is not None


def test_the_containers_limit_counts_where_it_is_less_than_the_machine(tmp_path: Path) -> None:
    machine = container_bytes(tmp_path)
    for text, limit in ((f"{MIB}\n", MIB), ("max\n", machine), (f"{10 * machine}\n", machine)):
        (tmp_path / "memory.max").write_text(text)
        assert container_bytes(tmp_path) == limit
