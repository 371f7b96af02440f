"""deploy/aws/roles.yaml, deploy/aws/deployer.yaml: roles may do what the code calls and what CloudFormation asks for.

No emulator enforces permissions. What the code calls is read from its source; what CloudFormation's handlers of a type
of resource call is in AWS's resource schemas, which cfn-lint carries.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from deploy.aws.templates import FOLDER, ORDER, template

PACKAGE = FOLDER.parents[1] / "carsdepo_assets"
# What a handler's list names and no template of ours needs, each with its reason. A handler serves every property.
NOT_NEEDED = {
    r"kms:.*": "everything is encrypted with AWS's own keys",
    r".*\*": "a star in the schema: the calls are named one by one",
    r"(amplify|apprunner|appsync|bedrock-agentcore|cognito-idp):.*": "web ACLs and logins of other services",
    r"(docdb-elastic|redshift|redshift-serverless):.*": "secrets of other databases",
    r"(elasticfilesystem|s3files|firehose|managed-fleets|vpc-lattice|s3tables|lakeformation):.*": "not used",
    r"vpce:AllowMultiRegion|payments:.*|billing:.*": "other regions, paid rules, views of bills are not used",
    r"apigateway:UpdateRestApiPolicy": "the API has no policy of its own",
    r"autoscaling:(Attach|Detach).*": "the groups have no load balancer",
    r"autoscaling:.*(InstanceRefresh|LifecycleHook|NotificationConfiguration|MetricsCollection)": "they have none",
    r"ec2:(AcceptAddressTransfer|AssociateAddress|.*NatGatewayAddress)": "one address for one NAT gateway",
    r"ec2:(Associate|Disassociate)SubnetCidrBlock": "no second range of addresses",
    r"ec2:(CreateVpcEncryptionControl|ModifyVpcTenancy|AttachVpnGateway|DetachVpnGateway|DescribeIpamPools)": "no such",
    r"ec2:.*VerifiedAccess.*": "no such",
    r"ec2:UpdateSecurityGroupRuleDescriptionsEgress": "no rule of a group is about what leaves",
    r"ecr:DeleteRepositoryPolicy": "repositories have no policy",
    r"ecs:PutAccountSetting(Default)?": "the account's settings stay as they are",
    r"elasticloadbalancing:(.*WebACL.*|ModifyCapacityReservation|ModifyIpPools|SetIpAddressType)": "it has none",
    r"elasticloadbalancing:(De)?[Rr]egisterTargets": "ECS registers its tasks",
    r"glue:(.*Connection|GetSchemaVersion)": "tables are described by their columns",
    r"iam:(Attach|Detach)(Group|User)Policy|iam:.*PermissionsBoundary|iam:ListRoles": "roles alone, without boundaries",
    r"lambda:(AssociateRuntimeAlias|.*CodeSigningConfig|GetLayerVersion|PassCapacityProvider|PublishVersion)": "none",
    r"lambda:Put(Function(Recursion|Scaling)|RuntimeManagement)Config": "they are as Lambda sets them",
    r"logs:(Delete|Put)(DataProtection|Index|Resource)Policy": "groups have no policies",
    r"logs:(.*KmsKey|CreateLogDelivery|PutBearerTokenAuthentication|PutLogGroupDeletionProtection)": "nor these",
    r"rds:(AddRole.*|RemoveRole.*|.*ReadReplica|.*PointInTime|St(art|op).*Replication)": "one instance, no roles",
    r"route53:ChangeResourceRecordSets": "Cloud Map changes records itself, as ECS registers tasks",
    r"s3:(Delete|Put|Create|Update)Bucket(Abac|Acl|C[Oo][Rr][Ss]|Logging|ObjectLock\w+|Replication|Website)": "none",
    r"s3:(Delete|Put|Create|Update)Bucket(Analytics|Metrics|Metadata(\w+)?Table)Configuration": "none",
    r"s3:DeleteBucket(Encryption|Lifecycle)": "the permissions are those of Put",
    r"s3:Put(Accelerate|Analytics|IntelligentTiering|Metrics|ObjectLock|Replication)Configuration": "none",
    r"s3:PutObjectAcl": "lists of access are off",
    r"s3:REST\.PUT\.OBJECT": "no action of IAM",
    r"secretsmanager:.*Replicat.*": "one region",
    r"servicediscovery:(Delete|Update)ServiceAttributes": "services have none",
    r"sns:PutDataProtectionPolicy": "the topic has none",
    r"wafv2:(Get|Put)PermissionPolicy": "the web ACL is the account's own",
}
# Calls of boto3 whose permission has another name.
NAMED_OTHERWISE: dict[str, set[str]] = {
    "head_bucket": {"s3:ListBucket"}, "list_object_versions": {"s3:ListBucketVersions"},
    "delete_objects": {"s3:DeleteObject", "s3:DeleteObjectVersion"}, "get_caller_identity": set(),
    "get_bucket_notification_configuration": {"s3:GetBucketNotification"},
    "delete_message_batch": {"sqs:DeleteMessage"}, "change_message_visibility_batch": {"sqs:ChangeMessageVisibility"},
    "search": set(),  # of regular expressions
}  # fmt: skip
# By the modules of a process: the clients' services, and the roles of roles.yaml that it has.
PROCESSES = {
    "release/sagemaker_*.py": (("sagemaker", "sagemaker-runtime", "cloudwatch"), ("CodeRole", "RunRole")),
    "lake/message_queue.py": (("sqs",), ("CodeRole",)),
    "alerts/sns.py": (("sns",), ("CodeRole", "RunRole")),
    "compute/**/*.py": (("ecs", "sagemaker", "logs", "ecr", "iam", "service-quotas"), ("RunRole",)),
}
PREFIXES = {"sagemaker-runtime": "sagemaker", "service-quotas": "servicequotas"}


def allowed(content: Any) -> Iterator[str]:
    """The actions that statements within a template allow."""
    if isinstance(content, dict):
        if content.get("Effect") == "Allow":
            actions = content["Action"]
            yield from actions if isinstance(actions, list) else [actions]
        for inner in content.values():
            yield from allowed(inner)
    elif isinstance(content, list):
        for inner in content:
            yield from allowed(inner)


def of_role(name: str) -> set[str]:
    """The actions of a role of roles.yaml: its own, and those of the managed policies that are attached to it."""
    resources = template("roles")["Resources"]
    attached = [r for r in resources.values() if {"Ref": name} in r.get("Properties", {}).get("Roles", [])]
    return set(allowed(resources[name]["Properties"].get("Policies", []))) | set(allowed(attached))


@functools.cache
def operations(service: str) -> dict[str, str]:
    """By the name of a client's method the action of IAM."""
    model = botocore.session.get_session().get_service_model(service)
    prefix = PREFIXES.get(service, model.service_name)
    return {xform_name(name): f"{prefix}:{name}" for name in model.operation_names}


