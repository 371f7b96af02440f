"""Files that a training leaves: weights and the checkpoint to resume from. Neither holds a pickled object.

Both are torch archives of tensors, numbers, strings, lists and dicts, read with weights_only=True: reading a file of
unknown origin runs no code.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carsdepo_assets.detectors.base import Recipe, TrainingSet

WEIGHTS_FORMAT = "carsdepo-weights-1"
CHECKPOINT_FORMAT = "carsdepo-checkpoint-2"
# What torch raises of bytes that it cannot read as tensors.
_TORN = (RuntimeError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile, UnicodeDecodeError, ValueError, KeyError)

logger = logging.getLogger(__name__)


class DetectorError(ValueError):
    """A recipe, weights file or training set that a detector cannot use; the message says what to do."""


def fingerprint(data: TrainingSet, recipe: Recipe) -> str:
    """A digest of recipe, classes, images, splits and boxes, so that no other training's checkpoint is resumed.

    Of a file of initial weights only the name counts, so that a training can go on after its home was moved.
    """
    digest = hashlib.sha256(recipe.model_copy(update={"init": Path(recipe.init).name}).digest().encode())
    digest.update(json.dumps(list(data.class_names)).encode())
    for image in sorted(data.images, key=lambda i: i.image_id):
        digest.update(f"\n{image.image_id} {image.split} {image.width} {image.height}".encode())
        digest.update(image.xyxy.astype("<f8").tobytes() + image.classes.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def write_torch(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a torch archive: a kill in between leaves the former file or the new one, never half of one."""
    import torch

    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)  # it may be what fills the disk
        raise


def read_torch(path: Path, expected_format: str) -> dict[str, Any]:
    """Reads what `write_torch` wrote, onto the CPU. Raises DetectorError where the file is anything else."""
    import torch

    if not path.is_file():
        raise DetectorError(f"{path}: no such file.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the disk's word; EINVAL is torch's of an archive that was cut short
            raise
        raise DetectorError(f"{path}: not a whole file of tensors: it was cut short.") from error
    except _TORN as error:
        # torch's own words advise to unpickle the file, which would run what it holds.
        raise DetectorError(f"{path}: not a file of tensors as Carsdepo writes it.") from error
    if not isinstance(content, dict) or content.get("format") != expected_format:
        raise DetectorError(f"{path}: not a {expected_format} file.")
    return content


def is_foreign(path: Path) -> bool:
    """Whether a torch archive holds pickled objects, as ultralytics' own weights do. None of unknown kinds is made."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        # torch makes modules of kinds that an earlier file of the same process needed
        return isinstance(content, dict) and any(isinstance(v, torch.nn.Module) for v in content.values())
    except pickle.UnpicklingError:
        return zipfile.is_zipfile(path)
    except (OSError, *_TORN):
        return False  # torn, or no archive at all: read_torch says so
    return False


def write_weights(
    path: Path, detector: str, state: Mapping[str, Any], class_names: Sequence[str], image_size: int
) -> None:
    """Writes a model's weights, as float32 on the CPU.

    Args:
        path: The file.
        detector: The detector's name.
        state: The model's tensors by name.
        class_names: The model's classes.
        image_size: Side of the square that the network sees, in pixels.

    Raises:
        DetectorError: A value is not finite: the training diverged.
    """
    import torch

    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    broken = [k for k, v in tensors.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if broken:
        raise DetectorError(
            f"training diverged: {len(broken)} tensors are not finite, first {broken[0]}. Lower the lr."
        )
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    write_torch(
        path,
        {
            "format": WEIGHTS_FORMAT,
            "detector": detector,
            "class_names": list(class_names),
            "image_size": image_size,
            "state": tensors,
        },
    )


def read_weights(path: Path, detector: str, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Reads a weights file. Raises DetectorError where it is another detector's or has other classes."""
    content = read_torch(path, WEIGHTS_FORMAT)
    if content["detector"] != detector:
        raise DetectorError(f"{path}: weights of {content['detector']}, not of {detector}.")
    if class_names is not None and content["class_names"] != list(class_names):
        raise DetectorError(f"{path}: trained on classes {content['class_names']}, asked for {list(class_names)}.")
    return content


def read_checkpoint(path: Path, expected: str) -> dict[str, Any] | None:
    """Reads a training's checkpoint; None where there is none or its `fingerprint` is not the expected one.

    One that cannot be read (damaged, or another release's) is set aside as `NAME.unreadable`, so that the training
    begins anew instead of failing at every attempt.
    """
    if not path.exists():
        return None
    try:
        content = read_torch(path, CHECKPOINT_FORMAT)
    except DetectorError as error:
        set_aside(path, str(error))
        return None
    return content if content.get("fingerprint") == expected else None


def set_aside(path: Path, reason: str) -> None:
    """Renames a checkpoint that cannot be gone on from to `NAME.unreadable`, and says so in the log."""
    aside = path.with_name(f"{path.name}.unreadable")
    os.replace(path, aside)
    logger.warning("%s The checkpoint is set aside as %s, and the training begins anew.", reason, aside.name)


def progress_of(content: bytes) -> tuple[str, int] | None:
    """The fingerprint of a checkpoint's training and the steps that it has behind it; None: it cannot be read.

    Args:
        content: of the file.
    """
    import torch

    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, *_TORN):
        return None
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != CHECKPOINT_FORMAT:
        return None
    return str(checkpoint.get("fingerprint")), int(checkpoint.get("steps", 0))


def threads(asked: int | None = None) -> int:
    """Number of CPU threads for torch: as asked, else OMP_NUM_THREADS, else the cores that this process may use."""
    return int(asked or os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
