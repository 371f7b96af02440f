"""/docs: the service's interface in Swagger UI, out of a package, so that the browser needs no other server."""

from __future__ import annotations

import html
import json
from importlib.resources import files

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from carsdepo_assets.site.protection import page_headers

OPENAPI = "/openapi.json"
_HEADERS = page_headers("script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="interface"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""


def documentation(app: FastAPI) -> APIRouter:
    """The routes /openapi.json and /docs of an application that was created without its own."""
    router = APIRouter(include_in_schema=False)
    packaged = files("fastapi_swagger") / "resources"

    @router.get(OPENAPI)
    def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    @router.get("/docs")
    def page() -> HTMLResponse:
        return HTMLResponse(_PAGE.format(title=html.escape(app.title)), headers=_HEADERS)

    @router.get("/docs/start.js")
    def start() -> Response:
        options = json.dumps({"url": OPENAPI, "dom_id": "#interface", "deepLinking": True, "validatorUrl": None})
        return Response(f"SwaggerUIBundle({options});\n", media_type="text/javascript", headers=_HEADERS)

    @router.get("/docs/swagger-ui-bundle.js")
    def script() -> FileResponse:
        return FileResponse(str(packaged / "swagger-ui-bundle.js"), media_type="text/javascript", headers=_HEADERS)

    @router.get("/docs/swagger-ui.css")
    def style() -> FileResponse:
        return FileResponse(str(packaged / "swagger-ui.css"), media_type="text/css", headers=_HEADERS)

    return router
