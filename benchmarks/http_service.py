"""What HTTP, capture and measuring add to a prediction: the service against the bare predictor, same runtime.

YOLOv8n with random weights; its graph costs what a trained one costs. Both sides are processes of this module and
take turns, so that a busy moment hits both. Every photograph is new to the service, as in production: it is kept.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.image_pipeline import photograph
from benchmarks.temporary_home import temporary_home
from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.inference.model_loading import Load, Loaded
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, read_card, weights_path, write_model
from carsdepo_assets.policy import Policy
from carsdepo_assets.settings import Settings

RUNTIMES = ("openvino", "onnxruntime")
SIZES = (320, 640)
ROUNDS, SINGLES, BURST = 4, 8, 16  # turns; photographs of a turn one by one, and at concurrency
CLIENTS, THREADS = 8, 2
GRAPH = "benchmark/model.onnx"
_numbers = itertools.count()


def run() -> list[dict[str, Any]]:
    """Rows {name, value, unit, against, ratio}. p50: a ratio of 1.3 is 30 % slower than the bare predictor; images/s:
    below 1 is slower than the bare pipeline."""
    bodies = [photograph(seed) for seed in range(8)]
    rows = []
    for size in SIZES:
        with temporary_home() as settings:
            _put_model(Lake.open(settings.lake), size)
            for runtime in RUNTIMES:
                rows += _case(settings, size, runtime, bodies)
    return rows


def _case(settings: Settings, size: int, runtime: str, bodies: list[bytes]) -> list[dict[str, Any]]:
    singles: dict[str, list[float]] = {"http": [], "bare": []}
    bursts: dict[str, list[float]] = {"http": [], "bare": []}
    with _service(settings, runtime) as address, _bare(settings, runtime) as bare:
        for turn in range(ROUNDS + 1):
            taken = {
                "http": (_one_by_one(address, bodies), _at_once(address, bodies)),
                "bare": (bare("singles"), bare("burst")[0]),
            }
            for name, (times, rate) in taken.items():
                if turn:  # the first warms caches
                    singles[name] += times
                    bursts[name].append(rate)
    p50 = {name: 1000 * statistics.median(times) for name, times in singles.items()}
    rates = {name: statistics.median(each) for name, each in bursts.items()}
    return [
        {
            "name": f"HTTP p50, {runtime} at {size} px",
            "value": round(p50["http"], 1),
            "unit": "ms",
            "against": f"decode + predict alone: {p50['bare']:.1f} ms",
            "ratio": round(p50["http"] / p50["bare"], 2),
        },
        {
            "name": f"{CLIENTS} clients, {runtime} at {size} px",
            "value": round(rates["http"], 1),
            "unit": "images/s",
            "against": f"decode + predict in {THREADS} threads: {rates['bare']:.1f}",
            "ratio": round(rates["http"] / rates["bare"], 2),
        },
    ]


def _put_model(lake: Lake, size: int) -> None:
    """Puts weights and graph into the lake, and an entry into the ledger that production serves them."""
    from carsdepo_assets.detectors.checkpoints import write_weights
    from carsdepo_assets.detectors.export.onnx_graph import onnx_graph
    from carsdepo_assets.detectors.yolov8.detector import build_model
    from carsdepo_assets.registry import ledger

    names = ("scratch", "dent")
    with tempfile.TemporaryDirectory() as folder:
        write_weights(Path(folder, "weights.pt"), "yolov8n", build_model(2).state_dict(), names, size)
        weights = Path(folder, "weights.pt").read_bytes()
    card = ModelCard(
        digest=digest_of(weights),
        weights="weights.pt",
        detector="yolov8n",
        class_names=names,
        image_size=size,
        threshold=0.3,
        threshold_from="given",
        dataset_version="none",
        recipe={},
    )
    write_model(lake, weights, card, {}, b"{}")
    graph, _ = onnx_graph(weights_path(lake, card), card)
    lake.put(GRAPH, graph)
    ledger.record(lake, "production", "promote", digest=card.digest, version=1, actor="benchmark", reason="measured")


def _loader(runtime: Any) -> Load:
    """Loads the graph without the parity that a release asks for: random weights give nothing to compare."""

    def load(lake: Lake, digest: str, policy: Policy) -> Loaded:
        from carsdepo_assets.detectors.export.runtimes import graph_predictor
        from carsdepo_assets.detectors.yolov8.detector import STRIDE
        from carsdepo_assets.imaging.resize import NetworkInput

        card = read_card(lake, digest)
        return Loaded(
            graph_predictor(runtime, lake.get(GRAPH), NetworkInput(card.image_size, STRIDE), 1),
            card,
            runtime,
        )

    return load


def _new(body: bytes) -> bytes:
    """The same JPEG with a comment of its own: another sha256, the same pixels."""
    comment = f"{os.getpid()}-{next(_numbers)}".encode()
    return body[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + body[2:]


@contextmanager
def _child(settings: Settings, what: str, runtime: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.http_service", what, runtime],
        env={**os.environ, **settings.variables()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if what == "serve" else None,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@contextmanager
def _service(settings: Settings, runtime: str) -> Iterator[str]:
    with _child(settings, "serve", runtime) as child:
        assert child.stdout is not None
        address = child.stdout.readline().split()[1].removeprefix("http://")
        limit = time.monotonic() + 60
        while True:
            with ExitStack() as stack:
                connection = http.client.HTTPConnection(address, timeout=30)
                stack.callback(connection.close)
                try:
                    connection.request("GET", "/ping")
                    if connection.getresponse().status == 200:
                        break
                except ConnectionError:
                    pass
            if time.monotonic() > limit:
                raise RuntimeError("the service does not serve its model within 60 s")
            time.sleep(0.1)
        yield address


@contextmanager
def _bare(settings: Settings, runtime: str) -> Iterator[Callable[[str], list[float]]]:
    """Asks the other process for a measurement: seconds of each of SINGLES, or [images/s] of a burst."""
    with _child(settings, "bare", runtime) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        source, target = child.stdout, child.stdin

        def ask(what: str) -> list[float]:
            target.write(f"{what}\n")
            target.flush()
            return list(json.loads(source.readline()))

        yield ask


def _one_by_one(address: str, bodies: list[bytes]) -> list[float]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        return [_post(connection, _new(body)) for body in itertools.islice(itertools.cycle(bodies), SINGLES)]
    finally:
        connection.close()


def _at_once(address: str, bodies: list[bytes]) -> float:
    """Photographs a second of CLIENTS connections. A client's own work is small: its bodies are ready."""
    waiting = [_new(body) for body in itertools.islice(itertools.cycle(bodies), BURST)]
    taking = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection(address, timeout=30)
        while True:
            with taking:
                if not waiting:
                    break
                body = waiting.pop()
            _post(connection, body)
        connection.close()

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for future in [pool.submit(client) for _ in range(CLIENTS)]:
            future.result()
    return BURST / (time.perf_counter() - started)


