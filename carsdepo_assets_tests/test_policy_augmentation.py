"""policy_augmentation.py: the section is checked when it is read, and its version is that of its content alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.policy import Policy, PolicyError
from carsdepo_assets.policy_augmentation import AugmentationPolicy, AugmentationSettings
from carsdepo_assets.policy_layers import Layer, load_policy


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rotate = 0.1", "augmentation.rotate: there is no such key"),
        ("flip = 1.5", "augmentation.flip"),
        ("flip = -0.1", "augmentation.flip"),
        ("flip = nan", "augmentation.flip"),
        ('flip = "often"', "augmentation.flip"),
        ("crop_min = 0", "augmentation.crop_min"),
        ("crop_min = 1.1", "augmentation.crop_min"),
        ("scale = 1.0", "augmentation.scale"),
        ("translate = 0.6", "augmentation.translate"),
        ("hue = 0.7", "augmentation.hue"),
        ("blur_px = 0", "augmentation.blur_px"),
        ("noise_levels = 300", "augmentation.noise_levels"),
        ("jpeg_quality = 101", "augmentation.jpeg_quality"),
        ("mosaic = 2", "augmentation.mosaic"),
        ("min_visible = 1.01", "augmentation.min_visible"),
    ],
)
def test_what_makes_no_sense_is_said_when_the_policy_is_read(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "carsdepo.toml").write_text(f"[augmentation]\n{line}\n")
    with pytest.raises(PolicyError) as error:
        load_policy([Layer(tmp_path / "carsdepo.toml")])
    assert words in str(error.value)


def test_the_policy_and_the_settings_have_the_same_fields_and_limits() -> None:
    """What the policy takes a recipe takes, and the other way round."""
    fields = AugmentationPolicy.model_fields
    assert fields.keys() == AugmentationSettings.model_fields.keys()
    for name, field in AugmentationSettings.model_fields.items():
        assert sorted(map(str, field.metadata)) == sorted(map(str, fields[name].metadata)), name


def test_the_version_is_that_of_the_content() -> None:
    """The pinned digest changes with the settings' meaning (IMPLEMENTATION) alone: models name it."""
    settings = AugmentationSettings(flip=0.5, scale=0.2)
    assert settings.version == "63bcb8e15e03"
    assert AugmentationSettings.model_validate_json('{"scale": 0.2, "flip": 0.50}').version == settings.version
    assert AugmentationSettings(flip=0.5, scale=0.2, hue=0).version == settings.version
    others = {settings.model_copy(update={n: v / 2 + 0.01}).version for n, v in settings}
    assert len(others | {settings.version}) == len(AugmentationSettings.model_fields) + 1


def test_the_policy_says_what_is_otherwise_than_usual() -> None:
    usual = AugmentationSettings(flip=0.5, scale=0.2)
    assert AugmentationPolicy().over(usual) == usual
    assert AugmentationPolicy(flip=0.0, noise=0.1).over(usual) == AugmentationSettings(scale=0.2, noise=0.1)
    assert Policy().augmentation == AugmentationPolicy()


def test_in_words() -> None:
    assert AugmentationSettings().described() == "nothing is varied"
    assert AugmentationSettings(min_visible=0.4, flip=0.5).described() == "flip 0.5"
    assert AugmentationSettings(crop=0.5, min_visible=0.4).described() == "crop 0.5, crop_min 0.55, min_visible 0.4"
