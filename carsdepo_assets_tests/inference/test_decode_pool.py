"""inference/decode_pool.py: photographs are decoded in processes with limits, and hostile ones are refused."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput
from carsdepo_assets.inference import decode_pool, decode_process
from carsdepo_assets.inference.decode_pool import DecodePool, PoolBusy
from carsdepo_assets.inference.decoding import ClientGone, measure
from carsdepo_assets.policy import InferencePolicy, Policy
from carsdepo_assets_tests.imaging.coloured import chart, iccp, png_with
from carsdepo_assets_tests.imaging.files import scene
from carsdepo_assets_tests.imaging.heic_files import heic, heic_claiming, needs_package
from carsdepo_assets_tests.imaging.test_formats import REFUSED
from carsdepo_assets_tests.inference.served_models import photograph

pytestmark = pytest.mark.slow

SQUARES = NetworkInput(96, None)


def png(width: int, height: int, mode: str = "L") -> bytes:
    """A picture of one colour: a few kilobytes for any number of pixels."""
    out = io.BytesIO()
    Image.new(mode, (width, height), 128 if mode == "L" else None).save(out, "PNG")
    return out.getvalue()


@contextmanager
def running() -> Iterator[DecodePool]:
    """A pool of two processes of its own."""
    started = DecodePool(Policy(), 2)
    started.start()
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with running() as started:
        yield started


def children(pool: DecodePool) -> list[psutil.Process]:
    return [psutil.Process(process.pid) for process in list(pool._all)]


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


@pytest.mark.slow
def test_refusals_are_the_decoders(pool: DecodePool) -> None:
    for data, reason in (
        (b"", "empty"), (b"no photograph", "not_an_image"), (photograph(1)[:-900], "truncated"),
        (png(20, 20), "too_small"), (png(9000, 9000), "too_many_pixels"),
        (photograph(3, size=(4100, 4000), kind="WEBP"), "too_many_pixels"),
    ):  # fmt: skip
        with pytest.raises(BadImage) as refused:
            pool.measure(data, SQUARES)
        assert refused.value.reason == reason
    assert pool.measure(photograph(1), SQUARES).width == 160


@pytest.mark.parametrize("name", [name for name in REFUSED if "claims" in name])
def test_what_claims_to_be_huge_is_refused(pool: DecodePool, name: str) -> None:
    with pytest.raises(BadImage, match="too_many_pixels"):
        pool.measure(REFUSED[name][0], SQUARES)


def test_a_profile_bomb_costs_nothing(pool: DecodePool) -> None:
    assert pool.measure(png_with(chart(), iccp(b"\0" * (50 * 2**20))), SQUARES).width == 144


def test_heic_is_switched_off(pool: DecodePool) -> None:
    with pytest.raises(BadImage, match="unsupported: HEIC is not accepted"):
        pool.measure(heic_claiming(640, 480), SQUARES)


@needs_package
def test_heic_where_the_policy_says_so_is_decoded_in_a_process_of_the_process() -> None:
    data = heic(scene(640, 480))
    policy = Policy(inference=InferencePolicy(heic=True))
    heic_pool = DecodePool(policy, 2)
    heic_pool.start()
    try:
        there, here = heic_pool.measure(data, SQUARES), measure(data, policy, SQUARES)
    finally:
        heic_pool.close()
    assert there.format == "heic"
    assert np.array_equal(there.image.pixels, here.image.pixels)


def test_memory_beyond_the_limit_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "BYTES_A_PIXEL", 1)
    with running() as small:
        with pytest.raises(BadImage, match="too_costly: decoding it takes more memory"):
            small.measure(png(6000, 6000, "RGBA"), SQUARES)
        assert small.measure(photograph(1), SQUARES).width == 160


@pytest.mark.slow
def test_time_beyond_the_limit_ends_the_process_and_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "CPU_S", 0.2)
    with running() as hasty:
        before = {child.pid for child in settled(hasty)}
        with pytest.raises(BadImage, match="too_costly: decoding it takes too much time"):
            hasty.measure(png(7000, 7000, "RGB"), SQUARES)
        assert hasty.measure(photograph(1), SQUARES).width == 160
        assert len({child.pid for child in settled(hasty)} - before) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_no_photograph_pays_for_a_process_that_died(pool: DecodePool, how: signal.Signals) -> None:
    before = settled(pool)
    for child in before:
        child.send_signal(how)
    for child in before:
        child.wait(10)
    assert [pool.measure(photograph(seed), SQUARES).width for seed in range(4)] == [160] * 4
    assert not {child.pid for child in settled(pool)} & {child.pid for child in before}


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        ([-signal.SIGKILL, -signal.SIGKILL], None),  # the system's doing: others are asked
        ([-signal.SIGSEGV], None),
        ([-signal.SIGSEGV, -signal.SIGABRT], (BadImage, "too_costly: decoding it ended 2 processes in turn")),
        ([-signal.SIGPROF], (BadImage, "too_costly: decoding it takes too much time")),
        ([-signal.SIGKILL, None, -signal.SIGKILL], (PoolBusy, "ended, 3 in turn")),
    ],
)
def test_a_file_that_crashes_its_decoder_is_refused_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch, codes: list[int | None], outcome: tuple[type[Exception], str] | None
) -> None:
    ask, left = decode_process.DecodeProcess.ask, list(codes)

    def fails_first(self: Any, *given: Any) -> Any:
        if left:
            raise decode_process.ProcessEnded(left.pop(0))
        return ask(self, *given)

    monkeypatch.setattr(decode_process.DecodeProcess, "ask", fails_first)
    with running() as crashing:
        if outcome is None:
            assert crashing.measure(photograph(1), SQUARES).width == 160
        else:
            with pytest.raises(outcome[0], match=outcome[1]):
                crashing.measure(photograph(1), SQUARES)


@pytest.mark.slow
def test_one_that_dies_while_it_decodes_is_asked_again(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    before, ask = settled(pool), decode_process.DecodeProcess.ask
    left = list(before)

    def kills_first(self: Any, request: Any, *given: Any) -> Any:
        if request["large"] is None and left:
            threading.Timer(0.05, lambda: [left.pop().send_signal(signal.SIGKILL) for _ in before]).start()
        return ask(self, request, *given)

    monkeypatch.setattr(decode_process.DecodeProcess, "ask", kills_first)
    assert pool.measure(png(6900, 6900, "RGB"), SQUARES).width == 6900
    assert not {child.pid for child in settled(pool)} & {child.pid for child in before}


@pytest.mark.slow
def test_a_stopped_process_holds_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_process, "WALL_S", 3.0)  # of the two that are stopped
    with running() as stuck:
        for child in children(stuck):
            child.suspend()
        noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(noise).save(out, "PNG")  # more than a pipe holds
        assert stuck.measure(out.getvalue(), SQUARES).width == 1000


def test_a_client_that_leaves_while_it_waits_costs_no_process() -> None:
    with running() as busy:
        before = {child.pid for child in settled(busy)}
        taken = [busy._idle.get() for _ in range(2)]
        with pytest.raises(ClientGone):
            busy.measure(photograph(1), SQUARES, lambda: True)
        for process in taken:
            busy._idle.put(process)
        for seed in range(10):
            with pytest.raises(ClientGone):
                busy.measure(photograph(seed), SQUARES, lambda: True)
        left = iter([False] * 1 + [True] * 100)  # there when a process is asked, then no longer
        with pytest.raises(ClientGone):
            busy.measure(photograph(1), SQUARES, lambda: next(left))
        assert {child.pid for child in settled(busy)} == before


def test_the_pool_comes_back_when_processes_can_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "_AGAIN_S", 0.05)
    with running() as hurt:
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", lambda _: pytest.fail("a thread was started"))
            patch.setattr("sys.executable", "/no/such/python")
            for child in children(hurt):
                child.kill()
                child.wait(10)
            asked = iter([False] * 5 + [True] * 100)
            with pytest.raises(ClientGone):
                hurt.measure(photograph(1), SQUARES, lambda: next(asked))
        assert hurt.measure(photograph(1), SQUARES).width == 160
        assert len(settled(hurt)) == 2


def test_a_service_that_cannot_decode_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(OSError, match="/no/such/python"):
        DecodePool(Policy(), 2).start()


def test_closing_wakes_those_who_wait() -> None:
    with running() as closing:
        taken = [closing._idle.get() for _ in range(2)]
        timer = threading.Timer(0.2, closing.close)
        timer.start()
        with pytest.raises(PoolBusy, match="the service ends"):
            closing.measure(photograph(1), SQUARES)
        timer.join()
        assert not any(process.is_alive() for process in taken)
        for process in taken:
            process.close()


def test_closing_ends_what_is_decoded_and_what_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    ask, is_decoded = decode_process.DecodeProcess.ask, threading.Event()

    def tells(self: Any, request: Any, *given: Any) -> Any:
        if request["large"] is None:
            is_decoded.set()
        return ask(self, request, *given)

    monkeypatch.setattr(decode_process.DecodeProcess, "ask", tells)
    with running() as closing, ThreadPoolExecutor(3) as threads:
        large = png(6900, 6900, "RGB")
        waiting = [threads.submit(closing.measure, large, SQUARES) for _ in range(3)]
        assert is_decoded.wait(20)
        closing.close()
        for future in waiting:
            assert isinstance(future.exception(20), PoolBusy)


def test_answers_are_not_mixed_up(pool: DecodePool) -> None:
    """Also where clients leave in the middle."""
    sizes = [(100 + 7 * n, 80 + 3 * n) for n in range(40)]
    photographs = [png(*size) for size in sizes]

    def one(n: int) -> bool:
        looks = iter([False] * (n % 3) + [True] * 100) if n % 4 == 0 else None
        try:
            measured = pool.measure(photographs[n], SQUARES, lambda: looks is not None and next(looks))
        except ClientGone:
            return looks is not None
        return (measured.width, measured.height) == sizes[n]

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(one, range(40)))


@pytest.mark.slow
def test_large_photographs_wait_for_each_other_and_others_do_not(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_pool, "WAITING", 3)
    large, done = png(6900, 6900, "RGB"), []

    def send() -> None:
        try:
            done.append(pool.measure(large, SQUARES).width)
        except PoolBusy:
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


@pytest.mark.parametrize(("side", "ended"), [(6900, 1), (3900, 0)])
def test_the_work_on_a_very_large_one_ends_with_its_client(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch, side: int, ended: int
) -> None:
    """One that leaves as soon as its photograph is decoded; of smaller ones the process is kept."""
    ask, gone = decode_process.DecodeProcess.ask, threading.Event()

    def leaves(self: Any, request: Any, *given: Any) -> Any:
        if request["large"] is None:
            gone.set()
        return ask(self, request, *given)

    monkeypatch.setattr(decode_process.DecodeProcess, "ask", leaves)
    before = {child.pid for child in settled(pool)}
    with pytest.raises(ClientGone):
        pool.measure(png(side, side, "RGB"), SQUARES, gone.is_set)
    assert gone.is_set()
    assert len(before - {child.pid for child in settled(pool)}) == ended
    assert pool.measure(photograph(1), SQUARES).width == 160


def test_a_process_has_nothing_of_the_services_environment(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSDEPO_API_KEY", "secret")
    with running() as other:
        for child in children(other):
            assert set(child.environ()) <= {"PYTHONPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LC_CTYPE"}
            assert child.cwd() == "/"


def test_it_ends_with_the_service(tmp_path: Path) -> None:
    script = (
        "import os, signal\nfrom carsdepo_assets.inference.decode_pool import DecodePool\n"
        "from carsdepo_assets.policy import Policy\npool = DecodePool(Policy(), 2)\npool.start()\n"
        "print(*[p.pid for p in pool._all], flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
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
