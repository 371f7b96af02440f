"""Exports a model, compares each runtime with torch on photographs and chooses the one that serves."""

from __future__ import annotations

import hashlib
import logging
import math
import statistics
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.detectors.export.export_card import (
    RUNTIMES,
    ExportCard,
    ExportError,
    RuntimeFigures,
    RuntimeName,
    card_key,
    choose,
    graph_key,
    installed_version,
    read_export,
    reason_of,
)
from carsdepo_assets.detectors.export.parity import MIN_SCORE, parity
from carsdepo_assets.detectors.export.runtimes import TorchPredictor, graph_predictor, torch_threads
from carsdepo_assets.imaging.resize import NetworkInput
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import record_exports
from carsdepo_assets.lake.models import ModelCard, weights_path
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections

__all__ = ["ExportCard", "ExportError", "export_model", "read_export"]

logger = logging.getLogger(__name__)

MIN_CALLS = 9  # timed calls of each runtime, at least


def export_model(
    lake: Lake, digest: str, policy: Policy, photographs: Sequence[NDArray[np.uint8]], *, threads: int = 1
) -> ExportCard:
    """Exports a model: writes models/<digest>/exports/model.onnx, export.json and, last, their lines of the manifest.

    An export of the same versions of the runtimes and as many threads is kept; only the choice then follows the policy.
    A detector that cannot be exported is served by torch, and the card gives the reason.

    Args:
        lake: The lake with the model.
        digest: The model.
        policy: Names the runtime or leaves the choice, and says how far it must agree with torch.
        photographs: RGB photographs such as are served, each HxWx3; every runtime is compared and timed on all of them.
        threads: Cores that one photograph may use.

    Returns:
        The export's card.

    Raises:
        ExportError: There are no photographs, or the runtime that the policy names may not serve; then nothing but the
            graph is written.
        LakeError: The lake has no such model.
    """
    if not len(photographs):
        raise ExportError(f"model {digest}: an export is compared with torch on photographs, and there is none.")
    kept = keep_export(lake, digest, policy, threads=threads)
    if kept is not None:
        return kept
    card = _measured(lake, digest, policy, photographs, threads)
    lake.put(card_key(digest), card.model_dump_json(indent=1).encode())
    record_exports(lake, digest)
    return card


def keep_export(lake: Lake, digest: str, policy: Policy, *, threads: int = 1) -> ExportCard | None:
    """The export that stands, with the choice that follows from the policy; None where the model must be exported.

    It needs no runtime. Where torch is not installed, the versions of runtimes that are not installed are not compared.

    Raises:
        ExportError: The runtime that the policy names may not serve.
        LakeError: The lake has no such model.
    """
    standing = _standing(lake, digest, threads)
    if standing is None:
        return None
    chosen, why = choose(standing.runtimes, policy)
    card = standing.model_copy(update={"chosen": chosen, "why": why, "parity_share": policy.gate.parity_share})
    if card != standing:
        lake.put(card_key(digest), card.model_dump_json(indent=1).encode())
    record_exports(lake, digest)
    return card


def _standing(lake: Lake, digest: str, threads: int) -> ExportCard | None:
    """The card of an export that is whole and was measured under the same conditions."""
    try:
        card = read_export(lake, digest)
    except ExportError:  # damaged: made again
        return None
    if card is None or card.graph_sha256 is None or card.threads != threads or card.stride is None:
        return None  # what could not be exported is tried again
    here = {name: installed_version(name) for name in RUNTIMES}
    compared = RUNTIMES if here["torch"] is not None else tuple(name for name in RUNTIMES if here[name] is not None)
    if any(card.runtimes[name].version != here[name] for name in compared):
        return None
    key = graph_key(digest)
    whole = lake.exists(key) and hashlib.sha256(lake.get(key)).hexdigest() == card.graph_sha256
    return card if whole else None


def _measured(
    lake: Lake, digest: str, policy: Policy, photographs: Sequence[NDArray[np.uint8]], threads: int
) -> ExportCard:
    """A new graph, in the lake, and every runtime's figures."""
    from carsdepo_assets.detectors.catalogue import load_model

    with torch_threads(threads):
        reference, model = load_model(lake, digest)
    predictors: dict[RuntimeName, Predictor] = {"torch": TorchPredictor(reference, threads)}
    reasons: dict[RuntimeName, str] = {}
    sha256, network = None, reference.network
    try:
        with torch_threads(threads):
            graph, network = _graph(lake, model)
        sha256 = hashlib.sha256(graph).hexdigest()
    except Exception as error:  # whatever the network's code or the tracer raises is a reason to stay with torch
        logger.warning("model %s could not be exported to ONNX", digest, exc_info=True)
        reasons = dict.fromkeys(("onnxruntime", "openvino"), f"not exported: {reason_of(error)}")
    else:
        for name in ("onnxruntime", "openvino"):
            try:
                predictor = graph_predictor(name, graph, network, threads)
                predictor.predict(photographs[:1])  # some refuse a graph only when it runs
                predictors[name] = predictor
            except Exception as error:  # whatever it is, this runtime cannot serve the model
                logger.warning("model %s does not run on %s", digest, name, exc_info=True)
                reasons[name] = reason_of(error)
    detections, times = _run(predictors, photographs)
    runtimes = {
        name: RuntimeFigures(
            version=installed_version(name),
            reason=reasons.get(name),
            parity=parity(detections["torch"], detections[name]) if name in detections and name != "torch" else None,
            median_ms=times.get(name),
        )
        for name in RUNTIMES
    }
    chosen, why = choose(runtimes, policy)
    return ExportCard(
        digest=digest,
        detector=model.detector,
        input_size=network.side,
        stride=network.stride,
        graph_sha256=sha256,
        threads=threads,
        photographs=len(photographs),
        runtimes=runtimes,
        parity_share=policy.gate.parity_share,
        chosen=chosen,
        why=why,
    )


def _graph(lake: Lake, model: ModelCard) -> tuple[bytes, NetworkInput]:
    """(ONNX graph, the images that it takes); the graph is written to the lake."""
    from carsdepo_assets.detectors.export.onnx_graph import onnx_graph

    graph, network = onnx_graph(weights_path(lake, model), model)
    lake.delete(card_key(model.digest))  # no card of another graph beside this one, even if killed in between
    lake.put(graph_key(model.digest), graph)
    return graph, network


def _run(
    predictors: dict[RuntimeName, Predictor], photographs: Sequence[NDArray[np.uint8]]
) -> tuple[dict[RuntimeName, list[Detections]], dict[RuntimeName, float]]:
    """(boxes by runtime, a list entry a photograph; median milliseconds), calls interleaved in turning order."""
    detections: dict[RuntimeName, list[Detections]] = {name: [] for name in predictors}
    times: dict[RuntimeName, list[float]] = {name: [] for name in predictors}
    names = list(predictors)
    for name in names:
        predictors[name].predict(photographs[:1], MIN_SCORE)  # first allocations stay out of the times
    for turn in range(math.ceil(MIN_CALLS / len(photographs))):
        for number, rgb in enumerate(photographs):
            first = (turn + number) % len(names)
            for name in names[first:] + names[:first]:
                started = time.perf_counter()
                boxes = predictors[name].predict([rgb], MIN_SCORE)
                times[name].append((time.perf_counter() - started) * 1000)
                if turn == 0:
                    detections[name] += boxes
    return detections, {name: round(statistics.median(taken), 2) for name, taken in times.items()}
