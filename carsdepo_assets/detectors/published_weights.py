"""Fetches the weights that a family's authors publish, when a person asks for it.

Besides, a recipe whose init is `yolov8n` has ultralytics fetch that file; nothing else here opens a connection.

The sha256 is compared with the one that is published, in the file's name, beside the family or by the hub that has the
file. It is written down beside the file, so that a later look tells whether the file changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from carsdepo_assets.certificates import trusted
from carsdepo_assets.families.family import Family, Pretrained
from carsdepo_assets.lake.objects import write_atomic

HUB = "https://huggingface.co"
HUB_VARIABLE = "HF_ENDPOINT"  # as Hugging Face's own tools name a mirror of the hub
OFFLINE_VARIABLES = ("YOLO_OFFLINE", "HF_HUB_OFFLINE")
_HUB_SHA256 = "x-linked-etag"  # of a large file, in the answer that redirects to it
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_TIMEOUT_S = 30.0  # without a byte
_LEFT_S = 3600.0  # since the last byte: a part that nobody writes any more, as its process was killed

Told = Callable[[int, int | None], None]


class WeightsError(ValueError):
    """Published weights that cannot be fetched; the message says what to do."""


@dataclass(frozen=True)
class Fetched:
    """A file of published weights that is in its place."""

    path: Path
    """The file."""
    sha256: str
    """Its digest."""
    compared: bool
    """Whether the digest was compared with a published one."""
    is_new: bool
    """False: it was there already, and nothing was fetched."""


def fetch(family: Family, folder: Path, url: str | None = None, told: Told = lambda came, of: None) -> Fetched:
    """Fetches a family's published weights into a folder, unless they are there.

    Args:
        family: The family.
        folder: The home's folder `weights/`.
        url: Where the file is, where that is not the published address: a mirror.
        told: Called with the bytes that came and their number, where that is known.

    Raises:
        WeightsError: The family has none, the network is off or refuses, or what came is not the published file.
    """
    published = family.pretrained
    if published is None:
        raise WeightsError(f"{family.title} has no published weights: it starts from {', '.join(family.starts)}.")
    path = folder / published.file
    if path.is_file():
        sha256 = _digest(path)
        _compare(sha256, published.sha256, f"{path} is not the published file: remove it to fetch it")
        if sha256 != (_noted(path) or sha256):
            raise WeightsError(
                f"{path} is not the file that was fetched: remove it to fetch it. Its sha256 is {sha256}."
            )
        return Fetched(path, sha256, bool(published.sha256), is_new=False)
    address = url or _address(published)
    _allow(address, path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        stated = _download(address, part, path, told)
        sha256 = _digest(part)
        for expected in (published.sha256, stated):  # a mirror's word does not stand for the authors'
            _compare(sha256, expected, f"what {address} gave is not the published file")
        _look_at(part, path.name, address)
        os.replace(part, path)
        _note(path, published, address, sha256)  # last: without it the file counts as put there by hand
    except OSError as error:
        raise WeightsError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        if part.is_file():
            part.unlink()
    return Fetched(path, sha256, bool(published.sha256 or stated), is_new=True)


def _remove_left(path: Path) -> None:
    """Removes what killed calls have left of the file."""
    for part in path.parent.glob(f"{path.name}.*.part"):
        if part.is_file() and time.time() - part.stat().st_mtime > _LEFT_S:
            part.unlink(missing_ok=True)


def _address(published: Pretrained) -> str:
    hub = os.environ.get(HUB_VARIABLE, "").rstrip("/")
    return published.url.replace(HUB, hub, 1) if hub and published.url.startswith(f"{HUB}/") else published.url


def _allow(address: str, path: Path) -> None:
    parts = urlsplit(address)
    by_hand = f"Fetch it on another machine and put it at {path}."
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise WeightsError(f"{address}: weights are fetched by https alone. {by_hand}")
    off = [name for name in OFFLINE_VARIABLES if os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}]
    if off:
        raise WeightsError(f"{off[0]} says that nothing is to be fetched: unset it for this command. {by_hand}")


def _download(address: str, part: Path, path: Path, told: Told) -> str:
    """Writes the file; returns the sha256 that the hub says it has, empty where it says none."""
    import httpx

    try:
        with (
            httpx.Client(
                verify=trusted(),
                follow_redirects=True,
                timeout=_TIMEOUT_S,
                event_hooks={"request": [lambda request: _allow(str(request.url), path)]},  # each redirect, too
            ) as client,
            client.stream("GET", address) as answer,
            part.open("wb") as file,
        ):
            answer.raise_for_status()
            length = answer.headers.get("content-length", "")
            for chunk in answer.iter_bytes():
                file.write(chunk)
                told(file.tell(), int(length) if length.isdecimal() else None)
            file.flush()
            os.fsync(file.fileno())
            return next(filter(None, (_hub_sha256(a.headers) for a in (*answer.history, answer))), "")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{address} could not be fetched: {reason}. Go online, name a mirror by --from, or fetch it on another "
            f"machine and put it at {path}."
        ) from error


def _hub_sha256(headers: Mapping[str, str]) -> str:
    etag = headers.get(_HUB_SHA256, "").removeprefix("W/").strip('"')
    return etag if len(etag) == 64 and set(etag) <= set("0123456789abcdef") else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(sha256: str, expected: str, trouble: str) -> None:
    if not sha256.startswith(expected):
        raise WeightsError(f"{trouble}. Its sha256 is {sha256}, published is {expected}.")


def _look_at(part: Path, name: str, address: str) -> None:
    """A page of a proxy or of a login is no weights. Nothing of the file is run or unpickled."""
    with part.open("rb") as file:
        head = file.read(8)
        if name.endswith(".safetensors"):
            size = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            left = part.stat().st_size - 8 - size
            is_whole = size > 0 and left >= 0 and _end_of_tensors(file.read(size)) == left
        else:
            is_whole = head.startswith(b"PK") and zipfile.is_zipfile(file)  # whose list of contents is its end
    if not is_whole:
        raise WeightsError(f"what {address} gave is no file of weights: it is cut short, or a page of a proxy.")


def _end_of_tensors(header: bytes) -> int | None:
    """The bytes that a safetensors header says follow it; None where it is no such header."""
    try:
        tensors = [one for name, one in json.loads(header).items() if name != "__metadata__"]
        return max(int(one["data_offsets"][1]) for one in tensors)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _noted(path: Path) -> str | None:
    """The sha256 that was written down when the file was fetched; None: it was put there by hand, or cannot be read."""
    try:
        return str(json.loads(_source(path).read_text())["sha256"])
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _source(path: Path) -> Path:
    return path.with_name(f"{path.name}.source.json")


def _note(path: Path, published: Pretrained, address: str, sha256: str) -> None:
    """Writes beside the file where it came from."""
    content: dict[str, Any] = {
        "url": address,
        "sha256": sha256,
        "licence": published.licence,
        "trained_on": published.trained_on,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomic(_source(path), json.dumps(content, indent=1).encode())
