"""The lake: objects by key and tables by name under one root, a folder or s3://bucket/prefix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from carsdepo_assets.lake.objects import FolderObjects, LakeError, ObjectInfo, ObjectMissing, Objects, S3Objects
from carsdepo_assets.lake.tables import Tables
from carsdepo_assets.redaction import has_credentials

__all__ = ["Lake", "LakeError", "ObjectInfo", "ObjectMissing"]

# What both obstore and deltalake understand. On ECS and EC2, without keys here, both ask the task's or machine's role.
_AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_SKIP_SIGNATURE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
)  # fmt: skip


class Lake:
    """One root for bytes and tables. `url` opens the same lake again; `root` is its folder, None on S3."""

    def __init__(self, url: str, objects: Objects, tables: Tables) -> None:
        self.url = url
        self.root: Path | None = objects.root
        self.objects = objects
        self.tables = tables

    @classmethod
    def open(cls, url_or_path: str | Path, *, cache: Path | None = None) -> Lake:
        """Opens (a folder: also makes) the lake. For S3 the standard AWS_* variables are read now, and only now.

        cache: where local_path keeps downloads from S3; default: a folder of this user in the temporary folder.
        """
        text = str(url_or_path)
        parts = urlsplit(text)
        if isinstance(url_or_path, str) and has_credentials(text):
            raise LakeError(
                "The lake's URL holds a user or a password, and pages show it. Write s3://bucket/prefix; the AWS_* "
                "variables hold the keys."
            )
        if isinstance(url_or_path, str) and parts.scheme == "s3":
            bucket, _, prefix = text.removeprefix("s3://").rstrip("/").partition("/")
            if not bucket:
                raise LakeError(f"{text!r} names no bucket. Write s3://bucket/prefix.")
            options = {name: os.environ[name] for name in _AWS_VARIABLES if os.environ.get(name)}
            url = f"s3://{bucket}/{prefix}".rstrip("/")
            return cls(url, S3Objects(bucket, prefix, options, cache), Tables(f"{url}/tables", options, None))
        if isinstance(url_or_path, str) and parts.scheme == "file":
            root = Path(unquote(parts.path))
        elif isinstance(url_or_path, str) and "://" in text:
            raise LakeError(f"{text!r}: a lake is a folder or s3://bucket/prefix.")
        elif not text.strip():
            raise LakeError("The lake's place is empty. Set CARSDEPO_LAKE to a folder or s3://bucket/prefix.")
        else:
            root = Path(text).expanduser()
        root = root.resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LakeError(f"{root}: the lake's folder cannot be made: {error.strerror}.") from error
        return cls(str(root), FolderObjects(root), Tables(str(root / "tables"), {}, root))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Lake.open, (self.url,))  # another process opens it anew, with its own environment

    def __repr__(self) -> str:
        return f"Lake({self.url!r})"

    def put(self, key: str, data: bytes) -> None:
        """Stores the bytes; atomic and durable when it returns. An object already there is replaced."""
        self.objects.put(key, data)

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises ObjectMissing (a LakeError and KeyError) naming the key."""
        return self.objects.get(key)

    def exists(self, key: str) -> bool:
        return self.objects.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects in the folder `prefix`, at any depth, in order of key; none when there is no such folder."""
        return self.objects.list(prefix)

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens when there is none."""
        self.objects.delete(key)

    def local_path(self, key: str) -> Path:
        """A file with the object's bytes, to be read only: the object itself in a folder, a cached download on S3."""
        return self.objects.local_path(key)

    def append(self, table: str, rows: pa.Table | Sequence[Mapping[str, Any]], unit: str) -> bool:
        """Commits the rows under the unit's name, once: False when that unit is already committed. Rows may be none."""
        return self.tables.append(table, rows, unit)

    def committed(self, table: str, unit: str) -> bool:
        return self.tables.committed(table, unit)

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The table's rows; none, with its schema, when it does not exist yet."""
        return self.tables.read(table, columns)

    def query(self, sql: str, **arrow_tables: pa.Table) -> pa.Table:
        """DuckDB over the lake's tables that the SQL mentions and those given by name (a given one wins)."""
        return self.tables.query(sql, arrow_tables)

    def version(self, table: str) -> int:
        """The table's last commit; -1 when it does not exist."""
        return self.tables.version(table)
