"""deploy/images/entrypoint.py: the verbs of the images, and a training as SageMaker starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from carsdepo_assets_tests.deploy.scripts import IMAGES, script

entrypoint = script(IMAGES / "entrypoint.py")

# A worker that does what its spec says, in Python.
WORKER = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--spec", required=True)
exec(parser.parse_args().spec)
"""


def start(
    folder: Path, parameters: Mapping[str, str], *, arguments: tuple[str, ...] = ("train",), **environment: str
) -> subprocess.Popen[str]:
    """The entrypoint as a process: `folder` is SageMaker's, with these hyper-parameters, and has the module `job`."""
    config = folder / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps(parameters))
    (folder / "job.py").write_text(WORKER)
    return subprocess.Popen(
        [sys.executable, str(IMAGES / "entrypoint.py"), *arguments],
        env={**os.environ, "CARSDEPO_ML_ROOT": str(folder), "PYTHONPATH": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def failure(folder: Path) -> str | None:
    file = folder / "output" / "failure"
    return file.read_text() if file.exists() else None


def test_a_sagemaker_training_gets_its_module_spec_and_pipes_variables(tmp_path: Path) -> None:
    spec = "import os; print(os.environ['DAGSTER_PIPES_CONTEXT'], os.environ['DAGSTER_PIPES_MESSAGES'])"
    parameters = {
        "module": "job",
        **{f"spec.{i}": spec[20 * i : 20 * (i + 1)] for i in range(len(spec) // 20 + 1)},
        "DAGSTER_PIPES_CONTEXT.0": "abc",
        "DAGSTER_PIPES_CONTEXT.1": "def",
        "DAGSTER_PIPES_MESSAGES": "of the hyper-parameters",
        "colour": "red",
    }
    process = start(tmp_path, parameters, DAGSTER_PIPES_MESSAGES="of the environment")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "abcdef of the environment\n"), err
    assert "nothing reads the hyper-parameters colour" in err
    assert failure(tmp_path) is None


@pytest.mark.parametrize("variables", [{}, {"CARSDEPO_WORK": "/elsewhere"}])
def test_a_trainings_files_lie_where_sagemaker_keeps_checkpoints(tmp_path: Path, variables: dict[str, str]) -> None:
    parameters = {"module": "job", "spec": "import os; print(os.environ['CARSDEPO_WORK'])"}
    out, err = start(tmp_path, parameters, **variables).communicate(timeout=60)
    assert out == variables.get("CARSDEPO_WORK", str(tmp_path / "checkpoints")) + "\n", err


def test_eleven_pieces_are_joined_by_number() -> None:
    pieces = {f"spec.{i}": chr(ord("a") + i) for i in range(11)}
    assert entrypoint.join_pieces(dict(reversed(pieces.items())))["spec"] == "abcdefghijk"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"module": "job"}, "lack spec"),
        ({}, "lack module and spec"),
        ({"module": "job", "spec.0": "a", "spec.2": "b"}, "only the pieces [0, 2]"),
        ({"module": "job", "spec": "a", "spec.0": "b"}, "as a whole and in pieces"),
        ({"module": "os; import", "spec": "a"}, "not the dotted name of a module"),
        ({"module": "job", "spec": 1}, "not an object of strings"),
        (["module"], "not an object of strings"),
        ({"module": "job", "spec." + "1" * 5000: "a"}, "lack spec"),
        ({"module": "job", "spec": "x" * 200_000}, "could not be started with these arguments and variables"),
        ({"module": "job", "spec": "a\0b"}, "could not be started with these arguments and variables"),
        ({"module": "job", "spec": "\ud800"}, "could not be started with these arguments and variables"),
        ({"module": "job", "spec": "a", "DAGSTER_PIPES_A=B": ""}, "could not be started with these arguments"),
    ],
)
def test_hyper_parameters_that_cannot_be_used_are_named(parameters: object, says: str, tmp_path: Path) -> None:
    process = start(tmp_path, parameters)  # type: ignore[arg-type]
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert says in err
    assert says in str(failure(tmp_path))


def test_pieces_are_not_overwritten_by_another_spelling_of_their_number() -> None:
    assert entrypoint.join_pieces({"spec.0": "a", "spec.00": "b"}) == {"spec": "a", "spec.00": "b"}


