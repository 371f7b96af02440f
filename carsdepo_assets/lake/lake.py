"""The lake: objects by key and tables by name below one root, which is a folder or s3://bucket/prefix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from carsdepo_assets.lake.aws_access import require_access
from carsdepo_assets.lake.objects import FolderObjects, LakeError, ObjectInfo, ObjectMissing, Objects
from carsdepo_assets.lake.predicates import Condition
from carsdepo_assets.lake.s3_objects import S3Objects
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
    """One root that holds objects (bytes by key) and tables (rows by name).

    Attributes:
        url: opens the same lake again.
        root: the lake's folder; None on S3.
    """

    def __init__(self, url: str, objects: Objects, tables: Tables) -> None:
        self.url = url
        self.root: Path | None = objects.root
        self.objects = objects
        self.tables = tables

    @classmethod
    def open(cls, url_or_path: str | Path, *, cache: Path | None = None) -> Lake:
        """Opens a lake. A folder that does not exist is created; for S3 the standard AWS_* variables are read.

        Args:
            url_or_path: a folder, file://PATH or s3://bucket/prefix.
            cache: folder in which local_path keeps what it downloads from S3; None: one of this user in the temporary
                folder.

        Raises:
            LakeError: the URL is none of these, holds a password, the folder cannot be created, or this process has no
                credentials for S3.
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
            require_access(region=False)
            options = {name: os.environ[name] for name in _AWS_VARIABLES if os.environ.get(name)}
            url = f"s3://{bucket}/{prefix}".rstrip("/")
            bucket_objects = S3Objects(bucket, prefix, options, cache)
            return cls(url, bucket_objects, Tables(f"{url}/tables", options, bucket_objects))
        if isinstance(url_or_path, str) and parts.scheme == "file":
            root = Path(unquote(parts.path))
        elif isinstance(url_or_path, str) and "://" in text:
            raise LakeError(f"{text!r}: a lake is a folder or s3://bucket/prefix.")
        elif not text.strip():
            raise LakeError("The lake's address is empty. Set CARSDEPO_LAKE to a folder or s3://bucket/prefix.")
        else:
            root = Path(text).expanduser()
        root = root.resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LakeError(f"{root}: the lake's folder cannot be created: {error.strerror}.") from error
        objects = FolderObjects(root)
        return cls(str(root), objects, Tables(str(root / "tables"), {}, objects))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Lake.open, (self.url,))  # another process opens it anew, with its own environment

    def __repr__(self) -> str:
        return f"Lake({self.url!r})"

    def put(self, key: str, data: bytes) -> None:
        """Stores an object, replacing one of the same key. Readers see the old bytes or the new ones, never a part.

        The bytes are durable when this returns.

        Raises:
            LakeError: the key is not allowed, or the object cannot be written.
        """
        self.objects.put(key, data)

    def get(self, key: str) -> bytes:
        """Returns an object's bytes.

        Raises:
            ObjectMissing: there is no such object; it is a LakeError and a KeyError.
            LakeError: the object cannot be read.
        """
        return self.objects.get(key)

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key."""
        return self.objects.exists(key)

    def info(self, key: str) -> ObjectInfo | None:
        """What a listing says of one object; None when there is none of this key."""
        return self.objects.info(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Lists the objects below the folder `prefix`, at any depth, in order of key; none when there is no folder."""
        return self.objects.list(prefix)

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens when there is none."""
        self.objects.delete(key)

    def local_path(self, key: str) -> Path:
        """Returns a file that holds the object's bytes, to be read only; on S3 it is a cached download.

        Raises:
            ObjectMissing: there is no such object.
        """
        return self.objects.local_path(key)

    def download(self, key: str, path: Path) -> None:
        """Writes an object's bytes to a new file, in pieces, so that it may be larger than the memory.

        Args:
            key: of the object.
            path: of the file, which must not exist; a failure may leave a part of it.

        Raises:
            ObjectMissing: there is no such object.
        """
        self.objects.download(key, path)

    def append(self, table: str, rows: pa.Table | Sequence[Mapping[str, Any]], unit: str) -> bool:
        """Appends rows to a table as one unit of work, which is committed only once.

        Args:
            table: a name in lake.schemas.TABLES; the table is created at its first append.
            rows: an Arrow table, or one mapping a row; there may be none. A column that is left out is null.
            unit: names this work, for example by its batch. What does the same work again gives the same name.

        Returns:
            False when the unit was committed before: then nothing is appended.

        Raises:
            LakeError: the rows do not fit the table's columns, or the commit failed.
        """
        return self.tables.append(table, rows, unit)

    def committed(self, table: str, unit: str) -> bool:
        """Whether the unit has been appended to the table."""
        return self.tables.committed(table, unit)

    def read(self, table: str, columns: Sequence[str] | None = None, where: Sequence[Condition] = ()) -> pa.Table:
        """Returns a table's rows, in no particular order; none when the table does not exist yet.

        Args:
            table: a name in lake.schemas.TABLES.
            columns: names of the columns to read; None: all.
            where: what the rows must meet, such as ("batch_id", "=", batch_id); files that have no such row are not
                read.

        Raises:
            LakeError: the table or a column is unknown, or the table cannot be read.
        """
        return self.tables.read(table, columns, where)

    def query(self, sql: str, **arrow_tables: pa.Table) -> pa.Table:
        """Runs DuckDB's SQL over the lake's tables that it names and over the Arrow tables given by name.

        Args:
            sql: one query; a given table wins over the lake's table of the same name.
            arrow_tables: further tables, by the name that the query uses.

        Raises:
            LakeError: the query failed; the message holds it.
        """
        return self.tables.query(sql, arrow_tables)

    def version(self, table: str) -> int:
        """Returns the number of the table's last commit; -1 when it does not exist."""
        return self.tables.version(table)