def _post(connection: http.client.HTTPConnection, photograph: bytes) -> float:
    head = b'--b\r\nContent-Disposition: form-data; name="photographs"; filename="a.jpg"\r\n\r\n'
    body = head + photograph + b"\r\n--b--\r\n"
    started = time.perf_counter()
    connection.request("POST", "/v1/inspections", body, {"Content-Type": "multipart/form-data; boundary=b"})
    answer = connection.getresponse()
    text = answer.read()
    seconds = time.perf_counter() - started
    if answer.status != 200:
        raise RuntimeError(f"the service answered {answer.status}: {text[:300]!r}")
    return seconds


def _measure_bare(settings: Settings, runtime: str) -> None:
    """Answers the lines of stdin: decode + predict as the service does both, and nothing else."""
    from carsdepo_assets.detectors.captured_scores import CAPTURE_FLOOR
    from carsdepo_assets.detectors.predicting import network_of, predict_image
    from carsdepo_assets.imaging.serving import decode_as_served
    from carsdepo_assets.registry import ledger

    lake, policy = Lake.open(settings.lake), settings.policy()
    wanted = ledger.desired(lake, "production")
    assert wanted is not None
    assert wanted.digest is not None
    predictor: Predictor = _loader(runtime)(lake, wanted.digest, policy).predictor
    bodies = [photograph(seed) for seed in range(8)]

    def one(body: bytes) -> float:
        started = time.perf_counter()
        _, image = decode_as_served(body, policy, network_of(predictor))
        predict_image(predictor, image, CAPTURE_FLOOR)
        return time.perf_counter() - started

    for line in sys.stdin:
        if line.strip() == "singles":
            figures = [one(body) for body in itertools.islice(itertools.cycle(bodies), SINGLES)]
        else:
            started = time.perf_counter()
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(one, itertools.islice(itertools.cycle(bodies), BURST)))
            figures = [BURST / (time.perf_counter() - started)]
        print(json.dumps(figures), flush=True)


def main(what: str, runtime: str) -> int:
    settings = Settings.read()
    if what == "serve":
        from carsdepo_assets.commands.serving import run as serve

        return serve(settings, "production", port=0, load=_loader(runtime))
    _measure_bare(settings, runtime)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
