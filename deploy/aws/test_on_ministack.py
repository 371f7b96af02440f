"""deploy/aws: every template is made by ministack with all conditions true, updated and removed: `make test-deploy`.

The numbers are printed. ministack enforces no permission, runs no task here and has no SageMaker.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.aws import changes, deploy, smoke, teardown
from deploy.aws.account import Account, DeployError, ensure_signing_keys, open_account, put_front_code
from deploy.aws.emulated_account import KEYS, Ministack, body
from deploy.aws.emulated_deployment import Deployed, briefly
from deploy.aws.templates import ORDER, template

ENV = "trial"
ENVIRONMENT = {
    "Domain": "cars.example",
    "CertificateArn": "arn:aws:acm:eu-west-1:000000000000:certificate/1",
    "OidcIssuer": "https://id.example",
    "OidcAuthorization": "https://id.example/authorize",
    "OidcToken": "https://id.example/token",
    "OidcUserInfo": "https://id.example/userinfo",
    "OidcSecret": f"carsdepo/{ENV}/oidc",
    "AlertEmail": "ops@cars.example",
    "GpuImage": "/trial/gpu-image",  # ministack lets nobody write AWS's own parameters
}
# Resources that CloudFormation would make and ministack's does not, by stack. Each is made by ministack's own API; the
# address with its gateway.
ALLOWED_TO_LACK = {
    "network": {"NatAddress", "Nat"},
    "gpu": {"SpotCapacity", "OnDemandCapacity", "Capacity"},
    "front": {"DoorOfStage"},
    "observe": {"Inspections", "Platform", "Budget"},
}
DIGEST = "5f0d6c1a9b3e7d24"


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest) -> Iterator[Deployed]:
    assert request.config.cache is not None
    folder = Path(request.config.cache.mkdir("ministack-deploy"))
    with pytest.MonkeyPatch.context() as patch, Ministack(folder) as ministack:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": ministack.url}.items():
            patch.setenv(name, value)
        account = open_account(ENV)
        account.client("ssm").put_parameter(Name="/trial/gpu-image", Type="String", Value="ami-0123456789abcdef0")
        keys = json.dumps(dict.fromkeys(deploy.OIDC_KEYS, "of the test"))
        account.client("secretsmanager").create_secret(Name=ENVIRONMENT["OidcSecret"], SecretString=keys)
        made = Deployed(account, ministack.url, "large", ENVIRONMENT)
        later = {"LakeIsThere": "false", "FrontUrl": ""}
        for stack in ORDER:
            if stack == "dagster":
                later["SigningSecretArn"] = ensure_signing_keys(account)
            if stack == "front":
                put_front_code(account)
            made.make(stack, later)
        yield made


def test_every_resource_is_made(deployed: Deployed) -> None:
    made, wanted = 0, 0
    for stack in ORDER:
        names, there = set(template(stack)["Resources"]), set(deployed.resources(stack))
        print(f"{stack}: {len(there)} of {len(names)} resources by CloudFormation")
        assert names - there == ALLOWED_TO_LACK.get(stack, set()), stack
        made, wanted = made + len(there), wanted + len(names)
    lacking = sum(map(len, ALLOWED_TO_LACK.values()))
    print(f"together: {made} of {wanted}; {lacking} that ministack's CloudFormation does not know, by its API")
    assert made == wanted - lacking


def test_what_cloudformation_lacks_is_made_by_the_api(deployed: Deployed) -> None:
    account = deployed.account
    assert set(deployed.direct) == {name for names in ALLOWED_TO_LACK.values() for name in names} - {"NatAddress"}
    described = account.client("ecs").describe_clusters(clusters=[f"carsdepo-{ENV}"])["clusters"][0]
    assert set(described["capacityProviders"]) == {
        "FARGATE", "FARGATE_SPOT", f"carsdepo-{ENV}-gpu", f"carsdepo-{ENV}-gpu-spot"
    }  # fmt: skip
    composites = account.client("cloudwatch").describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    assert {alarm["AlarmName"] for alarm in composites} == {f"carsdepo-{ENV}-inspections", f"carsdepo-{ENV}-platform"}
    budgets = account.client("budgets").describe_budgets(AccountId=account.number)["Budgets"]
    assert [budget["CostFilters"] for budget in budgets] == [{"TagKeyValue": [f"user:Environment${ENV}"]}]
    # What referred to the NAT gateway came afterwards, as one change.
    assert [changes.words(change) for change in deployed.late["network"]] == [
        "  + PrivateRoute (AWS::EC2::Route) is made"
    ]


def test_alarms_of_composites_and_of_the_canary_are_there(deployed: Deployed) -> None:
    cloudwatch = deployed.account.client("cloudwatch")
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    names, rules = set(), ""
    for page in pages:
        names |= {alarm["AlarmName"] for alarm in page["MetricAlarms"]}
        rules += " ".join(alarm["AlarmRule"] for alarm in page["CompositeAlarms"])
    for rule in rules.replace("ALARM(", " ").replace(")", " ").replace(" OR ", " ").split():
        assert rule in names
    assert {f"carsdepo-{ENV}-production-errors", f"carsdepo-{ENV}-production-latency"} <= names


def test_nothing_changes_where_nothing_is_new(deployed: Deployed) -> None:
    for stack in ORDER:
        text = body(deployed.contents[stack])
        assert changes.make_change_set(deployed.account, stack, deployed.given[stack], text=text, wait=briefly) is None


def test_a_change_set_shows_one_change(deployed: Deployed) -> None:
    content = json.loads(json.dumps(deployed.contents["observe"]))
    content["Resources"]["FrontLatency"]["Properties"]["Threshold"] = 9000
    shown = deployed.update("observe", content)
    print("change set:", [changes.words(change) for change in shown])
    assert [(one["Action"], one["LogicalResourceId"]) for one in shown] == [("Modify", "FrontLatency")]
    name = f"carsdepo-{ENV}-front-latency"
    [alarm] = deployed.account.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["Threshold"] == 9000


def test_a_bad_update_is_rolled_back(deployed: Deployed) -> None:
    before = deployed.contents["data"]
    content = json.loads(json.dumps(before))
    content["Resources"]["Uploads"]["Properties"]["VisibilityTimeout"] = 60
    secret = "{{resolve:secretsmanager:carsdepo/there-is-none:SecretString}}"
    broken = {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/trial/x", "Type": "String", "Value": secret}}
    content["Resources"]["Broken"] = {**broken, "DependsOn": "Uploads"}
    with pytest.raises(DeployError) as failure:
        deployed.update("data", content)
    print("bad update:", str(failure.value).splitlines())
    assert "UPDATE_ROLLBACK_COMPLETE" in str(failure.value)
    assert "Broken" in str(failure.value)
    queue = changes.outputs_of(deployed.account, "data")["UploadsUrl"]
    kept = deployed.account.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])
    assert kept["Attributes"]["VisibilityTimeout"] == "900"


def received(account: Account, queue: str) -> list[dict[str, Any]]:
    """The events that wait in a queue; they are taken out of it."""
    sqs, url, events = account.client("sqs"), changes.outputs_of(account, "data")[queue], []
    for _ in range(30):
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", [])
        for message in messages:
            events.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        if events and not messages:
            break
        briefly(0.1)
    return events


def test_events_of_the_lake_arrive_in_their_queues(deployed: Deployed) -> None:
    account, s3 = deployed.account, deployed.account.client("s3")
    for key in ("lake/raw/uploads/a b+ü.jpg", "lake/raw/labels/a b+ü.txt", "lake/objects/aa/aa.jpg"):
        s3.put_object(Bucket=account.lake, Key=key, Body=b"bytes")
    uploads, labels = received(account, "UploadsUrl"), received(account, "LabelsUrl")
    print("events:", [(e["detail-type"], e["detail"]["object"]["key"]) for e in (*uploads, *labels)])
    assert [(e["detail-type"], e["detail"]["object"]["key"]) for e in uploads] == [
        ("Object Created", "lake/raw/uploads/a b+ü.jpg")
    ]
    assert [e["detail"]["object"]["key"] for e in labels] == ["lake/raw/labels/a b+ü.txt"]
    s3.delete_object(Bucket=account.lake, Key="lake/raw/uploads/a b+ü.jpg")
    assert [e["detail-type"] for e in received(account, "UploadsUrl")] == ["Object Deleted"]


@pytest.mark.parametrize(
    ("rule", "kind", "detail", "arrives"),
    [
        ("approvals", "SageMaker Model Package State Change", {"ModelPackageGroupName": f"carsdepo-{ENV}"}, True),
        ("approvals", "SageMaker Model Package State Change", {"ModelPackageGroupName": "another"}, False),
        ("endpoints", "SageMaker Endpoint State Change", {"EndpointName": f"carsdepo-{ENV}-production"}, True),
        ("endpoints", "SageMaker Endpoint Deployment State Change", {"EndpointName": f"carsdepo-{ENV}-staging"}, True),
        ("endpoints", "SageMaker Endpoint State Change", {"EndpointName": "another-production"}, False),
    ],
)
def test_events_of_sagemaker_match(
    deployed: Deployed, rule: str, kind: str, detail: dict[str, str], arrives: bool
) -> None:
    """Nobody but AWS may send an event of aws.sagemaker, so that the rules are asked what they would take."""
    events = deployed.account.client("events")
    pattern = events.describe_rule(Name=f"carsdepo-{ENV}-{rule}")["EventPattern"]
    event = {
        "id": "1", "version": "0", "account": deployed.account.number, "region": deployed.account.region,
        "time": "2026-11-26T12:00:00Z", "resources": [], "source": "aws.sagemaker", "detail-type": kind,
        "detail": detail,
    }  # fmt: skip
    assert events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"] is arrives
    [target] = events.list_targets_by_rule(Rule=f"carsdepo-{ENV}-{rule}")["Targets"]
    assert target["Arn"].endswith(f":carsdepo-{ENV}-models")


class Runtime(BaseHTTPRequestHandler):
    """SageMaker's InvokeEndpoint: answers a form as the service does, and refuses one without a photograph."""

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != f"/endpoints/carsdepo-{ENV}-production/invocations":
            self._send(404, {"Message": f"no {self.path}"}, "ValidationError")
        elif b"JPEG" in sent and self.headers["Content-Type"].startswith("multipart/form-data; boundary="):
            self._send(200, {"request_id": "r", "model": {"digest": DIGEST}, "photographs": [{}], "records": [{}]})
        else:
            error = {"error": {"reason": "truncated", "detail": "the file ends early"}, "request_id": "r"}
            refused = {"Message": "refused", "OriginalStatusCode": 422, "OriginalMessage": json.dumps(error)}
            self._send(424, refused, "ModelError")

    def _send(self, status: int, content: dict[str, Any], error: str = "") -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def front(deployed: Deployed) -> Iterator[str]:
    """The front's URL; its function reaches an emulated SageMaker."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    functions, name = deployed.account.client("lambda"), f"carsdepo-{ENV}-front"
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    runtime = {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://127.0.0.1:{server.server_port}"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": {**variables, **runtime}})
    yield f"{deployed.url}/restapis/{deployed.resources('front')['Api']}/live/_user_request_"
    server.shutdown()
    server.server_close()


def test_the_front_answers(deployed: Deployed, front: str) -> None:
    answer = smoke.inspect(front, smoke.api_key(deployed.account), "a b+ü.jpg", b"JPEG \xff\xd8\x00\xfe")
    print("API Gateway and Lambda answer:", answer)
    assert answer == {"request_id": "r", "model": {"digest": DIGEST}, "photographs": [{}]}


def test_the_front_hands_on_what_the_service_refuses(deployed: Deployed, front: str) -> None:
    with pytest.raises(DeployError, match=r'status 422.*"truncated".*the file ends early'):
        smoke.inspect(front, smoke.api_key(deployed.account), "a.jpg", b"no photograph")


def test_the_front_asks_for_the_key(front: str) -> None:
    with pytest.raises(DeployError, match=r"status 40[13]"):
        smoke.inspect(front, "another key", "a.jpg", b"JPEG")


def test_smoke_prints_the_lineage(deployed: Deployed, front: str, capsys: pytest.CaptureFixture[str]) -> None:
    key = f"lake/models/{DIGEST}/lineage.json"
    deployed.account.client("s3").put_object(Bucket=deployed.account.lake, Key=key, Body=b'{"dataset": "d1"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smoke, "outputs_of", lambda account, stack: {"Url": front})
        patch.setattr(smoke, "rendered", lambda: b"JPEG")
        smoke.run(deployed.account, *smoke.photograph_to_send(None))
    assert f'Lineage of the model {DIGEST}:\n{{\n  "dataset": "d1"\n}}' in capsys.readouterr().out


def left_over(account: Account) -> dict[str, set[str]]:
    """What is in the account, by kind."""
    client = account.client
    return {
        "buckets": {one["Name"] for one in client("s3").list_buckets()["Buckets"]},
        "queues": set(client("sqs").list_queues().get("QueueUrls", [])),
        "topics": {one["TopicArn"] for one in client("sns").list_topics()["Topics"]},
        "repositories": {one["repositoryName"] for one in client("ecr").describe_repositories()["repositories"]},
        "clusters": set(client("ecs").list_clusters()["clusterArns"]),
        "databases": {one["DBInstanceIdentifier"] for one in client("rds").describe_db_instances()["DBInstances"]},
        "roles": {r["RoleName"] for r in client("iam").list_roles()["Roles"] if "carsdepo" in r["RoleName"]},
        "functions": {one["FunctionName"] for one in client("lambda").list_functions()["Functions"]},
        "apis": {one["name"] for one in client("apigateway").get_rest_apis()["items"]},
        "balancers": {one["LoadBalancerName"] for one in client("elbv2").describe_load_balancers()["LoadBalancers"]},
        "logs": {one["logGroupName"] for one in client("logs").describe_log_groups()["logGroups"]},
        "secrets": {one["Name"] for one in client("secretsmanager").list_secrets()["SecretList"]},
        "tables": {one["Name"] for one in client("glue").get_databases()["DatabaseList"]},
    }


def test_teardown_leaves_what_it_says(deployed: Deployed) -> None:
    account = deployed.account
    present = {kind: len(names) for kind, names in left_over(account).items()}
    assert all(present.values()), present
    # CloudFormation would remove them with their stacks.
    for name in ("inspections", "platform"):
        account.client("cloudwatch").delete_alarms(AlarmNames=[f"carsdepo-{ENV}-{name}"])
    account.client("wafv2").disassociate_web_acl(ResourceArn=deployed.direct["DoorOfStage"])
    account.client("ec2").delete_nat_gateway(NatGatewayId=deployed.direct["Nat"])
    removed = teardown.remove_stacks(account, briefly)
    assert removed == list(reversed(ORDER))
    after = {kind: names for kind, names in left_over(account).items() if names}
    print("before:", present)
    print("after the teardown there is:", after)
    assert after == {
        "buckets": {account.lake},
        "secrets": {account.signing_secret, ENVIRONMENT["OidcSecret"]},  # the test made the second, as people do
    }
    said = "\n".join(teardown.what_stays(account))
    assert account.lake in said
    assert account.signing_secret in said
    snapshots = account.client("rds").describe_db_snapshots()["DBSnapshots"]
    print("snapshots of the database:", [one["DBSnapshotIdentifier"] for one in snapshots])


def test_another_deployment_takes_the_lake_over(deployed: Deployed) -> None:
    account = deployed.account
    account.client("s3").put_object(Bucket=account.lake, Key="lake/kept", Body=b"kept")
    assert deploy._lake_is_there(account) == "true"
    for stack in ("network", "data"):
        deployed.make(stack, {"LakeIsThere": "true"})
    assert "Lake" not in deployed.resources("data")
    assert account.client("s3").get_object(Bucket=account.lake, Key="lake/kept")["Body"].read() == b"kept"
    assert deploy._lake_is_there(account) == "true"  # also when the stack is there again


def test_a_stack_that_never_came_up_is_removed_and_made_anew(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    from deploy.aws import standing
    from deploy.aws.emulated_account import split, with_numbers

    account = open_account("second")
    given = {"Env": "second", "NatGateway": "false", "InterfaceEndpoints": "true"}
    content, _, _ = split(with_numbers(template("network"), given))
    secret = "{{resolve:secretsmanager:carsdepo/there-is-none:SecretString}}"
    broken = {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/second/x", "Type": "String", "Value": secret}}
    bad = {**content, "Resources": {**content["Resources"], "Broken": broken}}
    change_set = changes.make_change_set(account, "network", given, text=body(bad), wait=briefly)
    assert change_set is not None
    with pytest.raises(DeployError, match="ended as ROLLBACK_COMPLETE"):
        changes.carry_out(account, change_set, briefly)
    with pytest.raises(DeployError, match="cannot be changed now"):
        changes.make_change_set(account, "network", given, text=body(content), wait=briefly)
    assert standing.settle(account, "network", lambda question: True, briefly)
    assert "Broken" in capsys.readouterr().out
    change_set = changes.make_change_set(account, "network", given, text=body(content), wait=briefly)
    assert change_set is not None
    assert change_set.is_new
    changes.carry_out(account, change_set, briefly)
    assert teardown.remove_stacks(account, briefly) == ["network"]
