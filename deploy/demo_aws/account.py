"""The emulated account: ministack with the stacks of deploy/aws, and moto beside it for SageMaker.

ministack is S3 for both, since its S3 tells EventBridge of objects as AWS's does, and since its S3, SQS, API Gateway
and Lambda are made by the templates; moto is asked for SageMaker and the quotas alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.aws.account import Account, ensure_signing_keys, open_account, put_front_code
from deploy.aws.changes import outputs_of
from deploy.aws.deploy import OIDC_KEYS
from deploy.aws.emulated_account import KEYS, REGION, Ministack, Resolver
from deploy.aws.emulated_deployment import Deployed
from deploy.aws.templates import template
from deploy.demo_aws.leftovers import MARK
from deploy.emulators.ecr_images import name_image
from deploy.emulators.sagemaker_endpoints import SageMakerEndpoints
from deploy.emulators.sagemaker_runners import Runner

ENV = "demo"
STACKS = ("network", "data", "roles", "dagster", "front")  # without Athena's tables, GPUs and alarms
ENVIRONMENT = {
    "Domain": "cars.example",
    "CertificateArn": f"arn:aws:acm:{REGION}:000000000000:certificate/1",
    "OidcIssuer": "https://id.example",
    "OidcAuthorization": "https://id.example/authorize",
    "OidcToken": "https://id.example/token",
    "OidcUserInfo": "https://id.example/userinfo",
    "OidcSecret": f"carsdepo/{ENV}/oidc",
    "TrainInstance": "ml.m5.xlarge",  # has no GPU, as the emulator's machine
    "EndpointInstance": "ml.c5.xlarge",  # moto's own list of instance types has no newer ones
}
TAG = "1.0"  # of the images, as Deployed has it


@dataclass(frozen=True)
class EmulatedAccount:
    """What the demo works on."""

    deployed: Deployed
    sagemaker: SageMakerEndpoints
    task: Mapping[str, str]
    """The variables of a run's task, as the task definition has them: secrets among them."""
    front: str
    """URL of API Gateway's stage."""
    subscribed: str
    """URL of a queue that gets what the topic of alerts gets."""

    @property
    def account(self) -> Account:
        """The account, with its clients."""
        return self.deployed.account

    def client(self, service: str) -> Any:
        """A client of boto3 by the service's name; SageMaker's is moto's."""
        return self.account.client(service)

    def queue(self, name: str) -> str:
        """The URL of a queue by its name in data.yaml, such as Uploads or UploadsDead."""
        return self.deployed.resources("data")[name]

    def alerts(self) -> list[str]:
        """The titles of the alerts that came by the topic so far."""
        sqs, titles = self.client("sqs"), list[str]()
        while messages := sqs.receive_message(
            QueueUrl=self.subscribed, MaxNumberOfMessages=10, VisibilityTimeout=600
        ).get("Messages"):
            titles += [str(json.loads(message["Body"]).get("Subject", "")) for message in messages]
        return titles


@contextmanager
def emulated_account(folder: Path, runner: Runner) -> Iterator[EmulatedAccount]:
    """Starts the emulators and makes the stacks; sets this process's AWS variables while it lasts.

    Args:
        folder: for ministack's environment, data and log.
        runner: starts the containers of jobs and endpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        ministack = held.enter_context(Ministack(folder, {MARK: str(folder.parent)}))
        sagemaker = held.enter_context(SageMakerEndpoints(runner, REGION, elsewhere=ministack.url))
        held.enter_context(_variables({**sagemaker.variables(), **KEYS}))
        account = open_account(ENV)
        for name in ("s3", "sqs", "sagemaker"):  # clients are slow to make, and are made by several threads
            sagemaker.client(name, "AKIASERVICE")
        keys = json.dumps(dict.fromkeys(OIDC_KEYS, "of the demo"))
        account.client("secretsmanager").create_secret(Name=ENVIRONMENT["OidcSecret"], SecretString=keys)
        deployed = Deployed(account, ministack.url, "small", ENVIRONMENT)
        later = {"LakeIsThere": "false", "FrontUrl": ""}
        for stack in STACKS:
            if stack == "dagster":
                later["SigningSecretArn"] = ensure_signing_keys(account)
            if stack == "front":
                put_front_code(account)
            deployed.make(stack, later)
        _put_images(account)
        _let_function_reach(deployed, sagemaker.url)
        kinds = ("training", "spot training", "processing")
        sagemaker.faults.quotas = {f"{ENVIRONMENT['TrainInstance']} for {kind} job usage": 1.0 for kind in kinds}
        sagemaker.queue_url = outputs_of(account, "data")["ModelsUrl"]
        front = f"{ministack.url}/restapis/{deployed.resources('front')['Api']}/live/_user_request_"
        yield EmulatedAccount(deployed, sagemaker, task_variables(deployed), front, _subscribed(account))


def task_variables(deployed: Deployed) -> dict[str, str]:
    """The variables that ECS would give the container of a run, with the values of its secrets.

    ministack loses the secrets of a task definition, so that they are taken from the template.
    """
    account = deployed.account
    described = account.client("ecs").describe_task_definition(taskDefinition=f"carsdepo-{account.env}-run")
    [container] = described["taskDefinition"]["containerDefinitions"]
    variables = {one["name"]: one["value"] for one in container["environment"]}
    content = template("dagster")
    [of_template] = content["Resources"]["RunTask"]["Properties"]["ContainerDefinitions"]
    resolve = Resolver(account, deployed.given["dagster"], deployed.resources("dagster"))
    client = account.client("secretsmanager")
    for one in resolve(of_template["Secrets"]):
        arn, key = split_secret(one["ValueFrom"])
        text = client.get_secret_value(SecretId=arn)["SecretString"]
        variables[one["Name"]] = text if key is None else json.loads(text)[key]
    return variables


def split_secret(value_from: str) -> tuple[str, str | None]:
    """A secret's ARN, and the key in its JSON, of what a task definition names (ARN:key:stage:version).

    ministack gives a secret's name where CloudFormation gives its ARN.
    """
    parts = value_from.split(":")
    own = 7 if parts[0] == "arn" else 1
    return ":".join(parts[:own]), (parts[own] if len(parts) > own else "") or None


def _subscribed(account: Account) -> str:
    """Subscribes a queue of the demo's own to the topic of alerts; returns its URL."""
    sqs = account.client("sqs")
    url = str(sqs.create_queue(QueueName="demo-alerts")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = outputs_of(account, "data")["AlertsArn"]
    account.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return url


def _put_images(account: Account) -> None:
    """Names the images in ECR; preflight asks for the worker's."""
    for name in ("worker", "worker-cpu", "service"):
        name_image(account.client("ecr"), f"{account.env}/carsdepo-{name}", TAG)


def _let_function_reach(deployed: Deployed, url: str) -> None:
    """Gives the front's function the address of the emulated SageMaker, which is no part of ministack."""
    functions, name = deployed.account.client("lambda"), f"carsdepo-{ENV}-front"
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    variables["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = url
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


@contextmanager
def _variables(given: Mapping[str, str]) -> Iterator[None]:
    """Has this process reach the emulators and nothing else of AWS."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in before:
        del os.environ[name]
    os.environ.update(given)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(before)
