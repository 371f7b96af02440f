"""demo/sample/traffic_windows.py: what the demo's windows hold, and that a rendering that was killed is repeated."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from carsdepo_assets.demo.sample import traffic_windows
from carsdepo_assets.demo.sample.casting import CLEAN_SHARE, INTAKE_MIX
from carsdepo_assets.demo.sample.traffic_windows import WINDOWS, write_window
from carsdepo_assets.demo.sample.write import plan

pytestmark = pytest.mark.slow

INTAKE = (700, 7)  # photographs and seed of the demo's first intake


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The windows as they are, of eight photographs each."""
    short = {name: replace(window, photographs=8) for name, window in WINDOWS.items()}
    monkeypatch.setattr(traffic_windows, "WINDOWS", short)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((folder / "images").iterdir())}


@pytest.mark.slow
def test_no_window_shares_a_car_with_another_or_with_the_intake() -> None:
    seen: Counter[str] = Counter(car.listing for car, _ in plan(*INTAKE, INTAKE_MIX, CLEAN_SHARE))
    for window in WINDOWS.values():
        seen.update(car.listing for car, _ in plan(window.photographs, window.seed, window.lights, CLEAN_SHARE))
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("name", list(WINDOWS))
def test_lights_are_in_their_shares(name: str) -> None:
    """Of the cars, within three standard errors; a window of 200 photographs has 55 to 65 cars."""
    window = WINDOWS[name]
    cars = [car for car, _ in plan(window.photographs, window.seed, window.lights, CLEAN_SHARE)]
    assert sum(window.lights.values()) == pytest.approx(1)
    for light, share in window.lights.items():
        drawn = np.mean([car.light.name == light for car in cars])
        assert abs(drawn - share) < 3 * np.sqrt(share * (1 - share) / len(cars))


def test_night_is_new_to_the_intake_and_grows() -> None:
    assert INTAKE_MIX.get("night", 0) == 0
    night = [window.lights.get("night", 0) for window in WINDOWS.values()]
    assert night == sorted(night)
    assert (night[0], night[-1]) == (0, 0.5)


def test_days_follow_the_intake_and_one_another() -> None:
    last = max(datetime.fromisoformat(car.captured_at).date() for car, _ in plan(*INTAKE, INTAKE_MIX, CLEAN_SHARE))
    days = [window.day for window in WINDOWS.values()]
    assert last < days[0]
    assert [(b - a).days for a, b in pairwise(days)] == [1, 1]


@pytest.mark.usefixtures("small")
def test_the_manifest_says_when_and_from_where(tmp_path: Path) -> None:
    write_window(tmp_path, "night")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "manifest.csv").read_text())))
    assert {r["file"] for r in rows} == digests(tmp_path).keys()
    assert {r["captured_at"][:10] for r in rows} == {"2026-05-06"}
    assert {r["source"] for r in rows} <= {"web", "mobile"}
    assert len({(r["listing"], r["source"]) for r in rows}) == len({r["listing"] for r in rows})
    assert all((tmp_path / "labels" / r["file"].replace(".jpg", ".txt")).exists() for r in rows)


@pytest.mark.usefixtures("small")
def test_a_window_that_stands_is_left_alone(tmp_path: Path) -> None:
    write_window(tmp_path, "usual")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    write_window(tmp_path, "usual")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.usefixtures("small")
def test_progress_of_a_window_and_of_one_that_stands(tmp_path: Path) -> None:
    first: list[tuple[int, int]] = []
    again: list[tuple[int, int]] = []
    write_window(tmp_path, "usual", progress=lambda *at: first.append(at))
    write_window(tmp_path, "usual", progress=lambda *at: again.append(at))
    assert (first[0], first[-1]) == ((0, 8), (8, 8))
    assert again == [(8, 8)]


@pytest.mark.usefixtures("small")
def test_a_killed_rendering_is_done_again(tmp_path: Path) -> None:
    write_window(tmp_path / "whole", "evening")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traffic_windows, "_add_sources", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_window(tmp_path / "killed", "evening")
    write_window(tmp_path / "killed", "evening")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert "source" in (tmp_path / "killed" / "manifest.csv").read_text().splitlines()[0]


@pytest.mark.usefixtures("small")
def test_another_definition_replaces_what_stands(tmp_path: Path) -> None:
    write_window(tmp_path, "usual")
    before = digests(tmp_path)
    write_window(tmp_path, "night")
    assert not before.keys() & digests(tmp_path).keys()
    assert len(digests(tmp_path)) == len(list((tmp_path / "labels").iterdir())) == 8


def test_an_unknown_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="usual, evening, night"):
        write_window(tmp_path, "noon")
