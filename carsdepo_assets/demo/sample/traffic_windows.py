"""Renders the demo's traffic: three consecutive days of photographs that people send, with their true labels.

`usual` has the light of the first sample, in `evening` some photographs are taken after dark, in `night` half of them.

Drift of the image features against the first sample (700 photographs, 228 cars), for windows of 200 photographs that
are drawn at random from other cars, 50 of each kind, 100 of evening; without the features of the model's answers:

    usual     0 of 50 detected
    evening   70 of 100 detected; drift 0 to 10 %, median 2.5 %, under 8 % in 63 of them
    night     50 of 50 detected; drift 18 to 57 %, median 36 %

With the ten seeds 22 to 31, `evening` is always detected, with 0.0, 0.7, 2.5, 4.5, 4.7, 5.5, 5.8, 5.8, 9.2 and 15.5 %.
Seed 24 (4.5 %) is just below their median. `usual` with seed 21 is not detected (p = 0.07); `night` with seed 33 has
33 %. More dusk without night gives no mild drift: with dusk for 22 % of the cars 6 of 50 windows are detected, for 30 %
24 of 50, and in 29 of these 30 windows the drift is 8 % or more.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from carsdepo_assets.demo.sample.casting import INTAKE_MIX
from carsdepo_assets.demo.sample.write import Progress, write_sample

_COMPLETE = ".complete"
# Share of cars whose photographs come by the mobile app, by light: in the dark nearly all are taken with a telephone.
_APP_SHARE = {"day": 0.5, "overcast": 0.5, "dusk": 0.8, "night": 0.95}


@dataclass(frozen=True)
class TrafficWindow:
    """The definition of one day of traffic."""

    name: str
    day: date
    seed: int
    lights: Mapping[str, float]
    """Share of the cars by light."""
    photographs: int = 200

    def as_json(self) -> str:
        """The definition as JSON, which a rendered folder keeps."""
        return json.dumps(asdict(self) | {"day": self.day.isoformat()}, sort_keys=True)


WINDOWS: dict[str, TrafficWindow] = {
    window.name: window
    for window in (
        TrafficWindow("usual", date(2026, 5, 4), 21, INTAKE_MIX),
        TrafficWindow("evening", date(2026, 5, 5), 24, {"day": 0.53, "overcast": 0.35, "night": 0.12}),
        TrafficWindow("night", date(2026, 5, 6), 33, {"day": 0.30, "overcast": 0.17, "dusk": 0.03, "night": 0.50}),
    )
}


def write_window(folder: Path, name: str, workers: int = 2, progress: Progress | None = None) -> bool:
    """Renders a window of traffic into the folder, unless it is complete there already.

    The folder is what `write_sample` writes, and manifest.csv has a column `source` too. A folder that is incomplete,
    or that has another definition, is replaced.

    Args:
        folder: To write.
        name: A key of WINDOWS.
        workers: How many cars are rendered at the same time.
        progress: Called as by `write_sample`; for a window that is complete once, with all of its photographs.

    Returns:
        Whether this call rendered it.

    Raises:
        KeyError: For an unknown name; it lists the names that exist.
    """
    if name not in WINDOWS:
        raise KeyError(f"no window {name!r}: {', '.join(WINDOWS)}")
    window, complete = WINDOWS[name], folder / _COMPLETE
    if complete.exists() and complete.read_text() == window.as_json():
        if progress is not None:
            progress(window.photographs, window.photographs)
        return False
    complete.unlink(missing_ok=True)
    for part in ("images", "labels"):
        shutil.rmtree(folder / part, ignore_errors=True)
    write_sample(
        folder,
        window.photographs,
        window.seed,
        lights=window.lights,
        workers=workers,
        day=window.day,
        progress=progress,
    )
    _add_sources(folder / "manifest.csv")
    complete.write_text(window.as_json())
    return True


def _add_sources(manifest: Path) -> None:
    """Adds the column `source` to manifest.csv: web or mobile for each car, by a hash of its listing and the light."""
    rows = list(csv.DictReader(io.StringIO(manifest.read_text())))
    for row in rows:
        place = int.from_bytes(hashlib.sha256(row["listing"].encode()).digest()[:4], "big") / 2**32
        row["source"] = "mobile" if place < _APP_SHARE[row["light"]] else "web"
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    manifest.write_text(out.getvalue())
