"""commands/reproduction/, commands/named_model.py: a model that is named and made again, and what is said of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from carsdepo_assets.commands.named_model import model_named
from carsdepo_assets.commands.reproduction.environment import (
    environment_fields,
    initial_weights,
    policy_of,
    threads_of,
)
from carsdepo_assets.commands.reproduction.fields import NotReproducible, bounded, compared, explanations, unlike
from carsdepo_assets.commands.reproduction.outcome import training_fields, weights_difference
from carsdepo_assets.commands.reproduction.running import LOCK, OUTCOME, RECORD, reproduce
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import write_weights
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import digest_of
from carsdepo_assets.lake.objects import TEMPORARY_PREFIX
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import record
from carsdepo_assets.registry.lineage import StartingWeights
from carsdepo_assets.settings import Settings
from carsdepo_assets.training.candidates import Candidate
from carsdepo_assets.training.evaluate_candidate import evaluate_candidate
from carsdepo_assets.training.worker import TrainingSpec
from carsdepo_assets_tests.commands.reproducible_lake import BOX, lineage_of, photographs_and_labels, stored_model
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload
from carsdepo_assets_tests.detectors.rectangles import made_up_model

# All labels of these photographs are scratches.
ONE_CLASS = RULES.model_copy(update={"training": RULES.training.model_copy(update={"min_class_boxes": 0})})


def settings_of(home: Path) -> Settings:
    return Settings.read({"CARSDEPO_POLICY_FOLDER": str(home)}, home=home)


def trained(home: Path, lake: Lake, version: str, recipe: Recipe) -> str:
    """The digest of a model that the worker trained and that was evaluated."""
    spec = TrainingSpec(lake=lake.url, policy=ONE_CLASS, dataset_version=version, recipe=recipe)
    (home / "spec.json").write_text(spec.model_dump_json())
    process = subprocess.run(
        [sys.executable, "-m", "carsdepo_assets.training.worker", "--spec", str(home / "spec.json")],
        env={**os.environ, "CARSDEPO_WORK": str(home / "work"), "CARSDEPO_HOME": str(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    [report] = [json.loads(line) for line in process.stdout.splitlines() if line.startswith('{"data_version"')]
    candidate = Candidate(dataset=version, recipe=recipe, label_state=0, digest=report["digest"])
    evaluate_candidate(lake, candidate, ONE_CLASS)
    return str(report["digest"])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_and_the_one_that_went_on_from_it_come_out_the_same(tmp_path: Path) -> None:
    """Killed in the middle, and named where one byte of a label was changed."""
    home = tmp_path / "home"
    lake = Lake.open(home / "lake")
    made = photographs_and_labels(lake, 12)
    first = trained(home, lake, made.version, Recipe(image_size=64, epochs=3, batch=4, seed=3))
    upload(lake, {"more.jpg": car(40)})
    label(lake, {"more.txt": BOX})
    recipe = Recipe(image_size=64, epochs=400, minutes=0.05, batch=4, init="champion", champion=first)
    second = trained(home, lake, dataset(lake).version, recipe)
    before = {o.key: lake.get(o.key) for o in lake.list()}

    assert reproduce(settings_of(home), lake, first, tmp_path / "first", print).verdict == "same"
    lines: list[str] = []
    command = [str(Path(sys.executable).parent / "carsdepo"), "reproduce", second[:6], "--home", str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if "epoch 1/" in line:
            break
    assert any("epoch 1/" in line for line in lines), lines
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    result = json.loads(again.stdout)
    assert (result["verdict"], result["made_again"], result["why"]) == ("same", second, [])
    assert result["notes"][0].split(",")[0] == f"The training started from model {first}"
    assert {o.key: lake.get(o.key) for o in lake.list()} == before

    lake.put("raw/labels/car1.txt", BOX.replace("0.5", "0.6", 1).encode())
    changed = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300)
    assert changed.returncode == 1
    result = json.loads(changed.stdout)
    assert result["verdict"] == "not made again"
    assert any("car1.txt" in sentence and "revision digest differs" in sentence for sentence in result["why"])
    assert any(sentence.startswith("content digest differs") for sentence in result["why"])


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "home" / "lake")
    made = photographs_and_labels(lake, 3)
    model = stored_model(lake, made)
    settings = settings_of(tmp_path / "home")

    def run(folder: Path) -> Any:
        return reproduce(settings, lake, model.digest, folder, lambda text: None)

    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(NotReproducible, match="is not empty"):
        run(other)
    (other / RECORD).write_text('{"model": "another"}')
    with pytest.raises(NotReproducible, match="is not empty"):
        run(other)
    assert lake.root is not None
    with pytest.raises(NotReproducible, match="lies in the lake of the model"):
        run(lake.root / "again")
    assert (other / "thesis.txt").exists()

    lake.delete("raw/uploads/car0.jpg")
    lake.delete("raw/uploads/car1.jpg")
    lake.delete("raw/uploads/car2.jpg")
    result = run(tmp_path / "fresh")  # ends before the training
    assert result.verdict == "not made again"
    assert result.made_again is None
    assert any(s.startswith("photograph raw/uploads/car0.jpg is missing: the original is gone") for s in result.why)
    assert json.loads((tmp_path / "fresh" / OUTCOME).read_text())["verdict"] == "not made again"


def test_of_two_at_once_the_second_touches_nothing(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "home" / "lake")
    made = photographs_and_labels(lake, 3)
    first, second = stored_model(lake, made, b"first"), stored_model(lake, made, b"second")
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / RECORD).write_text(json.dumps({"model": first.digest, "lake": lake.url}))
    (folder / OUTCOME).write_text("{}")  # of an earlier call: the next one begins anew
    (folder / "lake").mkdir()
    settings = settings_of(tmp_path / "home")
    with FileLock(folder / LOCK), pytest.raises(NotReproducible, match="Another process"):
        reproduce(settings, lake, first.digest, folder, lambda text: None)
    assert (folder / OUTCOME).exists()
    assert (folder / "lake").exists()
    # Both found the folder empty, and the first has the lock.
    other = tmp_path / "other"
    other.mkdir()
    with FileLock(other / LOCK), pytest.raises(NotReproducible, match="Another process"):
        reproduce(settings, lake, second.digest, other, lambda text: None)
    assert not (other / RECORD).exists()
    lake.delete("raw/uploads/car0.jpg")
    (other / f"{TEMPORARY_PREFIX}1").write_text("")  # a call that was killed while it wrote its record
    assert reproduce(settings, lake, first.digest, other, lambda text: None).verdict == "not made again"
    with pytest.raises(NotReproducible, match="is not empty and holds no reproduction of model"):
        reproduce(settings, lake, second.digest, other, lambda text: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"detector": "yolov8n", "warp": 2}}, "warp: Extra inputs are not permitted"),
        ({"recipe": {"detector": "yolov8n", "augmentation": {"shear": 2}}}, "augmentation.shear: Extra inputs"),
        ({"recipe": {"detector": "of_a_package"}}, "detector: Value error, no detector named 'of_a_package'"),
        ({"policy": {"gate": {"luck": 1}}}, "gate.luck: Extra inputs"),
    ],
)
def test_records_that_this_release_does_not_understand_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    lake = Lake.open(tmp_path / "home" / "lake")
    model = stored_model(lake, photographs_and_labels(lake, 3))
    lake.put(f"models/{model.digest}/lineage.json", json.dumps(model.model_dump(mode="json") | changes).encode())
    with pytest.raises(NotReproducible, match=rf"was trained by .*\({message}.*with that release"):
        reproduce(settings_of(tmp_path / "home"), lake, model.digest, tmp_path / "again", lambda text: None)


@pytest.mark.parametrize("damaged", [b"", b"{}", b"[]", b'{"steps": 1, "planned": 5, "progress": []}'])
def test_a_damaged_record_of_the_clock_is_named(tmp_path: Path, damaged: bytes) -> None:
    lake = Lake.open(tmp_path / "home" / "lake")
    recipe = Recipe(minutes=1.0).model_dump(mode="json")
    model = stored_model(lake, photographs_and_labels(lake, 3), recipe=recipe)
    lake.put(f"models/{model.digest}/clock.json", damaged)
    with pytest.raises(NotReproducible, match=r"clock\.json is damaged \("):
        reproduce(
            settings_of(tmp_path / "home"), lake, model.digest, tmp_path / "again", lambda text: None, anyway=True
        )


def test_what_explains_a_difference_is_named_and_does_not_decide(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    made = photographs_and_labels(lake, 3)
    now = lineage_of(lake, made)
    fields = {f.name: f for f in environment_fields(now)}
    assert {f.state for f in fields.values()} <= {"same", "not recorded"}
    others = {**now.environment, "numpy": "1.0", "cpu_flags": "none", "threads": "64"}
    old = now.model_copy(update={"environment": others, "code": now.code.model_copy(update={"source_digest": "x"})})
    fields = {f.name: f for f in environment_fields(old)}
    differ = sorted(name for name, f in fields.items() if f.state == "differs")
    assert differ == ["code, by its source digest", "cpu flags", "numpy"]
    assert fields["threads of torch"].got == "64"  # the training will have as many
    assert threads_of(old) == 64
    assert unlike(fields.values()) == []
    gpu = {**now.environment, "device": "cuda:0", "gpu": "a card of then"}
    fields = {f.name: f for f in environment_fields(now.model_copy(update={"environment": gpu}))}
    assert fields["device"].state == "same"
    [sentence] = [s for s in explanations(fields.values()) if s.startswith("gpu")]
    assert sentence.startswith("gpu: a card of then then, ")
    assert threads_of(now.model_copy(update={"environment": {"cores": "3"}})) == 3


def test_the_policy_of_then_is_used_and_an_older_record_says_so(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    now = lineage_of(lake, photographs_and_labels(lake, 3))
    policy, field = policy_of(now, Policy())
    assert (policy, field.state) == (RULES, "same")
    old = now.model_copy(update={"policy": None})
    assert policy_of(old, RULES)[1].state == "same"
    policy, field = policy_of(old, Policy())
    assert (policy, field.state, field.part) == (Policy(), "not recorded", "environment")
    forged = now.model_copy(update={"policy": Policy().model_dump(mode="json")})
    assert policy_of(forged, RULES)[1].state == "differs"


def test_initial_weights_are_taken_by_their_digest(tmp_path: Path) -> None:
    lake, clean = Lake.open(tmp_path / "lake"), Lake.open(tmp_path / "clean")
    made = photographs_and_labels(lake, 3)
    parent = stored_model(lake, made, b"parent")
    child = {"recipe": {"init": "champion", "champion": parent.digest}, "initialised_from": parent.digest}
    key, field = initial_weights(lake, clean, lineage_of(lake, made, **child))
    assert (key, field and field.state) == (None, "same")
    assert clean.get(f"models/{parent.digest}/weights.pt") == b"parent"
    lake.delete(f"models/{parent.digest}/weights.pt")
    _, field = initial_weights(lake, clean, lineage_of(lake, made, **child))
    assert field is not None
    assert (field.state, field.name) == ("missing", f"initial weights (model {parent.digest})")

    lake.put("weights/0123/own.pt", b"own")
    file = {"recipe": {"init": "weights/own.pt"}}
    recorded = StartingWeights(key="weights/0123/own.pt", sha256=digest_of(b"own") + "0" * 48)
    for given, state in ((recorded, "same"), (None, "not recorded")):
        lineage = lineage_of(lake, made, **file, initial_weights=given)
        key, field = initial_weights(lake, clean, lineage)
        assert (key, field and field.state) == ("weights/0123/own.pt", state)
    # `pretrained` names no path: the home had the file, and the lineage tells which it was
    pretrained = lineage_of(lake, made, recipe={"init": "pretrained"}, initial_weights=recorded)
    key, field = initial_weights(lake, clean, pretrained)
    assert (key, field and field.state) == ("weights/0123/own.pt", "same")
    assert clean.get("weights/0123/own.pt") == b"own"
    lake.put("weights/4567/my-own.pt", b"a name with the same end")
    assert initial_weights(lake, clean, lineage_of(lake, made, **file))[0] == "weights/0123/own.pt"
    lake.put("weights/4567/own.pt", b"another")
    _, field = initial_weights(lake, clean, lineage_of(lake, made, **file))
    assert field is not None
    assert "2 files of that name" in field.note
    assert initial_weights(lake, clean, lineage_of(lake, made)) == (None, None)


def test_a_model_is_found_by_digest_prefix_and_stage(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    made = photographs_and_labels(lake, 3)
    digest = stored_model(lake, made).digest
    settings = settings_of(tmp_path)
    assert model_named(settings, lake, digest) == model_named(settings, lake, digest[:4]) == digest
    with pytest.raises(LookupError, match=f"Models: {digest}"):
        model_named(settings, lake, digest[:3])
    with pytest.raises(LookupError, match="Nothing has been deployed"):
        model_named(settings, lake, "production")
    record(lake, "production", "promote", digest=digest, version=1, actor="a", reason="r")
    assert model_named(settings, lake, "production") == digest


def test_how_far_weights_lie_apart(tmp_path: Path) -> None:
    import torch

    state = {"a": torch.zeros(3), "b": torch.tensor([3.0, 4.0])}
    for name, tensors in {"x": state, "y": {**state, "b": torch.tensor([3.0, 4.5])}, "z": {"a": state["a"]}}.items():
        write_weights(tmp_path / name, "d", tensors, ("scratch",), 64)
    apart = weights_difference(tmp_path / "x", tmp_path / "y")
    assert apart is not None
    assert (apart.tensors, apart.of, apart.largest, apart.relative) == (1, 2, 0.5, 0.1)
    assert weights_difference(tmp_path / "x", tmp_path / "z") is None


@pytest.mark.parametrize(
    ("now", "states"),
    [
        ({"loss": 7.0076014448384765, "lr": 0.1}, {"loss": "same", "lr": "same"}),  # interrupted: rounded otherwise
        ({"loss": 7.01, "lr": 0.1}, {"loss": "differs", "lr": "same"}),
        ({"loss": 7.007601737976074, "lr": 0.1000001}, {"loss": "same", "lr": "differs"}),
    ],
)
def test_figures_of_epochs(now: dict[str, float], states: dict[str, str], tmp_path: Path) -> None:
    lakes = []
    for name, row in (("then", {"loss": 7.007601737976074, "lr": 0.1}), ("now", now)):
        lake = Lake.open(tmp_path / name)
        model = made_up_model(lake, b"w")
        lake.put(f"models/{model}/result.json", json.dumps({"steps": 3, "epochs": 1, "history": [row]}).encode())
        lakes.append(lake)
    fields = {f.name: f.state for f in training_fields(lakes[0], model, lakes[1], model)}
    assert {name: fields[f"{name} by epoch"] for name in states} == states
    assert fields["val_map50 by epoch"] == "not recorded"
    assert fields["digest of the weights"] == fields["steps"] == "same"


def test_fields_are_compared_and_many_are_counted() -> None:
    assert compared("data", "x", None, 1).state == "not recorded"
    assert compared("data", "x", 1, 1).state == "same"
    assert compared("figures", "x", 0.1, 0.2).state == "differs"
    many = [compared("data", f"f{i}", 0, 1) for i in range(30)]
    assert [f.name for f in bounded(many)][-2:] == ["f18", "11 more of them"]
    assert bounded(many[:20]) == many[:20]
