"""deploy/aws/parameters/, deploy/aws/parameters.py, deploy/aws/templates.py: they fit, and costs and quotas follow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from deploy.aws import costs, parameters, quotas
from deploy.aws.account import DeployError, front_archive, front_key
from deploy.aws.emulated_account import split, with_numbers
from deploy.aws.templates import FOLDER, ORDER, exports, imports, template, walk

REPOSITORY = FOLDER.parents[1]
# What an environment's file must have.
GIVEN = {
    "Domain": "cars.example",
    "CertificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/1",
    **dict.fromkeys(("OidcIssuer", "OidcAuthorization", "OidcToken", "OidcUserInfo"), "https://id.example/"),
    "OidcSecret": "carsdepo/trial/oidc",
}


def test_every_import_is_exported_by_an_earlier_stack() -> None:
    there: set[str] = set()
    for stack in ORDER:
        assert imports(stack) <= there, stack
        assert not exports(stack) & there, stack
        there |= exports(stack)
    assert imports("deployer") == set()


@pytest.mark.parametrize("size", parameters.SIZES)
def test_a_sizes_parameters_are_the_templates(size: str) -> None:
    for stack, given in parameters.read_sizes(size).items():
        declared = template(stack)["Parameters"]
        for key, value in given.items():
            assert key in declared, (stack, key)
            allowed = declared[key].get("AllowedValues")
            assert allowed is None or value in map(str, allowed), (stack, key)
            if declared[key]["Type"] == "Number":
                assert float(value) >= declared[key].get("MinValue", 0)


def test_the_sizes_say_the_same_things() -> None:
    small, *others = map(parameters.read_sizes, parameters.SIZES)
    for other in others:
        assert {(s, k) for s, v in small.items() for k in v} == {(s, k) for s, v in other.items() for k in v}


def test_every_parameter_is_used_and_explained() -> None:
    for stack in (*ORDER, "deployer"):
        content = template(stack)
        text = json.dumps({k: v for k, v in content.items() if k != "Parameters"})
        for key, parameter in content["Parameters"].items():
            assert parameter["Description"], (stack, key)
            assert f'"Ref": "{key}"' in text or f"${{{key}}}" in text, (stack, key)


@pytest.mark.parametrize("size", parameters.SIZES)
def test_all_parameters_without_a_default_are_given(size: str) -> None:
    environment = dict.fromkeys(parameters.required(), "x")
    own, later = (
        parameters.own_values("staging", "1.0"),
        {"SigningSecretArn": "arn", "FrontUrl": "", "LakeIsThere": "false"},
    )
    for stack in ORDER:
        given = parameters.of_stack(stack, size, environment, own, later)
        needed = {key for key, parameter in template(stack)["Parameters"].items() if "Default" not in parameter}
        assert needed <= given.keys(), stack


def test_the_environment_goes_before_the_size() -> None:
    given = parameters.of_stack("front", "small", {"Burst": "7"}, parameters.own_values("staging", "1.0"), {})
    assert (given["Burst"], given["RatePerSecond"], given["Env"]) == ("7", "20", "staging")
    assert "Domain" not in given


def test_the_values_of_the_sizes_are_taken() -> None:
    assert set(GIVEN) == set(parameters.required())
    for size in parameters.SIZES:
        for given in parameters.read_sizes(size).values():
            assert [trouble for pair in given.items() if (trouble := parameters.trouble_with(*pair))] == []
    assert [trouble for pair in GIVEN.items() if (trouble := parameters.trouble_with(*pair))] == []


@pytest.mark.parametrize(
    ("env", "content", "said"),
    [
        ("Staging", None, "ENV=Staging"),
        ("small", None, "ENV=small"),
        ("medium", None, "ENV=medium"),
        ("deployer", None, "ENV=deployer.*none of small, medium, large, deployer"),
        ("a", None, "ENV=a"),
        ("trial", None, "is missing.*docs/aws-account.md.*CertificateArn.*OidcSecret"),
        ("trial", "[]", "not a JSON object of texts"),
        ("trial", "{", "not JSON"),
        ("trial", '{"Domain": 1}', "not a JSON object of texts"),
        ("trial", '{"Domian": "x"}', "no template has Domian"),
        ("trial", '{"Env": "x"}', "no template has Env"),
        ("trial", '{"Domain": "cars.example"}', "lacks CertificateArn"),
        ("trial", json.dumps({**GIVEN, "Domain": "Cars"}), "Domain is 'Cars', and dagster takes"),
        ("trial", json.dumps({**GIVEN, "MonthlyBudget": "much"}), "MonthlyBudget is 'much', and observe takes a whole"),
        ("trial", json.dumps({**GIVEN, "BackupDays": "36"}), "BackupDays is 36, and data takes 1 to 35"),
        ("trial", json.dumps({**GIVEN, "Concurrency": "0"}), "Concurrency is 0, and front takes at least 1"),
        ("trial", json.dumps({**GIVEN, "LogDays": "10"}), "LogDays is '10', and dagster takes 7, 14"),
        ("trial", json.dumps({**GIVEN, "Place": "here", "Burst": "-"}), "Place is 'here'.*Burst is '-'"),
    ],
)
def test_a_wrong_environment_is_explained(
    env: str, content: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "environment_file", lambda env: file)
    monkeypatch.setattr(parameters, "_ROOT", tmp_path)
    file = tmp_path / "trial.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DeployError, match=f"(?s){said}"):
        parameters.read_environment(env)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(DeployError, match="SIZE=huge: there are small, medium, large"):
        parameters.read_sizes("huge")


def test_dagsters_files_reach_the_containers_whole() -> None:
    import yaml

    own = parameters.own_values("staging", "1.0")
    assert json.loads(own["DagsterYaml"]) == yaml.safe_load((REPOSITORY / "deploy/dagster/aws.yaml").read_text())
    [server] = json.loads(own["WorkspaceYaml"])["load_from"]
    assert server["grpc_server"]["host"] == "code.carsdepo-staging.internal"
    assert server["grpc_server"]["port"] == 4000


def test_what_is_too_long_for_a_parameter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "PARAMETER_BYTES", 100)
    with pytest.raises(DeployError, match="CloudFormation takes 100"):
        parameters.own_values("staging", "1.0")


def environment_of(task: str, name: str, chosen: bool = True) -> str:
    """The text of a variable of a task definition, with its functions evaluated."""
    [container] = template("dagster")["Resources"][task]["Properties"]["ContainerDefinitions"][:1]
    [value] = [v["Value"] for v in container["Environment"] if v["Name"] == name]
    text, names = value["Fn::Sub"]
    replaced = {"Env": "staging", "AWS::Region": "eu-west-1", "Place": "ecs", "Tag": "1.0", "EndpointInstances": "2",
                "TrainInstance": "ml.g5.xlarge", "OtherInstance": "ml.m5.xlarge", "EndpointInstance": "ml.c6i.xlarge",
                "JobRole": "arn:aws:iam::123456789012:role/r",
                "ServiceRole": "arn:aws:iam::123456789012:role/s"}  # fmt: skip
    for key, inner in names.items():
        if "Fn::If" in inner:
            replaced[key] = inner["Fn::If"][2]["Fn::Sub"].replace("${Env}", "staging") if chosen else inner["Fn::If"][1]
        replaced.setdefault(key, key.lower())
    for key, given in (*replaced.items(), ("EndpointVersions", "3")):
        text = text.replace(f"${{{key}}}", given)
    return str(text)


@pytest.mark.parametrize("task", ["RunTask", "CodeTask"])
def test_where_jobs_run_is_a_file_that_is_read(task: str, tmp_path: Path) -> None:
    from carsdepo_assets.compute.local import LocalCompute
    from carsdepo_assets.compute.settings_file import read_compute

    (tmp_path / "compute.toml").write_text(environment_of(task, "COMPUTE_TOML"))
    choice = read_compute(tmp_path / "compute.toml", LocalCompute(), "http://mlflow.carsdepo-staging.internal:5000")
    assert choice.place == "ecs"
    assert choice.ecs is not None
    assert choice.ecs.cluster == "carsdepo-staging"
    families = {
        resource["Properties"]["Family"]["Fn::Sub"].replace("${Env}", "staging")
        for stack in ("dagster", "gpu")
        for resource in template(stack)["Resources"].values()
        if resource["Type"] == "AWS::ECS::TaskDefinition"
    }
    assert set(choice.ecs.task_definitions.values()) <= families
    providers = {
        r["Properties"]["Name"]["Fn::Sub"]
        for r in template("gpu")["Resources"].values()
        if r["Type"].endswith("CapacityProvider")
    }
    assert {one.name.replace("staging", "${Env}") for one in choice.ecs.gpu_capacity} == providers


@pytest.mark.parametrize("task", ["RunTask", "CodeTask"])
@pytest.mark.parametrize("chosen", [True, False])
def test_how_models_are_served_is_a_toml_file(task: str, chosen: bool) -> None:
    """chosen: with a canary, and several versions an endpoint."""
    content: dict[str, Any] = tomllib.loads(environment_of(task, "ENDPOINTS_TOML", chosen))
    assert content["package_group"] == "carsdepo-staging"
    assert content["production"]["endpoint"] == template("front")["Resources"]["Function"]["Properties"]["Environment"][
        "Variables"
    ]["ENDPOINT"]["Fn::Sub"].replace("${Env}", "staging")
    assert ("canary" in content["production"]) is chosen
    for stage in ("staging", "production"):
        assert content[stage].get("multi_model") == ({"kept": 3} if chosen else None)


def test_the_front_reads_what_release_code_writes() -> None:
    from carsdepo_assets.release.sagemaker_settings import EndpointsSettings
    from carsdepo_assets.release.sagemaker_versions import callers_key

    text = environment_of("CodeTask", "ENDPOINTS_TOML").replace('bucket = "lake"', 'bucket = "the-lake"')
    settings = EndpointsSettings.model_validate(tomllib.loads(text), strict=False)
    variables = template("front")["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    key = variables["CALLERS_KEY"]["Fn::Sub"].replace("${Env}", "staging")
    assert key == callers_key(settings, settings.production.endpoint)
    role = json.dumps(template("roles")["Resources"]["FrontRole"])
    assert f"${{Lake}}/{key.rpartition('/')[0]}/*" in role


def test_runs_and_the_code_server_see_the_same_account() -> None:
    variables = {}
    for task in ("RunTask", "CodeTask"):
        [container] = template("dagster")["Resources"][task]["Properties"]["ContainerDefinitions"]
        variables[task] = {v["Name"]: v["Value"] for v in container["Environment"]} | {
            v["Name"]: v["ValueFrom"] for v in container["Secrets"] if v["Name"] != "SIGNING_KEY"
        }
    for own in variables.values():  # a definition cannot refer to itself: its family stands there
        assert own.pop("DAGSTER_RUN_TASK_DEFINITION") in ({"Ref": "RunTask"}, {"Fn::Sub": "carsdepo-${Env}-run"})
    assert variables["RunTask"] == variables["CodeTask"]
    assert {"CARSDEPO_UPLOADS_QUEUE", "CARSDEPO_LABELS_QUEUE", "CARSDEPO_MODELS_QUEUE", "CARSDEPO_ALERT_TOPIC",
            "CARSDEPO_LAKE", "CARSDEPO_MLFLOW", "CARSDEPO_PRODUCTION_URL"} <= variables["RunTask"].keys()  # fmt: skip


@pytest.mark.parametrize("size", parameters.SIZES)
def test_every_stack_has_an_estimate(size: str) -> None:
    estimate = costs.estimate(size)
    assert set(estimate) == {*ORDER, costs.RELEASES}
    assert sum(estimate.values()) < float(parameters.read_sizes(size)["observe"]["MonthlyBudget"]) * 1.2
    text = costs.text(size)
    assert "estimated" in text
    assert json.loads((FOLDER / "prices.json").read_text())["as_of"] in text
    assert "_" not in text, "words, and not the keys of prices.json"


@pytest.mark.parametrize("size", parameters.SIZES)
def test_the_terminal_and_the_documentation_say_the_same_money(size: str) -> None:
    column = parameters.SIZES.index(size) + 2
    page = {cells[1].strip(" `*").partition("`")[0]: cells[column].strip()
            for row in costs.table().splitlines() if (cells := row.split("|"))}  # fmt: skip
    lines = [line.split(maxsplit=2) for line in costs.text(size).splitlines() if " USD " in line]
    shown = {name: amount for amount, _, name in lines}
    assert set(shown) == {*ORDER, costs.RELEASES, "together"}
    assert {name: page[name] for name in shown} == shown


def test_the_estimate_follows_the_parameters() -> None:
    less = costs.estimate("small", {"NatGateway": "false"})["network"]
    more = costs.estimate("small", {"InterfaceEndpoints": "true"})["network"]
    assert less == 0 < costs.estimate("small")["network"] < more
    with pytest.raises(DeployError, match=r"no price of db\.x99"):
        costs.estimate("small", {"DatabaseClass": "db.x99"})


def test_a_larger_size_costs_more_and_is_in_the_table() -> None:
    sums = [sum(costs.estimate(size).values()) for size in parameters.SIZES]
    assert sums == sorted(sums)
    header, *rows = costs.table().splitlines()
    assert header.endswith("prices of 2026-11 | small | medium | large |")
    assert [row for row in rows if row.startswith("| **together**")] == [
        f"| **together** | {' | '.join(f'{one:,.0f}' for one in sums)} |"
    ]


def test_quotas_follow_the_parameters() -> None:
    import yaml

    runs = yaml.safe_load((REPOSITORY / "deploy/dagster/aws.yaml").read_text())["concurrency"]["runs"]
    assert runs["max_concurrent_runs"] == quotas.RUNS
    services = [r for r in template("dagster")["Resources"].values() if r["Type"] == "AWS::ECS::Service"]
    assert len(services) == quotas.SERVERS
    for size in parameters.SIZES:
        given, needed = parameters.read_sizes(size), quotas.needed(size)
        trains_on_sagemaker = given["dagster"]["Place"] == "sagemaker"
        assert any("training job usage" in name for _, name in needed) is trains_on_sagemaker
        assert any("G and VT" in name for _, name in needed) is not trains_on_sagemaker
        name = f"{given['dagster']['EndpointInstance']} for endpoint usage"
        assert needed["SageMaker", name] == 2 * int(given["dagster"]["EndpointInstances"]) + 1


def test_the_same_code_has_the_same_archive() -> None:
    assert front_archive() == front_archive()
    assert front_key() == front_key()


def test_start_writes_files_from_variables_and_hands_on_the_command(tmp_path: Path) -> None:
    script = (FOLDER / "start").read_text().replace("/tmp/carsdepo", str(tmp_path / "home"))
    shows = tmp_path / "entrypoint.py"
    shows.write_text("import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))")
    given = {
        "DAGSTER_YAML": '{"a": 1}',
        "COMPUTE_TOML": 'place = "ecs"',
        "SIGNING_KEY": "PEM\nkey",
        "VERIFICATION_KEY": "pub",
    }
    result = subprocess.run(
        ["/bin/sh", "-c", script, "start", "dagster", "api", "a b", "$X"],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, "ENTRYPOINT": str(shows), **given},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    arguments, variables = json.loads(result.stdout)
    assert arguments == ["dagster", "api", "a b", "$X"]
    home = tmp_path / "home"
    assert json.loads((home / "dagster.yaml").read_text()) == {"a": 1}
    assert (home / "model-signing.key").read_text() == "PEM\nkey\n"
    assert (home / "model-signing.key").stat().st_mode & 0o077 == 0
    assert "SIGNING_KEY" not in variables
    assert variables["CARSDEPO_SIGNING_KEY"] == str(home / "model-signing.key")
    assert variables["DAGSTER_HOME"] == str(home)
    assert "CARSDEPO_ENDPOINTS" not in variables
    assert not (home / "endpoints.toml").exists()


def test_the_emulators_gaps_are_cut_out_whole() -> None:
    content, lacking, waiting = split(template("network"))
    assert (lacking, waiting) == (["NatAddress", "Nat"], ["PrivateRoute"])
    assert not any(value == {"Ref": "Nat"} for _, value in walk(content["Resources"]))
    numbers = with_numbers(template("front"), {"Concurrency": "7"})
    assert numbers["Resources"]["Function"]["Properties"]["ReservedConcurrentExecutions"] == 7


@pytest.mark.parametrize(
    ("key", "arn", "is_refused"),
    [
        ("CertificateArn", "arn:aws:acm:eu-west-1:123456789012:certificate/1", False),
        ("CertificateArn", "arn:aws:acm:us-east-1:123456789012:certificate/1", True),
        ("CertificateArn", "arn:aws:acm:eu-west-1:999999999999:certificate/1", True),
        ("DatabaseSnapshot", "arn:aws:rds:eu-west-1:999999999999:snapshot:shared", False),
        ("DatabaseSnapshot", "arn:aws:rds:us-east-1:123456789012:snapshot:own", True),
        ("DatabaseSnapshot", "own", False),
    ],
)
def test_what_is_of_another_account_or_region_is_refused_first(key: str, arn: str, is_refused: bool) -> None:
    with pytest.raises(DeployError, match=f"{key} is of account") if is_refused else nullcontext():
        parameters.require_here({**GIVEN, key: arn}, "eu-west-1", "123456789012")
