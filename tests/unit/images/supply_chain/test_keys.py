"""Keys in every form that openssl and cosign write; the ones of cosign were written by it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from banana_delivery.errors import BadSettingsError
from banana_delivery.images.supply_chain.cosign_key import decrypted, keystream
from banana_delivery.images.supply_chain.keys import name_of, signing_key, verifying_keys

FIXTURES = Path(__file__).parents[3] / "fixtures" / "cosign"
PASSWORD = "banana"
Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(content: bytes) -> Path:
        path = tmp_path / "a.key"
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    return written


def private(
    key: ec.EllipticCurvePrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_key_that_cosign_encrypted_signs_what_its_public_half_verifies(write: Write) -> None:
    key = signing_key(write((FIXTURES / "encrypted.key").read_bytes()), PASSWORD)

    keys = verifying_keys(FIXTURES / "cosign.pub")

    assert key.name == keys.names
    assert keys.verifies(b"content", key.sign(b"content").signature)
    assert not keys.verifies(b"other content", key.sign(b"content").signature)
    assert not keys.verifies(b"content", b"")


def test_the_stream_cipher_is_that_of_nacl() -> None:
    """The example in NaCl's own documentation, which every implementation is held to."""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")

    assert keystream(key, nonce, 32).hex() == "eea6a7251c1e72916d11c2cb214d3c252539121d8e234e652d651fa4c8cff880"


@pytest.mark.parametrize("place", [0, 15, 16, -1])
def test_a_box_in_which_one_bit_was_changed_is_not_opened(place: int) -> None:
    lines = (FIXTURES / "encrypted.key").read_text().splitlines()
    document = json.loads(base64.b64decode("".join(lines[1:-1])))
    box = bytearray(base64.b64decode(document["ciphertext"]))
    box[place] ^= 1
    document["ciphertext"] = base64.b64encode(bytes(box)).decode()
    text = base64.b64encode(json.dumps(document).encode()).decode()

    with pytest.raises(ValueError, match="altered"):
        decrypted("\n".join([lines[0], text, lines[-1]]).encode(), PASSWORD.encode())


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("password", ["", PASSWORD])
def test_keys_of_openssl_are_read_with_and_without_a_password(form: PrivateFormat, password: str, write: Write) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = BestAvailableEncryption(password.encode()) if password else None

    assert signing_key(write(private(key, form, encryption)), password).name == name_of(key.public_key())


def test_a_password_that_nobody_asked_for_does_not_hurt(write: Write) -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    assert signing_key(write(private(key)), PASSWORD).secret.private_numbers() == key.private_numbers()


@pytest.mark.parametrize("password", ["", "swordfish"])
def test_a_wrong_password_is_said_and_neither_it_nor_the_key_is(password: str, write: Write) -> None:
    path = write((FIXTURES / "encrypted.key").read_bytes())

    with pytest.raises(BadSettingsError, match="BANANA_COSIGN_PASSWORD") as refusal:
        signing_key(path, password)

    assert "swordfish" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\ne30=\n-----END ENCRYPTED COSIGN PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n!!!!\n-----END ENCRYPTED COSIGN PRIVATE KEY-----\n",
        private(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["empty", "broken", "nothing inside", "no base64", "another curve"],
)
def test_what_is_no_key_of_the_kind_is_refused(content: bytes, write: Write) -> None:
    with pytest.raises(BadSettingsError, match="ECDSA key on P-256"):
        signing_key(write(content), PASSWORD)


def test_a_file_that_asks_for_gigabytes_is_no_key() -> None:
    block = (FIXTURES / "encrypted.key").read_text().splitlines()
    document = json.loads(base64.b64decode("".join(block[1:-1])))
    document["kdf"]["params"]["N"] = 2**30
    text = base64.b64encode(json.dumps(document).encode()).decode()

    with pytest.raises(ValueError, match="more work"):
        decrypted("\n".join([block[0], text, block[-1]]).encode(), PASSWORD.encode())


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open.key"
    shutil.copy(FIXTURES / "encrypted.key", path)
    path.chmod(0o644)

    with pytest.raises(BadSettingsError, match="chmod 600"):
        signing_key(path, PASSWORD)


def test_keys_that_are_not_there_are_named_with_their_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSettingsError, match=r"gone, which BANANA_COSIGN_KEY names"):
        signing_key(tmp_path / "gone")
    with pytest.raises(BadSettingsError, match=r"gone, which BANANA_COSIGN_PUBLIC_KEY names"):
        verifying_keys(tmp_path / "gone")


def test_several_public_keys_count_each_so_that_one_can_be_replaced(write: Write) -> None:
    old, new, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    keys = verifying_keys(write(b"# old\n" + public(old) + b"# new\n" + public(new)))

    signed = {name: signing_key(write(private(key))) for name, key in {"old": old, "new": new, "other": other}.items()}

    assert {name: keys.verifies(b"1", key.sign(b"1").signature) for name, key in signed.items()} == {
        "old": True,
        "new": True,
        "other": False,
    }


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_file_without_public_keys_is_refused(content: bytes, write: Write) -> None:
    with pytest.raises(BadSettingsError, match="BANANA_COSIGN_PUBLIC_KEY"):
        verifying_keys(write(content))
