"""compute/worker/process.py: a job ends itself after its longest time, in order, whether or not somebody watches it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets.compute.worker.process import DiskError, JobSpec, SpecError, disk_named, read_spec

pytestmark = pytest.mark.slow

JOB = """
import sys, time
from carsdepo_assets.compute.worker.process import Job, JobSpec, interruption

def until_asked():
    while not interruption.asked:
        time.sleep(0.02)

def work(spec, events, after):
{work}

sys.exit(Job(JobSpec, work).main())
"""
AT_ONCE = """
    print("works", flush=True)
    time.sleep(60)
"""
# It says that it works from inside the block: a signal that comes before the block ends the process at once.
IN_ORDER = """
    with interruption:
        print("works", flush=True)
        until_asked()
        print("asked", flush=True)
        time.sleep(1.0)
        print("checkpoint", flush=True)
    sys.exit(143)
"""
AFTER_A_BLOCK = """
    print("works", flush=True)
    with interruption:
        time.sleep(0.1)
    time.sleep(60)
"""
SAYS = "the job ran longer than its limit of 1 s: it ends itself."


def start(work: str, folder: Path, longest: str | None) -> subprocess.Popen[str]:
    (folder / "spec.json").write_text('{"lake": "memory://"}')
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", JOB.format(work=work), "--spec", str(folder / "spec.json")],
        env={**os.environ, **({"CARSDEPO_MAX_RUNTIME_S": longest} if longest else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("work", "printed"),
    [(AT_ONCE, "works\n"), (IN_ORDER, "works\nasked\ncheckpoint\n"), (AFTER_A_BLOCK, "works\n")],
)
def test_a_job_ends_itself_after_its_longest_time(work: str, printed: str, tmp_path: Path) -> None:
    process = start(work, tmp_path, "1")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, printed), err
    assert SAYS in err


def test_a_stop_that_follows_the_longest_time_does_not_cut_the_checkpoint_off(tmp_path: Path) -> None:
    process = start(IN_ORDER, tmp_path, "1")
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == ["works\n", "asked\n"]
    process.send_signal(signal.SIGTERM)  # as StopTask does, for the same reason
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, "checkpoint\n"), err


def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    process = start(IN_ORDER, tmp_path, None)
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, ""), err
    assert SAYS not in err


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ENOSPC", "No space left on device. The job works in /work-of-the-job: free some space, or give the job more"),
        ("EDQUOT", "`volume_gb` on SageMaker"),
        ("EROFS", "Read-only file system. The job works in /work-of-the-job: let CARSDEPO_WORK name a folder"),
    ],
)
def test_a_disk_that_takes_nothing_is_named_with_the_folder_and_what_to_do(
    code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARSDEPO_WORK", "/work-of-the-job")
    number = getattr(errno, code)
    with pytest.raises(DiskError) as caught, disk_named():
        raise OSError(number, os.strerror(number))
    assert words in str(caught.value)
    with pytest.raises(DiskError, match=r"^a/file: "), disk_named():
        raise OSError(number, os.strerror(number), "a/file")


def test_other_errors_keep_their_words() -> None:
    with pytest.raises(FileNotFoundError), disk_named():
        raise FileNotFoundError(errno.ENOENT, "no such file", "a/file")


def test_a_job_on_a_full_disk_says_so(tmp_path: Path) -> None:
    process = start("    print('x' * 100_000, file=open('/dev/full', 'w'))", tmp_path, None)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "DiskError: No space left on device. The job works in " in err


@pytest.mark.parametrize("longest", ["soon", "-5", "0", "99999999999999"])
def test_a_longest_time_that_is_none_is_named(longest: str, tmp_path: Path) -> None:
    process = start(AT_ONCE, tmp_path, longest)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert err == f"CARSDEPO_MAX_RUNTIME_S: '{longest}' is no number of seconds above 0.\n"


def test_a_spec_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "spec").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="spec: is no JSON"):
        read_spec(tmp_path / "spec", JobSpec)
