"""`python -m carsdepo_assets.imaging.heic_worker`: decodes one HEIC file in a process with limits.

It reads a line of JSON and the file from stdin, and writes a line of JSON, the ICC profile, the EXIF block and the
pixels to stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from typing import Any

# The first releases without the faults of 2026 by which a file could run code (GHSA-g89c-p67h-r497 and later ones).
SAFE_LIBHEIF = (1, 23, 6)


def main() -> None:
    """Serves one request."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    request = json.loads(source.readline())
    data = source.read(request["bytes"])
    head, *parts = _answer(data, request)
    target.write(json.dumps(head).encode() + b"\n")
    for part in parts:
        target.write(part)
    target.flush()


def _answer(data: bytes, request: dict[str, Any]) -> list[Any]:
    heif: Any = importlib.import_module("pillow_heif")
    from PIL import Image

    version = tuple(int(part) for part in heif.libheif_version().split(".")[:3])
    if version < SAFE_LIBHEIF:
        safe = ".".join(map(str, SAFE_LIBHEIF))
        detail = f"HEIC: libheif {heif.libheif_version()} has known holes, {safe} has not: pip install -U pillow-heif"
        return [{"reason": "unsupported", "detail": detail}]
    heif.options.DECODE_THREADS = 1
    Image.new("RGB", (2, 2)).convert("L")  # loaded before the limits count
    _limit(request["memory"], request["cpu_s"])
    try:
        return _decoded(heif, Image, data, request)
    except MemoryError:
        return [{"reason": "too_costly", "detail": "decoding it takes more memory than a photograph is given"}]
    except Exception as error:
        words = str(error)
        if "emory" in words or "limit" in words or "C++ exception" in words:  # of which none but bad_alloc is known
            return [{"reason": "too_costly", "detail": f"heic: {words}"}]
        return [{"reason": "truncated", "detail": f"heic: {words}"}]


def _decoded(heif: Any, images: Any, data: bytes, request: dict[str, Any]) -> list[Any]:
    file = heif.open_heif(data, convert_hdr_to_8bit=True)
    item = file[file.primary_index]
    picture = item.to_pillow()
    exif, profile = item.info.get("exif") or b"", item.info.get("icc_profile") or b""
    notes = ["grey"] if picture.mode in ("L", "LA") else []
    if picture.mode in ("LA", "RGBA", "La", "RGBa"):
        front = picture.convert("RGBA")
        picture = images.new("RGBA", front.size, (255, 255, 255, 255))
        picture.alpha_composite(front)
        notes.append("alpha")
    picture = picture.convert("RGB")
    width, height = picture.size
    at_least = request["at_least"]
    if at_least and width * height > request["large_px"]:
        picture = picture.reduce(max(1, max(width, height) // at_least))
    head = {
        "width": width,
        "height": height,
        "shape": [picture.height, picture.width, 3],
        "notes": notes,
        "profile": len(profile),
        "exif": len(exif),
    }
    return [head, profile, exif, picture.tobytes()]


def _limit(memory: int, cpu_s: int) -> None:
    """Lets the process have so much more than it has now, and no file."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + memory if most == resource.RLIM_INFINITY else min(most, used + memory)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


if __name__ == "__main__":
    main()
