"""The demo's three windows of traffic with their true labels: rendered, or made from a user's own photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carsdepo_assets.commands.progress import Advance
from carsdepo_assets.data.labels.formats.documents import ClassTargets
from carsdepo_assets.policy import DataPolicy

# For a user's own photographs, by window.
STOPS = {"evening": 1.6, "night": 4.0}  # halvings of the light in the darkened photographs
DARK_SHARE = {"usual": 0.0, "evening": 0.25, "night": 0.5}  # of the photographs
PHOTOGRAPHS = 200  # at most, in each window


@dataclass(frozen=True)
class Traffic:
    """A window of traffic: photographs that are sent to the service within a short time."""

    name: str
    """`usual`, `evening` or `night`."""
    title: str
    """What distinguishes the window, for people."""
    folder: Path
    """Has images/, labels/ and manifest.csv once `write` has returned."""
    write: Callable[[Advance], bool]
    """Fills the folder, and reports how many photographs are written; returns False where they were all there."""


def rendered_windows(home: Path) -> list[Traffic]:
    """The three windows of the rendered sample, in folders below the home; nothing is rendered yet."""
    from carsdepo_assets.demo.sample.traffic_windows import WINDOWS, write_window

    titles = {"usual": "daylight", "evening": "some of it after dark", "night": "half of it night"}

    def window(name: str) -> Traffic:
        folder = home / "traffic" / name
        return Traffic(name, titles[name], folder, lambda advance: write_window(folder, name, progress=advance))

    return [window(name) for name in WINDOWS]


def darkened_windows(home: Path, source: Path, policy: DataPolicy, class_ids: ClassTargets) -> list[Traffic]:
    """Three windows made from a user's photographs: unchanged, a quarter darkened to dusk, half darkened to night.

    Args:
        home: The windows' folders lie below it; nothing is written yet.
        source: The user's photographs.
        policy: Which photographs are accepted.
        class_ids: What each class id of the user's labels, as text, becomes in the windows' labels.
    """
    titles = {
        "usual": "your photographs as they are",
        "evening": "a quarter darkened (simulated dusk)",
        "night": "half darkened (simulated night)",
    }

    def window(number: int, name: str) -> Traffic:
        folder = home / "traffic" / name

        def write(advance: Advance) -> bool:
            from carsdepo_assets.demo.sample.dimming import write_window

            complete, content = folder / ".complete", repr(sorted(class_ids.items()))
            if complete.exists() and complete.read_text() == content:
                return False
            write_window(
                source,
                folder,
                photographs=PHOTOGRAPHS,
                dark_share=DARK_SHARE[name],
                stops=STOPS.get(name, 0.0),
                seed=31 + number,
                policy=policy,
                class_ids=class_ids,
                progress=advance,
            )
            complete.write_text(content)
            return True

        return Traffic(name, titles[name], folder, write)

    return [window(number, name) for number, name in enumerate(titles)]
