"""policy.py, policy_layers.py, commands/policy_cli.py, commands/policy_reference.py: the policy and its files.

Files are merged key by key, each value has its source, and errors name the file and the key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import dagster as dg
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.commands.options import out
from carsdepo_assets.commands.policy_reference import policy_reference
from carsdepo_assets.environments import resources
from carsdepo_assets.policy import ClassMap, Policy, PolicyError
from carsdepo_assets.policy_layers import Layer, OnDisk, entries, layers, load_policy, read_layers
from carsdepo_assets.resources import PolicyResource
from carsdepo_assets.settings import Settings

GOALS = Policy().business.goals


def file(folder: Path, text: str, name: str = "carsdepo.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def one(folder: Path, text: str) -> Policy:
    return load_policy([Layer(file(folder, text))])


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """(home, working folder); the process works in the second."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("CARSDEPO_POLICY", "CARSDEPO_POLICY_FOLDER", "CARSDEPO_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home", work


def test_without_files_the_built_in_policy_holds(tmp_path: Path) -> None:
    assert load_policy([Layer(tmp_path / "none.toml")]) == Policy() == load_policy([]) == PolicyResource().read()


def test_the_layers_merge_key_by_key(places: tuple[Path, Path], tmp_path: Path) -> None:
    home, work = places
    file(home, '[gate]\nmode = "point"\nresamples = 200\nlevel = 0.9\n[release]\nwait_s = 7\n')
    file(work, "[gate]\nresamples = 300\nlevel = 0.8\n[training]\nminutes = 4\n")
    named = file(tmp_path, "[gate]\nlevel = 0.7\n", "named.toml")
    without = Settings.read({}, home=home).policy()
    assert (without.gate.mode, without.gate.resamples, without.gate.level) == ("point", 300, 0.8)
    policy = Settings.read({"CARSDEPO_POLICY": str(named)}, home=home).policy()
    assert (policy.gate.mode, policy.gate.resamples, policy.gate.level) == ("point", 300, 0.7)
    assert (policy.release.wait_s, policy.training.minutes) == (7, 4)
    assert policy.data == Policy().data
    assert policy.digest() not in (without.digest(), Policy().digest())


def test_goals_merge_by_name_and_false_takes_one_away(places: tuple[Path, Path]) -> None:
    home, work = places
    file(home, "[business.goals]\nrecall = 0.8\nprecision = false\nreturns_pct = 3\n")
    file(work, "[business.goals]\nreturns_pct = 2.5\nlabelled_pct = false\n")
    left = {k: v for k, v in GOALS.items() if k not in ("precision", "labelled_pct")}
    assert Settings.read({}, home=home).policy().business.goals == {**left, "recall": 0.8, "returns_pct": 2.5}
    assert len(left) == len(GOALS) - 2


def test_a_later_layer_gives_a_goal_back(places: tuple[Path, Path]) -> None:
    home, work = places
    file(home, "[business.goals]\nprecision = false\n")
    file(work, "[business.goals]\nprecision = 0.9\n")
    assert Settings.read({}, home=home).policy().business.goals["precision"] == 0.9


def test_false_takes_away_what_a_lower_layer_set_and_may_be_absent(places: tuple[Path, Path]) -> None:
    home, work = places
    file(home, "[training]\nsteps = 100\nfrom_champion = true\n")
    file(work, "[training]\nsteps = false\nfrom_champion = false\n")
    policy = Settings.read({}, home=home).policy()
    assert (policy.training.steps, policy.training.from_champion) == (None, False)


