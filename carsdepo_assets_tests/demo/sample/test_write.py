"""demo/sample/write.py, demo/sample/workers.py: the folder that `carsdepo import` takes, and killed renderings."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, ImageOps

from carsdepo_assets.demo.sample import workers, write
from carsdepo_assets.demo.sample.casting import CLEAN_SHARE, draw_car
from carsdepo_assets.demo.sample.render import RenderedPhoto
from carsdepo_assets.demo.sample.scene import DENT, LIGHTS, SCRATCH, Car
from carsdepo_assets.demo.sample.write import COLUMNS, encode, plan, write_sample, yolo_lines


def _photo(orientation: int = 1, boxes: list[tuple[int, float, float, float, float]] | None = None) -> RenderedPhoto:
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:24, :32] = 200  # the upper left corner is bright
    said = {
        "camera_make": "Kestrel",
        "camera_model": "K3",
        "orientation": orientation,
        "quality": 90,
        "captured_at": "2026-03-02T10:11:12+00:00",
    }
    return RenderedPhoto(rgb, boxes or [], said, {})


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, 8, seed=4)
    return folder


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.parametrize(("workers", "many"), [(1, 100), (2, 8)], ids=["one thread", "two processes"])
def test_same_arguments_same_bytes_whatever_renders(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, many: int
) -> None:
    monkeypatch.setattr(write, "MANY", many)
    write_sample(tmp_path, 8, seed=4, workers=workers)
    assert _digests(tmp_path) == _digests(sample)


@pytest.mark.slow
def test_a_killed_worker_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []

    def kill_one(rendered: int, _: int) -> None:
        if rendered and not killed:
            killed.extend(p.pid for p in psutil.Process().children(recursive=True) if "spawn_main" in str(p.cmdline()))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(write, "MANY", 8)
    with pytest.raises(OSError, match="Run the same command again"):
        write_sample(tmp_path, 60, seed=4, progress=kill_one)
    assert not (tmp_path / "manifest.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_what_started_them(tmp_path: Path, how: signal.Signals) -> None:
    """SIGINT goes to the process group, as a terminal's Ctrl-C does."""
    # What a shell starts in the background ignores SIGINT, and so would what it starts.
    code = (
        "import signal, sys, pathlib, carsdepo_assets.demo.sample.write as w; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); w.write_sample(pathlib.Path(sys.argv[1]), 400, 4)"
    )
    renderer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    with renderer:
        while not list(tmp_path.glob("images/*.jpg")):
            assert renderer.poll() is None
            time.sleep(0.05)
        workers = psutil.Process(renderer.pid).children(recursive=True)
        if how is signal.SIGINT:
            os.killpg(renderer.pid, how)
        else:
            renderer.send_signal(how)
        said = renderer.communicate()[1]
    assert len(workers) >= 2
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert said.count("Traceback") <= 1, "of the renderer alone"
    assert not (tmp_path / "manifest.csv").exists()


