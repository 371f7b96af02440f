"""deploy/images/requirements.py, deploy/images/entrypoint.py: the service image's packages answer SageMaker's requests.

Its process has only these packages, in an environment of links, and is started as the image starts it.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.deploy.narrow_environment import make_environment, variables
from carsdepo_assets_tests.deploy.scripts import IMAGES, script
from carsdepo_assets_tests.detectors.stored_models import store_model
from carsdepo_assets_tests.inference.served_models import deploy, exported_and_signed, photograph, settings_of

requirements = script(IMAGES / "requirements.py")
WAIT_S = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ping_and_invocations_answer_without_torch_and_dagster(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, '[inference]\nruntime = "onnxruntime"\n')
    lake = Lake.open(settings.lake)
    digest = store_model(lake, "yolov8n", size=64)
    exported_and_signed(settings, digest)
    names = requirements.locked((IMAGES / "requirements-service.lock").read_text())
    python = make_environment(tmp_path / "environment", names)
    # The script that pip writes for the package, in the image as here beside the Python.
    carsdepo = python.with_name("carsdepo")
    carsdepo.write_text(f"#!{python}\nfrom carsdepo_assets.cli import main\nmain()\n")
    carsdepo.chmod(0o755)
    port = free_port()
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [python, IMAGES / "entrypoint.py", "serve"],
            env=variables(**settings.variables(), CARSDEPO_SERVE_PORT=str(port)),
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"

        def status() -> int | None:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{url}/ping").status_code
            except httpx.TransportError:
                return None

        limit = time.monotonic() + WAIT_S
        while status() != 503:  # it answers, and there is no model
            assert time.monotonic() < limit, log.read_text()
            time.sleep(0.05)
        deploy(lake, "production", digest)
        while status() != 200:
            assert time.monotonic() < limit, log.read_text()
            time.sleep(0.05)
        answer = httpx.post(f"{url}/invocations", content=photograph(1), headers={"content-type": "image/jpeg"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"]["digest"] == digest
        assert answer.json()["photographs"][0]["decision"] == "damage"
        assert httpx.get(url).status_code == 200  # the site for people
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
