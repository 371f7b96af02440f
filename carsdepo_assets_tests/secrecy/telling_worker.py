"""A worker that tells what it was given: its environment to a file, its secrets to the world, and then it breaks."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from carsdepo_assets.compute.worker.events import open_events
from carsdepo_assets.redaction import install


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", type=Path)
    text = parser.parse_args().spec.read_text()
    report = {"environment": dict(os.environ), "spec": text, "arguments": sys.argv}
    Path(json.loads(text)["file"]).write_text(json.dumps(report))
    if json.loads(text)["as_ours"]:  # as the training worker does; else as any library's process
        install()
    with open_events() as events:
        print("the worker speaks:", os.environ["CARSDEPO_MLFLOW"], flush=True)
        logging.getLogger("a.library").warning("tracking at %s", os.environ["CARSDEPO_MLFLOW"])
        events.log(f"logging to {os.environ['CARSDEPO_MLFLOW']}")
        raise RuntimeError(f"no answer from {os.environ['CARSDEPO_MLFLOW']}")


if __name__ == "__main__":
    main()
