"""Copies between S3 and the folders of emulated SageMaker jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Storage:
    """The emulator's S3.

    Args:
        client: makes a boto3 S3 client.
    """

    def __init__(self, client: Callable[[], Any]) -> None:
        self._make = client
        self._client: Any = None
        self._copied: dict[str, tuple[int, int]] = {}

    @property
    def client(self) -> Any:
        """A boto3 S3 client."""
        if self._client is None:
            self._client = self._make()
        return self._client

    def download(self, url: str, folder: Path) -> int:
        """Copies all below an s3:// URL into a folder; returns the number of files."""
        bucket, prefix = place_of(url)
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for entry in (entry for page in pages for entry in page.get("Contents", ())):
            target = folder / (entry["Key"].removeprefix(prefix).strip("/") or Path(entry["Key"]).name)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(bucket, entry["Key"], str(target))
            count += 1
        return count

    def upload(self, folder: Path, url: str) -> None:
        """Copies the files of a folder that changed since the last call below an s3:// URL."""
        bucket, prefix = place_of(url)
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            try:
                state = (path.stat().st_mtime_ns, path.stat().st_size)
                body = path.read_bytes()
            except FileNotFoundError:
                continue  # a temporary file of the container
            key = f"{prefix.rstrip('/')}/{path.relative_to(folder).as_posix()}"
            if self._copied.get(key) != state:
                self.client.put_object(Bucket=bucket, Key=key, Body=body)
                self._copied[key] = state


def place_of(url: str) -> tuple[str, str]:
    """(bucket, key) of an s3:// URL."""
    parts = urlsplit(url)
    return parts.netloc, parts.path.lstrip("/")
