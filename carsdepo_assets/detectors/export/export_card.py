"""The card of a model's export: what was measured of each runtime, and which one serves. Light to import."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.detectors.captured_scores import CAPTURE_FLOOR
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.export.parity import Parity
from carsdepo_assets.imaging.resize import NetworkInput
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.policy import Policy

RuntimeName = Literal["torch", "onnxruntime", "openvino"]
RUNTIMES: tuple[RuntimeName, ...] = ("torch", "onnxruntime", "openvino")


class ExportError(DetectorError):
    """A model cannot be exported, or not be served as asked; the message says what to do."""


class RuntimeFigures(BaseModel):
    """What was measured of one runtime on this model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str | None = Field(description="of the installed package")
    reason: str | None = Field(None, description="why it cannot run this model; None: it can")
    parity: Parity | None = Field(None, description="against torch, the reference; None for torch itself")
    median_ms: float | None = Field(None, description="milliseconds a photograph: letterbox, network, suppression")

    @property
    def available(self) -> bool:
        """Whether the runtime can run the model."""
        return self.reason is None


class ExportCard(BaseModel):
    """The file models/<digest>/exports/export.json. It is written last: without it there is no export."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["carsdepo-export-1"] = "carsdepo-export-1"
    digest: str
    detector: str
    input_size: int = Field(description="pixels: longest side of the images that the graph takes")
    stride: int | None = Field(
        None, description="pixels: of which their shorter side is a multiple; None: squares, as older exports have"
    )
    graph_sha256: str | None = Field(description="of model.onnx; None where the detector could not be exported")
    threads: int = Field(description="intra-op threads while measuring")
    photographs: int
    runtimes: dict[RuntimeName, RuntimeFigures]
    parity_share: float = Field(description="the bar: policy.gate.parity_share when this was written")
    chosen: RuntimeName
    why: str

    @property
    def network(self) -> NetworkInput:
        """The images that the graph takes."""
        return NetworkInput(self.input_size, self.stride)


def card_key(digest: str) -> str:
    """The card's key in the lake."""
    return f"{folder(digest)}/exports/export.json"


def graph_key(digest: str) -> str:
    """The graph's key in the lake."""
    return f"{folder(digest)}/exports/model.onnx"


def read_export(lake: Lake, digest: str) -> ExportCard | None:
    """Reads a model's card; None where the model was not exported, or not to the end.

    Raises:
        ExportError: The file is damaged, another program's or another model's.
    """
    key = card_key(digest)
    if not lake.exists(key):
        return None
    try:
        card = ExportCard.model_validate_json(lake.get(key))
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise ExportError(f"{key} is damaged ({problem}): {again(digest)}.") from error
    if card.digest != digest:  # its graph would answer under this model's name
        raise ExportError(f"{key} is of another model, {card.digest}: {again(digest)}.")
    return card


def require_export(lake: Lake, digest: str) -> ExportCard:
    """Reads the card of a model that was exported.

    Raises:
        ExportError: There is none, or it is damaged or another model's.
    """
    card = read_export(lake, digest)
    if card is None:
        raise ExportError(f"model {digest} was not exported: {again(digest)}.")
    return card


def again(digest: str) -> str:
    """Says, for error messages, how a model is exported again."""
    return f"materialize `staging_deployment` with version {digest}, which exports it again"


def installed_version(runtime: RuntimeName) -> str | None:
    """The version of a runtime's package on this machine; None where it is not installed."""
    try:
        return version(runtime)
    except PackageNotFoundError:
        return None


def obstacle(name: RuntimeName, figures: RuntimeFigures, bar: float) -> str | None:
    """Why a runtime may not serve a model; None where it may. Parity that could not be computed is an obstacle.

    Args:
        name: The runtime.
        figures: What was measured of it.
        bar: The smallest share of boxes that must match torch's, of 1.
    """
    if figures.reason is not None:
        return figures.reason
    if name == "torch":
        return None
    share = figures.parity.share if figures.parity is not None else None
    if share is None:
        return f"parity unknown: no box at or above a score of {CAPTURE_FLOOR:g} on the photographs"
    if share < bar:
        return f"{share:.3f} of the boxes match torch's, under the bar of {bar:g}"
    return None


def choose(runtimes: dict[RuntimeName, RuntimeFigures], policy: Policy) -> tuple[RuntimeName, str]:
    """Chooses the runtime that serves: the one that the policy names, else the fastest that agrees with torch.

    Returns:
        The runtime, and why in words.

    Raises:
        ExportError: The policy names a runtime that cannot run the model or does not agree with torch.
    """
    bar = policy.gate.parity_share
    obstacles = {name: obstacle(name, figures, bar) for name, figures in runtimes.items()}
    wanted = policy.inference.runtime
    if wanted != "auto":
        problem = obstacles.get(wanted, "it was not measured")
        if problem is not None:
            raise ExportError(
                f"policy.inference.runtime is {wanted}, which may not serve this model: {problem}. "
                "Set it to auto, or to torch."
            )
        return wanted, "named by policy.inference.runtime"
    fit = [name for name in RUNTIMES if name in runtimes and obstacles[name] is None]
    left_out = [f"{name}: {problem}" for name, problem in obstacles.items() if problem is not None]
    if not fit:
        raise ExportError(f"no runtime may serve this model: {'; '.join(left_out)}.")
    fastest = min(fit, key=lambda name: (runtimes[name].median_ms or float("inf"), RUNTIMES.index(name)))
    times = ", ".join(f"{name} {runtimes[name].median_ms:.1f} ms" for name in fit if runtimes[name].median_ms)
    why = f"the fastest on par ({times} a photograph)" if len(fit) > 1 else "no other may serve"
    return fastest, "; ".join((why, *left_out))


def reason_of(error: BaseException) -> str:
    """An error's type and message in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
