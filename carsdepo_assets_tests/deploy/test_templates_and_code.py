"""deploy/aws/observe.yaml, deploy/aws/data.yaml, deploy/aws/catalogue.py: the templates name what the code has.

Alarms, metrics of the dashboard, tables, the inventory, what is kept.
"""

from __future__ import annotations

import json
import re

import pytest

from carsdepo_assets_tests.deploy.test_templates import resources
from deploy.aws.templates import template, text_of, walk


def test_the_canarys_alarms_are_made() -> None:
    named = set(re.findall(r"carsdepo-\$\{Env\}-production-\w+(?=\\?\")", text_of("dagster")))
    alarms = {alarm["AlarmName"]["Fn::Sub"] for _, alarm, _ in resources(template("observe"), "AWS::CloudWatch::Alarm")}
    assert named == {"carsdepo-${Env}-production-errors", "carsdepo-${Env}-production-latency"}
    assert named <= alarms


def test_composite_alarms_name_alarms_that_are_there() -> None:
    content = template("observe")
    alarms = {alarm["AlarmName"]["Fn::Sub"] for _, alarm, _ in resources(content, "AWS::CloudWatch::Alarm")}
    for name, composite, _ in resources(content, "AWS::CloudWatch::CompositeAlarm"):
        members = re.findall(r"ALARM\(([^)]+)\)", composite["AlarmRule"]["Fn::Sub"])
        assert members, name
        assert set(members) <= alarms, name


def test_every_alarm_tells_somebody() -> None:
    content = template("observe")
    rules = " ".join(str(c["AlarmRule"]) for _, c, _ in resources(content, "AWS::CloudWatch::CompositeAlarm"))
    for name, alarm, _ in resources(content, "AWS::CloudWatch::Alarm"):
        assert "AlarmActions" in alarm or f"ALARM({alarm['AlarmName']['Fn::Sub']})" in rules, name


def test_the_dashboard_shows_use_beside_latency_and_errors() -> None:
    [(_, dashboard, _)] = resources(template("observe"), "AWS::CloudWatch::Dashboard")
    text = dashboard["DashboardBody"]["Fn::Sub"]
    assert json.loads(text.replace("${Env}", "trial").replace("${AWS::Region}", "eu-west-1"))["widgets"]
    shown = "ModelLatency Invocation5XXErrors CPUUtilization MemoryUtilization GPUUtilization GPUMemoryUtilization"
    for metric in (*shown.split(), "CpuUtilized", "MemoryUtilized", "ApproximateAgeOfOldestMessage"):
        assert metric in text


def test_the_dashboard_asks_for_metrics_that_are_published() -> None:
    """A search finds metrics of exactly the dimensions that it names, in the namespace of this environment."""
    from carsdepo_assets.cloudwatch.catalogue import PUBLISHERS

    [(_, dashboard, _)] = resources(template("observe"), "AWS::CloudWatch::Dashboard")
    text = dashboard["DashboardBody"]["Fn::Sub"].replace("${Env}", "trial").replace("${AWS::Region}", "eu-west-1")
    published = {metric.name: metric.dimension for metrics in PUBLISHERS.values() for metric in metrics}
    shown = set()
    for _, value in walk(json.loads(text)):
        if isinstance(value, dict) and "Carsdepo" in value.get("expression", ""):
            search = re.fullmatch(r"SEARCH\('\{\"Carsdepo/trial\",(\w+)\} (.+)', '\w+', 300\)", value["expression"])
            assert search, value
            names = re.findall(r'MetricName="(\w+)"', search[2])
            assert {published[name] for name in names} == {search[1]}
            shown |= set(names)
    use = {"JobCpuUse", "JobMemoryUse", "JobGpuUse", "JobGpuMemoryUse"}  # of endpoints SageMaker's own are shown
    assert shown >= use | {"DriftShare", "RunsFailed", "IngestionLag"}


def test_two_environments_of_an_account_have_metrics_of_their_own() -> None:
    for _, task, _ in resources(template("dagster"), "AWS::ECS::TaskDefinition"):
        for variable in task["ContainerDefinitions"][0].get("Environment", []):
            if variable["Name"] == "CARSDEPO_METRICS_NAMESPACE":
                assert variable["Value"] == {"Fn::Sub": "Carsdepo/${Env}"}


def test_tables_of_the_catalogue_are_current() -> None:
    from deploy.aws import catalogue

    assert catalogue.FILE.read_text() == catalogue.text(), "run: python -m deploy.aws.catalogue"


def test_a_new_table_of_the_lake_needs_its_table_in_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    from carsdepo_assets.lake.schemas import TABLES
    from deploy.aws import catalogue

    tables = [table["TableInput"]["Name"] for _, table, _ in resources(template("catalogue"), "AWS::Glue::Table")]
    assert tables == list(TABLES)
    monkeypatch.setattr(catalogue, "TABLES", {**TABLES, "novelties": pa.schema([("at", pa.timestamp("us", tz="UTC"))])})
    assert catalogue.FILE.read_text() != catalogue.text()
    with pytest.raises(ValueError, match="Glue has no type here for"):
        catalogue.hive_type(pa.time64("us"))


def test_the_inventory_that_is_written_is_the_one_that_is_read() -> None:
    """S3 writes an inventory into PREFIX/SOURCE-BUCKET/NAME of its destination."""
    [(_, lake, _)] = [one for one in resources(template("data"), "AWS::S3::Bucket") if one[0] == "Lake"]
    [inventory] = lake["InventoryConfigurations"]
    wanted = f"s3://${{Logs}}/{inventory['Destination']['Prefix']}/${{Lake}}/{inventory['Id']}"
    assert inventory["Destination"]["Format"] == "Parquet"
    assert set(inventory["OptionalFields"]) >= {"Size", "LastModifiedDate", "ETag"}
    for name in ("RunTask", "CodeTask"):
        container = template("dagster")["Resources"][name]["Properties"]["ContainerDefinitions"][0]
        given = {variable["Name"]: variable["Value"] for variable in container["Environment"]}
        assert given["CARSDEPO_INVENTORY"]["Fn::Sub"][0] == wanted


def test_a_lake_that_was_half_made_is_not_left_behind() -> None:
    """Retain would leave the bucket of a stack that never came up, and the next deployment would take it over."""
    content = template("data")["Resources"]
    assert content["Lake"]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert content["Lake"]["UpdateReplacePolicy"] == "Retain"
    assert content["LakePolicy"]["Properties"]["Bucket"]["Fn::If"][:2] == ["MakesLake", {"Ref": "Lake"}]
