"""detectors/published_weights.py, commands/weights_cli.py: published weights come when asked for, and are compared."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import struct
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.published_weights import WeightsError, fetch
from carsdepo_assets.detectors.recipe_changes import first_start
from carsdepo_assets.detectors.weights_for_workers import keep_initial_weights
from carsdepo_assets.families.registry import family_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.detectors.family_contract import recipe_of

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
SAFETENSORS = struct.pack("<Q", len(HEADER)) + HEADER + b"\0\0\0\0"
RESOLVED = "/ustc-community/dfine-nano-coco/resolve/main/model.safetensors"


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("data.pkl", "none is ever opened here")
    return buffer.getvalue()


ARCHIVE = _archive()


@dataclass
class Hub:
    """A hub on 127.0.0.1: it redirects to the file, and says its sha256 in the redirect, as Hugging Face does."""

    url: str = ""
    location: str = "/cdn/file"
    content: bytes = SAFETENSORS
    etag: str | None = None
    length: int | None = None
    status: int = 200
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("YOLO_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            if not self.path.startswith("/cdn/"):
                self.send_response(302)
                self.send_header("Location", served.location)
                if served.etag is not None:
                    self.send_header("X-Linked-Etag", f'"{served.etag}"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(served.status)
            self.send_header("Content-Length", str(served.length or len(served.content)))
            self.end_headers()
            self.wfile.write(served.content)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hubs_sha256_is_compared_and_a_first_model_starts_from_the_file(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    hub.etag = hashlib.sha256(SAFETENSORS).hexdigest()
    family, folder = family_of("dfine_n"), tmp_path / "weights"
    assert first_start("dfine_n", folder) == "scratch"
    told: list[tuple[int, int | None]] = []
    fetched = fetch(family, folder, told=lambda came, of: told.append((came, of)))
    assert (fetched.path.read_bytes(), fetched.compared, fetched.is_new) == (SAFETENSORS, True, True)
    assert hub.asked == [RESOLVED, "/cdn/file"]
    assert told[-1] == (len(SAFETENSORS), len(SAFETENSORS))
    source = json.loads((folder / "dfine_n.safetensors.source.json").read_text())
    assert (source["sha256"], source["licence"]) == (hub.etag, "Apache-2.0")
    assert sorted(p.name for p in folder.iterdir()) == ["dfine_n.safetensors", "dfine_n.safetensors.source.json"]
    assert first_start("dfine_n", folder) == "weights/dfine_n.safetensors"
    again = fetch(family, folder)
    assert (again.is_new, again.sha256, len(hub.asked)) == (False, hub.etag, 2)
    fetched.path.write_bytes(SAFETENSORS + b"changed since")
    with pytest.raises(WeightsError, match="is not the file that was fetched"):
        fetch(family, folder)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("dfine_n", {"etag": "0" * 64}, "is not the published file. Its sha256 is [0-9a-f]{64}, published is 0{64}"),
        ("dfine_n", {"content": b"<html>Sign in to the wireless network</html>"}, "a page of a proxy"),
        ("dfine_n", {"content": SAFETENSORS[:20]}, "cut short, or a page"),
        ("yolov8s", {"content": b"<html>Sign in</html>"}, "a page of a proxy"),
        ("dfine_n", {"content": SAFETENSORS[:-1]}, "cut short, or a page"),  # its header is whole
        ("dfine_n", {"content": struct.pack("<Q", 2) + b"[]"}, "cut short, or a page"),
        ("yolov8s", {"content": ARCHIVE[:-30]}, "cut short, or a page"),
        (
            "dfine_n",
            {"location": "http://mirror.example/file"},
            "http://mirror.example/file: weights are fetched by",
        ),
        ("dfine_n", {"location": "https://mirror.example:port/file"}, "could not be fetched: "),
        ("dfine_n", {"length": 999}, "could not be fetched: .*put it at"),
        ("dfine_n", {"status": 404}, "could not be fetched: .*404"),
        ("faster_rcnn_resnet50", {"content": ARCHIVE}, "published is dd69338a"),
        (
            "faster_rcnn_resnet50",
            {"content": ARCHIVE, "etag": hashlib.sha256(ARCHIVE).hexdigest()},
            "published is dd69338a",
        ),
        ("faster_rcnn", {}, "Faster R-CNN on EfficientNet-Lite0 has no published weights: it starts from scratch, im"),
    ],
)
def test_what_is_not_the_published_file_does_not_stay(
    hub: Hub, tmp_path: Path, family: str, change: dict[str, object], message: str
) -> None:
    for name, value in change.items():
        setattr(hub, name, value)
    with pytest.raises(WeightsError, match=message):
        fetch(family_of(family), tmp_path / "weights", f"{hub.url}/file")
    assert not (tmp_path / "weights").exists() or not list((tmp_path / "weights").iterdir())


@pytest.mark.parametrize("name", ["YOLO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_means_no_connection(hub: Hub, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(WeightsError, match=f"{name} says that nothing is to be fetched.*put it at"):
        fetch(family_of("dfine_n"), tmp_path, f"{hub.url}/file")
    assert hub.asked == []


def test_weights_come_by_https_or_from_this_machine(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="by https alone"):
        fetch(family_of("yolov8s"), tmp_path, "http://mirror.example/yolov8s.pt")


def test_a_file_that_was_put_there_and_is_another_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth").write_bytes(ARCHIVE)
    with pytest.raises(WeightsError, match="is not the published file: remove it to fetch it"):
        fetch(family_of("faster_rcnn_resnet50"), tmp_path)


def test_an_address_that_is_none_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="could not be fetched: Invalid port"):
        fetch(family_of("yolov8s"), tmp_path, "https://mirror.example:port/yolov8s.pt")


def test_what_a_killed_call_left_goes_and_a_running_one_keeps_its_own(hub: Hub, tmp_path: Path) -> None:
    left, running = tmp_path / "dfine_n.safetensors.7.part", tmp_path / "dfine_n.safetensors.8.part"
    for part in (left, running):
        part.write_bytes(b"half")
    os.utime(left, (1, 1))
    fetched = fetch(family_of("dfine_n"), tmp_path, f"{hub.url}/file")
    assert (left.exists(), running.exists()) == (False, True)
    note = tmp_path / "dfine_n.safetensors.source.json"
    for damaged in ("", "{", "[]", "{}"):  # of a release that did not write it whole
        note.write_text(damaged)
        assert fetch(family_of("dfine_n"), tmp_path).sha256 == fetched.sha256


def test_a_folder_that_takes_no_file_is_named(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_text("a file")
    with pytest.raises(WeightsError, match=r"weights/dfine_n\.safetensors could not be written: "):
        fetch(family_of("dfine_n"), tmp_path / "weights", f"{hub.url}/file")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="could not be written: No space left on device"):
        fetch(family_of("dfine_n"), tmp_path / "other", f"{hub.url}/file")
    assert list((tmp_path / "other").iterdir()) == []


def test_the_command_fetches_and_lists(hub: Hub, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    hub.content = ARCHIVE
    got = CliRunner().invoke(app, ["weights", "get", "yolov8s", "--from", f"{hub.url}/yolov8s.pt", *home])
    assert got.exit_code == 0, got.output
    told = " ".join(got.output.split())
    assert "about 22.6 MB, AGPL-3.0" in told
    assert f"yolov8s.pt is fetched. Its sha256 is {hashlib.sha256(hub.content).hexdigest()}." in told
    listed = CliRunner().invoke(app, ["weights", "list", "--json", *home])
    rows = {row["name"]: row for row in json.loads(listed.output)}
    assert [name for name, row in rows.items() if row["there"]] == ["yolov8s"]
    assert rows["faster_rcnn"]["starts"] == ["scratch", "imagenet"]
    told = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["weights", "list", *home]).output
    assert "yolov8s" in told
    assert "BSD-3-Clause " in told
    assert "EfficientNet-Lite0 " in told
    assert "…" not in told
    unknown = CliRunner().invoke(app, ["weights", "get", "yolov9", *home])
    assert unknown.exit_code == 2


def test_init_pretrained_means_the_file_and_says_where_it_is_from(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    recipe = recipe_of("dfine_s", init="pretrained")
    with pytest.raises(DetectorError, match="`carsdepo weights get dfine_s` fetches it"):
        keep_initial_weights(lake, recipe, tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "dfine_s.safetensors").write_bytes(SAFETENSORS)
    key = keep_initial_weights(lake, recipe, tmp_path)
    assert key is not None
    assert key.endswith("/dfine_s.safetensors")
    with pytest.raises(DetectorError, match="faster_rcnn has no published weights"):
        keep_initial_weights(lake, recipe_of("faster_rcnn", init="pretrained"), tmp_path)


class Code:
    """What a pickle can hold: reading it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.file,)  # type: ignore[return-value]


