"""Chooses runtime and threads by measurement on the machine that serves, among those that agree with torch.

The export's card names the fastest where it was exported, which may be another machine. Speeds are kept in a file, so
that a model of the same architecture and size is loaded without measuring again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from carsdepo_assets.detectors.base import LetterboxPredictor
from carsdepo_assets.detectors.export.export_card import ExportCard, ExportError, RuntimeName, installed_version
from carsdepo_assets.imaging.resize import NetworkInput, letterboxed
from carsdepo_assets.lake.objects import write_atomic

logger = logging.getLogger(__name__)

ROUNDS, CALLS = 4, 2  # turns of each setup; in a turn, calls of each thread
BETTER = 1.1  # a setup replaces the export's choice if it is at least this many times as fast: less may be chance
SAME = 0.95  # more threads for a photograph shorten a lone request's wait; they may cost this much throughput


@dataclass(frozen=True)
class Setup:
    """How a model is computed."""

    runtime: RuntimeName
    threads: int
    """cores that one photograph may use"""

    def __str__(self) -> str:
        return f"{self.runtime}, {self.threads} {'thread' if self.threads == 1 else 'threads'}"


def fastest_here(
    file: Path,
    export: ExportCard,
    runtimes: Sequence[RuntimeName],
    standing: Setup,
    load: Callable[[Setup], LetterboxPredictor] | None,
) -> Setup:
    """The fastest setup on this machine, by the speeds of a file or by new ones.

    Args:
        file: Keeps speeds.
        export: The model's export.
        runtimes: That may serve it.
        standing: What the export chose.
        load: Loads the model in a setup, to measure what the file does not have; None: then `standing` serves.
    """
    setups = [Setup(name, threads) for name in runtimes for threads in sorted({1, len(os.sched_getaffinity(0))})]
    key = speeds_key(export.detector, export.network, setups)
    speeds = read_speeds(file, key, setups)
    if speeds is None:
        if load is None:
            return standing
        loaded: dict[Setup, LetterboxPredictor] = {}
        for setup in setups:
            try:
                loaded[setup] = load(setup)
            except ExportError as error:
                logger.warning("%s is left out of the choice on this machine: %s", setup, error)
        speeds = measure(loaded)
        if len(loaded) == len(setups):
            write_speeds(file, key, speeds)
    chosen = fastest(speeds, setups, standing)
    rates = ", ".join(f"{name}: {speed:g} photographs a second" for name, speed in speeds.items())
    logger.info("%s serves model %s on this machine (%s)", chosen, export.digest, rates)
    return chosen


def speeds_key(detector: str, network: NetworkInput, setups: list[Setup]) -> str:
    """What a setup's speed depends on, as 16 hex digits: not on the weights."""
    content = {
        "detector": detector,
        "network": asdict(network),
        "setups": {str(s): installed_version(s.runtime) for s in setups},
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_speeds(file: Path, key: str, setups: list[Setup]) -> dict[str, float] | None:
    """Photographs a second by setup, as they were measured before; None where they were not, or are damaged."""
    try:
        speeds = json.loads(file.read_bytes())[key]
        speeds = {str(name): float(speed) for name, speed in speeds.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_whole = speeds.keys() == {str(s) for s in setups} and all(0 < v < math.inf for v in speeds.values())
    return speeds if is_whole else None


def write_speeds(file: Path, key: str, speeds: Mapping[str, float]) -> None:
    """Keeps speeds; what another process writes at the same time may be lost, and is then measured again."""
    try:
        content = json.loads(file.read_bytes())
        content = content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        content = {}
    try:
        write_atomic(file, json.dumps({**content, key: dict(speeds)}, indent=1).encode())
    except OSError as error:  # a full disk: the model is served all the same
        logger.warning("%s cannot be written (%s): speeds are measured again next time.", file, error)


def measure(predictors: Mapping[Setup, LetterboxPredictor]) -> dict[str, float]:
    """Photographs of 4:3 a second by setup, with as many at a time as there are cores; the best of several turns."""
    cores = len(os.sched_getaffinity(0))
    grey = np.full((480, 640, 3), 114, np.uint8)
    speeds: dict[str, float] = {}
    with ThreadPoolExecutor(cores) as pool:
        for turn in range(ROUNDS + 1):
            for setup, predictor in predictors.items():
                image = letterboxed(grey, predictor.network)
                started = time.perf_counter()
                list(pool.map(lambda _, p=predictor, i=image: p.predict_letterboxed(i, 0.5), range(cores * CALLS)))
                speed = cores * CALLS / (time.perf_counter() - started)
                if turn:  # the first allocates
                    speeds[str(setup)] = round(max(speed, speeds.get(str(setup), 0.0)), 2)
    return speeds


def fastest(speeds: Mapping[str, float], setups: list[Setup], standing: Setup) -> Setup:
    """The setup that serves.

    Args:
        speeds: as `measure` returned them.
        setups: that may serve, `standing` among them.
        standing: what the export chose.
    """
    if not speeds:
        return standing
    best = max(setups, key=lambda s: speeds.get(str(s), 0.0))
    if speeds.get(str(best), 0.0) < BETTER * speeds.get(str(standing), 0.0):
        best = standing
    enough = SAME * speeds.get(str(best), 0.0)
    same_runtime = [s for s in setups if s.runtime == best.runtime and speeds.get(str(s), 0.0) >= enough]
    return max(same_runtime, key=lambda s: s.threads, default=best)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
