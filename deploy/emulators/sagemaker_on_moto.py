"""An AWS on this machine whose SageMaker jobs run: moto, with training and processing jobs that start the real worker.

`python -m deploy.emulators.sagemaker_on_moto` prints its address. With DOCKER_HOST set it runs images, otherwise the
worker as a process of this machine. moto does S3, IAM, ECR, STS and SageMaker's registers; what it lacks is here: the
jobs' lives, StopTrainingJob, the API's limits, quotas, and faults on command. It rests on internals of moto, which
`MOTO` pins and `internals` looks at.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deploy.emulators.aws_faults import Faults
from deploy.emulators.ecr_images import name_image
from deploy.emulators.request_limits import violations
from deploy.emulators.sagemaker_jobs import EmulatedJob, Kind, Settings
from deploy.emulators.sagemaker_runners import ContainerRunner, ProcessRunner, Runner
from deploy.emulators.sagemaker_storage import Storage

MOTO = "5.2.5"
ACCOUNT = "123456789012"
_OWN = ("sagemaker", "sagemaker-runtime", "service-quotas")  # services that no other emulator has
_METHODS = tuple(f"{verb}_{kind}_job" for verb in ("create", "describe", "stop") for kind in ("training", "processing"))


class SageMakerOnMoto:
    """The emulator, used as a context manager. One at a time in a process, as moto's state is the process's.

    Args:
        runner: None: containers where DOCKER_HOST is set, else processes.
        region: of the jobs.
        elsewhere: URL of another emulator that has everything but SageMaker, its quotas among it; None: moto has it.
    """

    def __init__(self, runner: Runner | None = None, region: str = "us-east-1", elsewhere: str | None = None) -> None:
        self.runner: Runner = runner or (ContainerRunner() if os.environ.get("DOCKER_HOST") else ProcessRunner())
        self.region, self.elsewhere = region, elsewhere
        self.settings = Settings()
        self.settings.starting.set()
        self.jobs: dict[str, EmulatedJob] = {}
        self.faults: Faults
        self.url = ""
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = threading.Lock()

    def __enter__(self) -> SageMakerOnMoto:
        from moto.core.base_backend import BackendDict
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from moto.server import MotoRequestHandler  # type: ignore[attr-defined]
        from werkzeug.serving import make_server

        broken = internals()
        if broken:
            raise RuntimeError(f"moto {importlib.metadata.version('moto')}: {'; '.join(broken)}.")
        BackendDict.reset()  # of what another emulator left in this process
        self.faults = Faults(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self.faults, threaded=True, request_handler=MotoRequestHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._before = self._patch()
        return self

    def __exit__(self, *exception: object) -> None:
        for job in self.jobs.values():
            if not job.over:
                self.settings.grace_s = 2.0
                job.stop()
        for job in self.jobs.values():
            job.join(20)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        from moto.core.base_backend import BackendDict
        from moto.sagemaker.responses import SageMakerResponse

        for name, method in self._before.items():
            if method is None:
                delattr(SageMakerResponse, name)
            else:
                setattr(SageMakerResponse, name, method)
        BackendDict.reset()

    def variables(self, access_key: str = "AKIACLIENT") -> dict[str, str]:
        """What makes boto3 talk to this AWS."""
        own = {f"AWS_ENDPOINT_URL_{name.upper().replace('-', '_')}": self.url for name in _OWN}
        return {
            "AWS_ENDPOINT_URL": self.elsewhere or self.url,
            **(own if self.elsewhere is not None else {}),
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": "emulated-secret",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ALLOW_HTTP": "true",  # for the lake's client, which would refuse an address without TLS
        }

    def client(self, service: str, access_key: str = "AKIATESTS") -> Any:
        """A boto3 client of this AWS, whatever the environment is."""
        import boto3  # type: ignore[import-untyped]

        with self._making:  # a session is not for several threads; its clients are, and take long to make
            if (service, access_key) not in self._clients:
                session = boto3.session.Session(access_key, "emulated-secret", region_name=self.region)
                url = self.url if self.elsewhere is None or service in _OWN else self.elsewhere
                self._clients[service, access_key] = session.client(service, endpoint_url=url)
            return self._clients[service, access_key]

    def job(self, name: str, state: str | None = None, seconds: float = 180.0) -> EmulatedJob:
        """A job, once it is there and, if given, once its secondary status is `state`."""
        ends = time.monotonic() + seconds
        while name not in self.jobs or (state is not None and self.jobs[name].secondary != state):
            job = self.jobs.get(name)
            if time.monotonic() > ends or (job is not None and job.over and job.secondary != state):
                now = "not there" if job is None else f"{job.secondary} ({job.reason}); {job.log[-2000:]}"
                raise TimeoutError(f"{name} is {now}, not {state or 'there'}.")
            time.sleep(0.02)
        return self.jobs[name]

    def _create(self, kind: Kind, response: Any, original: Any) -> Any:
        from moto.sagemaker.exceptions import ResourceInUseException, SagemakerClientError, ValidationError

        field = "TrainingJob" if kind == "training" else "ProcessingJob"
        request = _valid(f"Create{field}", response)
        name = request[f"{field}Name"]
        cluster = request["ResourceConfig"] if kind == "training" else request["ProcessingResources"]["ClusterConfig"]
        quota = f"{cluster['InstanceType']} for {kind} job usage"
        limit = self.faults.quotas.get(quota)
        if limit is not None and limit < cluster["InstanceCount"]:
            error = SagemakerClientError(
                f"The account-level service limit '{quota}' is {limit:g} Instances, with current utilization of 0 "
                f"Instances and a request delta of {cluster['InstanceCount']} Instances. Please use AWS Service Quotas "
                "to request an increase for this quota."
            )
            error.code = "ResourceLimitExceeded"
            raise error
        if name in self.jobs:
            raise ResourceInUseException("Job name must be unique within an AWS account and region.")
        if cluster["InstanceCount"] > 1:
            raise ValidationError("This emulator has one instance a job.")
        result = original(response)
        arn = f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{kind}-job/{name}"
        job = EmulatedJob(
            kind, request, arn, self.settings, self.runner, Storage(lambda: self.client("s3", "AKIASERVICE")),
            self.variables("AKIAWORKER"),
        )  # fmt: skip
        self.jobs[name] = job
        job.start()
        return result

    def _describe(self, kind: Kind, response: Any, original: Any) -> Any:
        from moto.core.responses import ActionResult
        from moto.sagemaker.exceptions import ValidationError

        job = self._named("Describe", kind, response)
        if job is None:
            raise ValidationError("Requested resource not found.")
        field = "TrainingJobArn" if kind == "training" else "ProcessingJobArn"
        asked = {k: v for k, v in job.request.items() if k != "Tags"}
        described = {**asked, field: job.arn, "CreationTime": job.created, **job.description()}
        return ActionResult({k: v for k, v in described.items() if v is not None})

    def _stop(self, kind: Kind, response: Any, original: Any) -> Any:
        from moto.core.responses import EmptyResult
        from moto.sagemaker.exceptions import ValidationError

        job = self._named("Stop", kind, response)
        if job is None:
            raise ValidationError("Requested resource not found.")
        if job.status != "InProgress":
            raise ValidationError(f"The request was rejected because the {kind} job is in status {job.status}.")
        job.stop()
        return EmptyResult()

    def _named(self, verb: str, kind: Kind, response: Any) -> EmulatedJob | None:
        field = "TrainingJob" if kind == "training" else "ProcessingJob"
        job = self.jobs.get(_valid(f"{verb}{field}", response)[f"{field}Name"])
        return job if job is not None and job.kind == kind else None

    def _patch(self) -> dict[str, Any]:
        """Puts this emulator's methods into moto's; returns what was there."""
        from moto.sagemaker.responses import SageMakerResponse

        before: dict[str, Any] = {}
        for name in _METHODS:
            verb, kind, _ = name.split("_")
            before[name] = SageMakerResponse.__dict__.get(name)
            setattr(SageMakerResponse, name, self._method(verb, kind, before[name]))
        return before

    def _method(self, verb: str, kind: Any, original: Any) -> Any:
        ours = getattr(self, f"_{verb}")
        return lambda response: ours(kind, response, original)


def _valid(operation: str, response: Any) -> dict[str, Any]:
    """The body of a request, refused as AWS refuses it."""
    from moto.sagemaker.exceptions import ValidationError

    request: dict[str, Any] = json.loads(response.body)
    wrong = violations(operation, request)
    if wrong:
        raise ValidationError(f"{len(wrong)} validation error{'s' * (len(wrong) > 1)} detected: {'; '.join(wrong)}")
    return request


def internals() -> list[str]:
    """What of moto's internals this module uses and does not find; empty: all is there."""
    import inspect

    broken = []
    version = importlib.metadata.version("moto")
    if version != MOTO:
        broken.append(f"version {version} is not {MOTO}, which this emulator was written for")
    try:
        from moto.core.base_backend import BackendDict
        from moto.core.responses import ActionResult, EmptyResult  # noqa: F401
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: F401
        from moto.sagemaker import exceptions
        from moto.sagemaker.responses import SageMakerResponse
        from moto.server import MotoRequestHandler  # type: ignore[attr-defined]  # noqa: F401
    except ImportError as error:
        return [*broken, f"{error}"]
    for name in _METHODS:
        method = SageMakerResponse.__dict__.get(name)
        if name == "stop_training_job":
            if method is not None:
                broken.append("it has stop_training_job now, which this emulator replaces")
        elif method is None or list(inspect.signature(method).parameters) != ["self"]:
            broken.append(f"SageMakerResponse.{name}(self) is not there")
    broken += [
        f"moto.sagemaker.exceptions.{name} is not there"
        for name in ("ValidationError", "ResourceInUseException", "SagemakerClientError")
        if not hasattr(exceptions, name)
    ]
    if not hasattr(BackendDict, "reset"):
        broken.append("BackendDict.reset is not there")
    if not hasattr(SageMakerResponse, "_get_param"):
        broken.append("BaseResponse._get_param is not there")
    return broken


