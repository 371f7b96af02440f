"""redaction.py, orchestration/redacted_errors.py: no planted secret is in what an installation shows or stores."""

import json
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.alerts.sensors import failed_runs
from carsdepo_assets.cli import app
from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.environments import resources
from carsdepo_assets.inference.app import create_app
from carsdepo_assets.orchestration import redacted_errors
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource, ServicesResource
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.alerts.receiver import Receiver, receiver
from carsdepo_assets_tests.secrecy import planted
from carsdepo_assets_tests.secrecy.graphql import Dagster
from carsdepo_assets_tests.secrecy.planted import Planted, seen, seen_below
from carsdepo_assets_tests.site import example_lake

pytestmark = pytest.mark.slow

WORKER = "carsdepo_assets_tests.secrecy.telling_worker"


def anyone(name: str) -> str:
    """As code of a library holds a secret that it was given."""
    return os.environ[name]


@dg.op
def ask_a_webhook() -> None:
    httpx.post(anyone("CARSDEPO_ALERT_WEBHOOK"), json={}).raise_for_status()


@dg.op
def quote(context: dg.OpExecutionContext) -> None:
    context.log.warning("alerts go to %s", anyone("CARSDEPO_ALERT_URLS"))
    try:
        raise KeyError(anyone("AWS_SECRET_ACCESS_KEY"))
    except KeyError as error:
        library = logging.getLogger("a.library")
        library.addHandler(logging.StreamHandler())  # stderr, which Dagster keeps
        library.exception("signing with %s failed", anyone("AWS_SESSION_TOKEN"))
        raise RuntimeError(f"{anyone('CARSDEPO_API_KEY')} was refused") from error


@dg.op
def track(context: dg.OpExecutionContext, tracking: MlflowTracking) -> None:
    with tracking.during(context):
        pass


@dg.op
def tell(lake: LakeResource, policy: PolicyResource, alerts: AlertsResource) -> None:
    body = f"The server at {anyone('CARSDEPO_MLFLOW')} is down."
    alerts.send(lake.open(), policy.read(), kind="ledger", key="k", severity="warning", title="Down", body=body)


@dg.op
def look_at_services(services: ServicesResource) -> None:
    assert services.headers() == {"X-API-Key": planted.KEY}
    services.health("production")


@dg.op
def work_as_ours(context: dg.OpExecutionContext, compute: ComputeTarget) -> None:
    compute.run(context, "train", {"file": os.environ["A_FILE"] + ".ours", "as_ours": True}, module=WORKER)


@dg.op
def work_as_a_library(context: dg.OpExecutionContext, compute: ComputeTarget) -> None:
    compute.run(context, "train", {"file": os.environ["A_FILE"] + ".other", "as_ours": False}, module=WORKER)


@dg.job(executor_def=dg.in_process_executor)
def leaking() -> None:
    ask_a_webhook()
    quote()
    track()
    tell()
    look_at_services()
    work_as_ours()
    work_as_a_library()


@dataclass
class Used:
    """An installation in use. champion: production's digest. failures: by step. workers: what each was given."""

    settings: Settings
    champion: str
    hook: Receiver
    dagster: Dagster
    failures: dict[str, str]
    workers: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def used(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Used]:
    folder = tmp_path_factory.mktemp("used")
    home = folder / "home"
    home.mkdir()
    (home / "mlflow.db").write_bytes(empty_store.read_bytes())
    with socket.socket() as nobody, receiver() as hook, pytest.MonkeyPatch.context() as patch:
        nobody.bind(("127.0.0.1", 0))  # not listened on: whoever asks there is refused
        closed = nobody.getsockname()[1]
        hook.statuses = [410]
        plant = Planted(hook.port, closed)
        environment = plant.environment() | {
            "CARSDEPO_PRODUCTION_PORT": str(closed),
            "CARSDEPO_STAGING_PORT": str(closed),
        }
        for name, value in (environment | {"CARSDEPO_HOME": str(home), "A_FILE": str(folder / "given")}).items():
            patch.setenv(name, value)
        filled = example_lake.fill(home, example_lake.shots())
        example_lake.capture(filled.lake, filled.records)
        settings = Settings.read()
        for name, value in settings.variables().items():
            patch.setenv(name, value)
        redacted_errors.install()
        with dg.DagsterInstance.from_config(str(settings.dagster_home())) as instance:
            given = resources(settings)
            job = dg.Definitions(jobs=[leaking], resources=given).resolve_job_def("leaking")
            result = job.execute_in_process(instance=instance, raise_on_error=False)
            told = {name: given[name] for name in failed_runs.required_resource_keys}
            context = dg.build_run_status_sensor_context(
                "failed_runs", result.get_run_failure_event(), instance, result.dagster_run, resources=told
            ).for_run_failure()
            failed_runs(context)
            failures = {
                str(e.step_key): e.step_failure_data.error.to_string() + str(e.step_failure_data.user_failure_data)
                for e in result.all_node_events
                if e.is_step_failure and e.step_failure_data.error is not None
            }
            workers = {p.suffix[1:]: json.loads(p.read_text()) for p in folder.glob("given.*")}
            yield Used(settings, filled.first, hook, Dagster(instance), failures, workers)


