"""commands/status.py: a look at the state imports none of the libraries that take seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from carsdepo_assets_tests.site import example_lake

# pandas is not among them: pyarrow imports it by itself when rows with times become Python objects.
HEAVY = ("mlflow", "sqlalchemy", "duckdb", "dagster", "torch", "cv2", "matplotlib", "great_expectations")


@pytest.mark.slow
def test_status_imports_nothing_heavy(filled: example_lake.Filled) -> None:
    code = (
        "import json, sys, pathlib\n"
        "from rich.console import Console\n"
        "from carsdepo_assets.commands.status import read_status, show\n"
        "from carsdepo_assets.settings import Settings\n"
        "state = read_status(Settings.read({}, home=pathlib.Path(sys.argv[1])))\n"
        "show(state, Console(file=open('/dev/null', 'w')))\n"
        f"print(json.dumps([len(state['models']), [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    home = filled.lake.url.removesuffix("/lake")
    result = subprocess.run([sys.executable, "-c", code, home], capture_output=True, text=True, check=True)
    models, heavy = json.loads(result.stdout)
    assert models == 2
    assert heavy == []
