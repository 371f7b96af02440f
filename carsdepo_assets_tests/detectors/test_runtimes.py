"""detectors/export/runtimes.py: served predictors give the boxes that torch gives.

They do so from many threads at once, and without torch in the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.detectors.catalogue import load_model
from carsdepo_assets.detectors.export.export_card import RUNTIMES, ExportCard, RuntimeName, card_key, graph_key
from carsdepo_assets.detectors.export.export_model import export_model
from carsdepo_assets.detectors.export.runtimes import ExportError, load_served, torch_threads
from carsdepo_assets.detectors.export.sessions import OnnxRuntime, OpenVino
from carsdepo_assets.detectors.predicting import predict_image
from carsdepo_assets.imaging.resize import NetworkInput, letterboxed
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.model_files import ModelFilesError, record_exports
from carsdepo_assets.policy import InferencePolicy, Policy
from carsdepo_assets.scoring.boxes import pairwise_iou
from carsdepo_assets_tests.detectors.detector_contract import same
from carsdepo_assets_tests.detectors.stored_models import NAMES, photographs, store_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DETECTORS = ("yolov8n", "faster_rcnn")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def exported(lake: Lake) -> dict[str, ExportCard]:
    """By detector."""
    return {name: export_model(lake, store_model(lake, name), Policy(), photographs()) for name in DETECTORS}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("detector", DETECTORS)
def test_serves_torchs_boxes(lake: Lake, exported: dict[str, ExportCard], detector: str, runtime: RuntimeName) -> None:
    digest = exported[detector].digest
    served = load_served(lake, digest, Policy(), runtime=runtime)
    assert (served.runtime, served.card.class_names, served.export) == (runtime, NAMES, exported[detector])
    check_contract(served.predictor)
    reference, _ = load_model(lake, digest)
    for rgb in photographs():
        with torch_threads(1):
            expected = reference.predict([rgb], 0.05)[0]
        detections = served.predictor.predict([rgb], 0.05)[0]
        assert len(expected) > 5
        assert abs(len(expected) - len(detections)) <= 1  # one may lie at 0.05 itself
        n = min(len(expected), len(detections))
        np.testing.assert_allclose(detections.scores[:n], expected.scores[:n], atol=1e-3)


def check_contract(predictor: Predictor) -> None:
    """Any size; boxes in the image, best first, at most 100, above the score; the same alone and among others."""
    rgb = photographs()[2]
    images = [rgb, rgb[:60, :200], rgb[100:400, 50:90], rgb[:12, :9], np.full((300, 300, 3), 90, np.uint8)]
    for image, detections in zip(images, predictor.predict(images, 0.02), strict=True):
        height, width = image.shape[:2]
        assert same(detections, predictor.predict([image], 0.02)[0])
        assert 0 < len(detections) <= 100
        assert (detections.xyxy.shape, detections.xyxy.dtype) == ((len(detections), 4), np.float64)
        assert (detections.xyxy >= 0).all()
        assert (detections.xyxy <= [width, height, width, height]).all()
        assert (detections.xyxy[:, 2:] > detections.xyxy[:, :2]).all()
        assert (np.diff(detections.scores) <= 0).all()
        assert detections.scores.min() > 0.02
        assert set(detections.classes.tolist()) <= {0, 1}
        assert detections.classes.dtype == np.int64
    assert [len(detections) for detections in predictor.predict(images, 1.0)] == [0] * 5
    assert predictor.predict([]) == []


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("detector", DETECTORS)
def test_eight_threads_get_the_answers_of_one(
    lake: Lake, exported: dict[str, ExportCard], detector: str, runtime: RuntimeName, threads: int
) -> None:
    """Of other photographs and other scores at the same time."""
    predictor = load_served(lake, exported[detector].digest, Policy(), runtime=runtime, threads=threads).predictor
    questions = [(rgb, score) for rgb in photographs() for score in (0.01, 0.1, 0.85)]
    alone = [predictor.predict([rgb], score)[0] for rgb, score in questions]
    assert len({len(detections) for detections in alone}) > 4
    order = [int(i) for i in np.random.default_rng(0).permutation(2 * len(questions)) % len(questions)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: predictor.predict([questions[i][0]], questions[i][1])[0], order))
    assert all(same(detections, alone[i]) for i, detections in zip(order, answers, strict=True))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("detector", DETECTORS)
def test_the_network_sees_no_more_than_the_photographs_shape(
    lake: Lake, exported: dict[str, ExportCard], detector: str, runtime: RuntimeName
) -> None:
    """And boxes are in the original's pixels, whatever the scale at which it was decoded."""
    served = load_served(lake, exported[detector].digest, Policy(), runtime=runtime)
    assert served.predictor.network == NetworkInput(96, 32)
    rgb = photographs()[0]  # 640 x 480
    small = letterboxed(cv2.resize(rgb, (320, 240), interpolation=cv2.INTER_AREA), served.predictor.network, 640, 480)
    assert small.pixels.shape == (96, 96, 3)  # 72 rows are rounded up to 96
    wide = letterboxed(rgb[:300], served.predictor.network)
    assert wide.pixels.shape == (64, 96, 3)
    assert len(predict_image(served.predictor, wide, 0.05)) > 0
    whole, reduced = served.predictor.predict([rgb], 0.05)[0], predict_image(served.predictor, small, 0.05)
    near = pairwise_iou(whole.xyxy[:5], reduced.xyxy).max(axis=1)
    assert (near > 0.9).all()


