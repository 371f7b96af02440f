"""data/exports/whole_folder.py: a folder that appears whole or not at all, also where its writer is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets.data.exports.whole_folder import TargetError, whole_folder

_WRITES_AND_WAITS = """
import sys, time
from pathlib import Path
from carsdepo_assets.data.exports.whole_folder import whole_folder
with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def test_it_appears_at_the_end(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "a").read_text() == "a"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "a").write_text("a")
        raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"), whole_folder(tmp_path / "out") as folder:
        fail(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_is_there_is_refused(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    match kind:
        case "folder":
            target.mkdir()
        case "file":
            target.touch()
        case _:
            target.symlink_to("nowhere")
    with pytest.raises(TargetError, match="is there already"), whole_folder(target):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_appeared_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(TargetError, match="is there already"), whole_folder(target):
        target.mkdir()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_killed_writer_keeps_others_out_while_it_lives_and_leaves_no_half(tmp_path: Path) -> None:
    target = tmp_path / "out"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITES_AND_WAITS, str(target)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        with pytest.raises(TargetError, match="another process"), whole_folder(target):
            pass
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert not target.exists()
    with whole_folder(target) as folder:
        (folder / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
