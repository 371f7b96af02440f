"""demo/run.py, demo/train_loop.py, demo/release_loop.py, demo/traffic_windows.py: the order of the demo's steps.

Also who decides about its first model, and which classes the labels of a user's windows have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from carsdepo_assets.commands import decisions
from carsdepo_assets.commands.pipeline import Pipeline, PipelineError, Tick
from carsdepo_assets.commands.progress import Advance, unwatched
from carsdepo_assets.demo import release_loop, run, traffic_windows, train_loop
from carsdepo_assets.demo.progress import DemoProgress
from carsdepo_assets.demo.sample import traffic_windows as sample_traffic
from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.demo.traffic_ahead import written_ahead
from carsdepo_assets.demo.train_loop import Loop
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy
from carsdepo_assets.policy_layers import Layer, load_policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.read({}, home=tmp_path / "home")


def test_the_training_comes_before_any_traffic_is_rendered(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each window is rendered, in its turn, before it is sent."""
    order: list[str] = []

    @contextmanager
    def services(given: Settings) -> Iterator[Settings]:
        yield given

    @contextmanager
    def pipeline(given: Settings, *_: object) -> Iterator[Any]:
        yield SimpleNamespace(settings=given)

    def window(folder: Path, name: str, progress: Advance) -> bool:
        (folder / "images").mkdir(parents=True)
        order.append(f"render {name}")
        return True

    def send(context: release_loop.DemoContext, window: traffic_windows.Traffic) -> None:
        release_loop.await_window(context, window)
        order.append(f"send {window.name}")

    monkeypatch.setattr(run, "running", services)
    monkeypatch.setattr(Pipeline, "open", pipeline)
    monkeypatch.setattr(train_loop, "_explore", lambda *_: order.append("explore"))
    monkeypatch.setattr(
        train_loop, "render_sample", lambda folder, n, advance: order.append("render sample") or (folder, True)
    )
    monkeypatch.setattr(train_loop, "bring_in", lambda *_: order.append("import") or SimpleNamespace(failures=()))

    def train(pipeline: Any, loop: Loop, say: Any, **options: Any) -> None:
        order.append(f"train {options['length'].config()}")
        loop.note("registered_model", "version 1")

    monkeypatch.setattr(train_loop, "train", train)
    monkeypatch.setattr(release_loop, "release", lambda context, name, first: order.append(name))
    monkeypatch.setattr(release_loop, "send_window", send)
    monkeypatch.setattr(release_loop, "report_kpis", lambda context: None)
    monkeypatch.setattr(sample_traffic, "write_window", window)
    run.run(settings, None, minutes=None, detector=None, say=lambda text: None)
    windows = ("usual", "evening", "night")
    assert order[:4] == ["render sample", "import", "explore", "train {'steps': 256}"]
    # A thread renders beside the loop: the two keep their own order.
    assert [o for o in order[4:] if o.startswith("render")] == [f"render {name}" for name in windows]
    assert [o for o in order[4:] if not o.startswith("render")] == ["first release", *(f"send {n}" for n in windows)]
    assert all(order.index(f"render {name}") < order.index(f"send {name}") for name in windows)


