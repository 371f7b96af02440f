"""A deployment of the templates on ministack: what CloudFormation makes there, and what its API makes besides."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.aws import changes, parameters
from deploy.aws.account import Account
from deploy.aws.emulated_account import LACKS, Resolver, body, split, with_numbers
from deploy.aws.templates import stack_name, template


def briefly(seconds: float) -> None:
    """Waits for an emulator, which is quicker than AWS."""
    time.sleep(min(seconds, 0.1))


@dataclass
class Deployed:
    """The emulated account and what was made of it."""

    account: Account
    url: str
    """Of ministack."""
    size: str
    """Of the deployment."""
    environment: Mapping[str, str]
    """What the environment's file would have."""
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By stack the template as ministack got it."""
    given: dict[str, dict[str, str]] = field(default_factory=dict)
    direct: dict[str, str] = field(default_factory=dict)
    """What ministack's API made: name of the resource to its id."""
    late: dict[str, list[Any]] = field(default_factory=dict)
    """By stack the changes with which resources came that refer to one of LACKS."""

    def resources(self, stack: str) -> dict[str, str]:
        """The resources that are there, by name, with their ids."""
        client = self.account.client("cloudformation")
        listed = client.get_paginator("list_stack_resources").paginate(StackName=stack_name(self.account.env, stack))
        return {
            one["LogicalResourceId"]: one.get("PhysicalResourceId", "")
            for page in listed
            for one in page["StackResourceSummaries"]
            if one["ResourceStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
        }

    def update(self, stack: str, content: dict[str, Any]) -> list[Any]:
        """Changes a stack; returns the changes of the change set."""
        change_set = changes.make_change_set(self.account, stack, self.given[stack], text=body(content), wait=briefly)
        assert change_set is not None
        changes.carry_out(self.account, change_set, briefly)
        self.contents[stack] = content
        return list(change_set.changes)

    def make(self, stack: str, later: dict[str, str]) -> None:
        """Makes a stack, then what ministack's CloudFormation lacks of it, then what refers to that."""
        own = parameters.own_values(self.account.env, "1.0")
        whole = template(stack)
        given = self.given[stack] = parameters.of_stack(stack, self.size, self.environment, own, later)
        content, lacking, waiting = split(with_numbers(whole, given))
        self.update(stack, content)
        defaults = {k: str(v["Default"]) for k, v in whole["Parameters"].items() if "Default" in v}
        resolve = Resolver(self.account, {**defaults, **given}, self.resources(stack))
        for name in lacking:
            create = LACKS[whole["Resources"][name]["Type"]]
            if create is not None:
                properties = {k: v for k, v in whole["Resources"][name]["Properties"].items() if k != "AllocationId"}
                self.direct[name] = resolve.physical[name] = create(self.account, resolve(properties))
        if waiting:
            added = {name: resolve(whole["Resources"][name]) for name in waiting}
            for resource in added.values():
                resource.pop("Condition", None)
            self.late[stack] = self.update(stack, {**content, "Resources": {**content["Resources"], **added}})