def called(files: Iterable[Path], services: Iterable[str]) -> dict[str, str]:
    """The methods of clients that a source names, as an attribute or as a text, with their actions."""
    known = {method: action for service in services for method, action in operations(service).items()}
    names: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
    return {name: known[name] for name in sorted(names & known.keys())}


def permissions(calls: Mapping[str, str]) -> set[str]:
    """What IAM asks for these calls."""
    return {action for name, one in calls.items() for action in NAMED_OTHERWISE.get(name, {one})}


@pytest.mark.parametrize("modules", PROCESSES)
def test_a_process_may_call_what_its_code_calls(modules: str) -> None:
    services, roles = PROCESSES[modules]
    wanted = called(PACKAGE.glob(modules), services)
    assert wanted, modules
    for role in roles:
        assert permissions(wanted) - of_role(role) == set(), f"{role} of deploy/aws/roles.yaml lacks these"


@pytest.mark.parametrize("role", ["RunRole", "CodeRole"])
def test_who_has_endpoints_follow_the_ledger_may_do_what_the_documentation_lists(role: str) -> None:
    """A run releases a model; the code server evaluates the sensor that looks at endpoints in between."""
    page = (PACKAGE.parent / "docs" / "aws.md").read_text()
    [row] = [line for line in page.splitlines() if "| endpoints |" in line]
    service, listed = "", set()
    for name in re.findall(r"`([\w:]+)`", row.split("|")[2]):
        prefix, colon, action = name.rpartition(":")
        service = prefix if colon else service
        if action[0].isupper():  # not the key of a file
            listed.add(f"{service}:{action}")
    assert {"sagemaker:UpdateEndpoint", "sagemaker:InvokeEndpoint", "cloudwatch:DescribeAlarms"} <= listed
    assert listed <= of_role(role)


