"""deploy/aws/work.py, deploy/aws/teardown.py, deploy/aws/log_retention.py: an environment in use is removed."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from carsdepo_assets_tests.deploy.test_aws_standing import Stack
from deploy.aws import changes, log_retention, teardown, work
from deploy.aws.account import Account, DeployError
from deploy.aws.templates import ORDER, stack_name

ROLE = "arn:aws:iam::123456789012:role/r"
CLUSTER = "carsdepo-trial"


def at_once(seconds: float) -> None:
    """Lets no time pass."""


def started(account: Account, family: str, group: str) -> str:
    """A task that runs; returns its ARN."""
    ecs = account.client("ecs")
    container = {"name": "one", "image": "i", "memory": 128}
    ecs.register_task_definition(family=family, containerDefinitions=[container])
    answer = ecs.run_task(cluster=CLUSTER, taskDefinition=family, group=group, launchType="FARGATE")
    return str(answer["tasks"][0]["taskArn"])


def standing(account: Account, arn: str) -> str:
    return str(account.client("ecs").describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]["lastStatus"])


@pytest.mark.slow  # moto makes a machine of EC2 for each task
def test_the_daemon_and_what_runs_are_stopped_and_the_servers_are_left_to_their_stack(account: Account) -> None:
    ecs = account.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    container = {"name": "one", "image": "i", "memory": 128}
    ecs.register_task_definition(family="carsdepo-trial-daemon", containerDefinitions=[container])
    ecs.create_service(cluster=CLUSTER, serviceName="daemon", taskDefinition="carsdepo-trial-daemon", desiredCount=1)
    run = started(account, "carsdepo-trial-run", "family:carsdepo-trial-run")
    job = started(account, "carsdepo-trial-worker", "family:carsdepo-trial-worker")
    server = started(account, "carsdepo-trial-code", "service:code")
    daemon = started(account, "carsdepo-trial-daemon-one", "service:daemon")
    stopped = work.stop_work(account, at_once)
    assert [standing(account, arn) for arn in (run, job, daemon)] == ["STOPPED"] * 3
    assert standing(account, server) != "STOPPED"
    assert ecs.describe_services(cluster=CLUSTER, services=["daemon"])["services"][0]["desiredCount"] == 0
    assert stopped[0] == "Dagster's daemon"
    assert [one for one in stopped if "carsdepo-trial-run:1" in one]
    assert [one for one in stopped if "carsdepo-trial-worker:1" in one]
    assert work.stop_work(account, at_once) == []


def test_without_a_cluster_there_is_nothing_to_stop(account: Account) -> None:
    assert work.stop_work(account, at_once) == []


class Jobs:
    """SageMaker with two jobs of this environment, one of another and one of another platform, which stop slowly."""

    def __init__(self, looks: int) -> None:
        self.stopped: list[str] = []
        self._looks = looks
        tags = {
            "a": ("carsdepo", "trial"),
            "b": ("carsdepo", "other"),
            "c": ("somebody", "trial"),
            "p": ("carsdepo", "trial"),
        }
        self._tags = {f"arn:carsdepo-{name}": tag for name, tag in tags.items()}
        self._states = {("list_training_jobs", name): "InProgress" for name in "abc"}
        self._states[("list_processing_jobs", "p")] = "InProgress"

    def get_paginator(self, name: str) -> Any:
        jobs, kind = self, "Training" if "training" in name else "Processing"

        class Pages:
            def paginate(self, StatusEquals: str, NameContains: str) -> list[dict[str, Any]]:
                there = [j for (n, j), state in jobs._states.items() if n == name and state == StatusEquals]
                listed = [{f"{kind}JobName": f"carsdepo-{j}", f"{kind}JobArn": f"arn:carsdepo-{j}"} for j in there]
                return [{f"{kind}JobSummaries": listed}]

        return Pages()

    def list_tags(self, ResourceArn: str) -> dict[str, Any]:
        project, environment = self._tags[ResourceArn]
        return {"Tags": [{"Key": "Project", "Value": project}, {"Key": "Environment", "Value": environment}]}

    def stop_training_job(self, TrainingJobName: str) -> None:
        self._stop("list_training_jobs", TrainingJobName)

    def stop_processing_job(self, ProcessingJobName: str) -> None:
        self._stop("list_processing_jobs", ProcessingJobName)

    def _stop(self, kind: str, name: str) -> None:
        self.stopped.append(name)
        self._states[(kind, name.removeprefix("carsdepo-"))] = "Stopping"

    def wait(self, seconds: float) -> None:
        self._looks -= 1
        if self._looks == 0:
            self._states = {key: "Stopped" if state == "Stopping" else state for key, state in self._states.items()}


def with_jobs(account: Account, monkeypatch: pytest.MonkeyPatch, looks: int) -> Jobs:
    jobs, client = Jobs(looks), Account.client
    monkeypatch.setattr(Account, "client", lambda own, name: jobs if name == "sagemaker" else client(own, name))
    return jobs


def test_jobs_on_sagemaker_are_stopped_by_their_tags_and_waited_for(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = with_jobs(account, monkeypatch, looks=3)
    assert work.stop_work(account, jobs.wait) == ["the job carsdepo-a", "the job carsdepo-p"]
    assert jobs.stopped == ["carsdepo-a", "carsdepo-p"]


def test_a_job_that_ends_before_it_is_stopped_is_no_trouble(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = with_jobs(account, monkeypatch, looks=3)

    def ended(kind: str, name: str) -> None:
        jobs._states.pop((kind, name.removeprefix("carsdepo-")))
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "it is Completed"}}, "Stop")

    monkeypatch.setattr(jobs, "_stop", ended)
    assert work.stop_work(account, jobs.wait) == []


class Endpoints:
    """SageMaker with one endpoint, which goes from state to state while somebody waits."""

    def __init__(self, *states: str) -> None:
        self.states, self.calls = list(states), list[str]()

    def describe_endpoint(self, EndpointName: str) -> dict[str, str]:
        if self.states[0] == "gone":
            raise self._absent(EndpointName)
        return {"EndpointStatus": self.states[0], "EndpointConfigName": "config"}

    def delete_endpoint(self, EndpointName: str) -> None:
        self.calls.append("delete_endpoint")

    def delete_endpoint_config(self, EndpointConfigName: str) -> None:
        self.calls.append("delete_endpoint_config")
        raise self._absent(EndpointConfigName)

    def wait(self, seconds: float) -> None:
        del self.states[0]

    def _absent(self, name: str) -> ClientError:
        return ClientError({"Error": {"Code": "ValidationException", "Message": f"Could not find {name}"}}, "Describe")


@pytest.mark.parametrize(
    ("states", "calls"),
    [
        (["gone"], []),
        (["Deleting", "gone"], ["delete_endpoint_config"]),
        (["Updating", "gone"], ["delete_endpoint_config"]),
        (["Creating", "Failed"], ["delete_endpoint", "delete_endpoint_config"]),
    ],
)
def test_what_somebody_else_deletes_of_an_endpoint_is_no_trouble(
    account: Account, monkeypatch: pytest.MonkeyPatch, states: list[str], calls: list[str]
) -> None:
    sagemaker = Endpoints(*states)
    monkeypatch.setattr(Account, "client", lambda own, service: sagemaker)
    teardown.remove_endpoints(account, ["carsdepo-trial-production"], sagemaker.wait)
    assert sagemaker.calls == calls


def test_a_job_that_does_not_stop_is_named(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PATIENCE", 3)
    jobs = with_jobs(account, monkeypatch, looks=10)
    with pytest.raises(DeployError, match="These do not stop: the job carsdepo-a, the job carsdepo-p"):
        work.stop_work(account, jobs.wait)


def test_a_stack_that_nothing_came_of_is_removed_too(account: Account) -> None:
    client = account.client("cloudformation")
    client.create_change_set(
        StackName=stack_name("trial", "roles"), ChangeSetName="shown", ChangeSetType="CREATE",
        TemplateBody='{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}',
    )  # fmt: skip
    assert changes.stack_of(account, "roles") is None
    assert teardown.present_stacks(account) == ["roles"]
    assert teardown.remove_stacks(account, at_once) == ["roles"]
    assert teardown.present_stacks(account) == []


def test_a_partly_deployed_environment_is_removed(account: Account) -> None:
    for stack in ("network", "data"):
        account.client("cloudformation").create_stack(
            StackName=stack_name("trial", stack), TemplateBody='{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}'
        )
    assert teardown.remove_stacks(account, at_once) == ["data", "network"]
    assert all(changes.described(account, stack) is None for stack in ORDER)


@pytest.mark.parametrize(("then", "is_removed"), [(["gone"], True), (["DELETE_FAILED"], False)])
def test_logs_that_arrive_while_the_bucket_is_removed_are_emptied_again(
    account: Account, monkeypatch: pytest.MonkeyPatch, then: list[str], is_removed: bool
) -> None:
    stack, emptied = Stack(["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"], {"delete_stack": ["DELETE_FAILED"]}), []

    def empty(account: Account, bucket: str) -> int:
        emptied.append(bucket)
        if len(emptied) == 2:
            stack.after["delete_stack"] = then
        return 1

    monkeypatch.setattr(Account, "client", lambda own, service: stack)
    monkeypatch.setattr(teardown, "has_bucket", lambda account, name: True)
    monkeypatch.setattr(teardown, "empty_bucket", empty)
    monkeypatch.setattr(teardown, "forget_secrets", lambda account, stack: None)
    if is_removed:
        teardown.remove_stack(account, "data", stack.wait)
    else:
        with pytest.raises(DeployError, match=r"(?s)ended as DELETE_FAILED.*destroy again"):
            teardown.remove_stack(account, "data", stack.wait)
    assert emptied == [account.logs] * 2
    assert stack.calls == ["delete_stack"] * 2


def test_an_endpoint_that_is_being_made_is_waited_for(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    told, states = [], ["Creating", "Creating", "InService"]

    class SageMaker:
        def describe_endpoint(self, EndpointName: str) -> dict[str, str]:
            return {"EndpointStatus": states[0], "EndpointConfigName": "config"}

        def delete_endpoint(self, EndpointName: str) -> None:
            told.append(EndpointName)

        def delete_endpoint_config(self, EndpointConfigName: str) -> None:
            told.append(EndpointConfigName)

    monkeypatch.setattr(Account, "client", lambda own, service: SageMaker())
    teardown.remove_endpoints(account, ["carsdepo-trial-staging"], lambda seconds: states.pop(0))
    assert told == ["carsdepo-trial-staging", "config"]
    assert states == ["InService"]


def test_logs_of_sagemaker_are_kept_for_a_time_and_removed_with_the_environment(account: Account) -> None:
    logs = account.client("logs")
    logs.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
    logs.put_retention_policy(logGroupName="/aws/sagemaker/TrainingJobs", retentionInDays=365)
    logs.create_log_group(logGroupName="/aws/sagemaker/Endpoints/carsdepo-trial-production")
    for days in (30, 60):
        log_retention.limit_logs(account, days)
        kept = {group["logGroupName"]: group["retentionInDays"] for group in logs.describe_log_groups()["logGroups"]}
        assert kept == {
            "/aws/sagemaker/TrainingJobs": 365,  # somebody's
            "/aws/sagemaker/ProcessingJobs": 30,
            "/aws/sagemaker/Endpoints/carsdepo-trial-production": days,
            "/aws/sagemaker/Endpoints/carsdepo-trial-staging": days,
        }
    log_retention.remove_logs(account)
    log_retention.remove_logs(account)
    assert [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]] == [
        "/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs"
    ]  # fmt: skip


def test_the_groups_are_those_of_the_endpoints_that_the_templates_name() -> None:
    from deploy.aws.templates import text_of

    for stage in log_retention.STAGES:
        assert f'endpoint = "carsdepo-${{Env}}-{stage}"' in text_of("dagster")
