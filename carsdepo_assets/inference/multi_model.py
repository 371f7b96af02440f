"""The service in a container of a SageMaker multi-model endpoint: several models, each asked by its name."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from carsdepo_assets.inference.answers import Health, Readiness, reasons_against_capture
from carsdepo_assets.inference.loaded_models import HeldModel, LoadedModels
from carsdepo_assets.inference.model_loading import Load
from carsdepo_assets.inference.model_memory import ModelMemory, container_bytes
from carsdepo_assets.inference.reconciler import Model, ServingState
from carsdepo_assets.inference.requests import Refused, refusal
from carsdepo_assets.inference.service import Read, Service
from carsdepo_assets.lake.data_capture import HEALTH_QUESTION
from carsdepo_assets.lake.target_models import HEADER, TargetModel
from carsdepo_assets.registry.ledger import Stage
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_container import ContainedModels

_PATH = "/models/{name}/invoke"


class LoadRequest(BaseModel):
    """What SageMaker asks to be loaded."""

    model_config = ConfigDict(extra="ignore")

    model_name: str = Field(min_length=1, max_length=255)
    url: str = Field(min_length=1, max_length=4096)


class MultiModelService(Service):
    """A service whose models SageMaker loads and unloads. It is ready without one: SageMaker loads what is asked for.

    Args:
        settings: whose lake has no ledger: no model is served that nobody names.
        stage: staging or production.
        load: gets a model from a lake.
        contained: where models lie and how many there may be.
    """

    def __init__(self, settings: Settings, stage: Stage, load: Load, contained: ContainedModels) -> None:
        super().__init__(settings, stage, load, hands_over=True)
        limit = container_bytes() * contained.memory_percent // 100
        place = settings.home / "contained" / "models"
        self.models = LoadedModels(contained.folder, place, self.policy, load, ModelMemory(limit), contained.most)

    def _begin(self) -> None:
        """Follows no ledger."""

    def readiness(self) -> Readiness:
        """Whether models can be loaded and asked."""
        reasons = reasons_against_capture(self.capture.writability.problem)
        return Readiness(ready=not reasons, not_ready_because=reasons)

    def health(self) -> Health:
        """The answer of /healthz, which names no model."""
        return self._health(ServingState("serving" if self.models.listed() else "empty", None, None, None))

    def health_of(self, request: Request) -> Health:
        """The health of the model that a request names, as /healthz has it.

        Raises:
            Refused: as LoadedModels.asked.
        """
        with self.model_for(request) as model:
            return self._health(ServingState("serving", model, None, None))

    def model_for(self, request: Request) -> AbstractContextManager[Model]:
        """Holds the model that a request names by its path."""
        name = request.path_params.get("name")
        if name is None:
            detail = "this service has several models: name one by TargetModel, which SageMaker asks at /models/NAME"
            raise Refused(400, "no_target_model", detail)
        return self.models.asked(name, target_of(request))

    def path_of(self, request: Request) -> str:
        """One path for all models, since their names come and go."""
        return _PATH if "name" in request.path_params else request.url.path


def target_of(request: Request) -> TargetModel | None:
    """The model that a caller named, by SageMaker's header; None where it does not tell, or in a form of others."""
    return TargetModel.parse(request.headers.get(HEADER, ""))


def model_routes(service: MultiModelService, read: Read) -> list[Route]:
    """The paths of SageMaker's contract.

    Args:
        service: whose models they are about.
        read: reads a request's photographs.
    """

    async def answered(work: Callable[[], Any]) -> Response:
        try:
            return JSONResponse(await asyncio.to_thread(work))
        except Refused as refused:
            return refusal(refused, uuid.uuid4().hex)

    async def load_model(request: Request) -> Response:
        body = await request.body()

        def load() -> dict[str, str]:
            try:
                asked = LoadRequest.model_validate_json(body)
            except ValidationError as error:
                raise Refused(400, "bad_request", "send JSON with model_name and url") from error
            return _shown(service.models.load(asked.model_name, asked.url, target_of(request)))

        return await answered(load)

    async def list_models(request: Request) -> Response:
        return await answered(lambda: {"models": [_shown(held) for held in service.models.listed()]})

    async def get_model(request: Request) -> Response:
        return await answered(lambda: _shown(service.models.held(request.path_params["name"])))

    async def unload_model(request: Request) -> Response:
        return await answered(lambda: service.models.unload(request.path_params["name"]))

    async def invoke(request: Request) -> Response:
        if request.headers.get("content-type", "").lower() == HEALTH_QUESTION:
            return await answered(lambda: service.health_of(request).model_dump())
        return await service.respond(request, read)

    return [
        Route("/models", load_model, methods=["POST"]),
        Route("/models", list_models, methods=["GET"]),
        Route("/models/{name}", get_model, methods=["GET"]),
        Route("/models/{name}", unload_model, methods=["DELETE"]),
        Route(_PATH, invoke, methods=["POST"]),
    ]


def _shown(held: HeldModel) -> dict[str, str]:
    return {"modelName": held.name, "modelUrl": held.url}
