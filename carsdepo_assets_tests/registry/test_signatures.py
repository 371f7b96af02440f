"""registry/signatures.py: a model's signature stands for its files, and says which of them it does not stand for."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.model_files import (
    ModelFilesError,
    check_model_files,
    model_manifest_key,
    put_model_manifest,
    signature_key,
)
from carsdepo_assets.registry.signatures import (
    SigningKeyError,
    SigningKeys,
    ensure_keys,
    signed_statement,
    verified_statement,
    verify_manifest,
)
from carsdepo_assets_tests.lake.stored_model import stored_model

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).parent / "openssf_example"
CONTENT = {"a.txt": b"a\n", "exports/b.bin": b"b\n"}


@pytest.fixture
def folder_lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return SigningKeys(tmp_path / "keys" / "models.key", tmp_path / "keys" / "models.pub")


def test_what_was_signed_is_verified(folder_lake: Lake, keys: SigningKeys) -> None:
    digest = stored_model(folder_lake)
    ensure_keys(keys.private, keys.public)
    with pytest.raises(ModelFilesError, match=f"model {digest} is not signed"):
        verify_manifest(folder_lake, digest, keys.public)
    keys.sign(folder_lake, digest)
    verify_manifest(folder_lake, digest, keys.public)


def test_the_private_key_is_its_owners_alone(keys: SigningKeys) -> None:
    assert ensure_keys(keys.private, keys.public)
    assert stat.S_IMODE(keys.private.stat().st_mode) == 0o600
    before = keys.private.read_bytes()
    assert not ensure_keys(keys.private, keys.public)
    assert keys.private.read_bytes() == before


MAKE = """
import sys
from pathlib import Path
from carsdepo_assets.registry.signatures import ensure_keys
sys.stdin.readline()
print(ensure_keys(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_several_that_make_keys_at_once_make_one_pair(folder_lake: Lake, keys: SigningKeys) -> None:
    command = [sys.executable, "-c", MAKE, str(keys.private), str(keys.public)]
    four = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for _ in range(4)
    ]
    for process in four:
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    assert sorted(process.communicate(timeout=60)[0].strip() for process in four) == ["False"] * 3 + ["True"]
    digest = stored_model(folder_lake)
    keys.sign(folder_lake, digest)
    verify_manifest(folder_lake, digest, keys.public)


def test_a_manifest_that_was_rewritten_names_the_file(folder_lake: Lake, keys: SigningKeys) -> None:
    digest = stored_model(folder_lake)
    keys.sign(folder_lake, digest)
    names = ("weights.bin", "result.json", "lineage.json")
    files = {name: folder_lake.get(f"models/{digest}/{name}") for name in names}
    folder_lake.put(f"models/{digest}/model.json", b"{}")
    put_model_manifest(folder_lake, digest, {**files, "model.json": b"{}"})
    check_model_files(folder_lake, digest)  # the files agree with the manifest
    with pytest.raises(ModelFilesError, match=r"is not the manifest that was signed: .*model\.json"):
        verify_manifest(folder_lake, digest, keys.public)


def test_another_models_signature_is_named(folder_lake: Lake, keys: SigningKeys) -> None:
    first, second = stored_model(folder_lake), stored_model(folder_lake, b"others")
    for digest in (first, second):
        keys.sign(folder_lake, digest)
    folder_lake.put(signature_key(first), folder_lake.get(signature_key(second)))
    with pytest.raises(ModelFilesError, match=f"the signature is that of model {second}"):
        verify_manifest(folder_lake, first, keys.public)


def test_another_key_is_named(folder_lake: Lake, keys: SigningKeys, tmp_path: Path) -> None:
    digest = stored_model(folder_lake)
    keys.sign(folder_lake, digest)
    other = SigningKeys(tmp_path / "other.key", tmp_path / "other.pub")
    ensure_keys(other.private, other.public)
    with pytest.raises(ModelFilesError, match="made with another key"):
        verify_manifest(folder_lake, digest, other.public)


def _bundle(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        bundle = json.loads(data)
        change(bundle)
        return json.dumps(bundle).encode()

    return changed


def _swap_classes(bundle: dict) -> None:
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b'"weights.bin"', b'"weights.zip"')
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"[" * 100_000,
        lambda data: data[:-40],
        lambda data: b"null",
        _bundle(lambda b: b.pop("verificationMaterial")),
        _bundle(lambda b: b["dsseEnvelope"].update(signatures=[])),
        _bundle(lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="AAAA")),
        _bundle(lambda b: b["dsseEnvelope"].update(payload="e30=")),
        _bundle(_swap_classes),
    ],
)
def test_a_signature_that_was_changed_is_refused(
    folder_lake: Lake, keys: SigningKeys, damage: Callable[[bytes], bytes]
) -> None:
    digest = stored_model(folder_lake)
    keys.sign(folder_lake, digest)
    folder_lake.put(signature_key(digest), damage(folder_lake.get(signature_key(digest))))
    with pytest.raises(ModelFilesError, match=signature_key(digest)):
        verify_manifest(folder_lake, digest, keys.public)


