"""Loads a model as it is served: ONNX Runtime or OpenVINO on its exported graph, or torch.

Every predictor here may be called from several threads at once, and gives a photograph the same boxes whatever runs
at the same time: each photograph is a call of its own. Only the path by torch imports torch.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import LetterboxPredictor
from carsdepo_assets.detectors.export.export_card import (
    RUNTIMES,
    ExportCard,
    ExportError,
    RuntimeName,
    again,
    choose,
    graph_key,
    obstacle,
    read_export,
    reason_of,
)
from carsdepo_assets.detectors.export.measured_choice import Setup, fastest_here
from carsdepo_assets.detectors.export.sessions import OnnxRuntime, OpenVino, Session
from carsdepo_assets.detectors.postprocess import MAX_BOXES, boxes_of_head, to_image_frame
from carsdepo_assets.detectors.yolov8.detector import NMS_IOU
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput, letterboxed
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import check_model_files
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections

logger = logging.getLogger(__name__)

# Of one setting for the whole process (torch's number of threads) and of models that keep state between calls.
_TORCH = threading.Lock()

RawBoxes = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # corners in the network's image, scores, classes


@dataclass(frozen=True)
class Served:
    """A model that is loaded for serving."""

    predictor: LetterboxPredictor
    """The model; it may be called from several threads at once."""
    card: ModelCard
    """The model's card."""
    runtime: RuntimeName
    """What runs it."""
    export: ExportCard
    """The card of its export."""


def load_served(
    lake: Lake,
    digest: str,
    policy: Policy,
    *,
    runtime: RuntimeName | None = None,
    threads: int = 1,
    speeds: Path | None = None,
    may_measure: bool = True,
) -> Served:
    """Compares a model's files with its manifest and loads it on the runtime that its export and the policy choose.

    A blank photograph is predicted, so that the first real one is as fast as the others.

    Args:
        lake: The lake with the model.
        digest: The model.
        policy: Names the runtime or leaves the choice.
        runtime: This runtime instead.
        threads: Cores that one photograph may use. One is best for throughput, since requests run side by side: ONNX
            Runtime and OpenVINO take as many at a time as come, torch one at a time.
        speeds: A file of speeds on this machine; with it, runtime and threads are chosen by them among what may serve.
        may_measure: Whether speeds that the file does not have are measured, which takes seconds.

    Raises:
        ExportError: The model has no export, or the runtime may not serve it or is not installed.
        ModelFilesError: A file of the model is not the one of its manifest.
        LakeError: The lake has no such model.
    """
    check_model_files(lake, digest)
    card = read_card(lake, digest)
    export = read_export(lake, digest)
    if export is None:
        raise ExportError(f"model {digest} has no export, and only exported models are served: {again(digest)}.")
    setup = Setup(_wanted(export, policy, runtime), threads)
    predictor: LetterboxPredictor
    if setup.runtime == "torch":
        from carsdepo_assets.detectors.catalogue import load_model

        with torch_threads(threads):
            model, _ = load_model(lake, digest)
        predictor = TorchPredictor(model, threads)
    else:
        graph = _graph(lake, export)

        def load(setup: Setup) -> LetterboxPredictor:
            return graph_predictor(setup.runtime, graph, export.network, setup.threads)

        if speeds is not None:
            names = _may_serve(export, policy, setup.runtime)
            setup = fastest_here(speeds, export, names, setup, load if may_measure else None)
        predictor = load(setup)
    predictor.predict([np.zeros((card.image_size, card.image_size, 3), np.uint8)])
    return Served(predictor, card, setup.runtime, export)


def _may_serve(export: ExportCard, policy: Policy, standing: RuntimeName) -> list[RuntimeName]:
    """The runtimes among which speed decides; torch is none of them, since it takes one call at a time."""
    if policy.inference.runtime != "auto":
        return [standing]
    bar = policy.gate.parity_share
    return [n for n, f in export.runtimes.items() if n != "torch" and obstacle(n, f, bar) is None]


