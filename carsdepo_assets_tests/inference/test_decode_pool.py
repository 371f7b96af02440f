"""inference/decode_pool.py: photographs are decoded in processes with limits, and hostile ones are refused."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput
from carsdepo_assets.inference import decode_pool
from carsdepo_assets.inference.decode_pool import DecodePool, TooManyLarge
from carsdepo_assets.inference.decoding import ClientGone, measure
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.inference.served_models import photograph

SQUARES = NetworkInput(96, None)


def png(width: int, height: int, mode: str = "L") -> bytes:
    """A picture of one colour: a few kilobytes for any number of pixels."""
    out = io.BytesIO()
    Image.new(mode, (width, height), 128 if mode == "L" else None).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    started = DecodePool(Policy(), 2)
    started.start()
    yield started
    started.close()


def children(pool: DecodePool) -> list[psutil.Process]:
    return [psutil.Process(process._popen.pid) for process in list(pool._all)]


def settled(pool: DecodePool) -> list[psutil.Process]:
    """The processes, once there are as many as there should be."""
    limit = time.monotonic() + 30
    while len(pool._all) < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)
    return children(pool)


@pytest.mark.parametrize("network", [None, NetworkInput(96, None), NetworkInput(640, 32)])
@pytest.mark.parametrize("data", [photograph(1), photograph(2, size=(120, 160), kind="PNG")])
def test_the_same_as_in_this_process(pool: DecodePool, data: bytes, network: NetworkInput | None) -> None:
    there, here = pool.measure(data, network), measure(data, Policy(), network)
    assert (there.width, there.height, there.format, there.camera) == (
        here.width,
        here.height,
        here.format,
        here.camera,
    )
    assert there.features == here.features
    if network is None:
        assert np.array_equal(there.image, here.image)  # type: ignore[arg-type]
        return
    assert isinstance(there.image, Letterboxed)
    assert isinstance(here.image, Letterboxed)
    assert np.array_equal(there.image.pixels, here.image.pixels)
    assert (there.image.scale, there.image.offset) == (here.image.scale, here.image.offset)


def test_refusals_are_the_decoders(pool: DecodePool) -> None:
    for data, reason in (
        (b"", "empty"), (b"no photograph", "not_an_image"), (photograph(1)[:-900], "truncated"),
        (png(20, 20), "too_small"), (png(9000, 9000), "too_many_pixels"),
    ):  # fmt: skip
        with pytest.raises(BadImage) as refused:
            pool.measure(data, SQUARES)
        assert refused.value.reason == reason
    assert pool.measure(photograph(1), SQUARES).width == 160


def test_memory_beyond_the_limit_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "BYTES_A_PIXEL", 1)
    small = DecodePool(Policy(), 1)
    small.start()
    try:
        with pytest.raises(BadImage, match="too_costly: decoding it takes more memory"):
            small.measure(png(6000, 6000, "RGBA"), SQUARES)
        assert small.measure(photograph(1), SQUARES).width == 160
    finally:
        small.close()


def test_time_beyond_the_limit_ends_the_process_and_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "CPU_S", 0.2)
    hasty = DecodePool(Policy(), 1)
    hasty.start()
    try:
        before = {child.pid for child in settled(hasty)}
        with pytest.raises(BadImage, match="too_costly: decoding it takes more time"):
            hasty.measure(png(7000, 7000, "RGB"), SQUARES)
        assert hasty.measure(photograph(1), SQUARES).width == 160
        assert len({child.pid for child in settled(hasty)} - before) == 1
    finally:
        hasty.close()


def test_a_process_that_dies_is_replaced(pool: DecodePool) -> None:
    for child in settled(pool):
        child.send_signal(signal.SIGKILL)
    refused = 0
    for _ in range(4):
        try:
            pool.measure(photograph(1), SQUARES)
        except BadImage:
            refused += 1
    assert refused <= 2
    assert pool.measure(photograph(1), SQUARES).width == 160


def test_large_photographs_wait_for_each_other_and_others_do_not(pool: DecodePool) -> None:
    large, done = png(6900, 6900, "RGB"), []

    def send() -> None:
        try:
            done.append(pool.measure(large, SQUARES).width)
        except TooManyLarge:
            done.append(0)

    senders = [threading.Thread(target=send) for _ in range(decode_pool.WAITING + 4)]
    for sender in senders:
        sender.start()
    while done.count(0) < 3:  # all are in: one is decoded, some wait, the others are refused
        time.sleep(0.02)
    small = [pool.measure(photograph(seed), SQUARES).width for seed in range(3)]
    assert len(done) < len(senders)  # meanwhile
    assert small == [160] * 3
    assert max(child.memory_info().rss for child in children(pool)) < 700 * 2**20
    for sender in senders:
        sender.join()
    assert sorted(done) == [0] * 3 + [6900] * (decode_pool.WAITING + 1)


def test_the_work_ends_with_its_client(pool: DecodePool) -> None:
    gone = threading.Event()
    threading.Timer(0.3, gone.set).start()
    started = time.process_time()
    with pytest.raises(ClientGone):
        pool.measure(png(6900, 6900, "RGB"), SQUARES, gone.is_set)
    assert time.process_time() - started < 2
    assert pool.measure(photograph(1), SQUARES).width == 160


def test_a_process_has_nothing_of_the_services_environment(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSDEPO_API_KEY", "secret")
    other = DecodePool(Policy(), 1)
    other.start()
    try:
        for child in children(other):
            assert set(child.environ()) <= {"PYTHONPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LC_CTYPE"}
            assert child.cwd() == "/"
    finally:
        other.close()


def test_it_ends_with_the_service(tmp_path: Path) -> None:
    script = (
        "import os, signal\nfrom carsdepo_assets.inference.decode_pool import DecodePool\n"
        "from carsdepo_assets.policy import Policy\npool = DecodePool(Policy(), 2)\npool.start()\n"
        "print(*[p._popen.pid for p in pool._all], flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    import subprocess
    import sys

    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    pids = [int(pid) for pid in told.stdout.split()]
    assert len(pids) == 2
    limit = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < limit, "a decoding process outlives its service"
        time.sleep(0.05)
    assert os.getpid() not in pids
