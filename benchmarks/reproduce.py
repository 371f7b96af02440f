"""Whether `carsdepo reproduce` says "same" of the demo's two models, and names a label of which one byte was changed.

The demo of CARSDEPO_DEMO_HOME is used where that names one; else a demo runs in build/reproduce, where a second call
goes on: the demo reuses its finished steps, and a reproduction its checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from carsdepo_assets.lake.candidates import candidate_records
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry.lineage import read_lineage

_HOME_VARIABLE = "CARSDEPO_DEMO_HOME"
_PLACE = Path("build/reproduce")
_MODELS = 2
_DEMO_MINUTES, _MODEL_MINUTES = 10, 3  # on 2 quiet cores
_CARSDEPO = str(Path(sys.executable).parent / "carsdepo")


def run() -> list[dict[str, Any]]:
    """Rows {name, value, unit, against, ratio, holds}; value is 1 where it is so."""
    named = os.environ.get(_HOME_VARIABLE)
    home = Path(named) if named else _PLACE / "home"
    minutes = _MODELS * _MODEL_MINUTES + (0 if named else _DEMO_MINUTES)
    print(f"planned: about {minutes} minutes on 2 quiet cores", flush=True)
    if not named:
        subprocess.run([_CARSDEPO, "demo", "--home", str(home)], check=True)
    lake = Lake.open(home / "lake")
    models = list(dict.fromkeys(record.digest for record in candidate_records(lake)))  # not those of the study's trials
    if len(models) < _MODELS:
        raise SystemExit(f"{home} has {len(models)} models: a whole `carsdepo demo` leaves {_MODELS}.")
    rows = [_same(home, digest) for digest in models[:_MODELS]]
    return [*rows, _names_a_changed_label(home, models[0])]


def _same(home: Path, digest: str) -> dict[str, Any]:
    started = time.monotonic()
    result = _reproduced(home, digest, _PLACE / digest)
    same = result["verdict"] == "same"
    print(f"model {digest}: {result['verdict']}", flush=True)
    for sentence in result["why"]:
        print(sentence, flush=True)
    name = f"model {digest}: data, weights and figures are the same ({time.monotonic() - started:.0f} s)"
    return {"name": name, "value": int(same), "unit": "", "against": "must be 1", "ratio": None, "holds": same}


def _names_a_changed_label(home: Path, digest: str) -> dict[str, Any]:
    copy = _PLACE / "changed"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("traffic", "logs", "work"))
    lake = Lake.open(copy / "lake")
    learnt = read_manifest(lake, read_lineage(lake, digest).data.version)["revision_id"].to_pylist()
    rows = lake.read("annotations", ["key", "boxes"], [("revision_id", "in", learnt)]).to_pylist()
    key = next(row["key"] for row in rows if row["boxes"] and row["key"].endswith(".txt"))
    data = lake.get(key)
    end = len(data.rstrip()) - 4  # the third decimal of a box's height: its edges move by more than the digest's step
    lake.put(key, data[:end] + (b"1" if data[end : end + 1] != b"1" else b"8") + data[end + 1 :])
    result = _reproduced(copy, digest, _PLACE / "of-changed")
    reasons = " ".join(result["why"])
    named = result["verdict"] == "not made again" and key in reasons and "content digest differs" in reasons
    shutil.rmtree(copy)
    name = f"one byte of {key} was changed: it is named before a training"
    return {"name": name, "value": int(named), "unit": "", "against": "must be 1", "ratio": None, "holds": named}


def _reproduced(home: Path, digest: str, into: Path) -> dict[str, Any]:
    command = [_CARSDEPO, "reproduce", digest, "--home", str(home), "--into", str(into), "--json"]
    process = subprocess.run(command, capture_output=True, text=True)
    try:
        result: dict[str, Any] = json.loads(process.stdout)
    except ValueError:
        raise SystemExit(process.stdout + process.stderr) from None
    return result