def _wanted(export: ExportCard, policy: Policy, runtime: RuntimeName | None) -> RuntimeName:
    if runtime is None:
        return choose(export.runtimes, policy)[0]
    if runtime not in RUNTIMES:
        raise ExportError(f"no runtime named {runtime!r}: there are {', '.join(RUNTIMES)}.")
    problem = obstacle(runtime, export.runtimes[runtime], policy.gate.parity_share)
    if problem is not None:
        raise ExportError(f"{runtime} may not serve model {export.digest}: {problem}.")
    return runtime


def _graph(lake: Lake, export: ExportCard) -> bytes:
    graph = lake.get(graph_key(export.digest))
    if hashlib.sha256(graph).hexdigest() != export.graph_sha256:
        raise ExportError(
            f"{graph_key(export.digest)} is not the graph that was compared with torch: {again(export.digest)}."
        )
    return graph


def graph_predictor(name: RuntimeName, graph: bytes, network: NetworkInput, threads: int) -> GraphPredictor:
    """Loads an exported graph on a runtime other than torch.

    Args:
        name: The runtime.
        graph: What `onnx_graph` returned.
        network: The images that the graph takes.
        threads: Cores that one photograph may use.

    Raises:
        ExportError: The runtime is not installed or refuses the graph.
    """
    try:
        session: Session = OnnxRuntime(graph, threads) if name == "onnxruntime" else OpenVino(graph, threads)
    except ImportError as error:
        raise ExportError(f"{name} is not installed ({error}): install it, or set policy.inference.runtime.") from error
    except Exception as error:  # each runtime has error types of its own, some right below Exception
        raise ExportError(f"{name} refuses the graph: {reason_of(error)}") from error
    return GraphPredictor(session, network)


class GraphPredictor:
    """Predicts with an exported graph, with the same letterbox, suppression and way back as with torch."""

    def __init__(self, session: Session, network: NetworkInput) -> None:
        self.session, self.network = session, network

    def predict(self, images: Sequence[NDArray[np.uint8]], min_score: float = 0.001) -> list[Detections]:
        """See Predictor.predict."""
        return [self.predict_letterboxed(letterboxed(image, self.network), min_score) for image in images]

    def predict_letterboxed(self, image: Letterboxed, min_score: float = 0.001) -> Detections:
        """See LetterboxPredictor.predict_letterboxed."""
        boxes, scores, classes = _read(self.session.run(np.ascontiguousarray(image.pixels)[None]), min_score)
        return to_image_frame(boxes.astype(np.float64), scores.astype(np.float64), classes, image)


def _read(outputs: list[NDArray[Any]], min_score: float) -> RawBoxes:
    """Boxes of a graph's outputs, of either kind that `base.Exportable` has."""
    if len(outputs) == 1:
        return boxes_of_head(outputs[0][0], min_score, NMS_IOU, MAX_BOXES)
    boxes, scores, labels = outputs
    kept = scores > min_score
    return boxes[kept], scores[kept], labels[kept].astype(np.int64) - 1


class TorchPredictor:
    """Predicts with torch, one call at a time, on its own number of threads; the process keeps its number."""

    def __init__(self, predictor: LetterboxPredictor, threads: int) -> None:
        self.predictor, self.threads, self.network = predictor, threads, predictor.network

    def predict(self, images: Sequence[NDArray[np.uint8]], min_score: float = 0.001) -> list[Detections]:
        """See Predictor.predict."""
        detections: list[Detections] = []
        for image in images:  # the lock is held for a photograph: a large request lets others through
            with torch_threads(self.threads):
                detections += self.predictor.predict([image], min_score)
        return detections

    def predict_letterboxed(self, image: Letterboxed, min_score: float = 0.001) -> Detections:
        """See LetterboxPredictor.predict_letterboxed."""
        with torch_threads(self.threads):
            return self.predictor.predict_letterboxed(image, min_score)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Lets one caller at a time use torch with a number of threads, and restores the process's number afterwards."""
    import torch

    with _TORCH:
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)
