"""Stores bytes by key in an S3 bucket; see objects.py for the interface."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

from carsdepo_assets.lake.objects import LakeError, ObjectInfo, ObjectMissing, check_key, write_atomic

_PIECE = 8 * 2**20  # bytes of an object that are in memory while it is downloaded


class S3Objects:
    """Objects stored in a bucket, below a prefix. A put to S3 is atomic and durable by itself."""

    root: Path | None = None

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, str], cache: Path | None) -> None:
        from obstore.store import S3Store

        names = {k.removeprefix("AWS_").lower(): v for k, v in options.items() if k.startswith("AWS_")}
        http = names.pop("allow_http", "false").lower() in ("true", "1", "yes")
        if "endpoint_url" in names:
            names["endpoint"] = names.pop("endpoint_url")
        config: dict[str, Any] = dict(names)
        self._store = S3Store(bucket, prefix=prefix or None, config=config, client_options={"allow_http": http})
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self.cache_folder = cache or Path(tempfile.gettempdir()) / f"carsdepo-cache-{os.getuid()}"

    def put(self, key: str, data: bytes) -> None:
        import obstore

        with _naming(key, self.url):
            obstore.put(self._store, check_key(key), data)

    def get(self, key: str) -> bytes:
        import obstore

        with _naming(key, self.url):
            return bytes(obstore.get(self._store, check_key(key)).bytes())

    def exists(self, key: str) -> bool:
        import obstore

        try:
            with _naming(key, self.url):
                obstore.head(self._store, check_key(key))
        except ObjectMissing:
            return False
        return True

    def info(self, key: str) -> ObjectInfo | None:
        import obstore

        try:
            with _naming(key, self.url):
                row = obstore.head(self._store, check_key(key))
        except ObjectMissing:
            return None
        return ObjectInfo(row["path"], row["size"], row["last_modified"].astimezone(UTC), row["e_tag"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        import obstore

        folder = prefix.strip("/")
        with _naming(folder, self.url):
            for page in obstore.list(self._store, folder or None):
                for row in page:
                    yield ObjectInfo(row["path"], row["size"], row["last_modified"].astimezone(UTC), row["e_tag"])

    def delete(self, key: str) -> None:
        import obstore

        try:
            with _naming(key, self.url):
                obstore.delete(self._store, check_key(key))
        except ObjectMissing:
            return

    def local_path(self, key: str) -> Path:
        import obstore

        with _naming(key, self.url):
            facts = obstore.head(self._store, check_key(key))
        folder = self.cache_folder
        version = f"{self.url}\0{key}\0{facts['e_tag']}\0{facts['size']}\0{facts['last_modified'].isoformat()}"
        path = folder / f"{hashlib.sha256(version.encode()).hexdigest()[:32]}{Path(key).suffix}"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(path, self.get(key))
        return path

    def download(self, key: str, path: Path) -> None:
        import obstore

        with _naming(key, self.url):
            pieces = iter(obstore.get(self._store, check_key(key)).stream(min_chunk_size=_PIECE))
        with path.open("xb") as file:
            while True:
                with _naming(key, self.url):  # and not the writing: a full disk is no refusal of S3
                    piece = next(pieces, None)
                if piece is None:
                    return
                file.write(piece)


class _naming:
    """Turns errors of obstore into LakeError and ObjectMissing, with the key in the message."""

    def __init__(self, key: str, url: str) -> None:
        self._key, self._url = key, url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from obstore.exceptions import BaseError

        if isinstance(error, FileNotFoundError):
            raise ObjectMissing(f"{self._key}: no such object in {self._url}.") from error
        if isinstance(error, (BaseError, OSError)):
            first = (str(error).splitlines() or ["no message"])[0]
            hint = "Check the bucket's name and the AWS_* variables"
            raise LakeError(f"{self._key or '/'}: {self._url} refused: {first}. {hint}.") from error
