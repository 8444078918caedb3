"""Certificates as Fulcio issues them (https://github.com/sigstore/fulcio/blob/main/docs/certificate-specification.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ExtendedKeyUsage, UniformResourceIdentifier, verification
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from typing_extensions import override

from banana_delivery.errors import BadSettingsError

_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_BEFORE = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""The same, of earlier versions: bare text where the newer one has it as UTF8String."""
_UTF8_STRING = 0x0C
TIME = "%Y-%m-%dT%H:%M:%SZ"
"""Of UTC, as people read it."""
MOST_BYTES = 64 * 2**10
"""Of one certificate, or one timestamp: a fiftieth of it is usual."""
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What reading a certificate raises that somebody put there; whatever it is, it must not hide the good ones."""
Certificates = tuple[x509.Certificate, ...]


@dataclass(frozen=True)
class Identity:
    """Who a certificate says had its key.

    Attributes:
        name: an e-mail address or a URI, as the issuer of tokens knows it.
        issuer: whose tokens said so, a URL.
    """

    name: str
    issuer: str

    @override
    def __str__(self) -> str:
        return f"{self.name} (by {self.issuer})"


@dataclass(frozen=True)
class SigningCertificate:
    """One certificate.

    Attributes:
        certificate: itself.
        key: whose it is; ECDSA on P-256.
        identity: who had it.
    """

    certificate: x509.Certificate
    key: EllipticCurvePublicKey
    identity: Identity

    @classmethod
    def of(cls, pem: bytes) -> SigningCertificate:
        """The certificate in a PEM block.

        Raises:
            ValueError: if it is none for signing code, or not in Fulcio's form.
        """
        if len(pem) > MOST_BYTES:
            raise ValueError("it is too large")
        try:
            return cls._read(pem)
        except UNREADABLE as error:
            raise ValueError(str(error)) from None

    @classmethod
    def _read(cls, pem: bytes) -> SigningCertificate:
        found = x509.load_pem_x509_certificate(pem)
        key = found.public_key()
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            raise ValueError("its key is not one for ECDSA on P-256")  # noqa: TRY004 - what is wrong is its content
        try:
            uses = found.extensions.get_extension_for_class(ExtendedKeyUsage).value
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            raise ValueError("it names nobody, or no use") from None
        if ExtendedKeyUsageOID.CODE_SIGNING not in uses:
            raise ValueError("it is not for signing code")
        told = [one.value for one in names if isinstance(one, x509.RFC822Name | UniformResourceIdentifier)]
        if len(told) != 1 or len(list(names)) != 1:
            raise ValueError("it does not name exactly one e-mail address or URI")
        return cls(found, key, Identity(told[0], _issuer(found)))

    def counts_at(self, moment: datetime, roots: Certificates) -> str:
        """Why it did not count at a moment; empty if it did.

        Args:
            moment: when its key was used.
            roots: whose certificates are believed, each of them.
        """
        # Fulcio's are for code, where a verifier of clients expects them to be for clients; that was looked at above.
        presence = verification.Criticality.AGNOSTIC
        authorities = verification.ExtensionPolicy.webpki_defaults_ca().may_be_present(ExtendedKeyUsage, presence, None)
        leaves = verification.ExtensionPolicy.webpki_defaults_ee().may_be_present(ExtendedKeyUsage, presence, None)
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store(list(roots)))
            .time(moment)
            .extension_policies(ca_policy=authorities, ee_policy=leaves)
            .build_client_verifier()
        )
        try:
            verifier.verify(self.certificate, [])
        except (verification.VerificationError, *UNREADABLE) as error:
            start, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
            if not start <= moment <= end:
                return (
                    f"it counted from {start:%Y-%m-%dT%H:%M:%SZ} to {end:%H:%M:%SZ}, not at {moment:%Y-%m-%dT%H:%M:%SZ}"
                )
            return f"no authority that is believed stands behind it ({error})"
        return ""


def certificates(path: Path, variable: str) -> Certificates:
    """Every certificate in a file, in its order.

    Raises:
        BadSettingsError: if there is none, or one cannot be used.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        raise BadSettingsError(f"{path}, which {variable} names, cannot be read ({error.strerror}).") from error
    except ValueError:
        raise BadSettingsError(f"{path}, which {variable} names, holds no certificates in PEM blocks.") from None


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may stand behind others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def pem_of(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _issuer(certificate: x509.Certificate) -> str:
    """Whose tokens were believed.

    Raises:
        ValueError: if it does not say.
    """
    told = {one.oid: one.value.value for one in certificate.extensions if hasattr(one.value, "value")}
    new, before = told.get(_ISSUER), told.get(_ISSUER_BEFORE)
    if isinstance(new, bytes):
        return _utf8_string(new)
    if isinstance(before, bytes):
        return before.decode()
    raise ValueError("it does not say whose token was shown")


def _utf8_string(der: bytes) -> str:
    """The text of a UTF8String; of one long enough for any URL that a certificate carries.

    Raises:
        ValueError: if it is something else.
    """
    if len(der) < 2 or der[0] != _UTF8_STRING:
        raise ValueError("its issuer is no text")
    size, start = der[1], 2
    if size == 0x81 and len(der) > 2:
        size, start = der[2], 3
    elif size == 0x82 and len(der) > 3:
        size, start = int.from_bytes(der[2:4]), 4
    if len(der) != start + size:
        raise ValueError("its issuer is no text")
    return der[start:].decode()
