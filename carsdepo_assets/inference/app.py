"""The HTTP endpoints of the inspection service, and their documentation."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response, Security
from fastapi.security import APIKeyHeader
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from carsdepo_assets import __version__
from carsdepo_assets.inference.answers import REFUSALS, Health, Inspection, Readiness, form_schema, raw_schema
from carsdepo_assets.inference.documentation import documentation
from carsdepo_assets.inference.head_requests import HeadAsGet
from carsdepo_assets.inference.model_loading import Load, load
from carsdepo_assets.inference.multi_model import MultiModelService, model_routes
from carsdepo_assets.inference.requests import Refused, RequestPhotograph, read_form, read_raw, refusal
from carsdepo_assets.inference.service import Service
from carsdepo_assets.inference.web_origins import WebOrigins
from carsdepo_assets.lake.data_capture import HEALTH_QUESTION, MODEL_HEADER
from carsdepo_assets.registry.ledger import Stage
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_container import ContainedModels
from carsdepo_assets.settings_variables import plain
from carsdepo_assets.site.protection import key_guard


def create_app(
    settings: Settings,
    stage: Stage,
    load: Load = load,
    *,
    hands_over: bool = False,
    several: ContainedModels | None = None,
) -> FastAPI:
    """Creates the web application of a stage's service.

    A request with one bad photograph among several is refused as a whole, and nothing of it is stored.

    Args:
        settings: the lake, the policy's files and the API key.
        stage: staging or production; the latter shows the site for people too.
        load: gets a model from the lake.
        hands_over: answers carry what is to be captured, and are not captured here; on SageMaker data capture does it.
        several: the service has several models, which SageMaker loads and names; then answers are handed over, too.
    """
    if several is None:
        service = Service(settings, stage, load, hands_over=hands_over)
    else:
        service = MultiModelService(settings, stage, load, several)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        yield
        await asyncio.to_thread(service.stop)

    app = FastAPI(
        title=f"Carsdepo inspections ({stage})",
        version=__version__,
        summary="Finds scratches and dents on photographs of cars.",
        description="Every answer is captured with its model, photograph and features under its prediction_id "
        "before it is given. Errors are JSON too: `error.reason` for programs, `error.detail` for people.",
        lifespan=lifespan,
        openapi_url=None,  # documentation.py has both, within reach without the internet and behind the key
        docs_url=None,
        redoc_url=None,
    )
    app.state.connections = service.connections  # for the server that runs the application
    app.state.has_site = stage == "production"
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(HeadAsGet)
    if settings.api_key is None:
        app.add_middleware(WebOrigins, names=settings.host_names)

    async def raw_or_form(request: Request) -> list[RequestPhotograph]:
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return await read_form(request, service.policy.inference)
        return [await read_raw(request, service.policy.inference)]

    async def form(request: Request) -> list[RequestPhotograph]:
        return await read_form(request, service.policy.inference)

    limits = service.policy.inference
    # For /docs only: the service checks the key before it reads the body.
    key = [] if settings.api_key is None else [Security(APIKeyHeader(name="X-API-Key", auto_error=False))]
    inspect: dict[str, Any] = {
        "response_model": Inspection,
        "responses": REFUSALS,
        "dependencies": key,
        "tags": ["inspect"],
    }

    @app.post("/v1/inspections", openapi_extra=form_schema(limits), **inspect)
    async def inspections(request: Request) -> Response:
        """Inspect photographs of a car. One bad photograph refuses the whole request and names it; nothing is
        captured then. With a key configured, send it as `X-API-Key`."""
        return await service.respond(request, form)

    @app.post("/invocations", openapi_extra=raw_schema(limits), **inspect)
    async def invocations(request: Request) -> Response:
        """SageMaker's contract: the body is one photograph's bytes, or the form of /v1/inspections. With the content
        type `application/vnd.carsdepo.health+json` the answer is that of /healthz, since InvokeEndpoint reaches no
        other path."""
        if request.headers.get("content-type", "").lower() == HEALTH_QUESTION:
            return Response((await asyncio.to_thread(service.health)).model_dump_json(), media_type="application/json")
        return await service.respond(request, raw_or_form)

    if isinstance(service, MultiModelService):
        app.router.routes.extend(model_routes(service, raw_or_form))

    @app.get("/healthz", response_model=Health, tags=["operate"])
    async def healthz() -> Health:
        """Liveness: 200 as long as the process answers, whatever the status. Says what is served, by which event of
        the ledger and under which policy, and whether the service is ready."""
        return await asyncio.to_thread(service.health)

    @app.get(
        "/readyz",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "Requests would not be answered now"}},
        tags=["operate"],
    )
    async def readyz(response: Response) -> Readiness:
        """Readiness: 200 while a model is served, answers can be captured and the lake that they need is there; 503
        with the reasons while not. It recovers by itself."""
        readiness = service.readiness()
        response.status_code = 200 if readiness.ready else 503
        return readiness

    @app.get("/ping", response_class=Response, responses={503: {"description": "Not ready"}}, tags=["operate"])
    async def ping() -> Response:
        """SageMaker's contract: /readyz without a body. The header X-Carsdepo-Model is the served model's digest."""
        model = service.reconciler.state.model
        named = {} if model is None else {MODEL_HEADER: model.digest}
        return Response(status_code=200 if service.readiness().ready else 503, headers=named)

    is_open = service.policy.inference.open_operations
    behind_key = [] if is_open else [Depends(key_guard(plain(settings.api_key)))]

    @app.get(
        "/metrics",
        response_class=Response,
        dependencies=behind_key,
        responses={} if is_open else {401: {"description": "The key is missing or wrong"}},
        tags=["operate"],
    )
    def metrics() -> Response:
        """For Prometheus. With a key configured it is asked for, as X-API-Key or as the password of any user."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.include_router(documentation(app), dependencies=behind_key)

    if app.state.has_site:
        app.include_router(_site(settings, service))
    return app


def _site(settings: Settings, service: Service) -> APIRouter:
    """The pages for people; this stage's health comes from this process, the others' over HTTP."""
    from carsdepo_assets.site.app import pages
    from carsdepo_assets.site.reading import ask_service

    ask = ask_service(settings)
    return pages(settings, lambda stage: service.health().model_dump() if stage == service.stage else ask(stage))


async def _http_error(request: Request, error: Exception) -> Response:
    """No such path or method, in the form of every other error; beside the site a browser gets a page of it."""
    assert isinstance(error, HTTPException)
    if request.app.state.has_site:
        from carsdepo_assets.site.messages import message_page, wants_page

        if wants_page(request):
            text = f"{error.detail}: {request.url.path!r}. The links above lead to what there is."
            return message_page(error.status_code, "Not here", text, headers=error.headers)
    reason = {404: "not_found", 405: "wrong_method", 401: "unauthorized"}.get(error.status_code, "refused")
    detail = str(error.detail)
    if error.status_code == 404:
        detail += ": /openapi.json lists what there is"
    elif error.status_code == 405:
        detail += f": send {(error.headers or {}).get('Allow', 'another')}"
    response = refusal(Refused(error.status_code, reason, detail), uuid.uuid4().hex)
    response.headers.update(error.headers or {})  # which methods, which kind of authentication
    return response
