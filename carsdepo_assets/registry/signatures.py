"""Signs models and verifies their signatures, in the format of OpenSSF Model Signing 1.0.

models/<digest>/model.sig is a sigstore bundle: a DSSE envelope around an in-toto statement that has the checksum of
every file of the model's manifest, signed with ECDSA by a key of this installation. OpenSSF's own tool verifies it:
`model_signing verify key --signature models/<digest>/model.sig --public_key KEY models/<digest>`. The package itself
cannot be installed beside whylogs (they need different versions of platformdirs).

Sources: https://github.com/sigstore/model-transparency/blob/main/docs/model_signing_format.md and
https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import (
    ModelFilesError,
    ModelManifest,
    check_model_files,
    model_manifest_key,
    require_model_manifest,
    signature_key,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://model_signing/signature/v1.0"
_PAYLOAD, _BUNDLE = "application/vnd.in-toto+json", "application/vnd.dev.sigstore.bundle.v0.3+json"

logger = logging.getLogger(__name__)


class SigningKeyError(RuntimeError):
    """A key cannot be read or made; the message says what to do."""


def ensure_keys(private: Path, public: Path) -> bool:
    """Makes a pair of keys (ECDSA on P-256, PEM) where there is none, and the public one where only that is missing.

    The private key is readable by its owner alone. Of two processes at once one makes the pair.

    Returns:
        Whether a private key was made.

    Raises:
        SigningKeyError: The files cannot be written, or there is a public key without its private one: a new pair
            would take the trust in what was signed before.
    """
    if private.exists() and public.exists():
        return False
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from filelock import FileLock

    try:
        for path in (private, public):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(private.with_suffix(".lock")):
            is_new = not private.exists()
            if is_new:
                if public.exists():
                    raise SigningKeyError(
                        f"{public} verifies models, and the key that signs them is missing: {private}. Sign where that "
                        "key is, or restore it. To begin with a new pair, remove the public key; every model must then "
                        "be signed again."
                    )
                key = ec.generate_private_key(ec.SECP256R1())
                _write(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
            if not public.exists():  # also after a kill in between
                _write(public, _pem(_signing_key(private).public_key()), 0o644)
    except OSError as error:
        raise SigningKeyError(f"No signing key can be made at {private}: {error.strerror}.") from error
    if is_new:
        logger.warning("A key that signs models was made: %s. Whoever has it can sign models; keep a copy.", private)
    return is_new


@dataclass(frozen=True)
class SigningKeys:
    """Where the pair of keys is that models are signed and verified with."""

    private: Path
    public: Path

    def sign(self, lake: Lake, digest: str) -> None:
        """Signs the manifest of a model whose files agree with it. The keys are made where there are none.

        Raises:
            ModelFilesError: A file of the model is not the one of the manifest.
            SigningKeyError: The key cannot be read or made.
            LakeError: The lake has no such model.
        """
        manifest = check_model_files(lake, digest)
        ensure_keys(self.private, self.public)
        sign_manifest(lake, manifest, self.private)


def sign_manifest(lake: Lake, manifest: ModelManifest, private: Path) -> None:
    """Signs what a manifest says of a model's files and stores the signature beside them.

    Raises:
        SigningKeyError: The key cannot be read.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = _signing_key(private)
    payload = json.dumps(signed_statement(manifest), separators=(",", ":")).encode()
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": _fingerprint(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD,
            "signatures": [{"sig": base64.b64encode(key.sign(_pae(payload), ec.ECDSA(hashes.SHA256()))).decode()}],
        },
    }
    lake.put(signature_key(manifest.digest), json.dumps(bundle, indent=1).encode())


def verify_manifest(lake: Lake, digest: str, public: Path) -> None:
    """Verifies that a model's manifest is the one that was signed. `check_model_files` compares the files with it.

    Raises:
        ModelFilesError: There is no signature, another key made it, or it is for other files than those of the
            manifest, which are named.
        SigningKeyError: The public key cannot be read.
        LakeError: The lake has no such model.
    """
    key = signature_key(digest)
    manifest = require_model_manifest(lake, digest)
    if not lake.exists(key):
        raise ModelFilesError(
            f"{key} is missing: model {digest} is not signed. `carsdepo sign {digest}` signs it, if you know that its "
            "files are right."
        )
    signed = verified_statement(lake.get(key), key, public)
    wanted = signed_statement(manifest)
    if signed == wanted:
        return
    raise ModelFilesError(
        f"{model_manifest_key(digest)} is not the manifest that was signed: {_difference(signed, wanted)}."
    )


