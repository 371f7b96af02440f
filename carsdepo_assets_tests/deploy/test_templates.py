"""deploy/aws/*.yaml: least privilege, TLS and logins, no secret as a plain value, dead letters, retention, encryption.

Each rule is a function that yields what breaks it, and is shown to find a breach; then every template is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.aws.templates import FOLDER, ORDER, TEMPLATE_BYTES, template, text_of, walk

STACKS = (*ORDER, "deployer")
# Statements of which the actions know no resource, or none that could be named before it is made.
ANY_RESOURCE = {
    ("roles", "Registry"): "GetAuthorizationToken is about the registry of the account, which has no ARN",
    ("roles", "Definitions"): "DescribeTaskDefinition, ListAccountSettings, DescribeNetworkInterfaces and "
    "ListServiceQuotas only look, and know no resource",
    ("roles", "Metrics"): "PutMetricData knows no resource; the namespace is a condition",
    ("roles", "Find"): "lists know no resource; that of tasks has the cluster as a condition",
    ("roles", "Look"): "Describe actions of EC2 know no resource",
    ("roles", "Agent"): "DiscoverPollEndpoint and GetAuthorizationToken know no resource",
    ("deployer", "Exports"): "lists of CloudFormation know no resource",
    ("deployer", "Passwords"): "GetRandomPassword and GetAuthorizationToken know no resource",
    ("deployer", "Vpc"): "EC2 names what it makes; the region is a condition",
    ("deployer", "LoadBalancer"): "its Describe actions know no resource; the region is a condition",
    ("deployer", "LookAtMachines"): "Describe actions of Auto Scaling, and the plans of ECS's managed scaling",
    ("deployer", "Names"): "Cloud Map names what it makes; the region is a condition",
    ("deployer", "Zone"): "the private zone of Cloud Map has no name before it is made",
    ("deployer", "LookAtDatabases"): "Describe actions of RDS work on lists",
    ("deployer", "Tasks"): "RegisterTaskDefinition and Describe actions know no resource; the region is a condition",
    ("deployer", "LookAtDoors"): "ListWebACLs knows no resource",
    ("deployer", "LookAtAlarmsAndLogs"): "lists know no resource",
}
# What a lifecycle may delete: by bucket the prefix.
EXPIRES = {
    ("Lake", "carsdepo-jobs/"), ("Logs", "dagster/"), ("Logs", "load-balancer/"), ("Logs", "inventory/"),
    ("Logs", "athena/"),
}  # fmt: skip
SECRET = re.compile(r"(?i)password|secret|token|private_?key|api_?key|credential")
# Properties and variables whose names look like a secret's and hold none.
NO_SECRETS = {
    "SecretId", "SecretStringTemplate", "GenerateSecretString", "GenerateStringKey", "PasswordLength", "ApiKeyRequired",
    "ApiKeySourceType", "OidcToken", "OidcSecret", "TokenEndpoint", "SigningSecretArn", "KeyId", "Secret", "HttpTokens",
    "Secrets",
}  # fmt: skip


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def resources(content: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, resource in content["Resources"].items():
        if resource["Type"] == kind:
            yield name, resource.get("Properties", {}), resource


def statements(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, value in walk(content["Resources"]):
        if isinstance(value, dict) and "Effect" in value:
            yield value


def broad_statements(stack: str, content: dict[str, Any]) -> Iterator[str]:
    """Allowed actions with a star, resources that are a star without a reason, and openness to anybody."""
    for statement in statements(content):
        said = f"{stack}: {statement.get('Sid', statement)}"
        if statement["Effect"] != "Allow":
            continue
        if "NotAction" in statement or "NotResource" in statement or "NotPrincipal" in statement:
            yield f"{said}: allows all but something"
        for action in as_list(statement.get("Action", [])):
            if "*" in action or ":" not in action:
                yield f"{said}: the action {action}"
        for resource in as_list(statement.get("Resource", [])):
            if resource == "*" and (stack, statement.get("Sid")) not in ANY_RESOURCE:
                yield f"{said}: any resource"
        principal = statement.get("Principal", {})
        if principal == "*" or (isinstance(principal, dict) and "*" in map(str, principal.values())):
            yield f"{said}: anybody"
        if "iam:PassRole" in as_list(statement.get("Action", [])) and "*" in as_list(statement.get("Resource")):
            yield f"{said}: passes any role"


def open_doors(stack: str, content: dict[str, Any]) -> Iterator[str]:
    """Listeners without TLS or login, methods without a key, ingress from everywhere but to 443."""
    for name, listener, _ in resources(content, "AWS::ElasticLoadBalancingV2::Listener"):
        if listener.get("Protocol") != "HTTPS" or not listener.get("Certificates"):
            yield f"{stack}.{name}: no TLS"
        if "TLS13" not in str(listener.get("SslPolicy")):
            yield f"{stack}.{name}: an old policy of TLS"
        yield from _without_login(f"{stack}.{name}", listener["DefaultActions"])
    for name, rule, _ in resources(content, "AWS::ElasticLoadBalancingV2::ListenerRule"):
        yield from _without_login(f"{stack}.{name}", rule["Actions"])
    for name, method, _ in resources(content, "AWS::ApiGateway::Method"):
        if method.get("ApiKeyRequired") is not True and method.get("AuthorizationType") in (None, "NONE"):
            yield f"{stack}.{name}: no key"
    for name, group, _ in resources(content, "AWS::EC2::SecurityGroup"):
        for rule in group.get("SecurityGroupIngress", []):
            if "CidrIp" in rule and (rule["FromPort"], rule["ToPort"]) != (443, 443):
                yield f"{stack}.{name}: open to {rule['CidrIp']}"
    for name, database, _ in resources(content, "AWS::RDS::DBInstance"):
        if database.get("PubliclyAccessible") is not False or database.get("StorageEncrypted") is not True:
            yield f"{stack}.{name}: public, or not encrypted"
    for name, service, _ in resources(content, "AWS::ECS::Service"):
        if service["NetworkConfiguration"]["AwsvpcConfiguration"].get("AssignPublicIp") != "DISABLED":
            yield f"{stack}.{name}: a public address"


def _without_login(name: str, actions: list[dict[str, Any]]) -> Iterator[str]:
    first = min(actions, key=lambda action: int(action["Order"]))
    if first["Type"] not in ("authenticate-oidc", "authenticate-cognito"):
        yield f"{name}: no login"


def plain_secrets(stack: str, content: dict[str, Any]) -> Iterator[str]:
    """Values under a name such as a secret's that are neither resolved from Secrets Manager nor its ARN."""
    for path, value in walk(content["Resources"]):
        if not isinstance(value, dict) or not path:  # the first keys are names of resources
            continue
        if SECRET.search(str(value.get("Name", ""))) and "Value" in value:
            yield f"{stack}.{path[0]}: {value['Name']} is a variable; ECS's `secrets` are the place"
        for key, inner in value.items():
            of_a_condition = "." in key or ":" in key
            named_so = SECRET.search(key) and key not in NO_SECRETS and not of_a_condition
            if named_so and "{{resolve:secretsmanager:" not in json.dumps(inner):
                yield f"{stack}.{'.'.join(path)}.{key}: {json.dumps(inner)[:60]}"
    for name, parameter in content.get("Parameters", {}).items():
        if re.search(r"(?i)password|privatekey|clientsecret", name) or "NoEcho" in parameter:
            yield f"{stack}: the parameter {name} would be a secret"


