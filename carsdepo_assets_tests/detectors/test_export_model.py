"""detectors/export/export_model.py, export_card.py and parity.py: what an export may serve.

It serves only what was compared with torch and found the same.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from carsdepo_assets.detectors.export import onnx_graph
from carsdepo_assets.detectors.export.export_card import card_key, graph_key, read_export
from carsdepo_assets.detectors.export.export_model import ExportError, export_model
from carsdepo_assets.detectors.export.parity import parity
from carsdepo_assets.detectors.export.runtimes import load_served
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.model_files import ModelFilesError
from carsdepo_assets.lake.models import read_card, weights_path
from carsdepo_assets.policy import GatePolicy, InferencePolicy, Policy
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets_tests.detectors.stored_models import photographs, store_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FORCED = Policy(inference=InferencePolicy(runtime="openvino"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, str]:
    lake = Lake.open(tmp_path_factory.mktemp("lake"))
    digest = store_model(lake, "yolov8n")
    export_model(lake, digest, Policy(), photographs())
    return lake, digest


@pytest.fixture
def lake(exported: tuple[Lake, str], tmp_path: Path) -> Lake:
    """A lake of its own with the exported model."""
    shutil.copytree(str(exported[0].root), tmp_path / "lake")
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def digest(exported: tuple[Lake, str]) -> str:
    return exported[1]


@pytest.mark.parametrize("detector", ["yolov8n", "faster_rcnn"])
def test_every_runtime_gives_torchs_boxes(detector: str, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, detector)
    card = export_model(lake, digest, Policy(), photographs())
    assert card == read_export(lake, digest)
    assert (card.input_size, card.photographs, card.threads) == (96, 4, 1)
    for name in ("onnxruntime", "openvino"):
        figures = card.runtimes[name]
        assert figures.available, figures.reason
        assert figures.parity is not None
        assert figures.parity.reference_boxes > 50
        assert figures.parity.share == 1.0
        assert figures.parity.largest_score_difference < 0.001
    times = {name: figures.median_ms for name, figures in card.runtimes.items()}
    assert card.chosen == min(times, key=lambda name: times[name] or 1e9)
    assert f"{card.chosen} {times[card.chosen]:.1f} ms" in card.why


def test_what_stands_is_not_made_again(lake: Lake, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {o.key: o for o in lake.list("models")}
    monkeypatch.setattr(onnx_graph, "onnx_graph", _fails)
    card = export_model(lake, digest, Policy(), photographs())
    assert {o.key: o for o in lake.list("models")} == before
    named = export_model(lake, digest, Policy(inference=InferencePolicy(runtime="torch")), photographs())
    assert (named.chosen, named.why) == ("torch", "named by policy.inference.runtime")
    assert named.runtimes == card.runtimes
    assert read_export(lake, digest) == named


@pytest.mark.parametrize("change", ["graph", "threads", "version", "card"])
def test_what_has_changed_is_measured_again(lake: Lake, digest: str, change: str) -> None:
    old = read_export(lake, digest)
    assert old is not None
    if change == "graph":
        lake.put(graph_key(digest), lake.get(graph_key(digest))[:-1] + b"x")
    if change == "card":
        lake.put(card_key(digest), lake.get(card_key(digest))[:200])
        with pytest.raises(ModelFilesError, match=r"export\.json was changed.* materialize `staging_deployment`"):
            load_served(lake, digest, Policy())
    if change == "version":
        torch = old.runtimes["torch"].model_copy(update={"version": "1.0"})
        foreign = old.model_copy(update={"runtimes": {**old.runtimes, "torch": torch}})
        lake.put(card_key(digest), foreign.model_dump_json().encode())
    new = export_model(lake, digest, Policy(), photographs()[:2], threads=2 if change == "threads" else 1)
    assert new.photographs == 2
    assert new == read_export(lake, digest)
    assert load_served(lake, digest, Policy(), runtime="onnxruntime").export == new


def test_an_export_that_lost_its_boxes_does_not_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.open(tmp_path)
    digest, blind = store_model(lake, "yolov8n"), store_model(lake, "yolov8n", blind=True)
    card = read_card(lake, blind)
    broken = onnx_graph.onnx_graph(weights_path(lake, card), card)
    monkeypatch.setattr(onnx_graph, "onnx_graph", lambda weights, card: broken)
    with pytest.raises(ExportError, match=r"openvino, which may not serve.*0\.000 of the boxes match"):
        export_model(lake, digest, FORCED, photographs())
    assert read_export(lake, digest) is None
    refused = export_model(lake, digest, Policy(), photographs())
    assert refused.chosen == "torch"
    for name in ("onnxruntime", "openvino"):
        assert f"{name}: 0.000 of the boxes match torch's, under the bar of 0.98" in refused.why
        with pytest.raises(ExportError, match=r"0\.000 of the boxes"):
            load_served(lake, digest, Policy(), runtime=name)
    assert load_served(lake, digest, Policy()).runtime == "torch"
    with pytest.raises(ExportError, match="Set it to auto"):
        load_served(lake, digest, FORCED)


def test_without_boxes_parity_is_unknown_and_torch_serves(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, "yolov8n", blind=True)
    card = export_model(lake, digest, Policy(), photographs()[:1])
    assert card.chosen == "torch"
    assert "onnxruntime: parity unknown" in card.why
    assert card.runtimes["openvino"].median_ms is not None


def test_a_detector_without_export_is_served_by_torch_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, "yolov8n")
    with monkeypatch.context() as patched:
        patched.setattr(onnx_graph, "onnx_graph", _fails)
        card = export_model(lake, digest, Policy(), photographs()[:1])
    assert card.chosen == "torch"
    assert card.graph_sha256 is None
    assert card.runtimes["onnxruntime"].reason == "not exported: RuntimeError: no such operator"
    assert "not exported: RuntimeError: no such operator" in card.why
    assert not lake.exists(graph_key(digest))
    assert load_served(lake, digest, Policy()).runtime == "torch"
    assert export_model(lake, digest, Policy(), photographs()[:1]).graph_sha256 is not None


def test_a_runtime_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, "yolov8n")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "openvino", None)
        card = export_model(lake, digest, Policy(), photographs()[:1])
        assert "openvino is not installed" in str(card.runtimes["openvino"].reason)
        assert card.runtimes["onnxruntime"].available
        assert card.chosen != "openvino"
        with pytest.raises(ExportError, match="openvino is not installed"):
            export_model(lake, digest, FORCED, photographs()[:1])


def test_refuses_what_it_cannot_judge(lake: Lake, digest: str) -> None:
    with pytest.raises(ExportError, match="there is none"):
        export_model(lake, digest, Policy(), [])
    with pytest.raises(LakeError, match="absent"):
        export_model(lake, "absent", Policy(), photographs())


KILLED = """
import os, signal, sys
from carsdepo_assets.detectors.export.export_model import export_model
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.detectors.stored_models import photographs