@pytest.mark.parametrize("role", ["WebserverRole", "DaemonRole"])
def test_dagster_may_start_watch_and_end_the_tasks_of_runs(role: str) -> None:
    wanted = called((folder_of("dagster_aws") / "ecs").glob("*.py"), ["ecs", "logs"])
    assert "ecs:RunTask" in wanted.values()
    # It registers a definition only where dagster.yaml names none.
    assert permissions(wanted) - of_role(role) == {"ecs:RegisterTaskDefinition"}


def test_a_call_without_its_permission_is_found(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('def f(c): c.create_endpoint(); getattr(c, "create_model_card")(); c.other()')
    wanted = called(tmp_path.glob("*.py"), ["sagemaker"])
    assert wanted == {
        "create_endpoint": "sagemaker:CreateEndpoint",
        "create_model_card": "sagemaker:CreateModelCard",
    }
    assert set(wanted.values()) - of_role("RunRole") == {"sagemaker:CreateModelCard"}


def test_whoever_deploys_may_call_what_deploy_py_calls() -> None:
    services = (
        "cloudformation", "s3", "ssm", "secretsmanager", "ecr", "ecs", "sagemaker", "logs", "autoscaling", "sts",
    )  # fmt: skip
    files = [f for f in FOLDER.glob("*.py") if f.name not in ("emulated_account.py", "front_handler.py")]
    wanted = called((f for f in files if not f.name.startswith("test_")), services)
    assert {"continue_update_rollback", "stop_training_job", "stop_task", "put_retention_policy"} <= set(wanted)
    assert permissions(wanted) - set(allowed(template("deployer"))) == set()


def folder_of(package: str) -> Path:
    """Where a package is installed; it is not imported, which takes seconds."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def schemas(kinds: set[str]) -> dict[str, dict[str, Any]]:
    """By type AWS's schema of the resource."""
    texts = (file.read_text() for file in (folder_of("cfnlint") / "data" / "schemas" / "resources").glob("*.json"))
    # There are thousands: only those are parsed that are asked for.
    wanted = re.compile(rf'"typeName": ?"({"|".join(map(re.escape, sorted(kinds)))})"')
    contents = (json.loads(text) for text in texts if wanted.search(text))
    return {
        content["typeName"]: content for content in contents if content["typeName"] in kinds
    }  # others refer to them


def asked_for(schema: dict[str, Any]) -> set[str]:
    """The actions that CloudFormation's handlers of a type ask for, without that of listing, which no stack calls."""
    return {
        action for name, one in schema["handlers"].items() if name != "list" for action in one.get("permissions", [])
    }


def test_whoever_deploys_may_do_what_cloudformation_asks_for() -> None:
    may = {action.lower() for action in allowed(template("deployer"))}
    kinds = {resource["Type"] for stack in ORDER for resource in template(stack)["Resources"].values()}
    used: set[str] = set()
    described = schemas(kinds)
    assert described.keys() == kinds
    for kind, schema in sorted(described.items()):
        for action in sorted(asked_for(schema)):
            reasons = [pattern for pattern in NOT_NEEDED if re.fullmatch(pattern, action)]
            if action.lower() not in may:
                assert reasons, f"{kind}: the deployer's role lacks {action}"
                used |= set(reasons)
    assert used == set(NOT_NEEDED), "a reason of no use"


@pytest.mark.parametrize(
    "action",
    [
        "s3:PutLifecycleConfiguration", "s3:PutBucketNotification", "s3:PutEncryptionConfiguration",
        "logs:PutRetentionPolicy", "iam:PutRolePolicy", "iam:AttachRolePolicy", "lambda:UpdateFunctionConfiguration",
        "lambda:PutFunctionConcurrency", "ec2:CreateNatGateway", "rds:CreateDBInstance", "glue:CreateTable",
        "wafv2:AssociateWebACL", "elasticloadbalancing:ModifyLoadBalancerAttributes", "events:PutRule",
    ],
)  # fmt: skip
def test_what_the_templates_need_is_not_excused(action: str) -> None:
    assert [pattern for pattern in NOT_NEEDED if re.fullmatch(pattern, action)] == []
    assert action in set(allowed(template("deployer")))