def test_an_export_of_squares_is_served_as_squares_until_it_is_exported_again(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, "yolov8n")
    card = export_model(lake, digest, Policy(), photographs()[:2])
    old = json.loads(card.model_dump_json())
    del old["stride"]
    lake.put(card_key(digest), json.dumps(old).encode())
    record_exports(lake, digest)
    for runtime in ("onnxruntime", "openvino"):
        served = load_served(lake, digest, Policy(), runtime=runtime)
        assert served.predictor.network == NetworkInput(96, None)
        check_contract(served.predictor)
    assert export_model(lake, digest, Policy(), photographs()[:2]).network == NetworkInput(96, 32)


def test_runtime_and_threads_are_chosen_by_speed_on_this_machine(
    lake: Lake, exported: dict[str, ExportCard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, file = exported["yolov8n"].digest, tmp_path / "home" / "speeds.json"
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    load_served(lake, digest, Policy(), speeds=file)
    (key,) = json.loads(file.read_bytes())
    measured = json.loads(file.read_bytes())[key]
    assert set(measured) == {f"{r}, {t}" for r in ("onnxruntime", "openvino") for t in ("1 thread", "2 threads")}
    assert all(speed > 0 for speed in measured.values())

    def never(*_: object) -> dict[str, float]:
        raise AssertionError("measured again")

    monkeypatch.setattr("carsdepo_assets.detectors.export.measured_choice.measure", never)
    for fast in ("onnxruntime", "openvino"):
        speeds = {name: 100.0 if name == f"{fast}, 1 thread" else 10.0 for name in measured}
        file.write_text(json.dumps({key: speeds}))
        assert load_served(lake, digest, Policy(), speeds=file).runtime == fast
    slow = Policy(inference=InferencePolicy(runtime="onnxruntime"))
    file.write_text(json.dumps({}))
    monkeypatch.undo()
    assert load_served(lake, digest, slow, speeds=file).runtime == "onnxruntime"
    (only,) = json.loads(file.read_bytes()).values()
    assert {name.partition(",")[0] for name in only} == {"onnxruntime"}  # what the policy names has no rival


FRESH = """
import json, sys
from pathlib import Path
import cv2
from carsdepo_assets.detectors.export.runtimes import load_served
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

served = load_served(Lake.open(sys.argv[1]), sys.argv[2], Policy(), runtime=sys.argv[3])
rgb = cv2.imread(sys.argv[4])[:, :, ::-1]
found = served.predictor.predict([rgb], 0.05)[0]
heavy = [m for m in ("torch", "torchvision", "ultralytics", "onnx", "matplotlib", "dagster") if m in sys.modules]
print(json.dumps({"heavy": heavy, "scores": found.scores.tolist()}))
"""


@pytest.mark.parametrize(("detector", "runtime"), [("yolov8n", "onnxruntime"), ("faster_rcnn", "openvino")])
def test_a_fresh_process_never_imports_torch(
    lake: Lake, exported: dict[str, ExportCard], tmp_path: Path, detector: str, runtime: RuntimeName
) -> None:
    digest, rgb = exported[detector].digest, photographs()[0]
    cv2.imwrite(str(tmp_path / "photograph.png"), rgb[:, :, ::-1])
    arguments = [str(lake.root), digest, runtime, str(tmp_path / "photograph.png")]
    process = subprocess.run(
        [sys.executable, "-c", FRESH, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    output = json.loads(process.stdout)
    assert output["heavy"] == []
    here = load_served(lake, digest, Policy(), runtime=runtime).predictor.predict([rgb], 0.05)[0]
    assert output["scores"] == here.scores.tolist()
    assert len(here) > 5


@pytest.mark.parametrize("runtime", [OnnxRuntime, OpenVino])
def test_idle_threads_leave_the_cores_alone(
    lake: Lake, exported: dict[str, ExportCard], runtime: type[OnnxRuntime | OpenVino]
) -> None:
    session = runtime(lake.get(graph_key(exported["yolov8n"].digest)), 2)
    square = np.zeros((1, 96, 96, 3), np.uint8)
    idle = 0.0
    for _ in range(6):
        session.run(square)
        before = time.process_time()
        time.sleep(0.05)
        idle += time.process_time() - before
    assert idle < 0.04  # seconds; spinning threads use 0.03 of each pause


def test_torchs_own_number_of_threads_is_given_back(lake: Lake, exported: dict[str, ExportCard]) -> None:
    import torch

    seen: list[int] = []

    def watch(*_: object) -> None:
        seen.append(torch.get_num_threads())

    served = load_served(lake, exported["yolov8n"].digest, Policy(), runtime="torch", threads=2)
    served.predictor.predictor.model.register_forward_hook(watch)  # type: ignore[attr-defined]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        served.predictor.predict(photographs()[:2])
        assert seen == [2, 2]
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_without_an_export_nothing_is_served(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, "yolov8n")
    for runtime in (None, *RUNTIMES):
        with pytest.raises(ExportError, match="has no export, and only exported models are served: materialize"):
            load_served(lake, digest, Policy(), runtime=runtime)
    with pytest.raises(LakeError, match="absent"):
        load_served(lake, "absent", Policy())


def test_a_graph_that_was_changed_is_not_served(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, "yolov8n")
    export_model(lake, digest, Policy(), photographs()[:2])
    lake.put(graph_key(digest), lake.get(graph_key(digest)) + b"\0")
    with pytest.raises(ModelFilesError, match=r"exports/model\.onnx was changed"):
        load_served(lake, digest, Policy(), runtime="onnxruntime")


def test_another_models_graph_is_not_served_though_the_card_and_the_manifest_were_rewritten(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    digest, other = store_model(lake, "yolov8n"), store_model(lake, "faster_rcnn")
    for each in (digest, other):
        export_model(lake, each, Policy(), photographs()[:2])
    for key in (graph_key, card_key):
        lake.put(key(digest), lake.get(key(other)))
    record_exports(lake, digest)
    with pytest.raises(ExportError, match=f"is of another model, {other}"):
        load_served(lake, digest, Policy())


def test_the_export_of_another_model_is_not_served(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    digest = store_model(lake, "yolov8n")
    export_model(lake, digest, Policy(), photographs()[:2])
    for key in (info.key for info in list(lake.list(f"models/{digest}"))):
        lake.put(key.replace(digest, "another"), lake.get(key))
    with pytest.raises(ModelFilesError, match=f"is the manifest of another model, {digest}"):
        load_served(lake, "another", Policy())


def test_refuses_what_is_no_photograph(lake: Lake, exported: dict[str, ExportCard]) -> None:
    predictor = load_served(lake, exported["yolov8n"].digest, Policy(), runtime="onnxruntime").predictor
    for wrong in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected HxWx3 uint8"):
            predictor.predict([wrong])
