"""The keys that sign images, in the forms that openssl and cosign write: ECDSA on P-256, as PEM."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)

from banana_delivery.errors import BadSettingsError
from banana_delivery.files import bytes_sha256
from banana_delivery.images.supply_chain import cosign_key

OTHERS = 0o027
"""A Secret is mounted for the group of its pod to read; nobody else may, and nobody may write but the owner."""
_ALGORITHM = ECDSA(hashes.SHA256())
_BEGINS = b"-----BEGIN PUBLIC KEY-----"
_PUBLIC = re.compile(_BEGINS + rb".+?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True)
class Proof:
    """What lies beside a signature.

    Attributes:
        notes: the annotations of the document that has it.
        stamped: what a timestamp among them is over: the signature, or the envelope that it is in.
    """

    notes: Mapping[str, str] = field(default_factory=dict)
    stamped: bytes = b""


@dataclass(frozen=True)
class Signed:
    """A signature that was made.

    Attributes:
        signature: its bytes, as cosign writes them.
        notes: annotations by which it can be verified, beside the key.
    """

    signature: bytes
    notes: Mapping[str, str] = field(default_factory=dict)


class Verifier(Protocol):
    """Whose signatures are believed."""

    def doubt(self, content: bytes, signature: bytes, proof: Proof) -> str:
        """Why this is no signature of the content that is believed; empty if it is one."""
        ...

    @property
    def names(self) -> str:
        """What a person calls them."""
        ...


@dataclass(frozen=True)
class VerifyingKeys:
    """Keys whose signatures are believed.

    Attributes:
        keys: any of them will do, so that a key can be replaced.
    """

    keys: tuple[EllipticCurvePublicKey, ...]

    def verifies(self, content: bytes, signature: bytes) -> bool:
        """Whether one of the keys signed this content."""
        return any(_is_by(key, content, signature) for key in self.keys)

    def doubt(self, content: bytes, signature: bytes, proof: Proof) -> str:
        """Why this is no signature of the content by one of them; empty if it is one."""
        del proof  # A key needs none.
        return "" if self.verifies(content, signature) else "another key signed it, or something else"

    @property
    def names(self) -> str:
        """What a person calls them."""
        return " or ".join(name_of(key) for key in self.keys)


class Signer(Protocol):
    """What signs, wherever its private half is."""

    def sign(self, content: bytes, stamped: Callable[[bytes], bytes] = bytes) -> Signed:
        """A signature of the content.

        Args:
            content: what is signed.
            stamped: what of the signature gets a timestamp, where one is made: the bytes that it is kept in.

        Raises:
            ImageError: if a service has the key, or says whose it is, and does not.
        """
        ...

    @property
    def public(self) -> Verifier:
        """What verifies its signatures."""
        ...

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...


@dataclass(frozen=True)
class SigningKey:
    """A key that lies in a file.

    Attributes:
        secret: its private half.
    """

    secret: EllipticCurvePrivateKey

    def sign(self, content: bytes, stamped: Callable[[bytes], bytes] = bytes) -> Signed:
        """A signature of the content."""
        del stamped  # A key counts as long as somebody believes it.
        return Signed(self.secret.sign(content, _ALGORITHM))

    @property
    def public(self) -> VerifyingKeys:
        """What verifies its signatures."""
        return VerifyingKeys((self.secret.public_key(),))

    @property
    def name(self) -> str:
        """What a person calls it."""
        return name_of(self.secret.public_key())


def name_of(key: EllipticCurvePublicKey) -> str:
    """The beginning of the sha256 of a public key, by which two people can see that they mean the same."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes_sha256(key.public_bytes(serialization.Encoding.DER, form))[:16]


def signing_key(path: Path, password: str = "") -> SigningKey:
    """The key in a file, which may be encrypted: PKCS8, SEC1, or as `cosign generate-key-pair` writes it.

    Raises:
        BadSettingsError: if there is none, others may read it, or it cannot be used; it tells nothing of the key.
    """
    content = _content(path, "BANANA_COSIGN_KEY")
    if path.stat().st_mode & OTHERS:
        raise BadSettingsError(f"{path}, which BANANA_COSIGN_KEY names, is open to others; type: chmod 600 {path}")
    wanted = "an ECDSA key on P-256 that the password in BANANA_COSIGN_PASSWORD opens"
    try:
        if cosign_key.is_encrypted(content):
            key = serialization.load_der_private_key(cosign_key.decrypted(content, password.encode()), None)
        else:
            encrypted = b"ENCRYPTED" in content
            key = serialization.load_pem_private_key(content, password.encode() if encrypted else None)
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise BadSettingsError(f"{path}, which BANANA_COSIGN_KEY names, holds no {wanted[3:]}.") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise BadSettingsError(f"The key in {path}, which BANANA_COSIGN_KEY names, is not {wanted}.")
    return SigningKey(key)


def verifying_keys(path: Path) -> VerifyingKeys:
    """Every public key in a file.

    Raises:
        BadSettingsError: if there is none, or one cannot be used.
    """
    return VerifyingKeys(tuple(_public(path, block) for block in public_blocks(path, "BANANA_COSIGN_PUBLIC_KEY")))


def public_blocks(path: Path, variable: str) -> list[bytes]:
    """The PEM blocks of public keys in a file that a setting names; at least one.

    Raises:
        BadSettingsError: if it cannot be read, holds none, or one that is cut off.
    """
    content = _content(path, variable)
    found = _PUBLIC.findall(content)
    if not found:
        raise BadSettingsError(f"{path}, which {variable} names, holds no PEM block of a PUBLIC KEY.")
    if content.count(_BEGINS) > len(found):
        raise BadSettingsError(f"{path}, which {variable} names, has a PUBLIC KEY that is cut off; copy it again.")
    return found


def _public(path: Path, block: bytes) -> EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise BadSettingsError(f"A key in {path}, which BANANA_COSIGN_PUBLIC_KEY names, is not an ECDSA key on P-256.")
    return key


def _is_by(key: EllipticCurvePublicKey, content: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, content, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def _content(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSettingsError(f"{path}, which {variable} names, cannot be read ({error.strerror}).") from error