def test_an_array_is_replaced_as_a_whole(tmp_path: Path) -> None:
    first = file(tmp_path, '[class_map]\nnames = ["scratch", "dent", "rust"]\n', "a.toml")
    second = file(tmp_path, '[class_map]\nnames = ["scratch"]\n', "b.toml")
    assert load_policy([Layer(first), Layer(second)]).class_map.names == ("scratch",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[evaluation]\nfloor_map50 = 3\n", "evaluation.floor_map50"),
        ("[evaluation]\nfloor_map5 = 0.3\n", "there is no such key; evaluation.floor_map50 is one"),
        ("[evaluation\n", "not TOML"),
        ("[training]\ndetector = 'yolov9'\n", "training.detector"),
        ("[evaluation]\nfloor_map50 = true\n", "evaluation.floor_map50: Input should be a valid number, not true"),
        ("[gate]\nresamples = false\n", "gate.resamples: Input should be a valid integer, not false"),
        ("[gate]\nresamples = 200.5\n", "gate.resamples"),
        ('[evaluation]\nfloor_map50 = "0.3"\n', 'evaluation.floor_map50: Input should be a valid number, not "0.3"'),
        ("[business.goals]\nrecall = true\n", "business.goals.recall: Input should be a valid number, not true"),
        ("[business.goals]\nrecal = false\n", "business.goals.recal: false removes a value, and there is none"),
        ("[business.goals]\nrecall = nan\n", "business.goals.recall: nan is not a finite number"),
        ("[training]\nminutes = inf\n", "training.minutes: inf is not a finite number"),
        ("[training]\nseed = -1\n", "training.seed: Input should be greater than or equal to 0"),
        (
            "[training.diagnosis]\ndiverged_factor = inf\n",
            "training.diagnosis.diverged_factor: inf is not a finite",
        ),
        ("[business]\ngoals = 3\n", "business.goals: Input should be"),
        ("gate = 3\n", "gate: Input should be"),
        ("[gates]\nmode = 'point'\n", "gates: there is no such key"),
        ("[split]\ntrain = 0.9\n", "split: train + val must leave a share for test"),
        ("[business]\nbaseline_until = 2026-13-01\n", "not TOML"),
        ("[gate]\nresamples = " + "[" * 3000, "nested too deeply"),
        ("[gate]\nresamples = " + "9" * 5000, "not TOML"),
        ("[class_map]\nnames = []\n", "class_map.names"),
        ('[class_map]\nnames = ["scratch", "scratch"]\n', "each class has a name of its own"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    well = file(tmp_path / "well", "[release]\nwait_s = 7\n")
    wrong = file(tmp_path / "wrong", text)
    with pytest.raises(PolicyError) as error:
        load_policy([Layer(well), Layer(wrong)])
    assert words in str(error.value)
    assert str(error.value).startswith(f"{wrong}: ")
    assert str(well) not in str(error.value)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("folder", "no regular file."),
        ("pipe", "no regular file."),
        ("dangling link", "a link to gone, which is not there."),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_what_is_no_file_is_said_and_never_waited_for(tmp_path: Path, what: str, words: str, named: bool) -> None:
    path = tmp_path / "carsdepo.toml"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "dangling link": lambda: path.symlink_to("gone")}[what]()
    with pytest.raises(PolicyError) as error:
        load_policy([Layer(path, required=named)])
    assert str(error.value).startswith(f"{path}: {words}")
    assert ("CARSDEPO_POLICY" in str(error.value)) == named


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "carsdepo.toml").write_bytes(b"\xef\xbb\xbf[release]\r\nwait_s = 7\r\n")
    assert load_policy([Layer(tmp_path / "carsdepo.toml")]).release.wait_s == 7


def test_an_error_of_two_values_together_names_both_files(tmp_path: Path) -> None:
    first = file(tmp_path, "[monitoring]\nretrain_below = 0.2\n", "a.toml")
    second = file(tmp_path, "[monitoring]\nno_retraining_from = 0.1\n", "b.toml")
    with pytest.raises(PolicyError, match=r"a\.toml, .*b\.toml: monitoring: retrain_below must not lie above"):
        load_policy([Layer(first), Layer(second)])


def test_a_former_name_of_a_key_is_read_with_one_warning_for_each_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = file(tmp_path, "[monitoring]\nother_world = 0.2\n", "a.toml")
    new = file(tmp_path, "[monitoring]\nno_retraining_from = 0.1\n", "b.toml")
    for order, value, source in (([old, new], 0.1, new), ([new, old], 0.2, old)):
        layered = read_layers([Layer(path) for path in order])
        assert layered.policy.monitoring.no_retraining_from == value
        assert layered.sources == {("monitoring", "no_retraining_from"): source}
    warning = f"{old}: monitoring.other_world is now called monitoring.no_retraining_from."
    assert [warning in message for message in caplog.messages] == [True]
    assert Policy.model_validate({"monitoring": {"other_world": 0.2}}).monitoring.no_retraining_from == 0.2
    both = file(tmp_path, "[monitoring]\nno_retraining_from = 0.1\nother_world = 0.2\n", "c.toml")
    with pytest.raises(PolicyError, match=r"c\.toml: monitoring\.other_world is the former name of"):
        load_policy([Layer(both)])