@pytest.mark.slow
def test_every_byte_of_manifest_and_signature_counts(folder_lake: Lake, keys: SigningKeys) -> None:
    digest = stored_model(folder_lake)
    keys.sign(folder_lake, digest)
    for key in (signature_key(digest), model_manifest_key(digest)):
        whole = folder_lake.get(key)
        for i in range(len(whole)):
            folder_lake.put(key, whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
            with pytest.raises(ModelFilesError):
                verify_manifest(folder_lake, check_model_files(folder_lake, digest).digest, keys.public)
        folder_lake.put(key, whole)
    verify_manifest(folder_lake, digest, keys.public)


def test_a_public_key_alone_is_not_replaced(folder_lake: Lake, keys: SigningKeys) -> None:
    digest = stored_model(folder_lake)
    keys.sign(folder_lake, digest)
    trusted = keys.public.read_bytes()
    keys.private.unlink()
    with pytest.raises(SigningKeyError, match=r"the key that signs them is missing: .*models\.key"):
        keys.sign(folder_lake, digest)
    assert keys.public.read_bytes() == trusted
    verify_manifest(folder_lake, digest, keys.public)


def test_killed_between_the_two_keys_the_public_one_is_made_of_the_private_one(keys: SigningKeys) -> None:
    ensure_keys(keys.private, keys.public)
    before = keys.public.read_bytes()
    keys.public.unlink()
    assert not ensure_keys(keys.private, keys.public)
    assert keys.public.read_bytes() == before


def test_without_a_manifest_a_person_is_told_what_to_do(folder_lake: Lake, keys: SigningKeys) -> None:
    digest = stored_model(folder_lake)
    keys.sign(folder_lake, digest)
    folder_lake.delete(model_manifest_key(digest))
    with pytest.raises(ModelFilesError, match=f"`carsdepo sign {digest}` makes one"):
        verify_manifest(folder_lake, digest, keys.public)
    with pytest.raises(LakeError, match="the lake has no such model"):
        verify_manifest(folder_lake, "0" * 16, keys.public)


def test_a_damaged_file_is_not_signed(folder_lake: Lake, keys: SigningKeys) -> None:
    digest = stored_model(folder_lake)
    folder_lake.put(f"models/{digest}/model.json", b"{}")
    with pytest.raises(ModelFilesError, match=r"model\.json was changed"):
        keys.sign(folder_lake, digest)
    assert not folder_lake.exists(signature_key(digest))


@pytest.mark.parametrize(
    "content", [None, b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_that_cannot_be_read_is_named(folder_lake: Lake, keys: SigningKeys, content: bytes | None) -> None:
    digest = stored_model(folder_lake)
    keys.sign(folder_lake, digest)
    for path in (keys.private, keys.public):
        path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(SigningKeyError, match=r"models\.pub is no public key"):
        verify_manifest(folder_lake, digest, keys.public)
    if content is not None:
        with pytest.raises(SigningKeyError, match=r"models\.key is no private key"):
            keys.sign(folder_lake, digest)


def test_a_signature_by_openssfs_own_tool_is_read(folder_lake: Lake) -> None:
    """model.sig was made by `model_signing sign key` 1.1.1 over a folder with a.txt ("a") and exports/b.bin ("b")."""
    signed = (EXAMPLE / "model.sig").read_bytes()
    statement = verified_statement(signed, "model.sig", EXAMPLE / "model-signing.pub")
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    digests = {r["name"]: r["digest"] for r in statement["predicate"]["resources"]}
    assert digests == {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    ours = signed_statement(put_model_manifest(folder_lake, "m", CONTENT))
    assert ours["subject"] == statement["subject"]
