"""What the images run: `entrypoint.py VERB …`. It needs the standard library alone, and can be imported.

| verb | what it does |
| --- | --- |
| `train` without arguments | a SageMaker training: its hyper-parameters have module and spec |
| `train`, `evaluate`, `export`, `reference`, `process` `--module M --spec S` | `python -m M --spec S` |
| `serve …` | `carsdepo serve`, by CARSDEPO_STAGE and CARSDEPO_SERVE_PORT; options given here count more |
| `dagster …`, `dagster-webserver …`, `dagster-daemon …`, `mlflow …`, `carsdepo …` | that command |
| `health [URL]` | exit code 0 where the URL, or without one what `serve` runs, answers with a status below 400 |

Every verb but a job of SageMaker becomes its command (exec), so that signals reach it and its exit code is the
container's. A SageMaker processing job is known by its file config/processingjobconfig.json. The images run this below
tini, which passes signals on and reaps the processes that others leave behind.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

ML_ROOT_VARIABLE = "CARSDEPO_ML_ROOT"  # where SageMaker's folders are, for emulators; unset: /opt/ml
WORK = ("train", "evaluate", "export", "reference", "process")
COMMANDS = ("dagster", "dagster-webserver", "dagster-daemon", "mlflow", "carsdepo")
FAILURE_CHARACTERS = 1024
"""DescribeTrainingJob's FailureReason has the first 1,024 characters of /opt/ml/output/failure (AWS, "How Amazon
SageMaker Processes Training Output")."""
MESSAGE_BYTES = 1024
"""DescribeProcessingJob's ExitMessage has the first KB of /opt/ml/output/message, which must be UTF-8 (AWS, "Save and
Access Metadata Information About Your Processing Job")."""
_KEPT_LINES = 200  # of the worker's stderr; the failure is cut from their end
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_DRAIN_S = 5.0  # seconds for the last lines, where a grandchild still holds the worker's stderr
_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")  # of a piece; 00 would be 0 a second time
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

Execute = Callable[[list[str]], Any]


class EntrypointError(ValueError):
    """The verb, its arguments or the hyper-parameters cannot be used; exit code 2."""


def main(arguments: Sequence[str] | None = None, *, execute: Execute | None = None) -> int:
    """Runs a verb; returns the exit code where the process was not replaced by the verb's command.

    Args:
        arguments: The verb and what follows it; None: the command line.
        execute: Replaces the process by a command; None: os.execvp.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    execute = execute or _exec
    root = ml_root()
    try:
        if arguments == ["train"]:
            return sagemaker_training(root)
        if arguments[:1] == ["health"] and len(arguments) <= 2:
            return health(*arguments[1:] or [f"http://127.0.0.1:{serve_port(os.environ)}/healthz"])
        if arguments and arguments[0] in WORK and is_processing(root):
            return sagemaker_processing(root, arguments)
        execute(command_of(arguments, os.environ))
    except EntrypointError as error:
        print(f"entrypoint: {error}", file=sys.stderr, flush=True)
        if arguments == ["train"]:
            write_note(root / "output" / "failure", str(error))
        elif is_processing(root):
            write_note(root / "output" / "message", str(error))
        return 2
    return 0


def ml_root(environment: Mapping[str, str] | None = None) -> Path:
    """SageMaker's folder: /opt/ml, or what CARSDEPO_ML_ROOT names."""
    return Path((os.environ if environment is None else environment).get(ML_ROOT_VARIABLE) or "/opt/ml")


