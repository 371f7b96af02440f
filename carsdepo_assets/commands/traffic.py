"""The demo's three windows of traffic, with the truth beside them: rendered, or out of a user's own photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from carsdepo_assets.policy import DataPolicy

STOPS = {"evening": 1.6, "night": 4.0}  # halvings of the light, for a user's own photographs
DARK_SHARE = {"usual": 0.0, "evening": 0.25, "night": 0.5}
PHOTOGRAPHS = 200


@dataclass(frozen=True)
class Traffic:
    """folder: images/, labels/, manifest.csv. title: what the window is, for people."""

    name: str
    title: str
    folder: Path


def rendered(home: Path) -> list[Traffic]:
    """The windows of the sample; those that stand are not rendered again."""
    from carsdepo_assets.sample.traffic import WINDOWS, write_window

    titles = {"usual": "as by day", "evening": "some of it after dark", "night": "half of it night"}
    made = []
    for name in WINDOWS:
        folder = home / "traffic" / name
        write_window(folder, name)
        made.append(Traffic(name, titles[name], folder))
    return made


def darkened(home: Path, source: Path, policy: DataPolicy) -> list[Traffic]:
    """The same three out of the user's photographs: as they are, a quarter at dusk, half at night (both simulated)."""
    from carsdepo_assets.sample.dimming import write_window

    titles = {
        "usual": "your photographs as they are",
        "evening": "a quarter darkened (simulated dusk)",
        "night": "half darkened (simulated night)",
    }
    made = []
    for number, (name, title) in enumerate(titles.items()):
        folder = home / "traffic" / name
        done = folder / ".complete"
        if not done.exists():
            write_window(
                source,
                folder,
                photographs=PHOTOGRAPHS,
                dark_share=DARK_SHARE[name],
                stops=STOPS.get(name, 0.0),
                seed=31 + number,
                policy=policy,
            )
            done.touch()
        made.append(Traffic(name, title, folder))
    return made
