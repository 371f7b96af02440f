"""Follows the deployment ledger: loads and warms up the model that a stage is to serve, then swaps it in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from carsdepo_assets.detectors.captured_scores import CAPTURE_FLOOR
from carsdepo_assets.inference.model_loading import Load, Loaded
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger

logger = logging.getLogger(__name__)

POLL_S = 0.5
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
WARM_UP = ((480, 640), (640, 480))
"""Height and width of photographs that a model sees before its first request."""

Status = Literal["serving", "empty", "loading", "failed"]


@dataclass(frozen=True)
class Model:
    """The model that answers requests. A request keeps the one that it began with."""

    loaded: Loaded
    digest: str
    version: int | None


@dataclass(frozen=True)
class ServingState:
    """What a service serves, as /healthz reports it."""

    status: Status
    model: Model | None
    """The model that is served."""
    ledger_sequence: int | None
    """The event of the ledger by which it is served."""
    error: str | None
    """Why it is not the model that the ledger names; None when it is."""


class Reconciler:
    """Keeps `state` as the ledger has it, in a thread of its own that `stop` ends.

    `state` is replaced as a whole, so that its readers need no lock.
    """

    def __init__(
        self,
        lake: Lake,
        stage: ledger.Stage,
        policy: Policy,
        load: Load,
        *,
        poll_s: float = POLL_S,
        swapped: Callable[[Model], None] = lambda model: None,
        unreadable: Callable[[], None] = lambda: None,
    ) -> None:
        self._lake, self._stage, self._policy, self._load = lake, stage, policy, load
        self._poll_s, self._swapped, self._unreadable = poll_s, swapped, unreadable
        self.state = ServingState("loading", None, None, None)
        self._followed_version: int | None = None  # the ledger's version that is carried out
        self._tried: int | None = None  # its version at the last try
        self._seen = False  # whether there was a ledger
        self._retry_at, self._pause_s = 0.0, _FIRST_RETRY_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begins to follow the ledger."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Reads the ledger once and does what follows from it. Never raises; `state` names what failed."""
        try:
            version = self._lake.version("deployments")
            if version < 0 and self._seen:  # it is append-only: this is not the lake, and answers must not go there
                self._gone()
                return
            self._seen = version >= 0
            if version == self._followed_version:
                if self.state.error is not None:  # the ledger was away and is back
                    self.state = replace(self.state, error=None)
                return
            if version == self._tried and time.monotonic() < self._retry_at:
                return
            wanted = ledger.desired(self._lake, self._stage)
        except Exception as error:  # the lake is away: what is served goes on
            message = f"the ledger cannot be read: {error}"
            if message != self.state.error:
                self._unreadable()
            self._complain(message)
            return
        if version != self._tried:  # news are tried at once
            self._tried, self._pause_s = version, _FIRST_RETRY_S
        if wanted is None or wanted.digest is None:
            self.state = ServingState("empty", None, None, None)
        elif self.state.model is not None and self.state.model.digest == wanted.digest:  # under a newer event
            model = replace(self.state.model, version=wanted.version)
            self.state = ServingState("serving", model, wanted.sequence, None)
        elif not self._swap(wanted.digest, wanted):
            self._retry_at = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LAST_RETRY_S)
            return
        self._followed_version = version

    def _swap(self, digest: str, wanted: ledger.Event) -> bool:
        """Loads and warms up the wanted model, then serves it. False when that failed."""
        started = time.monotonic()
        if self.state.model is None:
            self.state = ServingState("loading", None, None, self.state.error)
        try:
            loaded = self._load(self._lake, digest, self._policy)
            for height, width in WARM_UP:
                loaded.predictor.predict([np.full((height, width, 3), 114, np.uint8)], CAPTURE_FLOOR)
        except Exception as error:  # whatever a damaged model raises, what is served goes on
            self._complain(f"model {digest} (ledger event {wanted.sequence}) cannot be loaded: {error}")
            return False
        model = Model(loaded, digest, wanted.version)
        self.state = ServingState("serving", model, wanted.sequence, None)
        self._swapped(model)
        logger.info(
            "%s serves model %s (version %s, %s) by ledger event %d, loaded in %.1f s.",
            self._stage, model.digest, model.version, loaded.runtime, wanted.sequence, time.monotonic() - started,
        )  # fmt: skip
        return True

    def _gone(self) -> None:
        self._followed_version = self._tried = None
        self.state = ServingState("failed", None, None, self.state.error)
        self._complain(
            f"the ledger is gone from {self._lake.url}: is the lake mounted? Nothing is served until a ledger is there"
        )

    def _complain(self, message: str) -> None:
        """Into `state`, and into the log once."""
        if self.state.error != message:
            logger.error("%s: %s", self._stage, message)
        self.state = replace(self.state, status="failed" if self.state.model is None else "serving", error=message)

    def _follow(self) -> None:
        while True:
            self.look()
            if self._ended.wait(self._poll_s):
                return
