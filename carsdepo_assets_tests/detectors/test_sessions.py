"""detectors/export/sessions.py: first calls of a runtime from several threads end, all with their answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).parents[2]
PROCESSES = 4  # without the rule, two of three stand still
FIRST_CALLS = """
import sys, threading
from pathlib import Path

import numpy as np

from carsdepo_assets.detectors.export.sessions import OnnxRuntime, OpenVino

session = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}[sys.argv[1]](Path(sys.argv[2]).read_bytes(), 1)
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
answers = []


def call():
    together.wait()
    answers.append(session.run(np.full((1, 8, 8, 3), 7, np.uint8))[0])


threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(answers) == 8 and all((a == 7).all() for a in answers)
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.slow
def test_first_calls_from_several_threads(runtime: str, tmp_path: Path) -> None:
    """OpenVINO's bindings initialize a static variable of C++ at the first call; two threads there wait for ever."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["image"], ["out"], to=TensorProto.FLOAT)],
        "first calls",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 8, 8, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    file = tmp_path / "cast.onnx"
    file.write_bytes(model.SerializeToString())
    for _ in range(PROCESSES):
        ended = subprocess.run(
            [sys.executable, "-c", FIRST_CALLS, runtime, str(file)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
