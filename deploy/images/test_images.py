"""`make test-images`: orchestrator and service are built and run, as people and AWS run them.

Containers run as uid 10001 with a read-only root, no capabilities and no way to gain privileges. Variables:
  IMAGES         which of the two, such as "service" alone; tests of the other are skipped
  BUILDER, BUILDER_FLAGS, BASE  as for build.sh; BASE=debian: an image of debian_base.sh, without a registry of images
  ENGINE         what runs containers: podman or docker (default: the first that is installed)
  ENGINE_FLAGS   more flags for `run`
  CARSDEPO_BUILT unset: the images are built first; a version: those with this tag are taken
  WORKER_IMAGE   a worker image as built; unset: the orchestrator's with this environment's site-packages mounted
buildah and podman read their own variables besides: CONTAINERS_STORAGE_CONF, CONTAINERS_CONF, BUILDAH_ISOLATION.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from packaging.utils import canonicalize_name

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import is_complete
from carsdepo_assets_tests.detectors.stored_models import store_model
from carsdepo_assets_tests.inference.served_models import deploy, exported_and_signed, photograph, settings_of
from carsdepo_assets_tests.training.test_worker import spec_for

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
IMAGES = os.environ.get("IMAGES", "service orchestrator").split()
BUILDER = os.environ.get("BUILDER") or next((b for b in ("docker", "buildah", "podman") if shutil.which(b)), None)
ENGINE = os.environ.get("ENGINE") or next((e for e in ("podman", "docker") if shutil.which(e)), None)
SITE = Path(httpx.__file__).parents[1]
USER = 10001
WAIT_S = 300.0
PING_S = 2.0  # of CPU time from the model's deployment to a /ping of 200; of wall time on a machine that is idle else
SECRETS = {".env": "env", "deploy/images/.env.production": "env2", "carsdepo_assets/.env": "env3", "notes.key": "key"}

pytestmark = [
    pytest.mark.skipif(ENGINE is None, reason="there is neither podman nor docker"),
    pytest.mark.timeout(3600),
]


@dataclass(frozen=True)
class Built:
    """The images' common tag, and the secrets that lay in the context and in the environment while they were built."""

    version: str
    secrets: tuple[str, ...]

    def image(self, name: str) -> str:
        if name not in IMAGES:
            pytest.skip(f"IMAGES does not name the {name}")
        return f"localhost/carsdepo-{name}:{self.version}"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Builds from a copy of the repository that has secrets lying about, with one in the environment."""
    if version := os.environ.get("CARSDEPO_BUILT"):
        print(f"images: the built ones of version {version}")
        return Built(version, ())
    if BUILDER is None:
        pytest.skip("there is neither docker, buildah nor podman to build with")
    context = tmp_path_factory.mktemp("context")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, context / name)
    mark = uuid.uuid4().hex
    for name, kind in SECRETS.items():
        (context / name).write_text(f"CARSDEPO_API_KEY={kind}-{mark}\n")
    pip = context / "pip.conf"  # outside the allow-list, as a secret of the build
    pip.write_text(f"[global]\n# password {mark}\n")
    base = os.environ.get("BASE", "")
    if base == "debian":
        base = "localhost/carsdepo-test-base:bookworm"
        subprocess.run([FOLDER / "debian_base.sh", base], check=True)
    flags = f"{os.environ.get('BUILDER_FLAGS', '')} --secret id=pip.conf,src={pip}"
    environment = {
        **os.environ,
        "BASE": base,
        "VERSION": "test",
        "BUILDER_FLAGS": flags,
        "CARSDEPO_API_KEY": f"environment-{mark}",
    }
    subprocess.run(
        [context / "deploy" / "images" / "build.sh", *IMAGES],
        cwd=context,
        env=environment,
        check=True,
    )
    return Built("test", (mark,))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder that the containers' user may write, as a volume."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def give(folder: Path) -> None:
    """Gives a folder to the containers' user; this process is root, or in its group."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
    for parent in folder.parents[:3]:  # pytest's are 0700
        parent.chmod(0o755)


