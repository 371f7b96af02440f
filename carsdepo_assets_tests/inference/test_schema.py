"""inference/app.py: the service does what its OpenAPI schema says, by schemathesis with every check that it has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.served_models import ROOT, deploy, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("key", ["", "k"])
def test_requests_made_from_the_schema_are_answered_as_it_says(tmp_path: Path, key: str) -> None:
    settings = settings_of(tmp_path, "[inference]\nopen_operations = true\n", **({"api_key": key} if key else {}))
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "only")
    deploy(lake, "production", digest)
    with service(settings) as running:
        running.serves(digest)
        config = tmp_path / "schemathesis.toml"
        auth = f'\n[auth.openapi.APIKeyHeader]\napi_key = "{key}"\n' if key else ""
        config.write_text(Path(__file__).with_name("schemathesis.toml").read_text() + auth)
        command = [
            str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run",
            f"{running.url}/openapi.json", "--checks", "all", "--max-examples", "100", "--seed", "1", "--no-color",
        ]  # fmt: skip
        hooks = {"SCHEMATHESIS_HOOKS": "carsdepo_assets_tests.inference.schema_hooks"}
        told = subprocess.run(
            command, env={**os.environ, **hooks}, cwd=ROOT, capture_output=True, text=True, timeout=280
        )
        assert told.returncode == 0, (told.stdout + told.stderr)[-4000:]
        assert "6 selected / 6 total" in told.stdout
        assert "Traceback" not in running.log.read_text()
        assert running.send(photograph(1)).status_code in (200, 401)
