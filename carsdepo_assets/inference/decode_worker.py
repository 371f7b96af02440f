"""`python -m carsdepo_assets.inference.decode_worker`: decodes what strangers send, in a process with limits.

It reads requests from stdin and writes answers to stdout until stdin ends. A request is a line of JSON and the file's
bytes; an answer is a line of JSON and pixels. A photograph that is large by the request is not decoded, and the
answer says so. CPU time beyond the limit ends the process by SIGPROF; memory beyond it is an answer.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

import numpy as np

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import declared_pixels, most_pixels
from carsdepo_assets.imaging.encode import encode_jpeg
from carsdepo_assets.imaging.headers import sniff
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput
from carsdepo_assets.imaging.serving import serving_limits
from carsdepo_assets.inference.decoding import Measured, measure
from carsdepo_assets.policy import Policy


def main() -> None:
    """Serves requests until stdin ends."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    settings = json.loads(source.readline())
    policy = Policy.model_validate(settings["policy"])
    _warm_up(policy)
    _limit_memory(settings["memory"])
    _answer(target, {"ready": True}, b"")
    while line := source.readline():
        request = json.loads(line)
        data = source.read(request["bytes"])
        signal.setitimer(signal.ITIMER_PROF, settings["cpu_s"])
        _answer(target, *_one(data, policy, request))
        signal.setitimer(signal.ITIMER_PROF, 0)


def _one(data: bytes, policy: Policy, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    try:
        if request["large"] is not None and (pixels := _large(data, policy, request["large"])):
            return {"large": pixels}, b""
        return _packed(measure(data, policy, _network(request["network"])))
    except BadImage as error:
        return {"reason": error.reason, "detail": error.detail}, b""
    except MemoryError:
        detail = "decoding it takes more memory than a photograph is given"
        return {"reason": "too_costly", "detail": detail}, b""


def _large(data: bytes, policy: Policy, limits: dict[str, int]) -> int:
    """The number of pixels of a photograph that is large by the limits; 0 for others, and for what is refused."""
    kind, most = sniff(data), serving_limits(policy)
    if kind is None or (kind == "heic" and not most.heic):
        return 0
    pixels = declared_pixels(data)
    if pixels > most_pixels(kind, most.max_pixels, most.max_pixels_other):
        return 0
    return pixels if pixels > limits["jpeg" if kind == "jpeg" else "other"] else 0


def _network(given: dict[str, Any] | None) -> NetworkInput | None:
    return None if given is None else NetworkInput(given["side"], given["stride"])


def _packed(measured: Measured) -> tuple[dict[str, Any], bytes]:
    head: dict[str, Any] = {
        "width": measured.width,
        "height": measured.height,
        "format": measured.format,
        "camera": measured.camera,
        "features": measured.features,
    }
    image = measured.image
    if isinstance(image, Letterboxed):
        head |= {"scale": image.scale, "offset": image.offset}
        image = image.pixels
    return {**head, "shape": image.shape}, np.ascontiguousarray(image).tobytes()


def _answer(target: BinaryIO, head: dict[str, Any], pixels: bytes) -> None:
    target.write(json.dumps({**head, "bytes": len(pixels)}).encode() + b"\n")
    target.write(pixels)
    target.flush()


def _warm_up(policy: Policy) -> None:
    """Loads what decoding needs, so that it is not counted as the first photograph's."""
    blank = np.full((policy.data.min_side_px,) * 2 + (3,), 128, np.uint8)
    measure(encode_jpeg(blank, 90), policy, NetworkInput(policy.data.min_side_px, None))


def _limit_memory(allowance: int) -> None:
    """Lets the process have so many bytes more than it has now."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + allowance,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


if __name__ == "__main__":
    main()
