"""Signatures of models as the reference tool makes them (model_signing 1.1), and what is refused of a stranger's.

``tests/fixtures/model_signing`` holds what it wrote of a folder with ``weights/best.pt`` and ``args.yaml``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from banana_delivery.errors import BadSettingsError, UnsignedModelError
from banana_delivery.export.model_signature import MOST_BYTES, PREDICATE, require_signature
from banana_delivery.images.supply_chain.signatures import IN_TOTO, STATEMENT, authenticated
from tests.support.signing_keys import key_pair

MADE = Path(__file__).resolve().parents[2] / "fixtures" / "model_signing"
WHERE = "version 7"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copy(MADE / "best.pt", tmp_path / "best.pt"))


@pytest.mark.parametrize(
    ("bundle", "key"), [("folder-p256.sig", "p256"), ("folder-p384.sig", "p384"), ("file.sig", "p256")]
)
def test_what_the_reference_tool_signed_passes_with_the_name_of_its_key(
    checkpoint: Path, bundle: str, key: str
) -> None:
    assert len(require_signature(checkpoint, MADE / bundle, MADE / f"{key}.pub", WHERE)) == 16


def test_any_key_of_the_file_will_do_so_that_one_can_be_replaced(checkpoint: Path, tmp_path: Path) -> None:
    both = tmp_path / "keys.pem"
    both.write_bytes((MADE / "p384.pub").read_bytes() + (MADE / "p256.pub").read_bytes())

    by_first = require_signature(checkpoint, MADE / "folder-p384.sig", both, WHERE)
    by_second = require_signature(checkpoint, MADE / "folder-p256.sig", both, WHERE)

    assert by_first != by_second


def test_a_checkpoint_that_was_changed_after_it_was_signed_is_refused(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes() + b"a miner")

    with pytest.raises(UnsignedModelError, match=r"is not the file that was signed: it is [0-9a-f]{12}.*f7d6db6e9da4"):
        require_signature(checkpoint, MADE / "folder-p256.sig", MADE / "p256.pub", WHERE)


def test_a_signature_of_another_key_is_refused_and_so_is_none(checkpoint: Path, tmp_path: Path) -> None:
    _, other = key_pair(tmp_path, "other")

    with pytest.raises(UnsignedModelError, match=r"bears no signature of [0-9a-f]{16}"):
        require_signature(checkpoint, MADE / "folder-p256.sig", other, WHERE)
    with pytest.raises(UnsignedModelError, match=r"No model.sig lies beside best.pt of version 7"):
        require_signature(checkpoint, None, MADE / "p256.pub", WHERE)


@pytest.mark.parametrize("bundle", ["shards.sig", "blake2.sig"])
def test_forms_that_cannot_be_verified_here_are_refused_with_the_one_that_can(checkpoint: Path, bundle: str) -> None:
    with pytest.raises(UnsignedModelError, match=r"no sha256 of whole files.*whole files with sha256"):
        require_signature(checkpoint, MADE / bundle, MADE / "p256.pub", WHERE)


def altered(change: Callable[[dict[str, Any]], object]) -> bytes:
    bundle = json.loads((MADE / "folder-p256.sig").read_text())
    change(bundle)
    return json.dumps(bundle).encode()


def other_statement(bundle: dict[str, Any]) -> None:
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(b"weights", b"weighty")).decode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * (MOST_BYTES + 1),
        altered(lambda bundle: bundle["dsseEnvelope"].update(signatures=[])),
        altered(lambda bundle: bundle["dsseEnvelope"].update(signatures=None)),
        altered(lambda bundle: bundle["dsseEnvelope"].update(payloadType="text/plain")),
        altered(lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig="!")),
        altered(other_statement),
    ],
)
def test_rubbish_in_a_signatures_place_is_refused_in_one_sentence(
    content: bytes, checkpoint: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "model.sig"
    bundle.write_bytes(content)

    with pytest.raises(UnsignedModelError) as refusal:
        require_signature(checkpoint, bundle, MADE / "p256.pub", WHERE)

    assert WHERE in str(refusal.value)
    assert "\n" not in str(refusal.value)


def signed(folder: Path, statement: object) -> tuple[Path, Path]:
    """A bundle around a statement, and the key that is believed."""
    secret, public = key_pair(folder, "ours")
    payload = json.dumps(statement).encode()
    key = load_pem_private_key(secret.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(authenticated(payload), ec.ECDSA(hashes.SHA256()))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": IN_TOTO,
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    bundle = folder / "model.sig"
    bundle.write_text(json.dumps({"dsseEnvelope": envelope}))
    return bundle, public


def statement(checkpoint: Path, name: str = "best.pt", **changes: object) -> dict[str, object]:
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    root = hashlib.sha256(bytes.fromhex(digest)).hexdigest()
    return {
        "_type": STATEMENT,
        "subject": [{"name": "model", "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256"},
            "resources": [{"name": name, "algorithm": "sha256", "digest": digest}],
        },
        **changes,
    }


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("notes.txt", {}),
        ("best.pt.old", {}),
        ("best.pt", {"predicateType": "https://slsa.dev/provenance/v1"}),
        ("best.pt", {"_type": "https://in-toto.io/Statement/v0.1"}),
        ("best.pt", {"subject": [{"name": "model", "digest": {"sha256": "0" * 64}}]}),
        ("best.pt", {"subject": []}),
        ("best.pt", {"predicate": {}}),
    ],
)
def test_a_good_signature_over_something_else_is_none_of_the_checkpoint(
    name: str, changes: dict[str, object], checkpoint: Path, tmp_path: Path
) -> None:
    assert require_signature(checkpoint, *signed(tmp_path, statement(checkpoint)), WHERE)

    with pytest.raises(UnsignedModelError):
        require_signature(checkpoint, *signed(tmp_path, statement(checkpoint, name, **changes)), WHERE)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_keys_that_cannot_be_read_are_our_fault_and_not_the_models(
    content: bytes | None, checkpoint: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.pem"
    if content is not None:
        keys.write_bytes(content)

    with pytest.raises(BadSettingsError, match="BANANA_MODEL_SIGNING_PUBLIC_KEY"):
        require_signature(checkpoint, MADE / "folder-p256.sig", keys, WHERE)
