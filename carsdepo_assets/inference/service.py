"""The inspection service of one stage: it inspects photographs, and captures every answer before it is sent."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from carsdepo_assets.inference.answers import (
    Health,
    InspectionWithRecords,
    Readiness,
    inspection,
    reasons_against,
    why_no_model,
)
from carsdepo_assets.inference.capture import Capture, CaptureError, HandedOver
from carsdepo_assets.inference.connections import Connections, most_connections
from carsdepo_assets.inference.decode_pool import DecodePool
from carsdepo_assets.inference.decoding import ClientGone
from carsdepo_assets.inference.idempotency import Idempotency, StoredAnswer, fingerprint, key_of
from carsdepo_assets.inference.inspecting import inspect
from carsdepo_assets.inference.metrics import Metrics
from carsdepo_assets.inference.model_loading import Load
from carsdepo_assets.inference.reading_places import ReadingPlaces
from carsdepo_assets.inference.reconciler import Model, Reconciler, ServingState
from carsdepo_assets.inference.records import Record
from carsdepo_assets.inference.requests import RETRY_AFTER_S, Refused, RequestPhotograph, refusal
from carsdepo_assets.inference.service_figures import ServiceFigures
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy_layers import OnDisk
from carsdepo_assets.registry.ledger import Stage
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_variables import plain
from carsdepo_assets.site.protection import is_key

logger = logging.getLogger(__name__)

READING = 64  # requests whose bodies arrive at a time: up to 1 MiB of memory for each of their files
WORKING = 32  # requests that are computed or wait for a worker

Read = Callable[[Request], Awaitable[list[RequestPhotograph]]]


class _Places:
    """Limits how many requests are at one point; further ones are refused, never queued. For the event loop only."""

    def __init__(self, places: int, what: str) -> None:
        self._free, self._what = places, what

    @contextmanager
    def one(self) -> Iterator[None]:
        if not self._free:
            raise Refused(503, "busy", f"too many requests are {self._what}: try again", RETRY_AFTER_S)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class Service:
    """The state that the endpoints share. Nothing that computes or waits for a disk runs on the event loop.

    The policy is read once: a change counts from the next start, and `health` reports that it is pending.
    """

    def __init__(self, settings: Settings, stage: Stage, load: Load, *, hands_over: bool = False) -> None:
        self.stage, self.settings, self.policy = stage, settings, settings.policy()
        self._policy_files = OnDisk(settings.policy_files, self.policy)
        lake = Lake.open(settings.lake)
        self._hands_over = hands_over
        kind = HandedOver if hands_over else Capture
        self.capture = kind(lake, stage, self.policy.inference, settings.home)
        self.connections = Connections(most_connections())
        self.metrics = Metrics(stage, self.capture.lag_seconds, self.connections)
        self.reconciler = Reconciler(
            lake, stage, self.policy, load, swapped=self.metrics.swapped, unreadable=self.capture.writability.suspect
        )
        self.figures = ServiceFigures(
            settings.metrics_namespace, stage, lambda: self.readiness().ready, self.capture.lag_seconds
        )
        self.started_at = datetime.now(UTC)
        self.idempotency = Idempotency(settings.home / "idempotency" / f"{stage}.db")
        cores = len(os.sched_getaffinity(0))
        self._decoders = DecodePool(self.policy, cores)
        # As many as requests that are worked on: one that waits for its turn to be decoded holds up no other.
        self._workers = ThreadPoolExecutor(WORKING, thread_name_prefix="inspect")
        self._computing = threading.Semaphore(cores)
        self._helpers = ThreadPoolExecutor(2 * cores, thread_name_prefix="helper")
        self._reading, self._working = ReadingPlaces(READING), _Places(WORKING, "waiting for a worker")

    def start(self) -> None:
        """Starts the threads and the decoding processes."""
        self.capture.start()
        self.metrics.torn.labels(self.stage).inc(self.capture.torn_lines)
        self._decoders.start()
        self._begin()
        self.figures.start()

    def _begin(self) -> None:
        """Begins to look for the model to serve."""
        self.reconciler.start()

    def health(self) -> Health:
        """The answer of /healthz. It reads the policy's files, so that it must not run on the event loop."""
        return self._health(self.reconciler.state)

    def _health(self, state: ServingState) -> Health:
        on_disk, note = self._policy_files.look()
        model, readiness = state.model, self.readiness()
        return Health(
            stage=self.stage,
            ready=readiness.ready,
            not_ready_because=readiness.not_ready_because,
            status=state.status,
            digest=model.digest if model else None,
            version=model.version if model else None,
            runtime=model.loaded.runtime if model else None,
            ledger_sequence=state.ledger_sequence,
            error=state.error,
            started_at=self.started_at.isoformat(),
            lake=self.settings.lake,
            policy=self.policy.digest(),
            policy_on_disk=on_disk,
            policy_note=note,
        )

    def readiness(self) -> Readiness:
        """The answer of /readyz: whether a request would be answered now, as far as is known without one."""
        reasons = reasons_against(self.reconciler.state, self.capture.writability.problem)
        return Readiness(ready=not reasons, not_ready_because=reasons)

    def stop(self) -> None:
        """Ends the threads and closes the open segment; called after the last request."""
        self.reconciler.stop()
        self._decoders.close()  # first: a request that is left over may wait for them
        self._workers.shutdown()
        self._helpers.shutdown()
        self.figures.stop()
        self.capture.close()

    def _check_key(self, request: Request) -> None:
        """Raises Refused unless the request carries the key, where one is configured."""
        wanted = plain(self.settings.api_key)
        if wanted is not None and not is_key(request.headers.get("x-api-key"), wanted):
            raise Refused(401, "unauthorized", "the header X-API-Key is missing or wrong")

    def model_for(self, request: Request) -> AbstractContextManager[Model]:
        """Holds the model that answers a request.

        Raises:
            Refused: There is none.
        """
        state = self.reconciler.state
        if state.model is None:
            raise Refused(503, "no_model", f"no model is served: {why_no_model(state)}", RETRY_AFTER_S)
        return nullcontext(state.model)

    def path_of(self, request: Request) -> str:
        """The address of a request as metrics have it."""
        return request.url.path

    async def respond(self, request: Request, read: Read) -> Response:
        """The inspection as JSON, or what went wrong as JSON."""
        request_id, path, started = uuid.uuid4().hex, self.path_of(request), time.perf_counter()
        self.metrics.in_flight.labels(self.stage).inc()
        outcome = "failed"
        try:
            body = await self._answer(request, read, request_id)
            outcome = "ok"
            return Response(body, 200, media_type="application/json")
        except Refused as refused:
            outcome = "unavailable" if refused.status == 503 else "refused"
            return refusal(refused, request_id)
        except ClientDisconnect:
            outcome = "gone"
            return Response(status_code=400)  # nobody reads it
        except Exception:
            logger.exception("request %s failed", request_id)
            return refusal(Refused(500, "failed", "the service failed; its log says why"), request_id)
        finally:
            self.metrics.in_flight.labels(self.stage).dec()
            self.metrics.requests.labels(self.stage, path, outcome).inc()
            seconds = time.perf_counter() - started
            self.metrics.seconds.labels(self.stage, path).observe(seconds)
            self.figures.answered(outcome, seconds)

    async def _answer(self, request: Request, read: Read, request_id: str) -> str:
        """Reads, inspects, captures; returns the answer's JSON. Raises Refused."""
        self._check_key(request)
        key = key_of(request)
        name = None if key is None else f"{request.url.path} {key}"
        with self.model_for(request) as model:
            return await self._inspect(request, read, request_id, name, model)

    async def _inspect(self, request: Request, read: Read, request_id: str, name: str | None, model: Model) -> str:
        async with self._reading.one(request.client.host if request.client else "") as reading:
            photographs = await read(reading.counted(request))
        try:
            with self._working.one():
                is_gone = threading.Event()
                work = asyncio.get_running_loop().run_in_executor(
                    self._workers, self._work, photographs, model, request_id, is_gone, name
                )
                return await _while_connected(request, work, is_gone)
        finally:
            for photograph in photographs:
                photograph.close()

    def _work(
        self,
        photographs: list[RequestPhotograph],
        model: Model,
        request_id: str,
        is_gone: threading.Event,
        name: str | None,
    ) -> str:
        """The answer's JSON, captured. name: address and Idempotency-Key, under which it is the answer of before."""
        try:
            if name is None:
                body, records = self._inspected(photographs, model, request_id, is_gone)
                self._captured(records)
                return body
            path = name.partition(" ")[0]
            with self.idempotency.claim(name, fingerprint(path, photographs)) as stored:
                return self._once(name, stored, lambda: self._inspected(photographs, model, request_id, is_gone))
        except (CaptureError, sqlite3.Error) as error:
            logger.error("request %s: %s", request_id, error)
            raise Refused(503, "not_captured", "the answer cannot be captured, so it is not given", 10) from error

    def _once(self, name: str, stored: StoredAnswer | None, make: Callable[[], tuple[str, list[Record]]]) -> str:
        if stored is None:
            body, records = make()
            self.idempotency.store(name, body, records)
            self._captured(records)
            self.idempotency.captured(name)
            return body
        self.metrics.repeated.labels(self.stage).inc()
        if not stored.captured:  # the service was killed just then, or the disk was full
            self._captured(self.capture.missing(stored.records, stored.begun_at))
            self.idempotency.captured(name)
        return stored.body

    def _inspected(
        self, photographs: list[RequestPhotograph], model: Model, request_id: str, is_gone: threading.Event
    ) -> tuple[str, list[Record]]:
        records = inspect(
            photographs,
            model,
            self.policy,
            stage=self.stage,
            request_id=request_id,
            keep=self.capture.keep,
            executor=self._helpers,
            turn=self._computing,
            decode=self._decoders.measure,
            is_gone=is_gone.is_set,
        )
        answer = inspection(request_id, model, records)
        if self._hands_over:
            answer = InspectionWithRecords(**dict(answer), records=records)
        return answer.model_dump_json(by_alias=True), records

    def _captured(self, records: Sequence[Record]) -> None:
        if records:
            self.capture.write(records)
        for record in records:
            self.metrics.photographs.labels(self.stage, record.answer.decision).inc()
        self.figures.inspected(len(records))


async def _while_connected(request: Request, work: asyncio.Future[str], is_gone: threading.Event) -> str:
    """The result of the work. Where the client leaves first, the work is told and ends before its next photograph.

    Raises:
        ClientDisconnect: The client left, and the work has ended.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(left())
    either: set[asyncio.Future[Any]] = {work, leaving}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            is_gone.set()
            await asyncio.wait({work})  # it reads the photographs, which are closed after it
        if is_gone.is_set():
            with suppress(ClientGone, Refused):
                work.result()
            raise ClientDisconnect
        return work.result()
    except asyncio.CancelledError:  # the service ends and waits no longer
        is_gone.set()
        work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # else asyncio reports it
        raise
    finally:
        leaving.cancel()
