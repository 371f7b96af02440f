"""InvokeEndpoint of the emulated SageMaker: the endpoint's container answers, and what it answered is captured.

Written after: API reference of InvokeEndpoint; "Capture data from real-time endpoint". Each answered request is a file
of its own, written at once. What AWS captures of a refused request is written nowhere: here nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from deploy.emulators.sagemaker_answers import refusal_in_json
from deploy.emulators.sagemaker_capture import captured_line, file_name
from deploy.emulators.sagemaker_containers import ServingContainer
from deploy.emulators.sagemaker_multi_model import LoadedVersions, NoModelData
from deploy.emulators.sagemaker_on_moto import ACCOUNT
from deploy.emulators.sagemaker_storage import place_of


class Runtime:
    """The service that AWS calls sagemaker-runtime.

    Args:
        in_service: the container of an endpoint that takes requests, and its configuration as DescribeEndpointConfig
            gives it; None: there is no such endpoint, or it takes none.
        client: a boto3 client by service.
        now: the emulated present.
        region: of the endpoints.
    """

    def __init__(
        self,
        in_service: Callable[[str], tuple[ServingContainer, dict[str, Any]] | None],
        client: Callable[[str], Any],
        now: Callable[[], datetime],
        region: str,
    ) -> None:
        self._in_service, self._client, self._now, self._region = in_service, client, now, region

    def invoke(self, name: str, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answers a request for an endpoint, as WSGI has it."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        content_type, accept = environ.get("CONTENT_TYPE", ""), environ.get("HTTP_ACCEPT", "*/*")
        target = environ.get("HTTP_X_AMZN_SAGEMAKER_TARGET_MODEL")
        found = self._in_service(name)
        if found is None:
            return _invalid(start, f"Endpoint {name} of account {ACCOUNT} not found.")
        container, config = found
        try:
            if target is None:
                answer = container.invoke(body, content_type, accept)
            elif isinstance(container, LoadedVersions):
                answer = container.ask(target, body, content_type, accept)
            else:
                text = f"Endpoint {name} is not a multi-model endpoint and does not support target model header."
                return _invalid(start, text)
        except NoModelData as error:
            return _invalid(start, str(error))
        if answer.status != 200:
            refusal = {
                "OriginalStatusCode": answer.status, "OriginalMessage": answer.body.decode(errors="replace"),
                "Message": f"Received client error ({answer.status}) from primary with message.",
                "LogStreamArn": f"arn:aws:logs:{self._region}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/{name}",
            }  # fmt: skip
            return refusal_in_json(start, 424, "ModelError", refusal)
        at, capture = self._now(), config.get("DataCaptureConfig") or {}
        variant = config["ProductionVariants"][0]["VariantName"]
        if capture.get("EnableCapture"):
            line = captured_line(capture, content_type, body, answer.content_type, answer.body, at)
            folder = f"{capture['DestinationS3Uri'].rstrip('/')}/{name}/{variant}/{at:%Y/%m/%d/%H}"
            bucket, key = place_of(f"{folder}/{file_name(at)}")
            self._client("s3").put_object(Bucket=bucket, Key=key, Body=line)
        self._client("cloudwatch").put_metric_data(
            Namespace="AWS/SageMaker",
            MetricData=[{
                "MetricName": "Invocations", "Value": 1.0, "Unit": "None", "Timestamp": at,
                "Dimensions": [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": variant}],
            }],
        )  # fmt: skip
        headers = [("Content-Type", answer.content_type), ("x-Amzn-Invoked-Production-Variant", variant)]
        start("200 OK", [*headers, ("Content-Length", str(len(answer.body)))])
        return [answer.body]


def _invalid(start: Callable[..., Any], message: str) -> Iterable[bytes]:
    return refusal_in_json(start, 400, "ValidationError", {"message": message})
