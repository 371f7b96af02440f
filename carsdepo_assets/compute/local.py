"""Runs a job's worker on this machine, as a subprocess that reports by Dagster Pipes.

It is built on `open_pipes_session`, as PipesSubprocessClient is. That client hides the process, so that the worker's
children would outlive a terminated run, and it takes exit code 0 without a report for a success.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import dagster as dg
from pydantic import Field

from carsdepo_assets.cloudwatch.emf import is_line
from carsdepo_assets.compute.channel import MessageChannel, channel
from carsdepo_assets.compute.here import run_here, this_machine
from carsdepo_assets.compute.pipes.aws_errors import trouble_of
from carsdepo_assets.compute.pipes.job_report import the_materialization
from carsdepo_assets.compute.target import ComputeTarget, Hardware, Verb
from carsdepo_assets.compute.worker.watchdog import PARENT_VARIABLE
from carsdepo_assets.detectors.pace import Every
from carsdepo_assets.orchestration.process_tree import end_group, end_tree
from carsdepo_assets.orchestration.run_processes import RunProcess, mark_host, name_process, run_worker
from carsdepo_assets.orchestration.run_states import INTERRUPTED, INTERRUPTED_TAG
from carsdepo_assets.policy import ComputePolicy
from carsdepo_assets.policy_compute import LOCAL
from carsdepo_assets.redaction import AWS, environment, redact

_LAST_LINES = 40
_RELAY_S = 2.0  # seconds between two looks for messages in S3


class LocalCompute(ComputeTarget):
    """Runs the worker as a subprocess of the step, on this machine."""

    grace_s: float = Field(default=10.0, ge=0, description="seconds between asking a worker to end and ending it")
    poll_s: float = Field(default=0.2, gt=0, description="seconds between looks at the worker")
    in_process: list[str] = Field(
        default=["process"],
        description="verbs that run in the step's own process, as they cost less than the start of another one",
    )
    s3_bucket: str | None = Field(default=None, description="talk through this bucket, as workers on AWS do")
    variables: dict[str, str] = Field(
        default_factory=dict, description="environment variables for the worker; none that is secret: this is shown"
    )
    secrets: list[str] = Field(
        default_factory=list, description="names of the secret variables that the worker gets from this environment"
    )

    def run(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        verb: Verb,
        spec: Mapping[str, Any],
        *,
        module: str,
    ) -> dg.MaterializeResult[Any]:
        """Runs the worker to its end; see ComputeTarget.run."""
        if verb in self.in_process:
            return run_here(context, module, spec)
        mark_host(context.instance, context.run.run_id)
        last: deque[str] = deque(maxlen=_LAST_LINES)
        messages = channel(self.s3_bucket, f"{context.run.run_id}-{verb}")
        with (
            tempfile.TemporaryDirectory(prefix="carsdepo-") as folder,
            dg.open_pipes_session(
                context=context,
                context_injector=messages.injector,
                message_reader=messages.reader,
            ) as session,
        ):
            path = Path(folder) / "spec.json"
            path.write_text(json.dumps(spec))
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", module, "--spec", str(path)],
                env={
                    **environment(os.environ, (*self.secrets, *(AWS if self.s3_bucket else ()))),
                    **self.variables,
                    **session.get_bootstrap_env_vars(),
                    **messages.variables,
                    PARENT_VARIABLE: str(os.getpid()),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches the step alone, which then ends the worker in order
            )
            name_process(
                context.instance, context.run, context.get_step_execution_context().step.key, process.pid, module
            )
            assert process.stdout is not None
            relay = threading.Thread(target=_relay, args=(process.stdout, last), daemon=True)
            relay.start()
            try:
                self._wait(process, run_worker(context.instance, context.run.run_id), messages)
                messages.finish()
            finally:
                end_tree(process.pid, self.grace_s)
                end_group(process.pid)
                process.wait()
                relay.join(timeout=5)
                if not relay.is_alive():  # a grandchild that holds the pipe keeps it in use
                    process.stdout.close()
        trouble = []
        if process.returncode != 0:
            trouble.append(_ended(process.returncode))
            if process.returncode == -signal.SIGKILL:  # not by us: what we end raises above
                context.instance.add_run_tags(context.run.run_id, {INTERRUPTED_TAG: INTERRUPTED})
        return the_materialization(session, module, trouble, last_lines="".join(last))

    def hardware(self, verb: Verb) -> Hardware:
        """The machine's processor, or its first GPU where torch can use it."""
        return this_machine()

    def price_per_hour(self, verb: Verb, prices: ComputePolicy) -> float | None:
        """The price of this machine, whatever its processor is called."""
        return prices.price_per_hour(LOCAL)

    def _wait(self, process: subprocess.Popen[str], driver: RunProcess | None, messages: MessageChannel) -> None:
        """Until the worker has ended, or the run that the step belongs to has lost its process.

        A step process of the multiprocess executor outlives a SIGKILLed run; its training must not.
        """
        relaying = Every(_RELAY_S)
        while True:
            if relaying.due():
                try:
                    messages.poll()
                except Exception as error:  # the worker must not end with the network: the next look relays the rest
                    if trouble_of(error) is None:
                        raise
                    print(f"Messages could not be read: {redact(str(error))}. The worker goes on.", file=sys.stderr)
            try:
                process.wait(timeout=self.poll_s)
                return
            except subprocess.TimeoutExpired:
                if driver is not None and driver.pid != os.getpid() and not driver.alive():
                    raise dg.Failure(
                        f"The run's process {driver.pid} is dead: the worker was ended.", allow_retries=False
                    ) from None


def _relay(stream: TextIO, last: deque[str]) -> None:
    """The worker's output without secrets, into the step's own (Dagster's compute log) and into `last`."""
    for line in map(redact, stream):
        if not is_line(line):
            last.append(line)
        sys.stdout.write(line)
        sys.stdout.flush()


def _ended(code: int) -> str:
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"