def run_command(image: str, *arguments: str, name: str = "", flags: tuple[str, ...] = ()) -> list[str]:
    """A hardened container's command line; on the host's network, so that no port is mapped."""
    assert ENGINE is not None
    return [
        *(ENGINE, "run", "--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp:rw,mode=1777"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *(("--name", name) if name else ()),
        *shlex.split(os.environ.get("ENGINE_FLAGS", "")),
        *flags,
        image,
        *arguments,
    ]


def volume(source: Path, target: str, *options: str) -> tuple[str, str]:
    return ("-v", ":".join((str(source), target, *options)))


def output_of(image: str, *command: str) -> str:
    """What a command inside an image prints, without the entrypoint."""
    [first, *rest] = command
    result = subprocess.run(
        run_command(image, *rest, flags=("--entrypoint", first)), capture_output=True, text=True, timeout=WAIT_S
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def container(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A container in the foreground; the engine passes signals on and exits with its code."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            name = command[command.index("--name") + 1]
            subprocess.run([str(ENGINE), "rm", "--force", name], capture_output=True)
            process.wait(WAIT_S)


def processor_seconds(command: list[str]) -> float:
    """CPU time of a container's processes until now."""
    name = command[command.index("--name") + 1]
    asked = [str(ENGINE), "inspect", "--format", "{{.State.Pid}}", name]
    first = psutil.Process(int(subprocess.run(asked, capture_output=True, check=True, text=True).stdout))
    times = [process.cpu_times() for process in (first, *first.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def wait_for(url: str, status: int, process: subprocess.Popen[bytes], log: Path) -> float:
    """Seconds until the URL answers with the status."""
    start = time.monotonic()
    while time.monotonic() - start < WAIT_S:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=5).status_code == status:
                return time.monotonic() - start
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"{url} never answered {status}:\n{log.read_text()}")


@pytest.mark.parametrize("name", ["service", "orchestrator"])
def test_an_image_is_small_for_its_role_and_says_what_it_has(name: str, built: Built) -> None:
    image = built.image(name)
    [facts] = json.loads(subprocess.run([str(ENGINE), "inspect", image], capture_output=True, check=True).stdout)
    config, labels = facts["Config"], facts["Config"]["Labels"]
    print(f"{image}: {facts['Size'] / 1e9:.2f} GB")
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"][0] == "tini"
    assert labels["org.opencontainers.image.title"] == f"carsdepo-{name}"
    assert labels["org.opencontainers.image.version"] == built.version
    assert facts.get("Healthcheck") or config.get("Healthcheck")
    sbom = json.loads(output_of(image, "cat", "/opt/carsdepo/sbom.cdx.json"))
    listed = {canonicalize_name(component["name"]) for component in sbom["components"]}
    lock = (ROOT / f"deploy/images/requirements-{name}.lock").read_text()
    names = {canonicalize_name(line.partition("==")[0]) for line in lock.splitlines() if "==" in line}
    assert names <= listed
    assert not listed & {"torch", "ultralytics", "triton", "pip"}
    assert "libglib2.0-0" in output_of(image, "cat", "/var/lib/dpkg/sbom-debian.txt")
    assert output_of(image, "id", "-u").strip() == str(USER)


@pytest.mark.parametrize("name", ["service", "orchestrator"])
def test_no_secret_is_in_a_layer(name: str, built: Built, tmp_path: Path) -> None:
    """Greps each layer and the configuration for what lay beside the sources and in the build's environment."""
    if not built.secrets:
        pytest.skip("the images were built before, without secrets that could be looked for")
    archive = tmp_path / "image.tar"
    kind = ("--format", "docker-archive") if Path(str(ENGINE)).name == "podman" else ()
    subprocess.run([str(ENGINE), "save", *kind, "--output", archive, built.image(name)], check=True)
    marks = [mark.encode() for mark in built.secrets]
    package_files = 0
    with tarfile.open(archive) as image:
        for member in image:
            stream = image.extractfile(member)
            if stream is None:
                continue
            if not member.name.endswith(".tar"):
                assert not any(mark in stream.read() for mark in marks), member.name
                continue
            with tarfile.open(fileobj=stream) as layer:
                for file in layer:
                    content = layer.extractfile(file) if file.isreg() else None
                    data = b"" if content is None else content.read()
                    assert not any(mark in data for mark in marks), file.name
                    assert Path(file.name).name not in (".env", "pip.conf", "model-signing.key"), file.name
                    package_files += "site-packages/carsdepo_assets/" in file.name
    assert package_files > 300  # the layers were really read


def test_the_service_answers_within_two_seconds_and_ends_by_sigterm(built: Built, state: Path, tmp_path: Path) -> None:
    # One runtime, as on a server that has measured: what measures two of them takes seconds, once for each machine.
    settings = settings_of(state, '[inference]\nruntime = "onnxruntime"\n')
    lake = Lake.open(settings.lake)
    digest = store_model(lake, "yolov8n", size=64)
    exported_and_signed(settings, digest)
    give(state)
    port, log = free_port(), tmp_path / "log"
    command = run_command(
        built.image("service"),
        "serve",
        name=f"carsdepo-test-{uuid.uuid4().hex[:8]}",
        flags=(
            *volume(settings.home, "/var/lib/carsdepo"),
            *volume(state / "carsdepo.toml", "/etc/carsdepo.toml", "ro"),
            *("-e", "CARSDEPO_POLICY=/etc/carsdepo.toml", "-e", f"CARSDEPO_SERVE_PORT={port}"),
        ),
    )
    with container(command, log) as process:
        started = wait_for(f"http://127.0.0.1:{port}/ping", 503, process, log)
        before = processor_seconds(command)
        deploy(lake, "production", digest)
        give(state)
        ready = wait_for(f"http://127.0.0.1:{port}/ping", 200, process, log)
        used = processor_seconds(command) - before
        print(f"service: answers {started:.2f} s after its start; /ping is 200 {ready:.2f} s after the deployment")
        print(f"service: it used {used:.2f} s of CPU time for that; {os.getloadavg()[0]:.1f} processes wanted a core")
        assert used < PING_S
        answer = httpx.post(f"http://127.0.0.1:{port}/invocations", content=photograph(1), timeout=30)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"]["digest"] == digest
        health = subprocess.run(
            run_command(built.image("service"), "health", flags=("-e", f"CARSDEPO_SERVE_PORT={port}")), timeout=WAIT_S
        )
        assert health.returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0, log.read_text()


def test_the_orchestrator_shows_the_assets_and_ends_by_sigterm(built: Built, state: Path, tmp_path: Path) -> None:
    give(state)
    port, log = free_port(), tmp_path / "log"
    command = run_command(
        built.image("orchestrator"),
        *("dagster-webserver", "--host", "127.0.0.1", "--port", str(port), "-m", "carsdepo_assets.definitions"),
        name=f"carsdepo-test-{uuid.uuid4().hex[:8]}",
        flags=(*volume(state, "/var/lib/carsdepo"), "-e", "DAGSTER_HOME=/var/lib/carsdepo"),
    )
    with container(command, log) as process:
        started = wait_for(f"http://127.0.0.1:{port}/server_info", 200, process, log)
        print(f"orchestrator: the webserver answers {started:.1f} s after the start")
        query = {"query": "{assetNodes {assetKey {path}}}"}
        answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json=query, timeout=60).json()
        keys = {"/".join(node["assetKey"]["path"]) for node in answer["data"]["assetNodes"]}
        assert "candidate_model" in keys
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) in (0, 143), log.read_text()


def test_a_training_is_stopped_by_sigterm_and_goes_on(built: Built, tmp_path: Path) -> None:
    """SageMaker's way: /opt/ml mounted, `train`, SIGTERM; exit code 143, the checkpoint is there, the next goes on."""
    image, flags = os.environ.get("WORKER_IMAGE", ""), tuple[str, ...]()
    if image:
        print(f"worker: {image} as built")
    else:
        image, flags = built.image("orchestrator"), (*volume(SITE, "/packages", "ro"), "-e", "PYTHONPATH=/packages")
        print(f"worker: {image} with this environment's site-packages mounted (Python {sys.version.split()[0]} here)")
    ml = tmp_path / "ml"
    (ml / "input" / "config").mkdir(parents=True)
    here = spec_for(tmp_path, epochs=5)
    shutil.move(tmp_path / "lake", ml / "lake")
    lake = Lake.open(str(ml / "lake"))
    spec = here.model_copy(update={"lake": "/opt/ml/lake"})
    (ml / "spec.json").write_text(spec.model_dump_json())
    parameters = {"module": "carsdepo_assets.training.worker", "spec": "/opt/ml/spec.json"}
    (ml / "input" / "config" / "hyperparameters.json").write_text(json.dumps(parameters))
    give(ml)

    def training() -> list[str]:
        name = f"carsdepo-test-{uuid.uuid4().hex[:8]}"
        return run_command(image, "train", name=name, flags=(*volume(ml, "/opt/ml"), *flags))

    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with container(training(), first) as process:
        start = time.monotonic()
        while "epoch 2/5" not in first.read_text():
            assert process.poll() is None, first.read_text()
            assert time.monotonic() - start < 600, first.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        code = process.wait(WAIT_S)
        assert code == 143, first.read_text()
        seconds = asked - start, time.monotonic() - asked
        print("worker: epoch 2 {:.1f} s after the start, ended {:.1f} s after SIGTERM".format(*seconds))
    assert [p for p in (ml / "checkpoints").rglob("*") if p.is_file() and p.suffix == ".pt"]
    assert not list(lake.list("models/"))
    assert not (ml / "output" / "failure").exists()

    with container(training(), second) as process:
        assert process.wait(1200) == 0, second.read_text()
    text = second.read_text()
    assert "Going on from the checkpoint" in text
    epochs = [int(line.removeprefix("epoch ").split("/")[0]) for line in text.splitlines() if line.startswith("epoch ")]
    assert epochs[0] in (2, 3)
    assert epochs[-1] == 5
    [digest] = {stored.key.split("/")[1] for stored in lake.list("models/")}
    assert is_complete(lake, digest)
    print(f"worker: went on at epoch {epochs[0]} of 5")