def test_hyper_parameters_nested_too_deeply_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSDEPO_ML_ROOT", str(tmp_path))
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text("[" * 100_000)
    assert entrypoint.main(["train"]) == 2
    assert "hyperparameters.json cannot be read" in str(failure(tmp_path))


def test_without_hyper_parameters_it_says_which_file_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARSDEPO_ML_ROOT", str(tmp_path))
    assert entrypoint.main(["train"]) == 2
    assert "input/config/hyperparameters.json cannot be read" in capsys.readouterr().err
    assert "hyperparameters.json" in str(failure(tmp_path))


def test_a_failure_leaves_the_end_of_stderr_and_the_workers_code(tmp_path: Path) -> None:
    spec = "import sys; print('x' * 5000, 'out of tea', sep='\\n', file=sys.stderr); sys.exit(7)"
    process = start(tmp_path, {"module": "job", "spec": spec})
    _, err = process.communicate(timeout=60)
    text = failure(tmp_path)
    assert process.returncode == 7
    assert text is not None
    assert text.startswith("job ended with code 7.\n")
    assert text.endswith("xxx\nout of tea")
    assert len(text) == entrypoint.FAILURE_CHARACTERS
    assert "x" * 5000 in err


@pytest.mark.parametrize("most_bytes", [None, entrypoint.MESSAGE_BYTES])
def test_the_limit_cuts_the_trace_and_not_the_error_with_its_remedy(most_bytes: int | None) -> None:
    trace = ["Traceback (most recent call last):", *['  File "job.py", line 1, in job'] * 60]
    error = ["job.NoTea: there is no tea:", "buy some."]
    text = entrypoint.failure_text("job", 1, ["epoch 1", *trace, "job.Other: 1", "", *trace, *error], most_bytes)
    assert text.startswith("job ended with code 1.\njob.NoTea: there is no tea:\nbuy some.\n")
    assert text.endswith("in job\njob.NoTea: there is no tea:\nbuy some.")
    assert len(text) == 1024
    long = entrypoint.failure_text("job", 1, [*trace, f"job.NoTea: {'é' * 2000}"], most_bytes)
    assert long.startswith("job ended with code 1.\njob.NoTea: éé")
    assert 1023 <= (len(long.encode()) if most_bytes else len(long)) <= 1024


def test_a_worker_that_the_system_kills_is_137_and_says_so(tmp_path: Path) -> None:
    process = start(tmp_path, {"module": "job", "spec": "import os; os.kill(os.getpid(), 9)"})
    process.communicate(timeout=60)
    assert process.returncode == 137
    assert failure(tmp_path) == (
        "job was killed by signal 9, as the system does when memory is short. It wrote nothing to stderr."
    )


WAITS = """
import signal, sys, time
def end(number, frame):
    print('checkpoint', flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print('trains', flush=True)
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize("arguments", [("train",), ("train", "--module", "job", "--spec", WAITS)])
def test_sigterm_reaches_the_worker_and_143_comes_through(arguments: tuple[str, ...], tmp_path: Path) -> None:
    process = start(tmp_path, {"module": "job", "spec": WAITS}, arguments=arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == "trains\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "checkpoint\n"), err
    assert failure(tmp_path) is None  # it was asked to: that is no failure of the algorithm


def test_a_worker_without_a_handler_ends_by_sigterm_with_143(tmp_path: Path) -> None:
    spec = "import time; print('trains', flush=True); time.sleep(60)"
    process = start(tmp_path, {"module": "job", "spec": spec})
    assert process.stdout is not None
    assert process.stdout.readline() == "trains\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def processing(folder: Path, spec: str) -> subprocess.Popen[str]:
    """The entrypoint as the container of a processing job."""
    (folder / "config").mkdir()
    (folder / "config" / "processingjobconfig.json").write_text("{}")
    return start(folder, {}, arguments=("process", "--module", "job", "--spec", spec))


def test_a_failed_processing_job_leaves_a_message_of_a_kilobyte_of_whole_characters(tmp_path: Path) -> None:
    spec = "import sys; sys.stderr.reconfigure(encoding='utf-8'); print('\u20ac' * 999, file=sys.stderr); sys.exit(7)"
    process = processing(tmp_path, spec)
    process.communicate(timeout=60)
    message = (tmp_path / "output" / "message").read_bytes()
    assert process.returncode == 7
    assert message.decode().startswith("job ended with code 7.\n\u20ac")
    assert entrypoint.MESSAGE_BYTES - 3 < len(message) <= entrypoint.MESSAGE_BYTES
    assert failure(tmp_path) is None


def test_a_processing_job_that_is_stopped_leaves_no_message_and_its_workers_code(tmp_path: Path) -> None:
    process = processing(tmp_path, WAITS)
    assert process.stdout is not None
    assert process.stdout.readline() == "trains\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "checkpoint\n"), err
    assert not (tmp_path / "output" / "message").exists()


def test_wrong_arguments_of_a_processing_job_are_its_message(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "processingjobconfig.json").write_text("{}")
    process = start(tmp_path, {}, arguments=("process", "--module", "job"))
    process.communicate(timeout=60)
    assert process.returncode == 2
    assert "process takes --module MODULE and --spec FILE" in (tmp_path / "output" / "message").read_text()


def test_a_failure_file_that_cannot_be_written_does_not_hide_the_code(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("a file where the folder should be")
    process = start(tmp_path, {"module": "job", "spec": "raise SystemExit(5)"})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "failure" in err


@pytest.mark.parametrize("verb", ["train", "evaluate", "export", "reference", "process"])
def test_a_job_of_ecs_is_its_worker(verb: str, tmp_path: Path) -> None:
    process = start(tmp_path, {}, arguments=(verb, "--module", "job", "--spec", "import os; print(os.getpid())"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, f"{process.pid}\n"), err  # the process became it


class Healthy(BaseHTTPRequestHandler):
    """200 at /healthz, 503 elsewhere."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing to stderr, which the test reads."""


