"""The policy file: overrides, and errors that name file and key."""

from pathlib import Path

import pytest

from carsdepo_assets.policy import Policy, PolicyError, load_policy


def test_without_a_file_the_built_in_policy_holds(tmp_path: Path) -> None:
    assert load_policy(tmp_path / "none.toml") == Policy() == load_policy(None)


def test_a_file_overrides_only_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "carsdepo.toml"
    file.write_text("[evaluation]\nfloor_map50 = 0.3\n")
    policy = load_policy(file)
    assert policy.evaluation.floor_map50 == 0.3
    assert policy.data == Policy().data
    assert policy.digest() != Policy().digest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[evaluation]\nfloor_map50 = 3\n", "evaluation.floor_map50"),
        ("[evaluation]\nflor = 0.3\n", "evaluation.flor"),
        ("[evaluation\n", "not TOML"),
        ("[training]\ndetector = 'yolov9'\n", "training.detector"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "carsdepo.toml"
    file.write_text(text)
    with pytest.raises(PolicyError) as error:
        load_policy(file)
    assert words in str(error.value)
    assert str(file) in str(error.value)


def test_a_policy_that_is_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "carsdepo.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not TOML"):
        load_policy(file)
