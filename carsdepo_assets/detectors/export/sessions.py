"""An exported graph on ONNX Runtime or OpenVINO: images in, the network's raw outputs out, from several threads."""

from __future__ import annotations

import os
import queue
import threading
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_MAX_STREAMS = 8  # each holds activations of its own

# OpenVINO's bindings import numpy when arrays are first passed, inside the initialization of a static variable of C++.
# Another thread that passes its first array then waits for that variable and keeps the GIL, so that the process stands
# still for ever: https://pybind11.readthedocs.io/en/stable/advanced/misc.html#common-sources-of-global-interpreter-lock-errors
_openvino_alone = threading.Lock()
_is_openvino_initialized = False


class Session(Protocol):
    """An exported graph on a runtime."""

    def run(self, image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Runs the graph on an image, (1, height, width, 3) RGB; returns its outputs in its order. Thread-safe."""
        ...


class OnnxRuntime:
    """A graph on ONNX Runtime: one session for all threads, whose run() is thread-safe."""

    def __init__(self, graph: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; its warnings are about optimizations that it did not do
        # Idle threads sleep instead of spinning: they'd take the cores from the requests beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def run(self, image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """See Session.run."""
        return list(self.session.run(None, {self.input: image}))


class OpenVino:
    """A graph on OpenVINO: as many streams as the cores allow, and an infer request for each call under way."""

    def __init__(self, graph: bytes, threads: int) -> None:
        import openvino

        streams = max(1, min(_MAX_STREAMS, len(os.sched_getaffinity(0)) // threads))
        core = openvino.Core()
        self.model: Any = core.compile_model(
            core.read_model(graph),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the CPU has it, and boxes change
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams * threads,
                "ENABLE_CPU_PINNING": False,  # pinned threads of two processes would share one core
            },
        )
        self.idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """See Session.run. The process's first call runs alone."""
        global _is_openvino_initialized
        if _is_openvino_initialized:
            return self._run(image)
        with _openvino_alone:
            outputs = self._run(image)
            _is_openvino_initialized = True
        return outputs

    def _run(self, image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        try:
            request = self.idle.get_nowait()
        except queue.Empty:
            request = self.model.create_infer_request()
        # A request that fails is not used again.
        outputs = [np.array(value) for value in request.infer([image]).to_tuple()]
        self.idle.put(request)
        return outputs
