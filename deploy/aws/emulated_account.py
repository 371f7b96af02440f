"""An account that ministack emulates, for the tests of the templates: what it lacks of CloudFormation is spelled out.

It needs no containers: tasks of ECS are only recorded. `Ministack` is used as a context manager.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.aws.account import Account
from deploy.aws.templates import walk
from deploy.emulators.ecs_on_ministack import environment

REGION = "eu-west-1"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


class Ministack:
    """ministack in an environment of its own.

    Args:
        folder: for its environment, data and log.
        variables: that its process gets besides.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self._folder, self._variables = folder, dict(variables or {})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> Ministack:
        python = environment(self._folder)
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        self._log = (self._folder / "ministack.log").open("wb")
        self._process = subprocess.Popen(
            [str(python), "-m", "ministack"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(data),
                "TMPDIR": str(data),
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": self.url.rpartition(":")[2],
                "IOT_MTLS_ENABLED": "0",
                **self._variables,
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2).close()
                return self
            except urllib.error.HTTPError:
                return self  # it answers
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.1)
        raise RuntimeError((self._folder / "ministack.log").read_text(errors="replace")[-2000:])

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


# What ministack's CloudFormation does not know. Its own API knows each, and is called with the template's properties.
def _nat(account: Account, properties: Mapping[str, Any]) -> str:
    ec2 = account.client("ec2")
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = ec2.create_nat_gateway(SubnetId=properties["SubnetId"], AllocationId=address)
    return str(gateway["NatGateway"]["NatGatewayId"])


def _capacity_provider(account: Account, properties: Mapping[str, Any]) -> str:
    made = account.client("ecs").create_capacity_provider(**_lower_camel(properties))
    return str(made["capacityProvider"]["name"])


def _capacity(account: Account, properties: Mapping[str, Any]) -> str:
    made = account.client("ecs").put_cluster_capacity_providers(**_lower_camel(properties))
    return str(made["cluster"]["clusterName"])


def _composite_alarm(account: Account, properties: Mapping[str, Any]) -> str:
    account.client("cloudwatch").put_composite_alarm(**properties)
    return str(properties["AlarmName"])


def _budget(account: Account, properties: Mapping[str, Any]) -> str:
    budget = dict(properties["Budget"])
    budget["BudgetLimit"] = {key: str(value) for key, value in budget["BudgetLimit"].items()}
    account.client("budgets").create_budget(
        AccountId=account.number, Budget=budget, NotificationsWithSubscribers=properties["NotificationsWithSubscribers"]
    )
    return str(budget["BudgetName"])


def _web_acl_association(account: Account, properties: Mapping[str, Any]) -> str:
    account.client("wafv2").associate_web_acl(**properties)
    return str(properties["ResourceArn"])


Create = Callable[[Account, Mapping[str, Any]], str]
LACKS: dict[str, Create | None] = {
    "AWS::EC2::EIP": None,  # made with the NAT gateway
    "AWS::EC2::NatGateway": _nat,
    "AWS::ECS::CapacityProvider": _capacity_provider,
    "AWS::ECS::ClusterCapacityProviderAssociations": _capacity,
    "AWS::CloudWatch::CompositeAlarm": _composite_alarm,
    "AWS::Budgets::Budget": _budget,
    "AWS::WAFv2::WebACLAssociation": _web_acl_association,
}


def _lower_camel(value: Any) -> Any:
    """Keys as ECS's API has them: AutoScalingGroupArn is autoScalingGroupArn."""
    if isinstance(value, Mapping):
        return {key[:1].lower() + key[1:]: _lower_camel(inner) for key, inner in value.items()}
    return [_lower_camel(inner) for inner in value] if isinstance(value, list) else value


def split(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """A template as far as ministack can make it.

    Returns:
        The template without the resources of LACKS and without those that refer to one; the names of the former in
        the order of the template; the names of the latter.
    """
    resources = content["Resources"]
    lacking = [name for name, resource in resources.items() if resource["Type"] in LACKS]
    waiting = [
        name
        for name, resource in resources.items()
        if name not in lacking and any(_refers(value) in lacking for _, value in walk(resource))
    ]
    kept = {name: resource for name, resource in resources.items() if name not in (*lacking, *waiting)}
    return {**content, "Resources": kept}, lacking, waiting


def _refers(value: Any) -> str | None:
    if isinstance(value, dict) and "Ref" in value:
        return str(value["Ref"])
    if isinstance(value, dict) and "Fn::GetAtt" in value:
        return str(value["Fn::GetAtt"][0])
    return None


def with_numbers(content: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """The template with numbers in place of references to parameters of type Number, which ministack reads as texts."""
    declared = content["Parameters"]

    def literal(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"Ref"} and declared.get(value["Ref"], {}).get("Type") == "Number":
                return int(parameters.get(value["Ref"], declared[value["Ref"]].get("Default", 0)))
            return {key: literal(inner) for key, inner in value.items()}
        return [literal(inner) for inner in value] if isinstance(value, list) else value

    return {**content, "Resources": literal(content["Resources"])}


class Resolver:
    """Gives a resource's properties the values that CloudFormation would.

    Args:
        account: with the stacks so far.
        parameters: of the template, with the defaults.
        physical: names of resources to their ids.
    """

    def __init__(self, account: Account, parameters: Mapping[str, str], physical: dict[str, str]) -> None:
        self._parameters, self.physical = parameters, physical
        self._pseudo = {
            "AWS::Region": account.region,
            "AWS::AccountId": account.number,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
        }
        self._account = account

    def __call__(self, value: Any) -> Any:
        """The value with every function of CloudFormation evaluated that the resources of LACKS use."""
        if isinstance(value, list):
            return [self(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        match value:
            case {"Ref": name}:
                return self._ref(name)
            case {"Fn::GetAtt": [name, attribute]}:
                return self._attribute(name, attribute)
            case {"Fn::ImportValue": name}:
                return self._exports()[self(name)]
            case {"Fn::Sub": [text, names]}:
                return self._sub(text, {key: self(inner) for key, inner in names.items()})
            case {"Fn::Sub": text}:
                return self._sub(text, {})
        return {key: self(inner) for key, inner in value.items()}

    def _ref(self, name: str) -> str:
        return {**self._pseudo, **self._parameters, **self.physical}[name]

    def _attribute(self, name: str, attribute: str) -> str:
        if (name, attribute) == ("Door", "Arn"):
            listed = self._account.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]
            return next(str(acl["ARN"]) for acl in listed if acl["Name"] in self.physical["Door"])
        return self.physical[name]

    def _exports(self) -> dict[str, str]:
        pages = self._account.client("cloudformation").get_paginator("list_exports")
        return {e["Name"]: e["Value"] for page in pages.paginate() for e in page["Exports"]}

    def _sub(self, text: str, own: Mapping[str, str]) -> str:
        for name, value in {**self._pseudo, **self._parameters, **self.physical, **own}.items():
            text = text.replace(f"${{{name}}}", str(value))
        return text


def body(content: Mapping[str, Any]) -> str:
    """A template as JSON, which CloudFormation takes too."""
    return json.dumps(content)
