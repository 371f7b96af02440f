"""Requests of an HTTP client, sent to a SageMaker endpoint by InvokeEndpoint: its body goes to /invocations."""

from __future__ import annotations

from typing import Any

import httpx

from carsdepo_assets.compute.pipes.aws_errors import code_of, explained, trouble_of

PATH = "/v1/inspections"


class InvokeEndpoint(httpx.BaseTransport):
    """A transport of httpx.

    Args:
        runtime: a boto3 client of sagemaker-runtime.
        endpoint: its name.
        target: TargetModel, where the endpoint has several versions; None: it has one.
    """

    def __init__(self, runtime: Any, endpoint: str, target: str | None = None) -> None:
        self._runtime, self._endpoint = runtime, endpoint
        self._named = {} if target is None else {"TargetModel": target}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request; what the container refuses comes back with its status and body.

        Raises:
            httpx.ConnectError: SageMaker does not answer, or refuses the call itself.
        """
        if (request.method, request.url.path) != ("POST", PATH):
            return httpx.Response(404, text=f"InvokeEndpoint reaches POST {PATH} alone.", request=request)
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=self._endpoint,
                ContentType=request.headers.get("content-type", "application/octet-stream"),
                Accept="application/json",
                Body=request.read(),
                **self._named,
            )
        except Exception as error:
            if code_of(error) == "ModelError":
                response = error.response  # type: ignore[attr-defined]  # botocore's ClientError
                text = str(response.get("OriginalMessage") or "")
                return httpx.Response(int(response.get("OriginalStatusCode") or 500), text=text, request=request)
            if trouble_of(error) is None:
                raise
            raise httpx.ConnectError(explained(error), request=request) from error
        headers = {"content-type": str(answer.get("ContentType", "application/json"))}
        return httpx.Response(200, content=answer["Body"].read(), headers=headers, request=request)
