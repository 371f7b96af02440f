"""inference/model_loading.py: a model that is not the one that was trained, exported and signed is not served."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from carsdepo_assets.detectors.export.export_card import card_key, graph_key
from carsdepo_assets.detectors.export.export_model import export_model
from carsdepo_assets.detectors.export.runtimes import ExportError
from carsdepo_assets.inference.model_loading import load
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import (
    ModelFilesError,
    adopt_model_files,
    model_manifest_key,
    record_exports,
    signature_key,
)
from carsdepo_assets.policy import InferencePolicy, Policy
from carsdepo_assets.registry.signatures import SigningKeyError, SigningKeys, ensure_keys
from carsdepo_assets_tests.detectors.stored_models import photographs, store_model
from carsdepo_assets_tests.inference.served_models import deploy, service, settings_of

pytestmark = pytest.mark.slow

UNSIGNED = Policy(inference=InferencePolicy(require_signature=False))


@dataclass(frozen=True)
class Attacked:
    """A lake with two signed models, `digest` and `other`, and who may sign them."""

    lake: Lake
    digest: str
    other: str
    keys: SigningKeys

    def key(self, name: str, digest: str | None = None) -> str:
        return f"models/{digest or self.digest}/{name}"


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    folder = tmp_path_factory.mktemp("signed")
    lake, keys = Lake.open(folder / "lake"), SigningKeys(folder / "models.key", folder / "models.pub")
    digests = [store_model(lake, "yolov8n"), store_model(lake, "yolov8n", blind=True)]
    for digest in digests:
        export_model(lake, digest, Policy(), photographs()[:1])
        keys.sign(lake, digest)
    return Attacked(lake, digests[0], digests[1], keys)


@pytest.fixture
def attacked(two_models: Attacked, tmp_path: Path) -> Attacked:
    shutil.copytree(two_models.lake.url, tmp_path / "lake")
    return Attacked(Lake.open(tmp_path / "lake"), two_models.digest, two_models.other, two_models.keys)


def flipped_weights(a: Attacked) -> str:
    data = bytearray(a.lake.get(a.key("weights.pt")))
    data[len(data) // 2] ^= 1
    a.lake.put(a.key("weights.pt"), bytes(data))
    return r"weights\.pt was changed"


def other_weights(a: Attacked) -> str:
    a.lake.put(a.key("weights.pt"), a.lake.get(a.key("weights.pt", a.other)))
    return r"weights\.pt was changed"


def swapped_classes(a: Attacked) -> str:
    card = json.loads(a.lake.get(a.key("model.json")))
    card["class_names"].reverse()
    a.lake.put(a.key("model.json"), json.dumps(card).encode())
    return r"model\.json was changed"


def other_graph_with_its_hash(a: Attacked) -> str:
    graph = a.lake.get(graph_key(a.other))
    card = json.loads(a.lake.get(card_key(a.digest)))
    card["graph_sha256"] = hashlib.sha256(graph).hexdigest()
    a.lake.put(graph_key(a.digest), graph)
    a.lake.put(card_key(a.digest), json.dumps(card).encode())
    return r"exports/export\.json was changed.*exports/model\.onnx was changed"


def export_taken_away(a: Attacked) -> str:
    a.lake.delete(card_key(a.digest))
    return r"exports/export\.json is missing"


def manifest_too(attack: Callable[[Attacked], str], a: Attacked) -> str:
    attack(a)
    a.lake.delete(model_manifest_key(a.digest))
    adopt_model_files(a.lake, a.digest)
    return r"is not the manifest that was signed: another file was signed as "


def exports_in_the_manifest_too(a: Attacked) -> str:
    other_graph_with_its_hash(a)
    record_exports(a.lake, a.digest)
    return r"another file was signed as exports/export\.json, exports/model\.onnx"


def signature_taken_away(a: Attacked) -> str:
    a.lake.delete(signature_key(a.digest))
    return f"model {a.digest} is not signed"


def signed_by_another(a: Attacked) -> str:
    stranger = SigningKeys(Path(a.lake.url, "stranger.key"), Path(a.lake.url, "stranger.pub"))
    swapped_classes(a)
    a.lake.delete(model_manifest_key(a.digest))
    adopt_model_files(a.lake, a.digest)
    stranger.sign(a.lake, a.digest)
    return "made with another key"


def the_other_model_whole(a: Attacked) -> str:
    for stored in list(a.lake.list(f"models/{a.other}")):
        a.lake.put(stored.key.replace(a.other, a.digest), a.lake.get(stored.key))
    return f"the manifest of another model, {a.other}"


def files_added(a: Attacked) -> str:
    a.lake.put(a.key("exports/plugin.so"), b"code")
    return r"exports/plugin\.so is not in the manifest"


ATTACKS = [
    flipped_weights,
    other_weights,
    swapped_classes,
    other_graph_with_its_hash,
    export_taken_away,
    partial(manifest_too, swapped_classes),
    exports_in_the_manifest_too,
    signature_taken_away,
    signed_by_another,
    the_other_model_whole,
    files_added,
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_tampered_model_is_refused_and_the_file_named(attacked: Attacked, attack: Callable[[Attacked], str]) -> None:
    message = attack(attacked)
    with pytest.raises(ModelFilesError, match=message):
        load(attacked.lake, attacked.digest, Policy(), verification_key=attacked.keys.public)


@pytest.mark.parametrize("attack", [flipped_weights, swapped_classes, other_graph_with_its_hash, export_taken_away])
def test_without_signatures_the_manifest_still_counts(attacked: Attacked, attack: Callable[[Attacked], str]) -> None:
    attacked.lake.delete(signature_key(attacked.digest))
    load(attacked.lake, attacked.digest, UNSIGNED)
    message = attack(attacked)
    with pytest.raises(ModelFilesError, match=message):
        load(attacked.lake, attacked.digest, UNSIGNED)


def test_a_wrong_signature_is_refused_whatever_the_policy_says(attacked: Attacked) -> None:
    message = signed_by_another(attacked)
    with pytest.raises(ModelFilesError, match=message):
        load(attacked.lake, attacked.digest, UNSIGNED, verification_key=attacked.keys.public)
    with pytest.raises(SigningKeyError, match="set CARSDEPO_VERIFICATION_KEY"):
        load(attacked.lake, attacked.digest, UNSIGNED)


def test_a_model_that_was_never_exported_is_not_served_by_torch(tmp_path: Path) -> None:
    lake, keys = Lake.open(tmp_path / "lake"), SigningKeys(tmp_path / "models.key", tmp_path / "models.pub")
    digest = store_model(lake, "yolov8n")
    keys.sign(lake, digest)
    with pytest.raises(ExportError, match="has no export, and only exported models are served"):
        load(lake, digest, Policy(), verification_key=keys.public)


def test_a_service_goes_on_with_what_it_serves_and_says_which_file(two_models: Attacked, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    lake = Lake.open(settings.lake)
    for stored in list(two_models.lake.list("models")):
        lake.put(stored.key, two_models.lake.get(stored.key))
    ensure_keys(settings.signing_key, settings.verification_key)
    for source, target in (
        (two_models.keys.private, settings.signing_key),
        (two_models.keys.public, settings.verification_key),
    ):
        target.write_bytes(source.read_bytes())
    deploy(lake, "production", two_models.other)
    with service(settings) as running:
        running.serves(two_models.other)
        swapped_classes(Attacked(lake, two_models.digest, two_models.other, two_models.keys))
        deploy(lake, "production", two_models.digest, 2)
        health = running.wait(lambda s: s["error"] is not None)
        assert f"models/{two_models.digest}/model.json was changed" in health["error"]
        assert health["digest"] == two_models.other
        card = f"models/{two_models.digest}/model.json"
        lake.put(card, two_models.lake.get(card))
        assert running.serves(two_models.digest)["error"] is None