def verified_statement(bundle: bytes, key: str, public: Path) -> dict[str, Any]:
    """Reads the in-toto statement of a bundle.

    Args:
        bundle: The content of model.sig.
        key: Where it lies, for messages.
        public: The key that must have made it.

    Raises:
        ModelFilesError: It is damaged, or the key did not make it.
        SigningKeyError: The public key cannot be read.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        verifier = load_pem_public_key(public.read_bytes())
    except (OSError, ValueError) as error:
        raise SigningKeyError(
            f"{public} is no public key that models can be verified with ({error}): copy it from where models are "
            "signed, or set CARSDEPO_VERIFICATION_KEY."
        ) from error
    if not isinstance(verifier, ec.EllipticCurvePublicKey) or not isinstance(verifier.curve, ec.SECP256R1):
        raise SigningKeyError(f"{public} is not a key of the curve P-256, which models are signed with.")
    try:
        parts = json.loads(bundle)
        envelope, material = parts["dsseEnvelope"], parts["verificationMaterial"]
        hint = material["publicKey"]["hint"]
        payload, signature = _decoded(envelope["payload"]), _decoded(envelope["signatures"][0]["sig"])
        kind = envelope["payloadType"]
        if parts["mediaType"] != _BUNDLE or material["tlogEntries"]:
            raise ValueError("another kind of bundle")
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ModelFilesError(f"{key} is no signature of a model: it is damaged.") from error
    if hint != _fingerprint(verifier):
        raise ModelFilesError(f"{key} was made with another key than that of {public}.")
    try:
        verifier.verify(signature, _pae(payload), ec.ECDSA(hashes.SHA256()))
        statement = json.loads(payload)
    except (InvalidSignature, ValueError, RecursionError) as error:
        raise ModelFilesError(f"{key} was changed: it is not what the key signed.") from error
    if kind != _PAYLOAD or not isinstance(statement, dict):
        raise ModelFilesError(f"{key} signs something else than a model.")
    return statement


def signed_statement(manifest: ModelManifest) -> dict[str, Any]:
    """The in-toto statement about a model's files; its subject's digest is over the files' digests in order of name."""
    files = sorted(manifest.files.items())
    return {
        "_type": _STATEMENT,
        "subject": [
            {
                "name": manifest.digest,
                "digest": {"sha256": hashlib.sha256(b"".join(bytes.fromhex(f.sha256) for _, f in files)).hexdigest()},
            }
        ],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": ["manifest.json", "model.sig"],
            },
            "resources": [{"name": name, "algorithm": "sha256", "digest": f.sha256} for name, f in files],
        },
    }


def _difference(signed: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Names the files on which two statements differ."""
    try:
        named = [{r["name"]: r["digest"] for r in s["predicate"]["resources"]} for s in (signed, wanted)]
        subjects = [s["subject"][0]["name"] for s in (signed, wanted)]
    except (KeyError, TypeError, IndexError):
        return "it has another form"
    if subjects[0] != subjects[1]:
        return f"the signature is that of model {subjects[0]}"
    names = sorted(name for name in named[0].keys() | named[1].keys() if named[0].get(name) != named[1].get(name))
    return f"another file was signed as {', '.join(names)}" if names else "it has another form"


def _decoded(text: str) -> bytes:
    """The bytes of base64 text. Raises ValueError for any other spelling of the same bytes."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("base64 with bits that count for nothing")
    return data


def _pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed in place of the payload."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _signing_key(private: Path) -> ec.EllipticCurvePrivateKey:
    """Reads the private key. Raises SigningKeyError."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SigningKeyError(f"{private} is no private key that models can be signed with: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SigningKeyError(f"{private} is not a key of the curve P-256, which models are signed with.")
    return key


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    return hashlib.sha256(_pem(key)).hexdigest()


def _write(path: Path, data: bytes, mode: int) -> None:
    """Writes a file that is whole or not there, and was never readable by more than `mode` allows."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
