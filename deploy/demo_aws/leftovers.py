"""What a demo that was killed has left: processes, a temporary folder. Whoever has the lock of its folder ends them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

MARK = "DEMO_AWS_FOLDER"
"""The variable by which a demo's processes are known: it has the folder of the demo's state."""
_PREFIX = "demo-aws-"
_NOTE = ".temporary"  # in that folder: the path of the temporary one
_GRACE_S = 10.0


def end_processes(folder: Path) -> int:
    """Ends the processes that a demo of this folder started; returns how many there were."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it is gone, or somebody else's
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                process.terminate()
                left.append(process)
    _, alive = psutil.wait_procs(left, timeout=_GRACE_S)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_GRACE_S)
    return len(left)


@contextmanager
def own_temporary_folder(folder: Path) -> Iterator[None]:
    """Has this process put what is temporary, such as /opt/ml of containers, where all of it is removed at the end.

    Its path is short, as paths of sockets are. It is noted, so that a demo that was killed leaves none for long.

    Args:
        folder: of the demo's state.
    """
    note, before = folder / _NOTE, tempfile.tempdir
    with suppress(OSError, ValueError):
        earlier = Path(note.read_text())
        if earlier.name.startswith(_PREFIX) and earlier.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(earlier, ignore_errors=True)
    own = tempfile.mkdtemp(prefix=_PREFIX)
    try:
        note.write_text(own)
        tempfile.tempdir = own
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(own, ignore_errors=True)
        note.unlink(missing_ok=True)