def command_of(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command that a verb becomes.

    Raises:
        EntrypointError: There is no such verb, or its arguments are wrong.
    """
    verb, rest = (arguments[0] if arguments else ""), list(arguments[1:])
    if verb in WORK:
        return worker_command(*_module_and_spec(verb, rest))
    if verb == "serve":
        stage = environment.get("CARSDEPO_STAGE") or "production"
        port = serve_port(environment)
        return [_script("carsdepo"), "serve", "--stage", stage, "--host", "0.0.0.0", "--port", port, *rest]
    if verb in COMMANDS:
        return [_script(verb), *rest]
    verbs = ", ".join((*WORK, "serve", *COMMANDS, "health"))
    raise EntrypointError(f"there is no verb {verb!r}: there are {verbs}.")


def serve_port(environment: Mapping[str, str]) -> str:
    """The port of `serve`: CARSDEPO_SERVE_PORT, or 8080, which SageMaker asks."""
    return environment.get("CARSDEPO_SERVE_PORT") or "8080"


def worker_command(module: str, spec: str) -> list[str]:
    """`python -m MODULE --spec SPEC`, unbuffered.

    Raises:
        EntrypointError: The module is not the dotted name of one.
    """
    if not _MODULE.fullmatch(module):
        raise EntrypointError(f"{module!r} is not the dotted name of a module.")
    return [sys.executable, "-u", "-m", module, "--spec", spec]


def sagemaker_training(root: Path) -> int:
    """A training as SageMaker starts it: `train`, everything else in files below `root`.

    input/config/hyperparameters.json has `module`, `spec` and the variables DAGSTER_PIPES_*, all strings. A value too
    long for SageMaker may come in pieces, `spec.0`, `spec.1` and so on. Signals are passed on to the worker. Its own
    files lie in `checkpoints` unless CARSDEPO_WORK says otherwise, so that SageMaker keeps them for the next try. Where
    it fails unasked, output/failure has the end of what it wrote to stderr.

    Returns:
        The worker's exit code; 128 and the signal's number where a signal ended it.

    Raises:
        EntrypointError: The hyper-parameters cannot be read, or lack the module or the spec.
    """
    values = hyperparameters(root / "input" / "config" / "hyperparameters.json")
    if missing := [name for name in ("module", "spec") if not values.get(name)]:
        raise EntrypointError(f"the hyper-parameters lack {' and '.join(missing)}.")
    pipes = {name: value for name, value in values.items() if name.startswith("DAGSTER_PIPES_")}
    if unread := sorted(values.keys() - pipes.keys() - {"module", "spec"}):
        print(f"entrypoint: nothing reads the hyper-parameters {', '.join(unread)}.", file=sys.stderr, flush=True)
    command = worker_command(values["module"], values["spec"])
    kept = {"CARSDEPO_WORK": str(root / "checkpoints")}  # AWS, Amazon SageMaker AI: "Checkpoints in SageMaker AI"
    code, was_asked, lines = supervise(command, {**pipes, **kept, **os.environ})
    if code != 0 and not was_asked:
        write_note(root / "output" / "failure", failure_text(values["module"], code, lines))
    return 128 - code if code < 0 else code


def is_processing(root: Path) -> bool:
    """Whether this container is a SageMaker processing job, which has a file with its configuration."""
    return (root / "config" / "processingjobconfig.json").exists()


def sagemaker_processing(root: Path, arguments: Sequence[str]) -> int:
    """A verb in a SageMaker processing job: signals are passed on to the worker.

    AWS's reason for the failure of a processing job has the exit code alone. Where the worker fails unasked,
    output/message has the end of what it wrote to stderr.

    Returns:
        As of `sagemaker_training`.

    Raises:
        EntrypointError: The arguments are wrong.
    """
    module, spec = _module_and_spec(arguments[0], arguments[1:])
    code, was_asked, lines = supervise(worker_command(module, spec), os.environ)
    if code != 0 and not was_asked:
        write_note(root / "output" / "message", failure_text(module, code, lines, MESSAGE_BYTES))
    return 128 - code if code < 0 else code


def hyperparameters(file: Path) -> dict[str, str]:
    """SageMaker's hyper-parameters, values in pieces joined.

    Raises:
        EntrypointError: The file cannot be read, is no object of strings, or a piece is missing or doubled.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EntrypointError(f"{file} cannot be read: {error}.") from error
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise EntrypointError(f"{file} is not an object of strings, as SageMaker writes it.")
    return join_pieces(values)


def join_pieces(values: Mapping[str, str]) -> dict[str, str]:
    """NAME.0, NAME.1 and so on become NAME; other names stay.

    Raises:
        EntrypointError: A piece is missing, or NAME is there as a whole too.
    """
    whole: dict[str, str] = {}
    pieces: dict[str, dict[int, str]] = {}
    for name, value in values.items():
        start, dot, number = name.rpartition(".")
        if dot and _NUMBER.fullmatch(number):
            pieces.setdefault(start, {})[int(number)] = value
        else:
            whole[name] = value
    for name, parts in pieces.items():
        if name in whole:
            raise EntrypointError(f"the hyper-parameter {name} is there as a whole and in pieces.")
        if sorted(parts) != list(range(len(parts))):
            raise EntrypointError(f"of the hyper-parameter {name} there are only the pieces {sorted(parts)}.")
        whole[name] = "".join(parts[number] for number in range(len(parts)))
    return whole


def supervise(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, bool, list[str]]:
    """Runs a command to its end, passing on the signals that this process gets.

    Its stdout stays this process's; its stderr is passed on line by line. For the main thread.

    Returns:
        The return code (negative: the signal that ended it), whether this process was asked to end meanwhile, and the
        last lines of stderr.

    Raises:
        EntrypointError: The system starts no such process.
    """
    waiting: list[int] = []
    asked: list[int] = []
    process: subprocess.Popen[str] | None = None

    def forward(number: int, frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            asked.append(number)
        if process is None:
            waiting.append(number)
        else:
            process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in _FORWARDED}
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    try:
        try:
            process = subprocess.Popen(
                list(command), env=dict(environment), stderr=subprocess.PIPE, text=True, errors="replace"
            )
        except (OSError, ValueError) as error:
            raise EntrypointError(_not_started(command[0], error)) from error
        for number in waiting:  # those that came before there was a process
            process.send_signal(number)
        assert process.stderr is not None
        relay = threading.Thread(target=_relay, args=(process.stderr, last), daemon=True)
        relay.start()
        code = process.wait()
        relay.join(_DRAIN_S)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code, bool(asked), list(last)


def failure_text(module: str, code: int, lines: Sequence[str], most_bytes: int | None = None) -> str:
    """What SageMaker is told of a failure: the worker's error, which says what to do, and the end of its stderr.

    Args:
        module: of the worker.
        code: its return code; negative: the signal that ended it.
        lines: the last ones of its stderr.
        most_bytes: of the text as UTF-8; None: FAILURE_CHARACTERS characters.
    """
    if code == -signal.SIGKILL:
        how = "was killed by signal 9, as the system does when memory is short"
    elif code < 0:
        how = f"was ended by signal {-code}"
    else:
        how = f"ended with code {code}"
    head = f"{module} {how}."
    text = "\n".join(line.rstrip() for line in lines).strip()
    if not text:
        return f"{head} It wrote nothing to stderr."
    first = "\n".join(filter(None, (head, error_of(text))))
    if most_bytes is None:
        start = first[:FAILURE_CHARACTERS]
        room = FAILURE_CHARACTERS - len(start) - 1
        end = text[-room:] if room > 0 else ""
    else:
        start = first.encode()[:most_bytes].decode(errors="ignore")  # no half a character
        room = most_bytes - len(start.encode()) - 1
        end = text.encode()[-room:].decode(errors="ignore") if room > 0 else ""
    return f"{start}\n{end}" if end else start


def error_of(text: str) -> str:
    """The error with which the last trace of an output ends, with all lines of its message; empty: there is no trace.

    carsdepo_assets/compute/pipes/job_report.py does the same; this file has the standard library alone.
    """
    lines = text.rpartition("Traceback (most recent call last):\n")[2].splitlines()
    first = next((n for n, line in enumerate(lines) if line and not line[0].isspace()), len(lines))
    return "\n".join(lines[first:]) if "Traceback (most recent call last):\n" in text else ""


def write_note(file: Path, text: str) -> None:
    """Writes what SageMaker reads; where that cannot be, says so: the exit code must still come through."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text[:FAILURE_CHARACTERS], encoding="utf-8", errors="replace")
    except OSError as error:
        print(f"entrypoint: {file}: {error.strerror}.", file=sys.stderr, flush=True)


def health(url: str) -> int:
    """0 where the URL answers with a status below 400 within 5 seconds, else 1 and a line that says why not."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return 0
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"entrypoint: {url}: {error}", file=sys.stderr, flush=True)
        return 1


def _module_and_spec(verb: str, arguments: Sequence[str]) -> tuple[str, str]:
    parser = argparse.ArgumentParser(prog=f"entrypoint.py {verb}", exit_on_error=False, add_help=False)
    parser.add_argument("--module")
    parser.add_argument("--spec")
    try:
        options, unread = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        options, unread = argparse.Namespace(module=None), []
    if unread or not options.module or not options.spec:
        raise EntrypointError(f"{verb} takes --module MODULE and --spec FILE, and nothing else.")
    return options.module, options.spec


def _script(name: str) -> str:
    """A command of this environment, which need not be on the PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def _exec(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)
    except FileNotFoundError as error:
        raise EntrypointError(f"{command[0]} is not in this image.") from error
    except (OSError, ValueError) as error:
        raise EntrypointError(_not_started(command[0], error)) from error


def _not_started(command: str, error: Exception) -> str:
    """Why a process could not be started: arguments or variables that are too long, or hold what none may hold."""
    return f"{command} could not be started with these arguments and variables: {error}."


def _relay(stream: IO[str], last: deque[str]) -> None:
    for line in stream:
        last.append(line)
        sys.stderr.write(line)
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
