"""A virtual environment that has only some of this environment's packages, as an image has: links, nothing is copied.

Every file is a link of its own and every folder a new one: a library that looks for another one by a path relative to
its own, as torch looks for CUDA's, finds only what the environment has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def make_environment(folder: Path, names: Iterable[str]) -> Path:
    """The Python of a new environment in `folder`, which has the distributions of these canonical names.

    It sees nothing of the packages of this process, and no package of this repository: PYTHONPATH names those.
    """
    library = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    interpreter = Path(sys.executable).resolve()
    python.symlink_to(interpreter)
    (folder / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")
    wanted, present = set(names), set()
    for distribution in metadata.distributions():
        if (name := canonicalize_name(distribution.name)) in wanted:
            present.add(name)
            _link(distribution, library)
    assert present == wanted, wanted - present
    return python


def _link(distribution: metadata.Distribution, library: Path) -> None:
    source = str(distribution.locate_file(""))
    folders: set[str] = set()
    for file in map(str, distribution.files or ()):
        if file.startswith(".."):
            continue  # scripts
        place = os.path.join(library, file)
        if (folder := os.path.dirname(place)) not in folders:
            os.makedirs(folder, exist_ok=True)
            folders.add(folder)
        if not os.path.lexists(place):  # packages of one namespace may each bring the same file
            os.symlink(os.path.join(source, file), place)


def variables(**more: str) -> dict[str, str]:
    """The variables of a process in such an environment: none of this process's Python, this repository's packages."""
    kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}
