"""`carsdepo send`: sends photographs to an inspection service, as the web site and the mobile app do."""

from __future__ import annotations

import csv
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tenacity import RetryCallState, Retrying, sleep_using_event, stop_before_delay

from carsdepo_assets.imaging.formats import PHOTOGRAPH_SUFFIXES
from carsdepo_assets.redaction import without_credentials

FIELDS = ("source", "camera", "uploader", "region", "listing")
MANIFEST = "manifest.csv"
PATIENCE_S = 60.0  # seconds for a photograph's answer, a busy service's "try again" included
_NO_URL = "{!r} is not the URL of a service, such as http://127.0.0.1:8000."
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)  # after the connection stood
_LEAST_PAUSE_S = 0.1  # before a photograph is sent again, whatever the service says
_LEVELS = 3  # folders: images/, one below it, and the one that holds both


class ServiceUnreachable(ConnectionError):
    """Nothing answers at the URL; the message says what to start."""


@dataclass
class SendResult:
    """What came of sending some photographs."""

    photographs: int = 0
    """Photographs that were sent, answered or not."""
    by_decision: Counter[str] = field(default_factory=Counter)
    """Answers by their decision."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Photographs without an answer: path and reason."""
    latencies: list[float] = field(default_factory=list)
    """Milliseconds of each answer, with the wait for a busy service."""
    prediction_ids: list[str] = field(default_factory=list)
    """The id of each answer."""
    digests: Counter[str] = field(default_factory=Counter)
    """Answers by the digest of the model that gave them."""
    seconds: float = 0.0
    """How long all of it took."""

    @property
    def answered(self) -> int:
        """The number of photographs that were answered."""
        return len(self.prediction_ids)

    @property
    def per_second(self) -> float:
        """Answered photographs a second."""
        return self.answered / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class _Answer:
    """What is kept of the answer about one photograph."""

    decision: str
    prediction_id: str
    digest: str


