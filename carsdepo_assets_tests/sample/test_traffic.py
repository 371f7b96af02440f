"""The demo's windows: what they hold, and that a killed rendering is done again."""

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

from carsdepo_assets.sample import traffic
from carsdepo_assets.sample.casting import CLEAN_SHARE, INTAKE_MIX
from carsdepo_assets.sample.traffic import WINDOWS, Sent, write_window
from carsdepo_assets.sample.write import plan

INTAKE = (700, 7)  # photographs and seed of the demo's first intake


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The windows as they are, of eight photographs each."""
    short = {name: replace(window, photographs=8) for name, window in WINDOWS.items()}
    monkeypatch.setattr(traffic, "WINDOWS", short)


def digests(sent: list[Sent]) -> list[str]:
    return [hashlib.sha256(s.path.read_bytes()).hexdigest() for s in sent]


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
        found = np.mean([car.light.name == light for car in cars])
        assert abs(found - share) < 3 * np.sqrt(share * (1 - share) / len(cars))


def test_only_the_last_window_holds_night() -> None:
    assert INTAKE_MIX.get("night", 0) == 0
    assert [window.lights.get("night", 0) for window in WINDOWS.values()] == [0, 0, 0.5]


def test_days_follow_the_intake_and_one_another() -> None:
    last = max(datetime.fromisoformat(car.captured_at).date() for car, _ in plan(*INTAKE, INTAKE_MIX, CLEAN_SHARE))
    days = [window.day for window in WINDOWS.values()]
    assert last < days[0]
    assert [(b - a).days for a, b in pairwise(days)] == [1, 1]


@pytest.mark.usefixtures("small")
def test_photographs_come_in_order_with_what_a_client_says(tmp_path: Path) -> None:
    sent = write_window(tmp_path, "night")
    rows = {r["file"]: r for r in csv.DictReader(io.StringIO((tmp_path / "manifest.csv").read_text()))}
    assert len(sent) == len(rows) == 8
    times = [rows[s.path.name]["captured_at"] for s in sent]
    assert times == sorted(times)
    assert {t[:10] for t in times} == {"2026-05-06"}
    for one in sent:
        row = rows[one.path.name]
        assert one.metadata == {k: row[k] for k in ("source", "camera", "uploader", "region", "listing")}
        assert row["source"] in ("web", "mobile")
        assert (tmp_path / "labels" / f"{one.path.stem}.txt").exists()
    of_cars = {(one.metadata["listing"], one.metadata["source"]) for one in sent}
    assert len(of_cars) == len({listing for listing, _ in of_cars})


@pytest.mark.usefixtures("small")
def test_a_window_that_stands_is_left_alone(tmp_path: Path) -> None:
    first = write_window(tmp_path, "usual")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert write_window(tmp_path, "usual") == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.usefixtures("small")
def test_a_killed_rendering_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digests(write_window(tmp_path / "whole", "evening"))
    monkeypatch.setattr(traffic, "_add_sources", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_window(tmp_path / "killed", "evening")
    monkeypatch.undo()
    monkeypatch.setattr(traffic, "WINDOWS", {"evening": replace(WINDOWS["evening"], photographs=8)})
    assert digests(write_window(tmp_path / "killed", "evening")) == whole


@pytest.mark.usefixtures("small")
def test_another_definition_replaces_what_stands(tmp_path: Path) -> None:
    before = digests(write_window(tmp_path, "usual"))
    after = digests(write_window(tmp_path, "night"))
    assert not set(before) & set(after)
    assert len(list((tmp_path / "images").iterdir())) == 8


def test_an_unknown_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="usual, evening, night"):
        write_window(tmp_path, "noon")
