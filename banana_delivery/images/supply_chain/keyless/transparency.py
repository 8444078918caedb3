"""Promises of certificate transparency logs, as they stand in a certificate (RFC 6962, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp, Version

from banana_delivery.errors import BadSettingsError
from banana_delivery.images.supply_chain.keyless.certificates import UNREADABLE, Certificates
from banana_delivery.images.supply_chain.keys import public_blocks

KEYS_SETTING = "BANANA_COSIGN_CT_KEYS"
LogKey = EllipticCurvePublicKey | RSAPublicKey
"""The two kinds that RFC 6962 has."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Logs:
    """The logs that have to have promised to publish a certificate; without any no promise is asked for.

    Attributes:
        keys: of each, by the digest of the key that promises are marked with.
    """

    keys: Mapping[bytes, LogKey] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Logs:
        """Those in a file.

        Raises:
            BadSettingsError: if there is none, or one cannot be used.
        """
        try:
            keys = [load_pem_public_key(found) for found in public_blocks(path, KEYS_SETTING)]
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadSettingsError(f"{path}, which {KEYS_SETTING} names, has a key that is none ({error}).") from None
        usable = {_number(key): key for key in keys if isinstance(key, EllipticCurvePublicKey | RSAPublicKey)}
        if len(usable) < len({_number(key) for key in keys}):
            raise BadSettingsError(
                f"A key in {path}, which {KEYS_SETTING} names, is none of a log: those are of ECDSA or RSA."
            )
        return cls(usable)

    def doubt(self, certificate: x509.Certificate, roots: Certificates) -> str:
        """Why no log's promise to publish a certificate counts; empty if one does, or none is asked for.

        Args:
            certificate: as it was issued.
            roots: whose certificates are believed, among them its issuer's.
        """
        if not self.keys:
            return ""
        try:
            promises = certificate.extensions.get_extension_for_class(
                x509.PrecertificateSignedCertificateTimestamps
            ).value
            issuers = [one for one in roots if _issued(certificate, one)]
            known = [promise for promise in promises if promise.log_id in self.keys]
            if any(_keeps(self.keys[one.log_id], one, certificate, issuer) for one in known for issuer in issuers):
                return ""
        except x509.ExtensionNotFound:
            return "no log has promised to publish it"
        except UNREADABLE as error:
            return f"the promise to publish it cannot be read ({error})"
        return "no log that is believed has promised to publish it"


def _number(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _keeps(
    key: LogKey, promise: SignedCertificateTimestamp, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    """Whether the log signed this promise, about this certificate."""
    if promise.version is not Version.v1 or promise.entry_type is not LogEntryType.PRE_CERTIFICATE:
        return False
    milliseconds = (promise.timestamp.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
    entry = certificate.tbs_precertificate_bytes
    signed = b"".join(
        (
            b"\x00\x00",  # The first version, a certificate's timestamp.
            milliseconds.to_bytes(8),
            b"\x00\x01",  # Of a certificate as it was before the promise was put into it.
            _number(issuer.public_key()),
            len(entry).to_bytes(3),
            entry,
            len(promise.extension_bytes).to_bytes(2),
            promise.extension_bytes,
        )
    )
    algorithm = promise.signature_hash_algorithm
    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(promise.signature, signed, ECDSA(algorithm))
        else:
            key.verify(promise.signature, signed, PKCS1v15(), algorithm)
    except InvalidSignature:
        return False
    return True
