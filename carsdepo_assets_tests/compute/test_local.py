"""compute/local.py: the step ends as its worker ends: reported, failed, or ended with its children."""

import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.orchestration.process_tree import end_tree, same_process
from carsdepo_assets_tests.orchestration.dagster_run import WORKER

pytestmark = pytest.mark.slow


def run_worker(does: str, tmp_path: Path, **compute: float) -> dg.ExecuteInProcessResult:
    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        spec = {"does": does, "pids": str(tmp_path / "pids")}
        return LocalCompute(grace_s=2, poll_s=0.05, **compute).run(context, "train", spec, module=WORKER)

    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([model], instance=instance, raise_on_error=False)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_report_becomes_the_materialization(tmp_path: Path) -> None:
    result = run_worker("report", tmp_path)
    assert result.success
    [event] = result.asset_materializations_for_node("model")
    assert event.metadata["map50"].value == 0.5
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == "abc"


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("fail", ["code 1", "1; it reported no materialization. ValueError: the worker's own words\nIts last lines:"]),
        ("report, then fail", ["code 3", "a line of the worker"]),
        ("report nothing", ["reported no materialization"]),
        ("leave open", ["did not close its channel"]),
        ("leave before opening", ["did not close its channel", "reported no materialization"]),
    ],
)
def test_anything_less_is_a_failure_with_the_last_lines(does: str, says: list[str], tmp_path: Path) -> None:
    result = run_worker(does, tmp_path)
    assert not result.success
    [failure] = [e for e in result.all_node_events if e.is_step_failure]
    assert failure.step_failure_data.error is not None
    text = failure.step_failure_data.error.to_string() + str(failure.step_failure_data.user_failure_data)
    for words in says:
        assert words in text
    assert not result.asset_materializations_for_node("model")


def test_no_child_outlives_a_worker_that_crashed(tmp_path: Path) -> None:
    run_worker("leave open", tmp_path)
    worker, child = map(int, (tmp_path / "pids").read_text().split())
    until(lambda: gone(worker) and gone(child), 5)


def test_an_unknown_module_is_a_failure() -> None:
    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return LocalCompute().run(context, "train", {}, module="carsdepo_assets.no_such_worker")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([model], instance=instance, raise_on_error=False)
    [failure] = [e for e in result.all_node_events if e.is_step_failure]
    assert "no_such_worker" in str(failure.step_failure_data.user_failure_data)


def test_end_tree_ends_what_ignores_sigterm() -> None:
    import subprocess
    import sys

    code = (
        "import signal,subprocess,sys,time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "c=subprocess.Popen([sys.executable,'-c','import time; time.sleep(600)']); print(c.pid,flush=True);"
        "time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert end_tree(process.pid, grace_s=0.5) == 2
    assert gone(process.pid)
    assert gone(child)
    assert end_tree(process.pid, grace_s=0.5) == 0
    process.stdout.close()
    process.wait()


def test_same_process_is_not_fooled_by_an_id_given_out_again() -> None:
    me = psutil.Process()
    assert same_process(me.pid, time.time())
    assert not same_process(me.pid, me.create_time() - 60)  # named before this process began
    assert not same_process(2**22 + 7, time.time())
