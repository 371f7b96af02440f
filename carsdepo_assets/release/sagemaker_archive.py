"""Packs a model for SageMaker: model.tar.gz with its files, manifest and signature, at a key that says what is in it.

The same files give the same bytes, on every machine and at every time. The key has the digests of the manifest and of
the key that signed it, so that an export made anew, or another signing key, is another archive.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from carsdepo_assets.compute.pipes.aws_errors import code_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import (
    ModelFilesError,
    check_model_files,
    folder,
    model_manifest_key,
    require_model_manifest,
    signature_key,
)

NAME = "model.tar.gz"
ABSENT = ("404", "NoSuchKey", "NotFound")


@dataclass(frozen=True)
class ModelArchive:
    """Where a model's archive is, or is to be."""

    digest: str
    """The model's."""
    identity: str
    """16 hex digits over the manifest and the key that signed it."""
    bucket: str
    key: str

    @property
    def url(self) -> str:
        """The archive's s3:// URL."""
        return f"s3://{self.bucket}/{self.key}"

    def key_beside(self, name: str) -> str:
        """The key of a file that lies beside the archive."""
        return f"{self.key.rpartition('/')[0]}/{name}"


def archive_of(lake: Lake, digest: str, bucket: str, prefix: str) -> ModelArchive:
    """Where a model's archive is to be.

    Raises:
        ModelFilesError: The model has no manifest or no signature, or one that is damaged.
    """
    require_model_manifest(lake, digest)
    key = signature_key(digest)
    if not lake.exists(key):
        raise ModelFilesError(f"{key} is missing: `staging_deployment` signs a model before it is served.")
    try:
        hint = str(json.loads(lake.get(key))["verificationMaterial"]["publicKey"]["hint"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(f"{key} is no signature of a model: it is damaged.") from error
    identity = hashlib.sha256(lake.get(model_manifest_key(digest)) + b"\0" + hint.encode()).hexdigest()[:16]
    return ModelArchive(digest, identity, bucket, f"{prefix}/models/{digest}/{identity}/{NAME}")


def packed(lake: Lake, digest: str) -> bytes:
    """The bytes of model.tar.gz: the files of the manifest, the manifest and the signature.

    Raises:
        ModelFilesError: A file is not the one of the manifest.
    """
    manifest = check_model_files(lake, digest)
    names = sorted(manifest.files)
    files = {name: lake.get(f"{folder(digest)}/{name}") for name in names}
    for key in (model_manifest_key(digest), signature_key(digest)):
        files[key.rpartition("/")[2]] = lake.get(key)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)  # time, owner and group are 0, the mode is 0644
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), compresslevel=1, mtime=0)  # weights hardly shrink


def ensure_archive(lake: Lake, archive: ModelArchive, s3: Any) -> bool:
    """Uploads a model's archive where it is not there yet.

    Args:
        lake: where the model is.
        archive: of `archive_of`.
        s3: a boto3 client.

    Returns:
        Whether it was uploaded now.
    """
    if is_there(s3, archive.bucket, archive.key):
        return False
    s3.put_object(Bucket=archive.bucket, Key=archive.key, Body=packed(lake, archive.digest))
    return True


def is_there(s3: Any, bucket: str, key: str) -> bool:
    """Whether S3 has an object."""
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except Exception as error:
        if code_of(error) not in ABSENT:
            raise
        return False
    return True