@contextmanager
def environment(emulator: SageMakerOnMoto) -> Iterator[None]:
    """Sets this process's AWS variables to the emulator's while it lasts."""
    before = {name: os.environ.get(name) for name in emulator.variables()}
    os.environ.update(emulator.variables())
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def prepare(emulator: SageMakerOnMoto, bucket: str) -> str:
    """Makes what a job needs: the bucket, the role, and a repository of ECR with an image.

    Returns:
        A file for CARSDEPO_COMPUTE that trains there, on instance types without a GPU.
    """
    name, tag = "carsdepo-worker-cpu", "emulated"
    emulator.client("s3").create_bucket(Bucket=bucket)
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    role = emulator.client("iam").create_role(RoleName="carsdepo-jobs", AssumeRolePolicyDocument=json.dumps(trust))
    ecr = emulator.client("ecr")
    address = ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"]
    name_image(ecr, name, tag)
    return f"""by_asset = {{ candidate_model = "sagemaker" }}

[sagemaker]
image = "{address}:{tag}"
role = "{role["Role"]["Arn"]}"
bucket = "{bucket}"
region = "{emulator.region}"
instance_types = {{ others = "ml.m5.xlarge" }}
"""


def main() -> None:
    """Runs until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bucket", default="carsdepo", help="made at the start")
    parser.add_argument("--file", default="build/emulated.toml", help="written: what CARSDEPO_COMPUTE is to name")
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else it writes a line for each request
    with SageMakerOnMoto() as emulator:
        file = Path(options.file).resolve()
        file.parent.mkdir(parents=True, exist_ok=True)
        text = prepare(emulator, options.bucket)
        file.write_text(text)
        variables = {
            **emulator.variables(), "CARSDEPO_COMPUTE": str(file), "CARSDEPO_LAKE": f"s3://{options.bucket}/lake"
        }  # fmt: skip
        print(f"# SageMaker runs {emulator.runner.words}. Ctrl-C ends it; what is in the bucket is lost then.")
        print("\n".join(f"# {line}".rstrip() for line in (f"{file}:", *text.splitlines())))
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()), flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