class Dying(Lake):
    def put(self, key, data):
        if key.endswith("export.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(key, data)

export_model(Dying.open(sys.argv[1]), sys.argv[2], Policy(), photographs()[:1])
"""


def test_killed_before_the_card_the_next_call_finishes(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, "yolov8n")
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), digest], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert lake.exists(graph_key(digest))
    assert read_export(lake, digest) is None
    with pytest.raises(ModelFilesError, match=r"model\.onnx is not in the manifest.* materialize `staging_deployment`"):
        load_served(lake, digest, Policy())
    card = export_model(lake, digest, Policy(), photographs()[:1])
    assert load_served(lake, digest, Policy()).export == card


def boxes(*rows: tuple[float, float, int]) -> Detections:
    """(x, score, class): squares of 100 pixels side by side."""
    xyxy = np.array([[x, 0, x + 100, 100] for x, _, _ in rows], np.float64).reshape(-1, 4)
    return Detections(xyxy, np.array([s for _, s, _ in rows]), np.array([c for _, _, c in rows], np.int64))


@pytest.mark.parametrize(
    ("reference", "detections", "given_back", "confirmed", "share"),
    [
        (boxes((0, 0.9, 0), (200, 0.5, 1)), boxes((0, 0.91, 0), (201, 0.49, 1)), 1.0, 1.0, 1.0),
        (boxes((0, 0.9, 0), (200, 0.5, 1)), boxes((0, 0.9, 0)), 0.5, 1.0, 0.5),
        (boxes((0, 0.9, 0)), boxes((0, 0.9, 0), (200, 0.5, 1)), 1.0, 0.5, 0.5),
        (boxes((0, 0.9, 0)), boxes((0, 0.9, 1)), 0.0, 0.0, 0.0),  # another class
        (boxes((0, 0.9, 0)), boxes((6, 0.9, 0)), 0.0, 0.0, 0.0),  # IoU 0.887
        (boxes((0, 0.9, 0)), boxes((0, 0.87, 0)), 0.0, 0.0, 0.0),  # scores 0.03 apart
        (boxes((0, 0.051, 0)), boxes((0, 0.049, 0)), 1.0, None, 1.0),  # a partner below the floor
        (boxes((0, 0.04, 0)), boxes(), None, None, None),  # below the floor nothing is asked
        (boxes(), boxes((0, 0.9, 0)), None, 0.0, 0.0),
        (boxes((0, 0.9, 0)), boxes(), 0.0, None, 0.0),
    ],
)
def test_parity_of_one_photograph(
    reference: Detections,
    detections: Detections,
    given_back: float | None,
    confirmed: float | None,
    share: float | None,
) -> None:
    result = parity([reference], [detections])
    assert (result.given_back, result.confirmed, result.share) == (given_back, confirmed, share)


def test_parity_counts_over_photographs_and_knows_the_largest_difference() -> None:
    a, b = boxes((0, 0.9, 0), (200, 0.5, 1)), boxes((0, 0.89, 0), (200, 0.2, 1))
    result = parity([a, a], [a, b])
    assert (result.photographs, result.reference_boxes, result.boxes) == (2, 4, 4)
    assert result.share == 0.75
    assert result.largest_score_difference == pytest.approx(0.3)
    with pytest.raises(ValueError):
        parity([a], [])


@pytest.mark.slow
def test_the_bar_is_the_policys(lake: Lake, digest: str) -> None:
    old = read_export(lake, digest)
    assert old is not None
    figures = dict(old.runtimes)
    for name in ("onnxruntime", "openvino"):
        measured = figures[name].parity
        assert measured is not None
        figures[name] = figures[name].model_copy(update={"parity": measured.model_copy(update={"confirmed": 0.9})})
    lake.put(card_key(digest), old.model_copy(update={"runtimes": figures}).model_dump_json().encode())
    assert export_model(lake, digest, Policy(), photographs()).chosen == "torch"
    lenient = Policy(gate=GatePolicy(parity_share=0.9))
    assert load_served(lake, digest, lenient).runtime != "torch"
    assert export_model(lake, digest, lenient, photographs()).parity_share == 0.9


def _fails(*_: object) -> tuple[bytes, int]:
    raise RuntimeError("no such operator\nand much more")