def without_dead_letters(stack: str, content: dict[str, Any]) -> Iterator[str]:
    """Queues without a queue for what cannot be read, and rules without one for what cannot be delivered."""
    dead = set()
    for _, queue, _ in resources(content, "AWS::SQS::Queue"):
        if "RedrivePolicy" in queue:
            dead.add(queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0])
    for name, queue, _ in resources(content, "AWS::SQS::Queue"):
        if name not in dead and queue.get("RedrivePolicy", {}).get("maxReceiveCount", 0) < 2:
            yield f"{stack}.{name}: no dead letters"
        if queue.get("SqsManagedSseEnabled") is not True:
            yield f"{stack}.{name}: not encrypted"
    for name, rule, _ in resources(content, "AWS::Events::Rule"):
        for target in rule["Targets"]:
            if "DeadLetterConfig" not in target:
                yield f"{stack}.{name}: no dead letters"


def kept_for_ever(stack: str, content: dict[str, Any]) -> Iterator[str]:
    """Log groups without a retention, and logs of containers into a group that no template makes."""
    groups = set()
    for name, group, _ in resources(content, "AWS::Logs::LogGroup"):
        groups.add(name)
        if "RetentionInDays" not in group:
            yield f"{stack}.{name}: kept for ever"
    for path, value in walk(content["Resources"]):
        if isinstance(value, dict) and "awslogs-group" in value and value["awslogs-group"].get("Ref") not in groups:
            yield f"{stack}.{path[0]}: logs into a group that nobody makes"
    for name, function, _ in resources(content, "AWS::Lambda::Function"):
        logged = [g["LogGroupName"]["Fn::Sub"] for _, g, _ in resources(content, "AWS::Logs::LogGroup")]
        if f"/aws/lambda/{function['FunctionName']['Fn::Sub']}" not in logged:
            yield f"{stack}.{name}: its log is kept for ever"


