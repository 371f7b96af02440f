"""The models that a container of a multi-model endpoint holds: loaded, listed, asked and unloaded by SageMaker.

Contract: Amazon SageMaker developer guide, "Custom Containers Contract for Multi-Model Endpoints". A model is verified
as every service does it, digest and signature, and is never replaced: its name is SageMaker's.
"""

from __future__ import annotations

import gc
import logging
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from carsdepo_assets.detectors.captured_scores import CAPTURE_FLOOR
from carsdepo_assets.inference.contained_model import lake_around
from carsdepo_assets.inference.model_loading import Load
from carsdepo_assets.inference.model_memory import ModelMemory
from carsdepo_assets.inference.reconciler import WARM_UP, Model
from carsdepo_assets.inference.requests import Refused
from carsdepo_assets.lake.model_files import ModelFilesError
from carsdepo_assets.lake.target_models import TargetModel
from carsdepo_assets.policy import Policy

logger = logging.getLogger(__name__)

LEAVE_S = 60.0
"""Seconds that an unload waits for requests under way: no request takes longer."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")


@dataclass(frozen=True)
class HeldModel:
    """A model in memory."""

    name: str
    """SageMaker's name for it."""
    url: str
    """The folder that it was loaded from."""
    model: Model


class LoadedModels:
    """The models in memory, by SageMaker's names.

    Args:
        folder: below which models may lie.
        place: a folder for what is made around models.
        policy: in force.
        load: loads a model from a lake.
        memory: says whether another model fits.
        most: how many models may be held.
    """

    def __init__(self, folder: Path, place: Path, policy: Policy, load: Load, memory: ModelMemory, most: int) -> None:
        self._folder, self._place, self._policy, self._load = folder, place, policy, load
        self._memory, self._most = memory, most
        self._loading = threading.Lock()  # one load at a time, or memory could not be counted
        self._changed = threading.Condition()
        self._held: dict[str, HeldModel] = {}
        self._asked: dict[str, int] = {}  # requests under way

    def load(self, name: str, url: str, target: TargetModel | None = None) -> HeldModel:
        """Loads a model.

        Args:
            name: under which it is asked from now on.
            url: its folder.
            target: what the archive's name says of it; None where that is not known yet.

        Raises:
            Refused: 409 it is loaded; 507 there is no room; 400 it is no model, not the one that its name says, or not
                signed.
        """
        source = self._source(name, url)
        with self._loading:
            if name in self._held:
                raise Refused(409, "loaded", f"the model {name} is loaded")
            if len(self._held) >= self._most:
                raise Refused(507, "no_memory", f"{self._most} models are loaded, and no more may be")
            place = self._place / name
            shutil.rmtree(place, ignore_errors=True)
            try:
                model = self._loaded(name, source, place, target)
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                gc.collect()
                raise
            held = HeldModel(name, url, model)
            with self._changed:
                self._held[name], self._asked[name] = held, 0
            logger.info("Loaded model %s (%s) as %s.", model.digest, model.loaded.runtime, name)
            return held

    def unload(self, name: str) -> None:
        """Unloads a model, after the requests under way.

        Raises:
            Refused: 404 it is not loaded.
        """
        with self._loading:
            with self._changed:
                held = self._held.pop(name, None)
                if held is None:
                    raise _absent(name)
                self._changed.wait_for(lambda: not self._asked[name], LEAVE_S)
                del self._asked[name]
            digest = held.model.digest
            del held
            gc.collect()  # a network may be part of a circle
            self._memory.unloaded(name)
            shutil.rmtree(self._place / name, ignore_errors=True)
            logger.info("Unloaded model %s, which was %s.", digest, name)

    def listed(self) -> list[HeldModel]:
        """All models, in the order in which they were loaded."""
        with self._changed:
            return list(self._held.values())

    def held(self, name: str) -> HeldModel:
        """One model.

        Raises:
            Refused: 404 it is not loaded.
        """
        with self._changed:
            if name not in self._held:
                raise _absent(name)
            return self._held[name]

    @contextmanager
    def asked(self, name: str, target: TargetModel | None) -> Iterator[Model]:
        """Holds a model while it answers a request.

        Args:
            name: SageMaker's.
            target: which model the caller named; None: SageMaker did not tell.

        Raises:
            Refused: 404 it is not loaded; 500 it is not the one that the caller named.
        """
        with self._changed:
            if name not in self._held:
                raise _absent(name)
            model = self._held[name].model
            self._asked[name] += 1
        try:
            _check(model.digest, target, 500)
            yield model if target is None else replace(model, version=target.version)
        finally:
            with self._changed:
                if name in self._asked:  # else it was unloaded, or unloaded and loaded anew, before the request ended
                    self._asked[name] = max(0, self._asked[name] - 1)
                self._changed.notify_all()

    def _source(self, name: str, url: str) -> Path:
        source = Path(url)
        if not _NAME.fullmatch(name) or not source.is_relative_to(self._folder) or ".." in source.parts:
            raise Refused(400, "bad_model", f"{name!r} at {url!r}: models are loaded from {self._folder} alone")
        return source

    def _loaded(self, name: str, source: Path, place: Path, target: TargetModel | None) -> Model:
        try:
            lake, digest = lake_around(source, place)
        except (OSError, ModelFilesError) as error:
            raise Refused(400, "bad_model", str(error)) from error
        _check(digest, target, 400)
        size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
        if refusal := self._memory.refusal(digest, size):
            raise Refused(507, "no_memory", refusal)
        before = self._memory.began()
        try:
            loaded = self._load(lake, digest, self._policy)
            for height, width in WARM_UP:
                loaded.predictor.predict([np.full((height, width, 3), 114, np.uint8)], CAPTURE_FLOOR)
        except MemoryError as error:
            raise Refused(507, "no_memory", f"model {digest}: the memory is used up") from error
        except Exception as error:  # whatever a damaged model raises, the others go on
            logger.error("model %s cannot be loaded: %s", digest, error)
            raise Refused(400, "bad_model", f"model {digest} cannot be loaded: {error}") from error
        self._memory.loaded(name, digest, size, before)
        return Model(loaded, digest, None if target is None else target.version)


def _absent(name: str) -> Refused:
    return Refused(404, "no_such_model", f"the model {name} is not loaded")


def _check(digest: str, target: TargetModel | None, status: int) -> None:
    """Refuses a model that is not the one that a name says."""
    if target is not None and target.digest != digest:
        raise Refused(status, "wrong_model", f"{target.name} holds model {digest} and not {target.digest}")
