"""Detectors on real photographs, by groups: one training after another, on two cores or on a GPU.

CARSDEPO_REAL_DATA names the folder that holds `cardamage` (images/, labels/, manifest.csv). It says its planned minutes
first. Results, boxes and contact sheets are in `real_photographs/` of the folder CARSDEPO_BENCHMARKS (default: the
folder of temporary files); a training that is complete there is not repeated, and one that was killed goes on.
`--only NAME,...` chooses among the trainings of plan.py. docs/results.md shows the results that are kept in `results/`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

USUAL = ("cpu-lite2-long",)
BESIDE_S = 150  # of a training on two cores: reading, the figures of val and test


def run(only: Sequence[str] = USUAL) -> list[dict[str, Any]]:
    """The trainings of these names; a row for each figure."""
    from benchmarks.real_photographs.plan import PLAN

    planned_by_name = {planned.name: planned for planned in PLAN}
    unknown = sorted(set(only) - set(planned_by_name))
    if unknown:
        raise SystemExit(f"No training {', '.join(unknown)}; there are {', '.join(planned_by_name)}.")
    root = os.environ.get("CARSDEPO_REAL_DATA")
    if root is None:
        return [{"name": "skipped: CARSDEPO_REAL_DATA is not set", "value": None}]
    import torch

    from benchmarks.real_photographs.contact_sheet import write_contact_sheet
    from benchmarks.real_photographs.data import read_photographs
    from benchmarks.real_photographs.train import read_result, train

    out = Path(os.environ.get("CARSDEPO_BENCHMARKS", tempfile.gettempdir()), "real_photographs")
    out.mkdir(parents=True, exist_ok=True)
    waiting = [planned_by_name[name] for name in only if read_result(out / f"{name}.json") is None]
    without_gpu = [p.name for p in waiting if p.hardware == "gpu" and not torch.cuda.is_available()]
    minutes = sum(p.minutes + BESIDE_S / 60 for p in waiting if p.name not in without_gpu)
    print(f"{len(waiting) - len(without_gpu)} trainings, about {minutes:.0f} minutes; results in {out}.", flush=True)
    photographs = read_photographs(Path(root).resolve() / "cardamage")
    rows: list[dict[str, Any]] = []
    for name in only:
        if name in without_gpu:
            rows.append({"name": f"{name}: skipped, this machine has no GPU that torch can use", "value": None})
            continue
        print(f"  {name}: {planned_by_name[name].says} …", flush=True)
        result = train(planned_by_name[name], photographs, out)
        rows += _rows(result)
        sheet = write_contact_sheet(photographs, out, name, result["test"]["threshold"])
        print(f"  hits and misses: {sheet}", flush=True)
    return rows


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for split in ("val", "test"):
        figures, counts = result[split], result["data"][split]
        on = f"{counts['photographs']} {split} photographs, {counts['boxes']} boxes, {counts['groups']} groups"
        name = f"{result['name']}, {result['seconds'] / 60:.0f} min, {result['steps']} steps: mAP@.5 on {on}"
        if figures["map50_low"] is not None:
            name += f", 95 % interval {figures['map50_low']:.3f} to {figures['map50_high']:.3f}"
        rows.append({"name": name, "value": figures["map50"], "unit": "mAP@.5"})
        rows += [
            {"name": f"{result['name']}: {label} on {split}", "value": figures[key], "unit": unit}
            for key, label, unit in (
                ("map50_95", "mAP@.5:.95", "mAP@.5:.95"),
                ("precision", f"precision at {figures['threshold']:.3f}, val's threshold,", "share"),
                ("recall", "recall at the same", "share"),
            )
        ]
    return rows