def weak_buckets(stack: str, content: dict[str, Any]) -> Iterator[str]:
    """Buckets that are not encrypted, versioned, closed to the public, and closed to requests without TLS."""
    policies = {
        json.dumps(policy["Bucket"], sort_keys=True): policy["PolicyDocument"]["Statement"]
        for _, policy, _ in resources(content, "AWS::S3::BucketPolicy")
    }
    for name, bucket, _ in resources(content, "AWS::S3::Bucket"):
        if bucket.get("VersioningConfiguration") != {"Status": "Enabled"}:
            yield f"{stack}.{name}: not versioned"
        if "BucketEncryption" not in bucket:
            yield f"{stack}.{name}: not encrypted"
        blocked = bucket.get("PublicAccessBlockConfiguration", {})
        if len(blocked) != 4 or not all(value is True for value in blocked.values()):
            yield f"{stack}.{name}: open to the public"
        if "LifecycleConfiguration" not in bucket:
            yield f"{stack}.{name}: no lifecycle"
        reference = json.dumps({"Ref": name})
        own = next((said for of, said in policies.items() if of == reference or f", {reference}, " in of), None)
        tls = {"Bool": {"aws:SecureTransport": False}}
        if not any(s["Effect"] == "Deny" and s.get("Condition") == tls and s["Action"] == "s3:*" for s in own or []):
            yield f"{stack}.{name}: takes requests without TLS"


def forgetful_buckets(stack: str, content: dict[str, Any]) -> Iterator[str]:
    """Lifecycles that delete what is not in EXPIRES: tables and their logs, photographs, models, lineage."""
    for name, bucket, _ in resources(content, "AWS::S3::Bucket"):
        for rule in bucket.get("LifecycleConfiguration", {}).get("Rules", []):
            deletes = {"ExpirationInDays", "ExpirationDate"} & rule.keys()
            if deletes and (name, rule.get("Prefix")) not in EXPIRES:
                yield f"{stack}.{name}: {rule['Id']} deletes {rule.get('Prefix') or 'everything'}"
            for transition in rule.get("Transitions", []):
                if transition["StorageClass"] != "INTELLIGENT_TIERING":  # the others cannot be read at once
                    yield f"{stack}.{name}: {rule['Id']} moves to {transition['StorageClass']}"


def releases_own(stack: str, content: dict[str, Any]) -> Iterator[str]:
    """What release code makes and no template may: a stack would roll back or delete what is served."""
    for name, resource in content["Resources"].items():
        if resource["Type"].startswith("AWS::SageMaker::"):
            yield f"{stack}.{name}: {resource['Type']}"