def command(*arguments: str, **environment: str) -> list[str]:
    """What the verb becomes."""
    became = entrypoint.command_of(list(arguments), environment)
    return [Path(became[0]).name, *became[1:]]


def test_serve_takes_stage_and_port_from_the_environment_and_options_count_more() -> None:
    assert command("serve") == ["carsdepo", "serve", "--stage", "production", "--host", "0.0.0.0", "--port", "8080"]
    staging = command("serve", "--port", "9000", CARSDEPO_STAGE="staging", CARSDEPO_SERVE_PORT="8001")
    assert staging == [
        "carsdepo",
        "serve",
        "--stage",
        "staging",
        "--host",
        "0.0.0.0",
        "--port",
        "8001",
        "--port",
        "9000",
    ]


def test_health_asks_the_service_of_this_container(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("CARSDEPO_SERVE_PORT", str(server.server_port))
        assert entrypoint.main(["health"]) == 0
        assert entrypoint.main(["health", f"http://127.0.0.1:{server.server_port}/other"]) == 1
        assert "503" in capsys.readouterr().err
        server.shutdown()
        thread.join()
    assert entrypoint.main(["health"]) == 1  # nothing listens any more
    assert f"127.0.0.1:{server.server_port}" in capsys.readouterr().err
    assert entrypoint.main(["health", "http://a b/"]) == 1
    assert "http://a b/" in capsys.readouterr().err


def test_dagsters_commands_are_run_as_they_are() -> None:
    assert command("dagster", "api", "execute_run", "{}") == ["dagster", "api", "execute_run", "{}"]
    assert command("dagster-daemon", "run") == ["dagster-daemon", "run"]
    assert command("mlflow", "server", "--host", "0.0.0.0") == ["mlflow", "server", "--host", "0.0.0.0"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "there is no verb ''"),
        (("sh", "-c", "id"), "there is no verb 'sh'"),
        (("process",), "process takes --module MODULE and --spec FILE"),
        (("process", "--module", "job"), "process takes --module"),
        (("process", "--module", "job", "--spec", "s", "more"), "process takes --module"),
        (("process", "--module", "-c", "--spec", "s"), "process takes"),
    ],
)
def test_wrong_arguments_are_exit_code_2(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entrypoint.main(list(arguments), execute=lambda command: pytest.fail(str(command))) == 2
    assert re.search(says, capsys.readouterr().err)


def test_a_command_that_the_image_lacks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(entrypoint.EntrypointError, match=r"no-such-command is not in this image"):
        entrypoint._exec(["no-such-command"])


def test_it_needs_the_standard_library_alone() -> None:
    code = "import runpy; runpy.run_path('entrypoint.py')"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=IMAGES, check=True, timeout=60)