def test_the_fast_demos_epoch_is_ended_by_no_clock(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the policy's 2.5 minutes ended it after 12 of its 14 steps."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(train_loop, "render_sample", lambda folder, n, advance: (folder, True))
    monkeypatch.setattr(train_loop, "_explore", lambda *_: None)
    monkeypatch.setattr(train_loop, "bring_in", lambda *_: SimpleNamespace(failures=()))
    monkeypatch.setattr(train_loop, "train", lambda pipeline, loop, say, **options: given.update(options))
    pipeline: Any = SimpleNamespace(settings=settings)
    train_loop.run(pipeline, None, fast=True, minutes=None, detector=None, say=lambda text: None)
    assert given["fast"]
    assert given["length"].config() == {"minutes": settings.policy().training.cap_minutes}


def test_its_policy_hangs_on_no_clock_and_one_of_the_users_is_left_alone(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.home.mkdir()
    run._write_policy(settings, print)
    policy = load_policy([Layer(settings.home / "carsdepo.toml")])
    assert policy.gate.mode == "point"
    assert policy.gate.latency_p95_ms >= 60_000  # milliseconds
    assert policy.release.wait_s >= 600
    own = settings.home / "carsdepo.toml"
    assert f"written to {own}" in capsys.readouterr().out
    mine = tmp_path / "mine.toml"
    mine.write_text("[gate]\nresamples = 500\n")
    own.write_text("# changed by the user\n")
    run._write_policy(settings.model_copy(update={"policy_named": mine}), print)
    assert f"{mine} takes precedence over the demo's own settings" in capsys.readouterr().out
    assert own.read_text() == "# changed by the user\n"


class Refusing:
    """A pipeline whose gate refuses the first model."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lake = Lake.open(settings.lake)

    def tick(self, sensor: str) -> Tick:
        gate = {
            "gate_id": "g",
            "at": datetime.now(UTC),
            "challenger": "d1",
            "champion": None,
            "golden": 1,
            "verdict": "reject",
            "mode": "point",
            "reasons": ["mAP@.5 0.041 is under the floor of 0.050."],
            "figures": "{}",
            "policy_digest": "p",
            "report_key": "reports/gate/g.html",
            "dagster_run_id": None,
        }
        self.lake.append("gates", [gate], "g")
        return Tick([], "")

    def context(self, *, rendered: bool) -> release_loop.DemoContext:
        progress = DemoProgress(self.settings.home / "demo.json", {})
        pipeline: Any = self
        with written_ahead([]) as ahead:
            return release_loop.DemoContext(
                pipeline, self.lake, Loop(), progress, lambda text: None, unwatched, rendered, ahead
            )


def test_on_the_sample_the_demo_does_not_overrule_its_own_gate(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "approve", lambda *_: pytest.fail("it approved what the gate refused"))
    refusing = Refusing(settings)
    with pytest.raises(PipelineError, match=r"does not overrule the gate.*0\.041 is under the floor") as caught:
        release_loop.release(refusing.context(rendered=True), "first release", first=True)
    assert f"{settings.lake}/reports/gate/g.html" in str(caught.value)
    assert ledger.desired(refusing.lake, "production") is None


def test_a_first_model_of_real_photographs_is_approved_in_the_users_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(settings)

    def approve(pipeline: Any, version: str, reason: str) -> str:
        ledger.record(
            refusing.lake, "production", "deploy", digest="d1", version=1, actor=ledger.person(), reason=reason
        )
        return ""

    monkeypatch.setattr(decisions, "approve", approve)
    context = refusing.context(rendered=False)
    release_loop.release(context, "first release", first=True)
    event = ledger.desired(refusing.lake, "production")
    assert event is not None
    assert "the gate says reject: mAP@.5 0.041 is under the floor" in event.reason
    assert ledger.person() in context.loop.steps[-1].outcome


def test_a_users_windows_have_our_classes_and_follow_a_changed_map(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_sample(own, 6, 5, "day", clean_share=0.0)

    def classes(class_ids: dict[str, int]) -> tuple[bool, set[str]]:
        usual = traffic_windows.darkened_windows(tmp_path / "home", own, DataPolicy(), class_ids)[0]
        written = usual.write(lambda behind, total: None)
        texts = [file.read_text() for file in (usual.folder / "labels").iterdir()]
        return written, {line.split()[0] for text in texts for line in text.splitlines()}

    assert classes({"0": 1, "1": 1}) == (True, {"1"})
    assert classes({"0": 1, "1": 1}) == (False, {"1"})
    assert classes({"0": 0, "1": 0}) == (True, {"0"})


def test_folders_of_one_name_and_folders_that_changed_are_demos_of_their_own(tmp_path: Path) -> None:
    """The second folder's demo showed the first one's model as reused."""
    one, two = tmp_path / "a" / "photos", tmp_path / "b" / "photos"
    for folder in (one, two):
        folder.mkdir(parents=True)
    assert run.home_name(one) != run.home_name(two)
    assert run.home_name(one).startswith("photos-")
    assert run.home_name(one) == run.home_name(tmp_path / "a" / "." / "photos")
    seen = []
    for name, data in (("a.jpg", b"1"), ("b.jpg", b"2"), ("b.jpg", b"22")):
        (one / name).write_bytes(data)
        seen.append(run._listing(one))
    assert len(set(seen)) == 3
    assert run._listing(one) == seen[-1]
    assert seen[0].startswith("1 (")
