"""compute/worker/watchdog.py: a worker ends, with its children, when the process that started it is killed."""

import subprocess
import sys

from carsdepo_assets.compute.worker.watchdog import EXIT_CODE
from carsdepo_assets_tests.compute.test_local import gone, until

WORKER = """
import os, subprocess, sys, time
from carsdepo_assets.compute.worker.watchdog import follow_parent
follow_parent(int(sys.argv[1]), poll_s=0.05)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
ALONE = """
import sys, time
from carsdepo_assets.compute.worker.watchdog import follow_parent
follow_parent(int(sys.argv[1]), poll_s=0.05)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], start_new_session=True)
time.sleep(600)
"""


def test_a_killed_parent_takes_the_worker_and_its_children_along() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, WORKER], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker, child = map(int, parent.stdout.readline().split())
    assert not gone(worker)
    assert not gone(child)
    parent.kill()
    parent.wait()
    until(lambda: gone(worker) and gone(child), 10)
    parent.stdout.close()


def test_a_parent_that_is_gone_before_the_first_look_counts() -> None:
    # Without a child: one forked between the look and the end would outlive the worker and hold its pipes open.
    process = subprocess.run([sys.executable, "-c", ALONE, "1"], capture_output=True, text=True, timeout=60)
    assert process.returncode == EXIT_CODE
    assert "process 1, which started this one, is gone" in process.stderr