Rule = Callable[[str, dict[str, Any]], Iterator[str]]
RULES: tuple[Rule, ...] = (
    broad_statements, open_doors, plain_secrets, without_dead_letters, kept_for_ever, weak_buckets, forgetful_buckets,
    releases_own,
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("stack", STACKS)
def test_no_template_breaks_a_rule(stack: str, rule: Rule) -> None:
    assert list(rule(stack, template(stack))) == []


def of(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Resources": {"One": {"Type": kind, "Properties": properties}}}


def allowing(**statement: Any) -> dict[str, Any]:
    return of("AWS::IAM::Policy", PolicyDocument={"Statement": [{"Effect": "Allow", "Sid": "x", **statement}]})


BREACHES: list[tuple[Rule, dict[str, Any], str]] = [
    (broad_statements, allowing(Action="s3:*", Resource="arn:x"), "the action s3:*"),
    (broad_statements, allowing(Action=["s3:GetObject", "*"], Resource="arn:x"), "the action *"),
    (broad_statements, allowing(Action="s3:Get*", Resource="arn:x"), "the action s3:Get*"),
    (broad_statements, allowing(Action="s3:GetObject", Resource="*"), "any resource"),
    (broad_statements, allowing(Action="s3:GetObject", Resource=["arn:x", "*"]), "any resource"),
    (broad_statements, allowing(NotAction="iam:PassRole", Resource="arn:x"), "all but something"),
    (broad_statements, allowing(Action="sqs:SendMessage", Resource="arn:x", Principal="*"), "anybody"),
    (broad_statements, allowing(Action="sts:AssumeRole", Principal={"AWS": "*"}), "anybody"),
    (open_doors, of("AWS::ElasticLoadBalancingV2::Listener", Protocol="HTTP", DefaultActions=[{"Type": "forward", "Order": 1}]), "no TLS"),  # noqa: E501
    (open_doors, of("AWS::ElasticLoadBalancingV2::ListenerRule", Actions=[{"Type": "forward", "Order": 1}]), "no login"),  # noqa: E501
    (open_doors, of("AWS::ApiGateway::Method", AuthorizationType="NONE"), "no key"),
    (open_doors, of("AWS::EC2::SecurityGroup", SecurityGroupIngress=[{"CidrIp": "0.0.0.0/0", "FromPort": 22, "ToPort": 22}]), "open to"),  # noqa: E501
    (open_doors, of("AWS::RDS::DBInstance", StorageEncrypted=True), "public"),
    (plain_secrets, of("AWS::RDS::DBInstance", MasterUserPassword="hunter2"), "hunter2"),
    (plain_secrets, of("AWS::RDS::DBInstance", MasterUserPassword={"Ref": "P"}), "MasterUserPassword"),
    (plain_secrets, of("AWS::ECS::TaskDefinition", Environment=[{"Name": "API_KEY", "Value": "x"}]), "API_KEY"),
    (plain_secrets, {"Resources": {}, "Parameters": {"DatabasePassword": {"Type": "String"}}}, "DatabasePassword"),
    (without_dead_letters, of("AWS::SQS::Queue", SqsManagedSseEnabled=True), "no dead letters"),
    (without_dead_letters, of("AWS::Events::Rule", Targets=[{"Id": "q"}]), "no dead letters"),
    (kept_for_ever, of("AWS::Logs::LogGroup"), "kept for ever"),
    (kept_for_ever, of("AWS::ECS::TaskDefinition", Options={"awslogs-group": {"Ref": "Two"}}), "nobody makes"),
    (weak_buckets, of("AWS::S3::Bucket"), "not versioned"),
    (weak_buckets, of("AWS::S3::Bucket"), "not encrypted"),
    (weak_buckets, of("AWS::S3::Bucket"), "open to the public"),
    (weak_buckets, of("AWS::S3::Bucket"), "without TLS"),
    (forgetful_buckets, of("AWS::S3::Bucket", LifecycleConfiguration={"Rules": [{"Id": "x", "ExpirationInDays": 9}]}), "deletes everything"),  # noqa: E501
    (forgetful_buckets, of("AWS::S3::Bucket", LifecycleConfiguration={"Rules": [{"Id": "x", "Prefix": "lake/tables/", "ExpirationInDays": 9}]}), "deletes lake/tables/"),  # noqa: E501
    (forgetful_buckets, of("AWS::S3::Bucket", LifecycleConfiguration={"Rules": [{"Id": "x", "Transitions": [{"StorageClass": "GLACIER"}]}]}), "moves to GLACIER"),  # noqa: E501
    (releases_own, of("AWS::SageMaker::Endpoint"), "AWS::SageMaker::Endpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "content", "said"), BREACHES, ids=[f"{b[0].__name__}-{b[2]}" for b in BREACHES])
def test_a_rule_finds_its_breach(rule: Rule, content: dict[str, Any], said: str) -> None:
    assert any(said in breach for breach in rule("trial", content))


def test_every_reason_is_of_a_statement() -> None:
    there = {
        (stack, statement.get("Sid"))
        for stack in STACKS
        for statement in statements(template(stack))
        if "*" in as_list(statement.get("Resource", []))
    }
    assert set(ANY_RESOURCE) == {one for one in there if one[0] in ("roles", "deployer")}


def test_every_statement_has_a_name_or_is_a_trust() -> None:
    for stack in STACKS:
        for statement in statements(template(stack)):
            assert "Sid" in statement or str(statement["Action"]).startswith("sts:AssumeRole"), (stack, statement)


@pytest.mark.parametrize("stack", ["roles", "deployer"])
def test_policies_are_within_iams_limits(stack: str) -> None:
    """Managed policies: 6,144 characters; a role's inline policies: 10,240 together (AWS, "IAM and AWS STS quotas")."""
    content = template(stack)
    for name, policy, _ in resources(content, "AWS::IAM::ManagedPolicy"):
        assert _characters(policy["PolicyDocument"]) <= 6144, name
    for name, role, _ in resources(content, "AWS::IAM::Role"):
        inline = sum(_characters(policy["PolicyDocument"]) for policy in role.get("Policies", []))
        assert inline <= 10_240, name


def _characters(document: dict[str, Any]) -> int:
    """The length once functions are evaluated: an ARN's parts in braces are about as long as what they stand for."""
    text = json.dumps(document, separators=(",", ":"))
    text = re.sub(r'\{"Fn::Sub":\["([^"]*)",\{.*?\}\}\]\}', r'"\1"', text)
    return len(re.sub(r'\{"Fn::(?:Sub|ImportValue)":("[^"]*")\}', r"\1", text))


@pytest.mark.parametrize("stack", STACKS)
def test_templates_can_be_sent_with_the_request(stack: str) -> None:
    assert len(text_of(stack).encode()) <= TEMPLATE_BYTES


def test_every_template_is_a_stack() -> None:
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(STACKS)


def deployed_methods(content: dict[str, Any]) -> str:
    """Eight hexadecimal digits of what a deployment of API Gateway is a snapshot of."""
    kinds = ("RestApi", "Resource", "Method", "GatewayResponse")
    parts = {n: r for n, r in content["Resources"].items() if r["Type"] in {f"AWS::ApiGateway::{k}" for k in kinds}}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def test_changed_methods_have_another_deployment() -> None:
    """A deployment is a snapshot: CloudFormation makes another one only where it has another name."""
    content = template("front")
    ((name, _, _),) = resources(content, "AWS::ApiGateway::Deployment")
    assert name == f"Deployment{deployed_methods(content)}"
    content["Resources"]["GetHealth"]["Properties"]["ApiKeyRequired"] = False
    assert name != f"Deployment{deployed_methods(content)}"