def test_the_secrets_are_really_in_use(used: Used) -> None:
    paths = {path for path, _ in used.hook.asked}
    assert f"/services/{planted.WEBHOOK_PATH}?token={planted.WEBHOOK_QUERY}" in paths
    assert any(planted.ALERT_PATH in path for path in paths)
    assert seen("".join(header for _, header in used.hook.asked)) >= {
        planted.basic(planted.WEBHOOK_USER, "wp/Ys3Gk9Vf6"),
        planted.basic("robot", planted.ALERT_PASSWORD),
    }


def test_failed_steps_say_why_without_secrets(used: Used) -> None:
    assert set(used.failures) == {
        "ask_a_webhook", "quote", "track", "look_at_services", "work_as_ours", "work_as_a_library",
    }  # fmt: skip
    assert not seen("".join(used.failures.values()))
    assert "410" in used.failures["ask_a_webhook"]
    assert "was refused" in used.failures["quote"]
    assert "KeyError: '***'" in used.failures["quote"]
    assert "API request to" in used.failures["track"]
    for name in ("work_as_ours", "work_as_a_library"):
        assert "the worker speaks: ***" in used.failures[name]
        assert "RuntimeError: no answer from ***" in used.failures[name]


def test_graphql_shows_which_variable_and_never_its_value(used: Used) -> None:
    places = used.dagster.resources()
    assert places["services"]["api_key"] == ("ENV_VAR", "CARSDEPO_API_KEY")
    assert places["alerts"]["webhook"] == ("ENV_VAR", "CARSDEPO_ALERT_WEBHOOK")
    assert places["tracking"]["uri"] == ("ENV_VAR", "CARSDEPO_MLFLOW")
    assert "CARSDEPO_ALERT_URLS" in places["alerts"]["urls"][1]
    assert "compute" in places
    assert used.dagster.launchpads() > 15
    runs = used.dagster.runs()
    assert len(runs["leaking"]["eventConnection"]["events"]) > 30
    printed = json.dumps(runs["leaking"]["printed"])
    for words in ("the worker speaks: ***", "signing with *** failed", "alerts go to ***"):
        assert words in printed
    assert not seen("\n".join(used.dagster.texts))


def test_a_worker_is_given_only_what_it_needs_and_by_its_environment(used: Used) -> None:
    for worker in used.workers.values():
        assert not seen(worker["spec"] + " ".join(worker["arguments"]))
        assert planted.given(worker["environment"]) == {
            "CARSDEPO_MLFLOW", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL",
        }  # fmt: skip
        assert worker["environment"]["CARSDEPO_HOME"] == str(used.settings.home)
    assert len(used.workers) == 2


def test_alerts_are_kept_without_secrets(used: Used) -> None:
    with_rows = LakeResource(url=used.settings.lake, home=str(used.settings.home)).open()
    rows = {r["kind"]: r for r in with_rows.read("alerts").to_pylist()}
    assert rows["ledger"]["body"] == "The server at *** is down."
    assert len(rows["ledger"]["failed"]) == 2
    assert "quote: KeyError: '***'" in rows["run_failed"]["body"]
    assert not seen(str(rows))


@pytest.mark.parametrize(
    "call",
    [
        ["status"],
        ["status", "--json"],
        ["doctor", "--json"],
        ["lineage", "--stage", "production"],
        ["policy", "show"],
        ["predict", ".", "--out", "/dev/null"],
        ["send", "."],
    ],
    ids=" ".join,
)
def test_commands_print_none(used: Used, call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, call)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert len(result.output) > 40
    assert not seen(result.output + result.stderr)


def test_service_and_pages_show_none(used: Used) -> None:
    service = create_app(used.settings, "production")
    with TestClient(service, headers={"X-API-Key": planted.KEY}) as client:
        pages = ["/", "/predictions", "/alerts", "/queues", "/evaluations", "/gates", "/drift", "/kpis", "/metrics"]
        pages += ["/ping", "/healthz", "/openapi.json", "/predictions/p0001", f"/models/{used.champion}"]
        answers = {page: client.get(page) for page in pages}
        answers |= {"wrong": client.post("/v1/inspections", headers={"X-API-Key": "wrong"})}
    assert answers["/alerts"].text.count("***") > 0
    assert answers["wrong"].status_code == 401
    assert {p: a.status_code for p, a in answers.items() if a.status_code not in (200, 401, 503)} == {}
    assert not seen("\n".join(a.text + str(a.headers) for a in answers.values()))


def test_nothing_below_the_home_holds_one(used: Used) -> None:
    """Dagster's and MLflow's databases, step logs, tables, ledger, lineage and models, as raw bytes."""
    used.dagster.runs()
    names = {p.name for p in used.settings.home.rglob("*") if p.is_file()}
    assert {"lineage.json", "mlflow.db", "dagster.yaml"} <= names
    assert any(b"leaking" in p.read_bytes() for p in used.settings.home.rglob("*.db"))
    assert any(
        "compute_logs" in str(p) and b"the worker speaks" in p.read_bytes() for p in used.settings.home.rglob("*.out")
    )
    assert seen_below(used.settings.home) == {}
