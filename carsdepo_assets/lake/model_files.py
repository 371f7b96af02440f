"""The files of a model in the lake, and the manifest that names each of them with its checksum.

models/<digest>/manifest.json lists every file below models/<digest>/ but itself and the signature, model.sig. A file
that was changed, taken away or added is named when the model is loaded. The manifest alone does not protect against
someone who rewrites it as well: that is what the signature is for (registry/signatures.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from carsdepo_assets.lake.lake import Lake, LakeError

_MANIFEST, _SIGNATURE = "manifest.json", "model.sig"
EXPORTS = "exports/"  # made after training, and made again where runtimes or the policy changed
_WAY_OUT = (
    "Take the files from a backup; where only exports are concerned, materialize `staging_deployment` with this "
    "version, which makes them again."
)
_ATTEMPTS = 5  # of a manifest, where another process exports the same model at the same time


class ModelFilesError(LakeError):
    """A model's files are not those of its manifest, or its signature does not stand; the message names the file."""


class FileRecord(BaseModel):
    """One file of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    """64 hex digits"""
    bytes: int
    """its size"""


class ModelManifest(BaseModel):
    """The content of models/<digest>/manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["carsdepo-model-1"] = "carsdepo-model-1"
    digest: str
    """the model's: first 16 hex digits of the sha256 of its weights"""
    files: dict[str, FileRecord]
    """by name below models/<digest>/, such as exports/model.onnx"""


def folder(digest: str) -> str:
    """Returns the key below which a model's files lie."""
    return f"models/{digest}"


def model_manifest_key(digest: str) -> str:
    """Returns the key of a model's manifest."""
    return f"{folder(digest)}/{_MANIFEST}"


def signature_key(digest: str) -> str:
    """Returns the key of a model's signature."""
    return f"{folder(digest)}/{_SIGNATURE}"


def put_model_manifest(lake: Lake, digest: str, files: Mapping[str, bytes]) -> ModelManifest:
    """Writes the manifest of a model's files, given by name below models/<digest>/, and of the exports it has."""
    records = {name: _record(data) for name, data in files.items()} | _exports(lake, digest)
    manifest = ModelManifest(digest=digest, files=dict(sorted(records.items())))
    _put(lake, manifest)
    return manifest


def read_model_manifest(lake: Lake, digest: str) -> ModelManifest | None:
    """Reads a model's manifest; None where there is none.

    Raises:
        ModelFilesError: It is damaged or another model's.
    """
    key = model_manifest_key(digest)
    if not lake.exists(key):
        return None
    try:
        manifest = ModelManifest.model_validate_json(lake.get(key))
    except ValidationError as error:
        raise ModelFilesError(f"{key} is damaged ({error.errors()[0]['msg']}). {_WAY_OUT}") from error
    if manifest.digest != digest:
        raise ModelFilesError(f"{key} is the manifest of another model, {manifest.digest}. {_WAY_OUT}")
    return manifest


def require_model_manifest(lake: Lake, digest: str) -> ModelManifest:
    """Reads a model's manifest.

    Raises:
        ModelFilesError: It is missing, damaged or another model's.
        LakeError: The lake has no such model.
    """
    manifest = read_model_manifest(lake, digest)
    if manifest is not None:
        return manifest
    if not lake.exists(f"{folder(digest)}/model.json"):
        raise LakeError(f"{folder(digest)}: the lake has no such model.")
    raise ModelFilesError(
        f"{model_manifest_key(digest)} is missing, so that nothing says what the model's files should be. Of a model "
        f"from before manifests were written, `carsdepo sign {digest}` makes one; else it was removed."
    )


def record_exports(lake: Lake, digest: str) -> ModelManifest | None:
    """Brings the manifest's entries below exports/ up to what is stored; all others stay as they were written.

    Returns:
        The manifest; None where the model has none (it is of an older release): then nothing is written.

    Raises:
        ModelFilesError: The manifest is damaged, or other processes keep changing the exports.
    """
    for _ in range(_ATTEMPTS):
        standing = read_model_manifest(lake, digest)
        if standing is None:
            return None
        exports = _exports(lake, digest)
        files = {name: record for name, record in standing.files.items() if not name.startswith(EXPORTS)} | exports
        manifest = ModelManifest(digest=digest, files=dict(sorted(files.items())))
        if manifest != standing:
            _put(lake, manifest)
        # Of two that export at the same time each may have read the other's files: the last look decides.
        if _exports(lake, digest) == exports and read_model_manifest(lake, digest) == manifest:
            return manifest
    raise ModelFilesError(f"{folder(digest)}/{EXPORTS} changes while it is read: is another process exporting it?")


def adopt_model_files(lake: Lake, digest: str) -> ModelManifest:
    """Writes the manifest of a model that has none, of the files as they lie there now: a person vouches for them.

    Raises:
        ModelFilesError: There are no files, or the weights have another digest.
    """
    stored = {name: lake.get(f"{folder(digest)}/{name}") for name in _names(lake, digest)}
    if not any(hashlib.sha256(data).hexdigest().startswith(digest) for data in stored.values()):
        raise ModelFilesError(f"No file in {folder(digest)} has the digest {digest}: it is not that model.")
    return put_model_manifest(lake, digest, stored)


def check_model_files(lake: Lake, digest: str, *, with_exports: bool = True) -> ModelManifest:
    """Reads every file of a model and compares it with the manifest.

    Args:
        lake: the lake.
        digest: the model.
        with_exports: whether files below exports/ are compared too.

    Returns:
        The manifest.

    Raises:
        ModelFilesError: There is no manifest, or a file was changed, is missing or is not in it; all are named.
        LakeError: The lake has no such model.
    """
    manifest = require_model_manifest(lake, digest)

    def counts(name: str) -> bool:
        return with_exports or not name.startswith(EXPORTS)

    problems: list[str] = []
    stored = set(_names(lake, digest))
    for name, record in manifest.files.items():
        if not counts(name):
            continue
        if name not in stored:
            problems.append(f"{folder(digest)}/{name} is missing")
        elif _record(lake.get(f"{folder(digest)}/{name}")) != record:
            problems.append(f"{folder(digest)}/{name} was changed: its checksum is not that of the manifest")
    added = sorted(name for name in stored - manifest.files.keys() if counts(name))
    problems += [f"{folder(digest)}/{name} is not in the manifest" for name in added]
    if not any(record.sha256.startswith(digest) for record in manifest.files.values()):
        problems.append(f"{model_manifest_key(digest)} names no file with the digest {digest}")
    if problems:
        raise ModelFilesError(f"{'; '.join(problems)}. {_WAY_OUT}")
    return manifest


def _put(lake: Lake, manifest: ModelManifest) -> None:
    lake.put(model_manifest_key(manifest.digest), manifest.model_dump_json(indent=1).encode())


def _names(lake: Lake, digest: str) -> list[str]:
    """The names of a model's files but manifest and signature."""
    prefix = f"{folder(digest)}/"
    names = [o.key.removeprefix(prefix) for o in lake.list(folder(digest))]
    return [name for name in names if name not in (_MANIFEST, _SIGNATURE)]


def _exports(lake: Lake, digest: str) -> dict[str, FileRecord]:
    names = [name for name in _names(lake, digest) if name.startswith(EXPORTS)]
    return {name: _record(lake.get(f"{folder(digest)}/{name}")) for name in names}


def _record(data: bytes) -> FileRecord:
    return FileRecord(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
