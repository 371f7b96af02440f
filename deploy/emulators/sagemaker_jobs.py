"""The life of an emulated SageMaker training or processing job, in a thread of its own.

Statuses and their order: Amazon SageMaker API reference, DescribeTrainingJob, and the developer guide's "Managed Spot
Training Lifecycle". Files: "How Amazon SageMaker AI Provides Training Information", "How Amazon SageMaker AI Processes
Training Output", "How Amazon SageMaker Processing Configures Your
Processing Container", "Save and Access Metadata Information About Your Processing Job". SIGTERM and 120 seconds:
StopTrainingJob. How a container is ended when a spot instance is taken away is not written there: emulated as a stop.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from deploy.emulators.sagemaker_runners import ImageMissing, Runner, Running
from deploy.emulators.sagemaker_storage import Storage

Kind = Literal["training", "processing"]
Ending = Literal["exit", "stop", "timeout", "interruption"]
NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
NO_IMAGE = (
    "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect."
)


@dataclass
class Settings:
    """How the emulated service behaves."""

    grace_s: float = 120.0
    """Seconds between SIGTERM and SIGKILL."""
    sync_s: float = 0.3
    """Seconds between two copies of changed checkpoints to S3."""
    syncs: bool = True
    """Whether checkpoints are copied at all: that they stop being copied was reported (sagemaker-python-sdk#3062)."""
    look_s: float = 0.02
    """Seconds between two looks at a container."""
    spot_share: float = 0.3
    """Billable share of the seconds of a managed spot job. A number of ours: the saving differs by instance."""
    without_capacity: int = 0
    """So many of the next jobs get no instance."""
    starting: threading.Event = field(default_factory=threading.Event)
    """Jobs stay in Starting until it is set."""


class EmulatedJob:
    """One job. `request` is the body of CreateTrainingJob or CreateProcessingJob."""

    def __init__(
        self, kind: Kind, request: dict[str, Any], arn: str, settings: Settings, runner: Runner, storage: Storage,
        variables: dict[str, str],
    ) -> None:  # fmt: skip
        self.kind, self.request, self.arn = kind, request, arn
        self._settings, self._runner, self._storage, self._variables = settings, runner, storage, variables
        self.status, self.secondary = "InProgress", "Starting"
        self.reason: str | None = None
        self.message: str | None = None
        self.transitions: list[dict[str, Any]] = []
        self.created = datetime.now(UTC)
        self.started: datetime | None = None
        self.ended: datetime | None = None
        self.seconds = 0.0
        """In state Training, over all containers."""
        self.containers = 0
        """How often the image was started."""
        self.log = ""
        """Output of all containers."""
        self._stopping, self._taken = threading.Event(), threading.Event()
        self._enter("Starting")
        self._thread = threading.Thread(target=self._live, name=f"job {self.name}", daemon=True)

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.request["TrainingJobName" if self.kind == "training" else "ProcessingJobName"])

    @property
    def over(self) -> bool:
        """Whether its status is final."""
        return self.status in ("Completed", "Failed", "Stopped")

    def start(self) -> None:
        """Lets it live."""
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Waits for its end; returns whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """What StopTrainingJob does."""
        self.status = "Stopping"
        self._enter("Stopping")
        self._stopping.set()

    def interrupt(self) -> None:
        """Takes its spot instance away; another one follows."""
        self._taken.set()

    def description(self) -> dict[str, Any]:
        """What DescribeTrainingJob or DescribeProcessingJob adds to the request."""
        if self.kind == "processing":
            return {
                "ProcessingJobStatus": self.status, "FailureReason": self.reason, "ExitMessage": self.message,
                "ProcessingStartTime": self.started, "ProcessingEndTime": self.ended,
            }  # fmt: skip
        spot = bool(self.request.get("EnableManagedSpotTraining"))
        whole = round(self.seconds)
        billable = round(self.seconds * self._settings.spot_share) if spot else whole
        return {
            "TrainingJobStatus": self.status, "SecondaryStatus": self.secondary, "FailureReason": self.reason,
            "TrainingStartTime": self.started, "TrainingEndTime": self.ended,
            "SecondaryStatusTransitions": [dict(t) for t in self.transitions],
            "TrainingTimeInSeconds": whole if self.over and self.started else None,
            "BillableTimeInSeconds": billable if self.over and self.started else None,
            "EnableManagedSpotTraining": spot,
        }  # fmt: skip

    def _enter(self, secondary: str) -> None:
        now = datetime.now(UTC)
        if self.transitions and "EndTime" not in self.transitions[-1]:
            self.transitions[-1]["EndTime"] = now
        self.transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": secondary})
        self.secondary = secondary

    def _end(self, status: str, secondary: str | None = None, reason: str | None = None) -> None:
        self._enter(secondary or status)
        self.ended = datetime.now(UTC)
        self.reason = None if reason is None else reason[:1024]
        self.status = status  # last: whoever sees it sees all

    def _live(self) -> None:
        try:
            self._through()
        except Exception as error:
            self._end("Failed", reason=f"InternalServerError: {type(error).__name__}: {error}")

    def _through(self) -> None:
        while not (self._settings.starting.wait(0.02) or self._stopping.is_set()):
            pass
        if self._stopping.is_set():
            self._end("Stopped")
            return
        if self._settings.without_capacity > 0:
            self._settings.without_capacity -= 1
            if self.request.get("EnableManagedSpotTraining"):
                self._end("Stopped", "MaxWaitTimeExceeded")
            else:
                self._end("Failed", reason=NO_CAPACITY)
            return
        while True:
            root = Path(tempfile.mkdtemp(prefix=f"ml-{self.name[:20]}-"))
            try:
                ending, code = self._one_container(root)
            except ImageMissing:
                self._end("Failed", reason=NO_IMAGE)
                return
            finally:
                shutil.rmtree(root, ignore_errors=True)
            if ending == "interruption" and not self._stopping.is_set():
                self._taken.clear()
                self._enter("Interrupted")
                self._enter("Starting")
                continue
            if ending == "exit":
                self._finished(code)
            else:
                self._end("Stopped", "MaxRuntimeExceeded" if ending == "timeout" else "Stopped")
            return

    def _finished(self, code: int) -> None:
        if code == 0:
            self._end("Completed")
        elif self.kind == "processing":
            self._end("Failed", reason=f"AlgorithmError: See job logs for more information, exit code: {code}")
        else:
            self._end("Failed", reason=f"AlgorithmError: {self.message or ''}, exit code: {code}")

    def _one_container(self, root: Path) -> tuple[Ending, int]:
        checkpoints = self._prepare(root)
        if self.kind == "training":
            self._enter("Downloading")
            for channel in self.request.get("InputDataConfig") or ():
                source = channel["DataSource"]["S3DataSource"]["S3Uri"]
                self._storage.download(source, root / "input/data" / channel["ChannelName"])
        if checkpoints is not None:
            self._storage.download(*checkpoints)
        image, command = self._command()
        running = self._runner.start(image, command, root, self._container_variables())
        self.containers += 1
        self.started = self.started or datetime.now(UTC)
        self._enter("Training" if self.kind == "training" else "Processing")
        began = time.monotonic()
        ending, code = self._watch(running, checkpoints)
        self.seconds += time.monotonic() - began
        self.log += running.output()
        note = root / "output" / ("failure" if self.kind == "training" else "message")
        self.message = note.read_bytes()[:1024].decode(errors="replace") if note.exists() else None
        if checkpoints is not None:
            self._storage.upload(checkpoints[1], checkpoints[0])
        if self.kind == "training" and ending != "interruption":
            if self.status == "InProgress":
                self._enter("Uploading")
            self._upload_model(root)
        return ending, code

    def _prepare(self, root: Path) -> tuple[str, Path] | None:
        """Makes /opt/ml; returns where checkpoints are kept and where they lie."""
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints", "config"):
            (root / folder).mkdir(parents=True)
        hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
        (root / "input/config/resourceconfig.json").write_text(json.dumps(hosts))
        (root / "input/config/hyperparameters.json").write_text(json.dumps(self.request.get("HyperParameters") or {}))
        channels = {c["ChannelName"]: {} for c in self.request.get("InputDataConfig") or ()}
        (root / "input/config/inputdataconfig.json").write_text(json.dumps(channels))
        if self.kind == "processing":
            (root / "config/processingjobconfig.json").write_text(json.dumps(self.request, default=str))
        config = self.request.get("CheckpointConfig")
        if not config or not self._settings.syncs:
            return None
        local = root / config.get("LocalPath", "/opt/ml/checkpoints").removeprefix("/opt/ml/")
        return config["S3Uri"], local

    def _command(self) -> tuple[str, list[str]]:
        if self.kind == "training":
            return self.request["AlgorithmSpecification"]["TrainingImage"], ["train"]
        app = self.request["AppSpecification"]
        return app["ImageUri"], [*app.get("ContainerArguments", ())]

    def _container_variables(self) -> dict[str, str]:
        variables = {**self._variables, **(self.request.get("Environment") or {})}
        if self.kind == "training":
            variables |= {"TRAINING_JOB_NAME": self.name, "TRAINING_JOB_ARN": self.arn}
        return variables

    def _watch(self, running: Running, checkpoints: tuple[str, Path] | None) -> tuple[Ending, int]:
        longest = (self.request.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds", 86400)
        began = synced = time.monotonic()
        while (code := running.poll()) is None:
            if self._stopping.is_set() or self._taken.is_set() or time.monotonic() - began > longest:
                ending: Ending = (
                    "stop" if self._stopping.is_set() else "interruption" if self._taken.is_set() else "timeout"
                )
                return ending, self._end_container(running)
            if checkpoints is not None and time.monotonic() - synced > self._settings.sync_s:
                self._storage.upload(checkpoints[1], checkpoints[0])
                synced = time.monotonic()
            time.sleep(self._settings.look_s)
        return "exit", code

    def _end_container(self, running: Running) -> int:
        running.terminate()
        ends = time.monotonic() + self._settings.grace_s
        while (code := running.poll()) is None and time.monotonic() < ends:
            time.sleep(self._settings.look_s)
        if code is None:
            running.kill()
            code = running.poll()
        return 137 if code is None else code

    def _upload_model(self, root: Path) -> None:
        target = self.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "model.tar.gz"
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(root / "model", arcname=".")
            self._storage.upload(Path(folder), f"{target}/{self.name}/output")
