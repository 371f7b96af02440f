"""The parameters of a deployment's stacks: from its size, its environment, and what deploy.py knows itself."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.aws.account import DeployError, front_key
from deploy.aws.templates import FOLDER, ORDER, declared

SIZES = ("small", "medium", "large")
_RESERVED = (*SIZES, "deployer")  # their names would be those of files, and of the roles of who deploys
ENV = re.compile(r"[a-z][a-z0-9]{1,11}")
_ARN = re.compile(r"arn:aws[a-z-]*:([a-z0-9-]+):([a-z0-9-]+):([0-9]{12}):")
PARAMETER_BYTES = 4096  # of a value (AWS CloudFormation quotas)
_ROOT = FOLDER.parents[1]
_OWN = ("Env", "Tag", "DagsterYaml", "WorkspaceYaml", "Start", "ProxyConf", "MlflowProxyConf", "FrontCodeKey")
_LATER = ("SigningSecretArn", "FrontUrl", "LakeIsThere")  # what only the account tells


def environment_file(env: str) -> Path:
    """The file with the parameters of an environment, which its people write and may commit: it has no secret."""
    return FOLDER / "parameters" / f"{env}.json"


def require_name(env: str) -> None:
    """Refuses a text that cannot be the name of an environment.

    Raises:
        DeployError: It cannot.
    """
    if not ENV.fullmatch(env):
        raise DeployError(f"ENV={env}: 2 to 12 small letters and digits, a letter first, such as staging.")


def version() -> str:
    """The tag of the images: the version in pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def read_sizes(size: str) -> dict[str, dict[str, str]]:
    """The parameters of a size, by stack.

    Raises:
        DeployError: There is no such size.
    """
    if size not in SIZES:
        raise DeployError(f"SIZE={size}: there are {', '.join(SIZES)}.")
    content: dict[str, dict[str, str]] = json.loads((FOLDER / "parameters" / f"{size}.json").read_text())
    return content


def read_environment(env: str) -> dict[str, str]:
    """The parameters of an environment: what its file says, checked against the templates.

    Raises:
        DeployError: The name cannot be one, or the file is missing, wrong or incomplete. The message names every key
            that is missing, with its meaning.
    """
    if not ENV.fullmatch(env) or env in _RESERVED:
        raise DeployError(
            f"ENV={env}: 2 to 12 small letters and digits, a letter first, and none of {', '.join(_RESERVED)}: "
            "such as staging."
        )
    wanted = required()
    file = environment_file(env)
    if not file.is_file():
        keys = "\n".join(f'  "{key}": "...",   {meaning}' for key, meaning in wanted.items())
        raise DeployError(
            f"{file.relative_to(_ROOT)} is missing: a JSON object of texts, at least these. docs/aws-account.md, "
            f"Before the first deployment, has an example.\n{keys}"
        )
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise DeployError(f"{file.name}: not JSON: {error}.") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise DeployError(f"{file.name}: not a JSON object of texts.")
    allowed = {key for stack in ORDER for key in declared(stack)} - {*_OWN, *_LATER}
    if strange := sorted(content.keys() - allowed):
        raise DeployError(f"{file.name}: no template has {', '.join(strange)}, or deploy.py sets it itself.")
    if lacking := [key for key in wanted if not content.get(key)]:
        raise DeployError(f"{file.name} lacks " + "; ".join(f"{key} ({wanted[key]})" for key in lacking) + ".")
    if wrong := [trouble for key, value in content.items() if (trouble := trouble_with(key, value)) is not None]:
        raise DeployError(f"{file.name}: " + "; ".join(wrong) + ".")
    return content


def require_here(environment: Mapping[str, str], region: str, number: str) -> None:
    """Checks that the ARNs of an environment are of the account and region that it is deployed to.

    Raises:
        DeployError: One is not. The load balancer takes no certificate of another region, and says so after an hour.
    """
    for key, value in environment.items():
        named = _ARN.match(value)
        if named is None:
            continue
        is_of_account = named[3] == number or named[1] == "rds"  # a snapshot may be one that others share
        if named[2] != region or not is_of_account:
            raise DeployError(
                f"{key} is of account {named[3]}, {named[2]}, and the deployment goes to {number}, {region}: log in to "
                "the other account, set AWS_REGION, or correct the value."
            )


def trouble_with(key: str, value: str) -> str | None:
    """What CloudFormation would refuse of a value, which it would say only when the stack's turn comes; None: nothing.

    Args:
        key: of a parameter, perhaps of several templates.
        value: as given.
    """
    for stack in ORDER:
        parameter = declared(stack).get(key, {})
        allowed, pattern = parameter.get("AllowedValues"), parameter.get("AllowedPattern")
        if allowed is not None and value not in map(str, allowed):
            return f"{key} is {value!r}, and {stack} takes {', '.join(map(str, allowed))}"
        if pattern is not None and not re.search(pattern, value):
            return f"{key} is {value!r}, and {stack} takes what {pattern} describes ({parameter['Description']})"
        if parameter.get("Type") == "Number":
            if not re.fullmatch(r"-?[0-9]+", value):
                return f"{key} is {value!r}, and {stack} takes a whole number"
            least, most = parameter.get("MinValue", -math.inf), parameter.get("MaxValue", math.inf)
            if not least <= int(value) <= most:
                return f"{key} is {value}, and {stack} takes " + (
                    f"at least {least}" if most == math.inf else f"{least} to {most}"
                )
    return None


def required() -> dict[str, str]:
    """The keys that an environment's file must have, with their meaning: what has no default and no size gives."""
    sizes = read_sizes("small")
    return {
        key: parameter["Description"]
        for stack in ORDER
        for key, parameter in declared(stack).items()
        if "Default" not in parameter and key not in (*_OWN, *_LATER) and key not in sizes.get(stack, {})
    }


def own_values(env: str, tag: str) -> dict[str, str]:
    """What deploy.py gives itself: texts of files that containers write down when they start.

    Raises:
        DeployError: A text is longer than CloudFormation takes.
    """
    dagster = yaml.safe_load((_ROOT / "deploy/dagster/aws.yaml").read_text())
    workspace = yaml.safe_load((_ROOT / "deploy/dagster/workspace.yaml").read_text())
    workspace["load_from"][0]["grpc_server"]["host"] = f"code.carsdepo-{env}.internal"
    values = {
        "Env": env,
        "Tag": tag,
        "DagsterYaml": json.dumps(dagster),
        "WorkspaceYaml": json.dumps(workspace),
        "Start": (FOLDER / "start").read_text(),
        "ProxyConf": (FOLDER / "proxy-dagster.conf").read_text(),
        "MlflowProxyConf": (FOLDER / "proxy-mlflow.conf").read_text(),
        "FrontCodeKey": front_key(),
    }
    for key, value in values.items():
        if len(value.encode()) > PARAMETER_BYTES:
            raise DeployError(f"{key} has {len(value.encode())} bytes, and CloudFormation takes {PARAMETER_BYTES}.")
    return values


def of_stack(
    stack: str, size: str, environment: Mapping[str, str], own: Mapping[str, str], later: Mapping[str, str]
) -> dict[str, str]:
    """The parameters of one stack; what none of the sources has keeps the template's default.

    Args:
        stack: of ORDER.
        size: of SIZES.
        environment: from `read_environment`; it goes before the size.
        own: from `own_values`.
        later: what the account tells: SigningSecretArn, FrontUrl, LakeIsThere.
    """
    merged = {**read_sizes(size).get(stack, {}), **environment, **own, **later}
    return {key: merged[key] for key in declared(stack) if key in merged}