def send_folder(
    url: str,
    folder: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    api_key: str | None = None,
    concurrency: int = 4,
    patience_s: float = PATIENCE_S,
    progress: Callable[[int, int], None] | None = None,
) -> SendResult:
    """Sends the photographs in folder/images, or, where there is no such folder, in the folder itself, at any depth.

    Args, Raises: As in `send`; also ValueError where there is no photograph.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder.")
    root = folder / "images" if (folder / "images").is_dir() else folder
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in PHOTOGRAPH_SUFFIXES and p.is_file())
    if not files:
        raise ValueError(f"{folder} has no photographs ({', '.join(sorted(PHOTOGRAPH_SUFFIXES))}).")
    return send(
        url, files, metadata, api_key=api_key, concurrency=concurrency, patience_s=patience_s, progress=progress
    )


def send(
    url: str,
    files: Sequence[Path],
    metadata: Mapping[str, str] | None = None,
    *,
    api_key: str | None = None,
    concurrency: int = 4,
    patience_s: float = PATIENCE_S,
    progress: Callable[[int, int], None] | None = None,
) -> SendResult:
    """Sends photographs, one in each request. One that is refused is a failure, and the others go on.

    Args:
        url: The address of the service.
        files: The photographs.
        metadata: Values of FIELDS for all of them. A manifest.csv beside the photographs, or beside their folder,
            overrides them for the photographs that it names.
        api_key: The key that the service asks for; None: none.
        concurrency: The number of requests at a time.
        patience_s: Seconds for which a photograph is sent again while the service is busy (status 503).
        progress: Called with the number of photographs behind and of all.

    Raises:
        ServiceUnreachable: Nothing answers at the address.
        ValueError: `metadata` has an unknown field, or a manifest.csv cannot be read.
    """
    unknown = sorted(set(metadata or {}) - set(FIELDS))
    if unknown:
        raise ValueError(f"no metadata {', '.join(unknown)}: there are {', '.join(FIELDS)}.")
    manifests, sent = _Manifests(), SendResult()
    headers = {"X-API-Key": api_key} if api_key else {}
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    started = time.perf_counter()
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ServiceUnreachable(_NO_URL.format(without_credentials(url))) from error
    ended = threading.Event()
    with (
        httpx.Client(base_url=url, headers=headers, timeout=patience_s, limits=limits) as client,
        _interruptible(ThreadPoolExecutor(concurrency, thread_name_prefix="send"), ended) as pool,
    ):
        _check(client, url)
        work = ((file, {**(metadata or {}), **manifests.of(file)}) for file in files)
        for file, answer, milliseconds in _answers(client, pool, work, concurrency, patience_s, ended):
            sent.photographs += 1
            if isinstance(answer, str):
                sent.failures.append((str(file), answer))
            else:
                sent.by_decision[answer.decision] += 1
                sent.prediction_ids.append(answer.prediction_id)
                sent.digests[answer.digest] += 1
                sent.latencies.append(milliseconds)
            if progress is not None:
                progress(sent.photographs, len(files))
    sent.seconds = time.perf_counter() - started
    return sent


@contextmanager
def _interruptible(pool: ThreadPoolExecutor, ended: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """The pool; where the block is left by an error or Ctrl-C, what waits is dropped and pauses end at once."""
    try:
        yield pool
    except BaseException:
        ended.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        pool.shutdown()


def _check(client: httpx.Client, url: str) -> None:
    try:
        client.get("/healthz")
    except httpx.UnsupportedProtocol as error:
        raise ServiceUnreachable(_NO_URL.format(without_credentials(url))) from error
    except httpx.TransportError as error:
        raise ServiceUnreachable(
            f"{without_credentials(url)} does not answer ({error}). "
            "Start the service: carsdepo serve --stage production."
        ) from error


def _answers(
    client: httpx.Client,
    pool: ThreadPoolExecutor,
    work: Iterable[tuple[Path, dict[str, str]]],
    concurrency: int,
    patience_s: float,
    ended: threading.Event,
) -> Iterator[tuple[Path, _Answer | str, float]]:
    """The file, its answer or the reason for none, and milliseconds, in the order in which they finish."""
    pending: set[Future[tuple[Path, _Answer | str, float]]] = set()
    for file, metadata in work:
        if len(pending) >= 2 * concurrency:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
        pending.add(pool.submit(_one, client, file, metadata, patience_s, ended))
    for future in pending:
        yield future.result()


def _one(
    client: httpx.Client, file: Path, metadata: dict[str, str], patience_s: float, ended: threading.Event
) -> tuple[Path, _Answer | str, float]:
    try:
        data = file.read_bytes()
    except OSError as error:
        return file, f"cannot be read: {error.strerror}", 0.0
    started = time.perf_counter()
    while_busy = Retrying(
        retry=lambda state: not ended.is_set() and _to_be_repeated(state),
        sleep=sleep_using_event(ended),
        wait=_pause_asked,
        stop=stop_before_delay(patience_s),
        retry_error_callback=_answer_of,
    )
    try:
        answer = while_busy(
            client.post,
            "/v1/inspections",
            files={"photographs": (file.name, data)},
            data=metadata,
            headers={"Idempotency-Key": uuid.uuid4().hex},  # sent again, it is answered and counted once
        )
    except httpx.HTTPError as error:
        return file, f"{type(error).__name__}: {error}", 0.0
    milliseconds = 1000 * (time.perf_counter() - started)
    try:
        body = answer.json()
        if answer.status_code == 200:
            photograph, digest = body["photographs"][0], body["model"]["digest"]
            return file, _Answer(photograph["decision"], photograph["prediction_id"], digest), milliseconds
        return file, f"{answer.status_code} {body['error']['reason']}: {body['error']['detail']}", 0.0
    except (ValueError, KeyError, TypeError, IndexError):
        return file, f"{answer.status_code}: not an answer of the inspection service", 0.0


def _to_be_repeated(state: RetryCallState) -> bool:
    """Whether the service was busy, still works on the photograph, or was lost while it did."""
    assert state.outcome is not None
    if state.outcome.failed:
        return isinstance(state.outcome.exception(), _BROKEN)
    answer = state.outcome.result()
    return answer.status_code == 503 or (answer.status_code == 409 and "in_progress" in answer.text)


def _answer_of(state: RetryCallState) -> httpx.Response:
    """The last answer; raises the error where there is none."""
    assert state.outcome is not None
    answer: httpx.Response = state.outcome.result()
    return answer


def _pause_asked(state: RetryCallState) -> float:
    """Seconds that a busy service asks to wait; 1 where it names a date or nothing."""
    assert state.outcome is not None
    asked = "" if state.outcome.failed else _answer_of(state).headers.get("Retry-After", "")
    return max(_LEAST_PAUSE_S, float(asked)) if asked.isascii() and asked.isdigit() else 1.0


class _Manifests:
    """Finds the nearest manifest.csv that names a photograph, in its folder or a few levels above."""

    def __init__(self) -> None:
        self._sheets: dict[Path, dict[str, dict[str, str]]] = {}

    def of(self, file: Path) -> dict[str, str]:
        """The photograph's metadata from its manifest. A group stands for a missing listing: both mean one car.

        Raises:
            ValueError: The manifest cannot be read.
        """
        for folder in list(file.absolute().parents)[:_LEVELS]:
            rows = self._rows(folder)
            path = file.absolute().relative_to(folder).as_posix().removeprefix("images/")
            row = rows.get(path) or rows.get(file.name)
            if row is not None:
                metadata = {name: row[name] for name in FIELDS if row.get(name)}
                if "listing" not in metadata and row.get("group"):
                    metadata["listing"] = row["group"]
                return metadata
        return {}

    def _rows(self, folder: Path) -> dict[str, dict[str, str]]:
        if folder not in self._sheets:
            path = folder / MANIFEST
            self._sheets[folder] = _read(path) if path.is_file() else {}
        return self._sheets[folder]


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [{str(k).strip().lower(): v.strip() for k, v in row.items() if v} for row in csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error, AttributeError) as error:  # AttributeError: more values than columns
        raise ValueError(f"{path}: not CSV in UTF-8 with a header: {error}") from error
    if rows and not any("file" in row for row in rows):
        raise ValueError(f"{path}: no column 'file'.")
    return {
        row["file"].replace("\\", "/").removeprefix("./").removeprefix("images/"): row for row in rows if "file" in row
    }
