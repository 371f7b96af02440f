"""For every test: what assets read from the lake is declared, and real photographs are named by CARSDEPO_REAL_DATA.

The run says how many tests used real photographs, and of a pytest process that died what ended it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_configure() -> None:
    """Lets Ctrl-C reach the processes that tests start: they inherit that it is ignored from a run in a script's
    background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def declared_reads() -> Iterator[None]:
    """Fails a test in which an asset reads what it does not declare, or leaves metadata under an odd key.

    See test_declared_reads.py.
    """
    from carsdepo_assets_tests.lake_reads import odd_metadata_keys, record_lake_reads, undeclared

    with pytest.MonkeyPatch.context() as patch:
        reads = record_lake_reads(patch)
        yield
    if reads.upstream:
        assert undeclared(reads) == []
    assert odd_metadata_keys(reads) == []


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with its tables, which it makes in 2.5 s: once a process, and copied from there."""
    from carsdepo_assets.registry.tracking import Tracking

    home = tmp_path_factory.mktemp("empty_store")
    assert Tracking.at_home(home).client is not None
    return home / "mlflow.db"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set but empty fails: a CI that believes it tests real photographs must."""
    root = os.environ.get("CARSDEPO_REAL_DATA")
    wanted = any(item.get_closest_marker("real") for item in items)
    if wanted and root is not None and not any(Path(root).glob("cardamage/images/*.jpg")):
        raise pytest.UsageError(f"CARSDEPO_REAL_DATA is {root!r}, and there is no cardamage/images/*.jpg below it.")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [r for r in terminalreporter.getreports("passed") if r.when == "call"]
    failed = terminalreporter.getreports("failed")
    ran = [r for r in [*passed, *failed] if "real" in r.keywords]
    root = os.environ.get("CARSDEPO_REAL_DATA", "not set")
    terminalreporter.write_line(f"tests on real photographs that ran: {len(ran)} (CARSDEPO_REAL_DATA: {root})")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """pytest-xdist says "Not properly terminated", whether a signal ended its process or a library's exit did."""
    if error is None:
        return
    process = node.gateway._io.popen
    try:
        code = process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        what = "lives, and has closed its pipe"
    else:
        what = f"was ended by {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
    reporter = node.config.pluginmanager.get_plugin("terminalreporter")
    reporter.write_line(f"process {process.pid} of {node.gateway.id} {what}")
