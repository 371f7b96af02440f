"""Reads the photographs and their metadata from a client's request, within the limits of the policy."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse

from carsdepo_assets.policy import InferencePolicy

RETRY_AFTER_S = 1
FIELDS = ("source", "camera", "uploader", "region", "listing")
TEXT_MAX = 200  # characters of one value
FORM_BYTES = 2**16  # of one form field: `metadata` of many photographs
# Control characters, separators of lines, and what turns the direction of the text around it: a class of a regex.
REFUSED_CHARACTERS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_REFUSED = re.compile(f"[{REFUSED_CHARACTERS}\\ud800-\\udfff]")  # JSON may hold halves of characters


class Refused(Exception):
    """A request that is not answered: HTTP status, a reason for programs and a detail for people."""

    def __init__(self, status: int, reason: str, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.status, self.reason, self.detail, self.retry_after_s = status, reason, detail, retry_after_s


def refusal(refused: Refused, request_id: str) -> JSONResponse:
    """The error as JSON, with the header that says when to try again."""
    after = {} if refused.retry_after_s is None else {"Retry-After": str(refused.retry_after_s)}
    error = {"reason": refused.reason, "detail": refused.detail}
    return JSONResponse({"error": error, "request_id": request_id}, refused.status, headers=after)


@dataclass
class RequestPhotograph:
    """One photograph of a request."""

    file_name: str
    content_type: str
    upload: UploadFile | bytes
    client_fields: dict[str, str] = field(default_factory=dict)
    """The fields that the client filled, with keys of FIELDS."""

    def read(self) -> bytes:
        """The bytes; blocks where they were spooled to the disk."""
        return self.upload if isinstance(self.upload, bytes) else self.upload.file.read()

    def rewind(self) -> None:
        """Has the next `read` begin at the start again."""
        if isinstance(self.upload, UploadFile):
            self.upload.file.seek(0)

    def close(self) -> None:
        """Frees the spooled file."""
        if isinstance(self.upload, UploadFile):
            self.upload.file.close()


class _Utf8Parser(MultiPartParser):
    """Refuses names and fields that are not UTF-8, which Starlette would silently read as Latin-1."""

    def on_headers_finished(self) -> None:
        """Looks at the part's name and file name before they are decoded."""
        _check_utf8("a part's Content-Disposition", self._current_part.content_disposition or b"")
        super().on_headers_finished()

    def on_part_end(self) -> None:
        """Looks at the value of a field before it is decoded."""
        if self._current_part.file is None:
            _check_utf8(f"the field {self._current_part.field_name!r}", bytes(self._current_part.data))
        super().on_part_end()


def _check_utf8(what: str, data: bytes) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MultiPartException(f"{what} is not UTF-8: {data[:80]!r}") from error


async def read_form(request: Request, policy: InferencePolicy) -> list[RequestPhotograph]:
    """Reads the photographs of a multipart request; the caller closes their files.

    Files over 1 MiB are on the disk meanwhile. Of a body over the limit the rest is left unread.

    Returns:
        The photographs in their order.

    Raises:
        Refused: the request is no such form, or is over a limit of the policy.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise Refused(415, "not_multipart", f"send multipart/form-data with the field `photographs`, not {kind!r}")
    parser = _Utf8Parser(
        request.headers,
        _limited(request, policy.max_request_bytes),
        max_files=policy.max_photographs,
        max_fields=len(FIELDS) + 1,
        max_part_size=FORM_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            detail = f"at most {policy.max_photographs} photographs in one request"
            raise Refused(413, "too_many_photographs", detail) from error
        raise Refused(400, "bad_form", error.message) from error
    with _closing_on_refusal(form.multi_items()) as items:
        return _photographs(items, policy)


async def read_raw(request: Request, policy: InferencePolicy) -> RequestPhotograph:
    """Reads the body of a request as one photograph.

    Raises:
        Refused: the body is over a limit of the policy.
    """
    limit = min(policy.max_request_bytes, policy.max_photograph_bytes)
    body = b"".join([chunk async for chunk in _limited(request, limit)])
    return RequestPhotograph("", request.headers.get("content-type", "application/octet-stream"), body)


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks. Raises Refused before the first where the length is announced, else at the one too many."""
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdecimal() else 0
    if size <= limit:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                break
            yield chunk
    if size > limit:
        raise Refused(413, "too_large", f"the request is larger than {limit} bytes")


@contextmanager
def _closing_on_refusal(items: list[tuple[str, Any]]) -> Iterator[list[tuple[str, Any]]]:
    try:
        yield items
    except Refused:
        for _, value in items:
            if isinstance(value, UploadFile):
                value.file.close()
        raise


def _photographs(items: list[tuple[str, Any]], policy: InferencePolicy) -> list[RequestPhotograph]:
    photographs: list[RequestPhotograph] = []
    texts: dict[str, str] = {}
    for name, value in items:
        if name == "photographs":
            if not isinstance(value, UploadFile):
                raise Refused(422, "not_a_file", "`photographs` must be files: give each part a filename")
            if (value.size or 0) > policy.max_photograph_bytes:
                photograph_text = f"photograph {len(photographs) + 1}, {value.filename!r}: {value.size} bytes"
                raise Refused(413, "too_large", f"{photograph_text}, at most {policy.max_photograph_bytes} are read")
            kind = value.content_type or "application/octet-stream"
            photographs.append(RequestPhotograph(_text("filename", value.filename) or "", kind, value))
        elif name not in (*FIELDS, "metadata") or isinstance(value, UploadFile):
            field_names = ", ".join(("photographs (files)", *FIELDS, "metadata"))
            raise Refused(422, "unknown_field", f"no field {name!r}; the fields are {field_names}")
        elif name in texts:
            raise Refused(422, "field_twice", f"{name!r} comes twice")
        else:
            texts[name] = value
    if not photographs:
        raise Refused(422, "no_photographs", "the form has no file in the field `photographs`")
    metadata = _metadata(texts.pop("metadata", None), len(photographs))
    shared = {name: _text(name, value) for name, value in texts.items()}
    for photograph, own in zip(photographs, metadata, strict=True):
        photograph.client_fields = {k: v for k, v in {**shared, **own}.items() if v}
    return photographs


def _metadata(text: str | None, count: int) -> list[dict[str, str | None]]:
    """One object a photograph. What it says of its photograph goes before the fields that apply to all."""
    if text is None:
        return [{} for _ in range(count)]
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "bad_metadata", f"`metadata` is not JSON: {error}") from error
    if not isinstance(rows, list) or len(rows) != count or not all(isinstance(row, dict) for row in rows):
        raise Refused(422, "bad_metadata", f"`metadata` must be a list of {count} objects, one a photograph")
    unknown = sorted({str(key) for row in rows for key in row} - set(FIELDS))
    if unknown:
        raise Refused(422, "bad_metadata", f"`metadata` knows {', '.join(FIELDS)}, not {', '.join(unknown)}")
    return [{k: v for k, v in ((k, _text(k, v)) for k, v in row.items()) if v} for row in rows]


def _text(name: str, value: object) -> str | None:
    """Short text, None where nothing is said."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > TEXT_MAX or _REFUSED.search(value):
        raise Refused(
            422,
            "bad_metadata",
            f"{name}: text of at most {TEXT_MAX} characters is read, none of them a control character",
        )
    return value.strip() or None