def test_the_policy_reference_has_every_key_with_its_default_unit_and_meaning() -> None:
    rows = [line.split(" | ") for line in policy_reference().splitlines() if line.startswith("| `")]
    by_key = {row[0].removeprefix("| ").strip("`"): row for row in rows}
    assert {entry.key for entry in entries(read_layers([]))} <= set(by_key)
    assert by_key["release.wait_s"][1:] == [
        "number (above 0)",
        "`60.0`",
        "seconds",
        "How long a release waits for a service to serve the new model. |",
    ]
    assert by_key["release.approval"][1:3] == ['`"automatic"` or `"person"`', '`"automatic"`']
    assert by_key["compute.prices_per_hour.NAME"][1:4] == [
        "number (above 0)",
        "none",
        "of currency per hour of one instance",
    ]
    assert by_key["training.steps"][1:3] == ["integer or false for none (at least 1)", "none"]
    assert all(len(row) >= 5 and row[4].strip(" |") for row in rows if len(row) > 2)


def test_a_date_may_be_written_without_quotes(tmp_path: Path) -> None:
    assert one(tmp_path, "[business]\nbaseline_until = 2025-01-31\n").business.baseline_until == "2025-01-31"


def test_a_policy_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "carsdepo.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not TOML"):
        load_policy([Layer(tmp_path / "carsdepo.toml")])


def test_a_named_file_that_is_missing_is_an_error_everywhere(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "forgotten.toml"
    monkeypatch.setenv("CARSDEPO_POLICY", str(missing))
    settings = Settings.read(home=places[0])
    message = f"CARSDEPO_POLICY names {missing}, and there is no such file"
    with pytest.raises(PolicyError, match=message):
        settings.policy()
    with pytest.raises(PolicyError, match=message):
        resources(settings)["policy"].read()
    for call in (["policy", "show"], ["demo"], ["dev"], ["serve", "--stage", "production", "--port", "0"]):
        result = CliRunner().invoke(app, [*call, "--home", str(places[0])])
        assert result.exit_code == 1, call
        assert message in result.stderr.replace("\n", " "), call


def test_a_sensors_tick_says_which_file_is_broken(places: tuple[Path, Path]) -> None:
    @dg.sensor(job_name="none")
    def asks(context: dg.SensorEvaluationContext, policy: PolicyResource) -> dg.SkipReason:
        return dg.SkipReason(policy.read().digest())

    broken = file(places[1], "[gate]\nmode = 'both'\n")
    settings = Settings.read({}, home=places[0])
    context = dg.build_sensor_context(resources={"policy": resources(settings)["policy"]})
    with pytest.raises(PolicyError, match=f"{broken}: gate.mode"):
        asks(context)
    broken.write_text("[gate]\nmode = 'point'\n")
    assert asks(context) == dg.SkipReason(settings.policy().digest())


def test_a_child_in_another_folder_has_the_same_policy(places: tuple[Path, Path], tmp_path: Path) -> None:
    home, work = places
    file(home, "[gate]\nresamples = 200\n")
    file(work, "[release]\nwait_s = 7\n")
    file(tmp_path / "elsewhere", "[release]\nwait_s = 9\n")
    settings = Settings.read({"CARSDEPO_POLICY": str(file(tmp_path, "[data]\nmax_group = 9\n", "n.toml"))}, home=home)
    before = settings.policy()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "elsewhere")
        child = Settings.read(settings.variables())
        assert child.policy() == before
        assert resources(child)["policy"].read() == before
    assert (before.gate.resamples, before.release.wait_s, before.data.max_group) == (200, 7, 9)


def test_a_home_without_a_file_is_no_error_for_a_child(places: tuple[Path, Path]) -> None:
    settings = Settings.read({}, home=places[0])
    assert Settings.read(settings.variables()).policy() == Policy()


