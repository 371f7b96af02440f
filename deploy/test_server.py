"""Tries a team's server for real: starts it, logs in, trains, approves, kills, backs up, removes and restores it.

`make test-server`; by hand, since it takes minutes and a container engine. It needs root and the TOOLS of
testing/stand_ins.py, or `--images built` and images of this repository on the usual engine. Where images are stood in
for, PostgreSQL, nginx and Python come from Debian packages and the Python packages of this environment are mounted: it
prints which. State lies in --folder; a second run reuses the image there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.testing.stand_ins import stand_ins

ROOT = Path(__file__).resolve().parents[1]
OVER = ("SUCCESS", "FAILURE", "CANCELED")
HEALED = ("postgres", "production", "code", "daemon", "webserver", "nginx")
PASSWORDS = {"ann": "correct horse battery", "vera": "staple of twelve or more"}
POLICY = """
[data]
batch_max_age_s = 1
[training]
minutes = 0.4
debounce_s = 1
[evaluation]
floor_map50 = 0.0
[release]
wait_s = 600
"""
LAUNCH = """mutation($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename
  ... on LaunchRunSuccess {run {runId}} ... on PythonError {message} ... on UnauthorizedError {message}}}"""
RUN = "query($r: ID!) {runOrError(runId: $r) {... on Run {status tags {key value}}}}"
RUNS = "query($f: RunsFilter) {runsOrError(filter: $f) {... on Runs {results {runId jobName status}}}}"
LOCATION = {"repositoryLocationName": "carsdepo", "repositoryName": "__repository__"}


def step(text: str) -> None:
    """Says what is tried, with the time since the start."""
    print(f"[{time.monotonic() - STARTED:6.0f} s] {text}", flush=True)


def wait(what: str, ready: Callable[[], Any], seconds: float = 300) -> Any:
    """The first truthy value of `ready`; AssertionError after so many seconds."""
    limit, last = time.monotonic() + seconds, "nothing"
    while time.monotonic() < limit:
        try:
            if value := ready():
                return value
        except (OSError, KeyError, json.JSONDecodeError) as error:
            last = repr(error)
        time.sleep(2)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s; last: {last}")


class Server:
    """One server: a copy of deploy/ in a folder, with secrets and ports of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.ports = {name: _free_port() for name in ("HTTPS_PORT", "MLFLOW_PORT", "PRODUCTION_PORT", "STAGING_PORT")}
        self.environment |= {name: str(port) for name, port in self.ports.items()} | {"LISTEN": "127.0.0.1"}

    def do(self, script: str, *arguments: str, given: str = "") -> str:
        """Runs one of the scripts of deploy/; its output."""
        ended = subprocess.run(
            [str(self.folder / "deploy" / script), *arguments],
            env=self.environment,
            input=given,
            text=True,
            cwd=self.folder,
            capture_output=True,
        )
        if ended.returncode != 0:
            raise AssertionError(f"deploy/{script} {arguments}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}")
        return ended.stdout

    def inside(self, service: str, *command: str) -> str:
        """Runs a command in a service's container."""
        return self.do("inside", service, *command)

    def upload(self, service: str, folder: Path, target: str) -> None:
        """Copies a folder into a container."""
        archive = subprocess.run(["tar", "-C", str(folder), "-cf", "-", "."], stdout=subprocess.PIPE, check=True).stdout
        unpack = [
            str(self.folder / "deploy/inside"),
            service,
            "sh",
            "-c",
            f"mkdir -p {target} && tar -xf - -C {target}",
        ]
        subprocess.run(unpack, input=archive, env=self.environment, check=True, capture_output=True)

    def healthy(self, service: str, command: list[str]) -> bool:
        """Whether a health check succeeds in its container."""
        try:
            self.do("compose", "exec", "-T", service, *command)
        except AssertionError:
            return False
        return True

    def ask(
        self, port: str, path: str, user: str | None = None, data: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """One request from outside, verified against the server's own certificate: status and body."""
        request = urllib.request.Request(f"https://localhost:{self.ports[port]}{path}", data)
        if user is not None:
            password = PASSWORDS.get(user, "wrong password")
            request.add_header("Authorization", "Basic " + b64encode(f"{user}:{password}".encode()).decode())
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        trusted = ssl.create_default_context(cafile=str(self.folder / "deploy/secrets/nginx/tls.crt"))
        try:
            with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def graphql(self, user: str, query: str, variables: dict[str, Any], **headers: str) -> dict[str, Any]:
        """What Dagster answers a person."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        status, text = self.ask("HTTPS_PORT", "/graphql", user, body, Content_Type="application/json", **headers)
        if status in (502, 504):
            raise ConnectionError(f"nginx reaches no webserver: {status}")
        assert status == 200 or b'"PythonError"' in text, (status, text[:500])  # with 500, such as without Postgres
        (outcome,) = json.loads(text)["data"].values()
        return dict(outcome)

    def launch(self, user: str, job: str, config: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """Asks for a run as the launchpad does."""
        parameters = {"selector": LOCATION | {"jobName": job}, "runConfigData": {"ops": config or {}}}
        return self.graphql(user, LAUNCH, {"p": parameters}, **headers)

    def ended(self, run_id: str) -> dict[str, Any] | None:
        """The run, when it is over."""
        run = self.graphql("vera", RUN, {"r": run_id})
        return run if run["status"] in OVER else None

    def runs(self, **wanted: Any) -> list[dict[str, Any]]:
        """Runs that a viewer sees, newest first."""
        return list(self.graphql("vera", RUNS, {"f": wanted})["results"])

    def kill(self, service: str) -> None:
        """Kills the first process of a container, as the kernel does where memory runs out."""
        engine = "podman" if shutil.which("podman", path=self.environment["PATH"]) else "docker"
        ids = subprocess.run(
            [engine, "ps", "--quiet", "--filter", f"label=com.docker.compose.service={service}"],
            env=self.environment, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        pid = subprocess.run(
            [engine, "inspect", "--format", "{{.State.Pid}}", ids[0]],
            env=self.environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        os.kill(int(pid), signal.SIGKILL)

    def lineage(self) -> Any:
        """What the production model came from, as the command prints it for programs."""
        return json.loads(self.inside("code", "carsdepo", "lineage", "--stage", "production", "--json"))


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def logins(server: Server) -> None:
    """Nobody without a password, everybody with one, and each only what is theirs."""
    step("Without a login everything is 401")
    for port in server.ports:
        for user in (None, "nobody", "ann"):  # ann is not a user yet
            assert server.ask(port, "/", user)[0] == 401, (port, user)
    body = {"Content_Type": "application/json"}
    assert server.ask("HTTPS_PORT", "/graphql", None, b'{"query": "{version}"}', **body)[0] == 401
    server.do("users", "add", "vera", given=PASSWORDS["vera"] + "\n")
    server.do("users", "add", "ann", "--approver", given=PASSWORDS["ann"] + "\n")
    assert server.do("users", "list") == "vera viewer\nann approver\n"
    step("With a login the UI, MLflow and the reports are 200")
    for user in ("vera", "ann"):
        wait(f"the UI for {user}", lambda user=user: server.ask("HTTPS_PORT", "/", user)[0] == 200)
    for port in ("MLFLOW_PORT", "PRODUCTION_PORT"):
        wait(port, lambda port=port: server.ask(port, "/", "vera")[0] == 200)
    assert server.ask("HTTPS_PORT", "/", "nobody")[0] == 401
    wait("the graph", lambda: server.launch("vera", "build_dataset")["__typename"] == "UnauthorizedError")


def foreign_pages(server: Server) -> None:
    """What a foreign page can have a logged-in browser send."""
    step("Foreign pages are refused; MLflow can only be read")
    mutation = b'{"query": "mutation {__typename}"}'
    json_body = {"Content_Type": "application/json"}
    port = server.ports["HTTPS_PORT"]
    for headers in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Origin": "null"}):
        assert server.ask("HTTPS_PORT", "/graphql", "ann", mutation, **json_body, **headers)[0] == 403, headers
    own = {"Origin": f"https://localhost:{port}", "Sec_Fetch_Site": "same-origin"}
    assert server.ask("HTTPS_PORT", "/graphql", "ann", b'{"query": "{version}"}', **json_body, **own)[0] == 200
    assert server.ask("HTTPS_PORT", "/graphql?query=mutation%7B__typename%7D", "ann")[0] == 405
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert server.ask("HTTPS_PORT", "/graphql?query=mutation%7B__typename%7D", "ann", b"", **form)[0] == 405
    search = "/ajax-api/2.0/mlflow/runs/search"
    assert server.ask("MLFLOW_PORT", search, "vera", b'{"experiment_ids": ["0"]}', **json_body)[0] == 200
    for user in ("vera", "ann"):
        for path in ("/ajax-api/2.0/mlflow/experiments/create", "/api/2.0/mlflow/experiments/create"):
            assert server.ask("MLFLOW_PORT", path, user, b'{"name": "x"}', **json_body)[0] == 403


def train_and_approve(server: Server, sample: Path) -> None:
    """Photographs become a model; a viewer cannot approve it, an approver can, and the ledger names her."""
    step("Photographs and labels go into the lake; the daemon trains")
    server.upload("code", sample, "/tmp/sample")
    server.inside("code", "carsdepo", "import", "/tmp/sample")
    wait("a training", lambda: server.runs(pipelineName="train", statuses=["SUCCESS"]), 900)
    wait("a release at staging", lambda: server.runs(pipelineName="release", statuses=["SUCCESS"]), 900)
    step("A viewer's approval is refused, an approver's is entered in her name")
    decision = {"approve": {"config": {"version": "latest", "reason": "looked at the report"}}}
    assert server.launch("vera", "approve_model", decision)["__typename"] == "UnauthorizedError"
    forged = {"approve": {"config": decision["approve"]["config"] | {"actor": "boss"}}}
    for config, ends in ((decision, "SUCCESS"), (forged, "FAILURE")):
        answer = server.launch("ann", "approve_model", config, X_Carsdepo_User="boss")
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run = wait("the run's end", lambda answer=answer: server.ended(answer["run"]["runId"]), 300)
        assert run["status"] == ends, run
        assert {"key": "carsdepo/user", "value": "ann"} in run["tags"]
    wait("production", lambda: server.ask("PRODUCTION_PORT", "/readyz")[0] == 200, 600)
    assert '"actor": "ann"' in json.dumps(server.lineage())
    step("Programs need the API key")
    key = (server.folder / "deploy/secrets/CARSDEPO_API_KEY").read_text().strip()
    photograph = next((sample / "images").iterdir()).read_bytes()
    image = {"Content_Type": "image/jpeg"}
    assert server.ask("PRODUCTION_PORT", "/invocations", "ann", photograph, **image)[0] == 401
    assert server.ask("PRODUCTION_PORT", "/invocations", None, photograph, X_API_Key=key, **image)[0] == 200


def heal(server: Server) -> None:
    """What is killed comes back by itself, and work goes on."""
    for service in HEALED:
        began = time.monotonic()
        server.kill(service)
        wait("the UI", lambda: server.ask("HTTPS_PORT", "/", "vera")[0] == 200)
        wait("production", lambda: server.ask("PRODUCTION_PORT", "/readyz")[0] == 200)
        answer = wait("a launch", lambda: _launched(server), 300)
        run = wait("its end", lambda answer=answer: server.ended(answer), 300)
        assert run["status"] == "SUCCESS", (service, run)
        step(f"{service} was killed; after {time.monotonic() - began:.0f} s an asset was materialized")


def _launched(server: Server) -> str | None:
    answer = server.launch("ann", "build_dataset")
    return answer["run"]["runId"] if answer["__typename"] == "LaunchRunSuccess" else None


def checks(server: Server) -> None:
    """Each container's health check, run in it; and what nobody who may look at containers should see."""
    import yaml

    step("Health checks; no secret in what the engine shows")
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    for name, service in compose["services"].items():
        if "healthcheck" in service:
            test = service["healthcheck"]["test"]
            wait(f"{name}'s health", lambda name=name, test=test: server.healthy(name, test[1:]), 120)
    engine = shutil.which("podman", path=server.environment["PATH"]) or "docker"
    names = subprocess.run([engine, "ps", "-q"], env=server.environment, capture_output=True, text=True, check=True)
    shown = subprocess.run(
        [engine, "inspect", *names.stdout.split()], env=server.environment, capture_output=True, text=True, check=True
    ).stdout
    for file in sorted((server.folder / "deploy/secrets").iterdir()):
        if file.is_file() and file.name not in ("server.env", "model-signing.pub") and file.stat().st_size:
            assert file.read_text().strip() not in shown, file.name


def back_and_restore(server: Server) -> None:
    """A server that is made anew from its backup tells the same."""
    lineage, runs = server.lineage(), {run["runId"]: run for run in server.runs()}
    step("Backup")
    server.do("backup", "backups")
    (backup,) = sorted((server.folder / "backups").iterdir())
    size = sum(file.stat().st_size for file in backup.iterdir())
    step(f"Down, with every volume and secret removed; restore of {size / 2**20:.0f} MiB")
    server.do("down", "--volumes")
    shutil.rmtree(server.folder / "deploy/secrets")
    server.do("restore", str(backup))
    server.do("up")
    wait("the UI", lambda: server.ask("HTTPS_PORT", "/", "vera")[0] == 200)
    wait("production", lambda: server.ask("PRODUCTION_PORT", "/readyz")[0] == 200, 600)
    assert server.lineage() == lineage
    restored = {run["runId"]: run for run in server.runs()}
    assert runs.keys() <= restored.keys(), runs.keys() - restored.keys()
    # Others go on or are settled: a run that was asked for while Postgres was killed may never have started.
    ended = {run_id: (run, restored[run_id]) for run_id, run in runs.items() if run["status"] in OVER}
    assert all(before == after for before, after in ended.values()), ended
    step("The same lineage, runs and logins")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where its state lies; default: a new one, removed afterwards")
    parser.add_argument("--keep", action="store_true", help="leave the server running, with its folder")
    parser.add_argument("--images", choices=["stand-in", "built"], default="stand-in")
    arguments = parser.parse_args()
    base = arguments.folder or Path(tempfile.mkdtemp(prefix="carsdepo-server-"))
    base = base.resolve()
    base.mkdir(parents=True, exist_ok=True)
    variables = stand_ins(base, step) if arguments.images == "stand-in" else {}
    print("Images:", "stand-ins from Debian, packages mounted" if variables else "as built", flush=True)
    place = base / "server"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(ROOT / "deploy", place / "deploy", ignore=shutil.ignore_patterns("secrets*", "__pycache__"))
    (place / "deploy/policy/carsdepo.toml").write_text(POLICY)
    server = Server(place, dict(os.environ) | variables)
    from carsdepo_assets.demo.sample.write import write_sample

    sample = base / "sample"
    shutil.rmtree(sample, ignore_errors=True)  # one of an earlier release may lack what an import asks for now
    write_sample(sample, 60, 5)
    try:
        step("First start: deploy/up")
        server.do("up", "localhost")
        logins(server)
        foreign_pages(server)
        train_and_approve(server, sample)
        checks(server)
        heal(server)
        back_and_restore(server)
    finally:
        if arguments.keep:
            print(f"It runs at https://localhost:{server.ports['HTTPS_PORT']}; its files are in {place}.")
        else:
            step("Down")
            server.do("down", "--volumes")
            if arguments.folder is None:
                shutil.rmtree(base, ignore_errors=True)
    return 0


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
