"""A worker that does what its spec says, for tests of what LocalCompute makes of it. Started as a subprocess."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from dagster_pipes import open_dagster_pipes

from carsdepo_assets.compute.worker.watchdog import PARENT_VARIABLE, follow_parent

spec = json.loads(Path(sys.argv[2]).read_text())
if spec.get("follow", True):
    follow_parent(int(os.environ[PARENT_VARIABLE]), poll_s=0.1)
if spec["does"] == "leave before opening":
    sys.exit(0)
with open_dagster_pipes() as pipes:
    print("a line of the worker")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if "pids" in spec:
        part = Path(spec["pids"]).with_suffix(".part")
        part.write_text(f"{os.getpid()} {child.pid}")
        part.rename(spec["pids"])
    if spec["does"] == "hang":
        pipes.log.info("hanging")
        time.sleep(600)
    if spec["does"] == "fail":
        raise ValueError("the worker's own words")
    if spec["does"] == "leave open":
        os._exit(0)
    if spec["does"] != "report nothing":
        pipes.report_asset_materialization(metadata={"map50": 0.5}, data_version="abc")
    if spec["does"] == "report, then fail":
        sys.exit(3)
    child.kill()
