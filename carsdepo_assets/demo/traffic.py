"""The demo's three windows of traffic, with the truth beside them: rendered, or out of a user's own photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from carsdepo_assets.commands.progress import Advance
from carsdepo_assets.policy import DataPolicy

STOPS = {"evening": 1.6, "night": 4.0}  # halvings of the light, for a user's own photographs
DARK_SHARE = {"usual": 0.0, "evening": 0.25, "night": 0.5}
PHOTOGRAPHS = 200


@dataclass(frozen=True)
class Traffic:
    """folder: images/, labels/, manifest.csv, once `write` has filled it. title: what the window is, for people.

    write: tells how many of its photographs are written; False for a window that stood already.
    """

    name: str
    title: str
    folder: Path
    write: Callable[[Advance], bool]


def rendered(home: Path) -> list[Traffic]:
    """The windows of the sample."""
    from carsdepo_assets.demo.sample.traffic import WINDOWS, write_window

    titles = {"usual": "as by day", "evening": "some of it after dark", "night": "half of it night"}

    def window(name: str) -> Traffic:
        folder = home / "traffic" / name
        return Traffic(name, titles[name], folder, lambda advance: write_window(folder, name, progress=advance))

    return [window(name) for name in WINDOWS]


def darkened(home: Path, source: Path, policy: DataPolicy, class_ids: Mapping[str, int]) -> list[Traffic]:
    """The same three out of the user's photographs: as they are, a quarter at dusk, half at night (both simulated).

    class_ids: of the user's labels -> ours; the windows' labels have ours.
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

            mark, content = folder / ".complete", repr(sorted(class_ids.items()))
            if mark.exists() and mark.read_text() == content:
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
            mark.write_text(content)
            return True

        return Traffic(name, titles[name], folder, write)

    return [window(number, name) for number, name in enumerate(titles)]