def test_progress_counts_photographs_in_the_callers_thread(sample: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    threads: set[int] = set()

    def progress(rendered: int, total: int) -> None:
        calls.append((rendered, total))
        threads.add(threading.get_ident())

    write_sample(tmp_path, 8, seed=4, progress=progress)
    assert threads == {threading.get_ident()}
    assert (calls[0], calls[-1]) == ((0, 8), (8, 8))
    rendered = [n for n, _ in calls]
    assert rendered == sorted(set(rendered))
    assert {total for _, total in calls} == {8}
    assert len(calls) == 1 + len(list(plan(8, 4, None, CLEAN_SHARE)))
    assert _digests(tmp_path) == _digests(sample), "watching changes nothing"


def test_what_stops_a_rendering_leaves_the_cars_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second car waits, busy or not, until the pool is told to shut down: no later one may then begin."""
    begun: list[str] = []
    shutting_down = threading.Event()

    def write_car(folder: Path, car: Car, count: int) -> list[tuple[dict[str, str], dict[str, str], int]]:
        begun.append(car.listing)
        if len(begun) > 1:
            assert shutting_down.wait(60)
        return [({"file": car.listing}, {}, 1)] * count

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            shutting_down.set()
            super().shutdown(wait=wait)

    def interrupt(rendered: int, _: int) -> None:
        if rendered:
            raise KeyboardInterrupt

    monkeypatch.setattr(write, "_write_car", write_car)
    monkeypatch.setattr(workers, "ThreadPoolExecutor", Pool)
    cars = len(list(plan(40, 4, None, CLEAN_SHARE)))
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, 40, seed=4, workers=1, progress=interrupt)
    assert len(begun) <= 2 < cars
    assert not (tmp_path / "manifest.csv").exists()


def test_every_photograph_has_a_label_file_a_row_and_a_scene(sample: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((sample / "manifest.csv").read_text())))
    assert len(rows) == 8
    assert tuple(rows[0]) == COLUMNS
    names = {r["file"] for r in rows}
    assert names == {p.name for p in (sample / "images").iterdir()}
    assert {Path(n).stem for n in names} == {p.stem for p in (sample / "labels").iterdir()}
    scenes = json.loads((sample / "scenes.json").read_text())
    assert {p["file"] for c in scenes["cars"] for p in c["photographs"]} == names
    for row in rows:
        assert row["light"] in LIGHTS
        assert datetime.fromisoformat(row["captured_at"]).tzinfo is not None


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_turns_the_stored_pixels_upright(orientation: int) -> None:
    stored = Image.open(io.BytesIO(encode(_photo(orientation))))
    exif = stored.getexif()
    assert (exif[0x010F], exif[0x0110], exif[0x0112]) == ("Kestrel", "K3", orientation)
    assert exif.get_ifd(0x8769)[0x9003] == "2026:03:02 10:11:12"
    upright = np.asarray(ImageOps.exif_transpose(stored))
    assert upright.shape == (48, 64, 3)
    assert upright[10, 10, 0] > 150 > 60 > upright[40, 50, 0]


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        ([], ""),
        ([(1, 0.0, 0.0, 64.0, 48.0)], "1 0.500000 0.500000 1.000000 1.000000\n"),
        ([(0, 16.0, 12.0, 32.0, 24.0)], "0 0.375000 0.375000 0.250000 0.250000\n"),
    ],
)
def test_yolo_lines(boxes: list[tuple[int, float, float, float, float]], text: str) -> None:
    assert yolo_lines(_photo(boxes=boxes)) == text


@pytest.mark.slow
def test_classes_lights_and_clean_cars_come_as_asked() -> None:
    cars = [car for car, _ in plan(600, 1, None, 0.25)]
    dents, scratches = sum(len(c.dents) for c in cars), sum(len(c.scratches) for c in cars)
    assert DENT != SCRATCH
    assert 0.5 < dents / scratches < 1.5
    assert 0.15 < np.mean([c.clean for c in cars]) < 0.35
    assert {c.light.name for c in cars} == set(LIGHTS)
    assert {len(c.shots) for c in cars} == {1, 2, 3, 4, 5, 6}
    assert sum(count for _, count in plan(600, 1, None, 0.25)) == 600
    assert all(car.light.name == "night" for car, _ in plan(30, 1, "night", 0.0))
    assert all(car.clean for car, _ in plan(30, 1, None, 1.0))


def test_scene_parameters_are_json_and_make_the_car_again() -> None:
    car = draw_car(77)
    said = json.loads(json.dumps(car.parameters()))
    assert said["seed"] == 77
    assert said == json.loads(json.dumps(draw_car(said["seed"]).parameters()))


@pytest.mark.parametrize(
    ("lights", "n", "clean"),
    [
        ({"day": 0.0}, 5, 0.1),
        ({"noon": 1.0}, 5, 0.1),
        ({"day": 1.0, "dusk": -1.0}, 5, 0.1),
        (None, 0, 0.1),
        (None, 5, 1.5),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, lights: dict[str, float] | None, n: int, clean: float) -> None:
    with pytest.raises(ValueError):
        write_sample(tmp_path, n, 1, lights, clean)