def test_a_file_that_is_meant_twice_counts_once_where_it_is_last(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path
    assert [layer.path for layer in layers(home, home, None)] == [home / "carsdepo.toml"]
    files = layers(home, folder, home / "carsdepo.toml")
    assert files == (Layer(folder / "carsdepo.toml"), Layer(home / "carsdepo.toml", required=True))


def test_every_value_has_a_source_a_default_and_a_meaning(tmp_path: Path) -> None:
    first = file(tmp_path, "[gate]\nresamples = 200\n[business.goals]\nprecision = false\n", "a.toml")
    second = file(tmp_path, "[gate]\nresamples = 300\n", "b.toml")
    by_key = {e.key: e for e in entries(read_layers([Layer(first), Layer(second)]))}
    assert (by_key["gate.resamples"].value, by_key["gate.resamples"].default) == (300, 1000)
    assert by_key["gate.resamples"].source == str(second)
    assert (by_key["business.goals.precision"].value, by_key["business.goals.precision"].default) == (None, 0.7)
    assert by_key["business.goals.precision"].source == str(first)
    assert {e.source for e in by_key.values()} == {"built-in", str(first), str(second)}
    assert [key for key, entry in by_key.items() if not entry.description] == []

    def leaves(model: BaseModel) -> int:
        values = [getattr(model, name) for name in type(model).model_fields]
        return sum(leaves(v) if isinstance(v, BaseModel) else len(v) if isinstance(v, dict) else 1 for v in values)

    assert len(by_key) == leaves(Policy())


def test_policy_show_prints_each_value_with_its_source(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", 400)
    home, work = places
    file(home, "[gate]\nresamples = 200\n")
    here = file(work, "[evaluation]\nfloor_map50 = 0.3\n[business.goals]\nprecision = false\n")
    result = CliRunner().invoke(app, ["policy", "show", "--json", "--home", str(home)])
    assert result.exit_code == 0, result.output
    output = json.loads(result.output)
    assert output["digest"] == Settings.read({}, home=home).policy().digest()
    assert output["files"] == [{"file": str(home / "carsdepo.toml"), "there": True}, {"file": str(here), "there": True}]
    values = {v["key"]: v for v in output["values"]}
    assert values["gate.resamples"]["source"] == str(home / "carsdepo.toml")
    assert (values["evaluation.floor_map50"]["value"], values["evaluation.floor_map50"]["default"]) == (0.3, 0.02)
    assert values["release.wait_s"] == {
        "key": "release.wait_s",
        "value": 60.0,
        "default": 60.0,
        "source": "built-in",
        "unit": "seconds",
        "description": "How long a release waits for a service to serve the new model.",
    }
    shown = CliRunner().invoke(app, ["policy", "show", "--home", str(home)]).output
    lines = shown.splitlines()
    assert "evaluation.floor_map50 = 0.3  (carsdepo.toml; built in: 0.02)" in lines
    assert "business.goals.precision = none  (carsdepo.toml; built in: 0.7)" in lines
    assert "release.wait_s = 60.0" in lines
    assert lines.index("business.goals.precision = none  (carsdepo.toml; built in: 0.7)") < lines.index("Built in")
    assert lines.index("Built in") < lines.index("release.wait_s = 60.0")
    assert "    seconds: How long a release waits for a service to serve the new model." in lines


def test_policy_show_cuts_no_key_and_no_path(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", 120)
    home = tmp_path / ("deep" * 40) / "home"
    path = file(home, "[gate]\nresamples = 200\n")
    shown = CliRunner().invoke(app, ["policy", "show", "--home", str(home)]).output
    assert f"gate.resamples = 200  ({path}; built in: " in shown
    assert "…" not in shown


def test_policy_show_names_a_file_that_is_broken(places: tuple[Path, Path]) -> None:
    broken = file(places[1], "[gate]\nmod = 'point'\n")
    result = CliRunner().invoke(app, ["policy", "show", "--home", str(places[0])])
    assert result.exit_code == 1
    assert f"{broken}: gate.mod: there is no such key; gate.mode is one" in result.stderr.replace("\n", " ")


def test_an_edit_that_is_not_in_force_is_said(tmp_path: Path) -> None:
    path = file(tmp_path, "[gate]\nresamples = 200\n")
    files = [Layer(path)]
    in_use = load_policy(files)
    disk = OnDisk(files, in_use)
    assert disk.look() == (in_use.digest(), None)
    path.write_text("[gate]\nresamples = 300\n")
    now = load_policy(files).digest()
    digest, note = disk.look()
    assert digest == now != in_use.digest()
    assert note is not None
    assert now in note
    assert in_use.digest() in note
    assert "Restart" in note
    path.write_text("[gate\n")
    digest, note = disk.look()
    assert digest is None
    assert str(path) in str(note)
    path.write_text("# as before, in other words\ngate.resamples = 200\n")
    assert disk.look() == (in_use.digest(), None)


def test_a_training_is_given_the_policy_itself(tmp_path: Path) -> None:
    from carsdepo_assets.detectors.base import Recipe
    from carsdepo_assets.training.worker import TrainingSpec, spec_json

    policy = one(tmp_path, "[business.goals]\nprecision = false\n[training]\nsteps = 40\n[gate]\nmode = 'point'\n")
    spec = TrainingSpec(lake="lake", dataset_version="d", recipe=Recipe(), policy=policy)
    (tmp_path / "carsdepo.toml").unlink()  # what the file says later is another training's
    read = TrainingSpec.model_validate_json(json.dumps(spec_json(spec)))
    assert read.policy == policy
    assert read.policy.digest() == policy.digest() != Policy().digest()


def test_a_name_is_damage_or_not_and_never_both() -> None:
    with pytest.raises(ValueError, match="dirt: both a class of damage and in not_damage"):
        ClassMap(names=("scratch", "Dirt"))