@pytest.mark.slow
def test_of_a_pickle_only_layers_are_made_and_no_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from carsdepo_assets.detectors.yolov8.initial_weights import initial_weights
    from carsdepo_assets.detectors.yolov8.ultralytics_settings import ultralytics

    monkeypatch.setenv("CARSDEPO_HOME", str(tmp_path / "home"))
    ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    file = tmp_path / "yolov8n.pt"
    recipe = recipe_of("yolov8n", init=str(file))
    published = DetectionModel("yolov8n.yaml", verbose=False)
    torch.save({"model": published, "ema": None}, file)
    for _ in range(2):  # once read, its kinds are known to torch for the rest of the process
        initial = initial_weights("yolov8n", recipe, ("scratch", "dent"))
        assert initial is not None
        assert initial.n_known == 0
        assert initial.state.keys() == published.state_dict().keys()
    for harmful in (
        {"model": Code(tmp_path / "ran")},
        {"model": published, "note": Code(tmp_path / "ran")},
        {"a": {1}},
    ):
        torch.save(harmful, file)
        with pytest.raises(DetectorError, match=r"not weights that ultralytics publishes|not a carsdepo-weights"):
            initial_weights("yolov8n", recipe, ("scratch", "dent"))
    assert not (tmp_path / "ran").exists()
