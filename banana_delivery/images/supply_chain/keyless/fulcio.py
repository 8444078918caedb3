"""Certificates for a key that lives as long as one signature, from Fulcio (``/api/v2/signingCert``)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from banana_delivery.errors import ImageError, PassingError, hide
from banana_delivery.images.supply_chain.keyless.asking import post
from banana_delivery.images.supply_chain.keyless.certificates import MOST_BYTES, SigningCertificate, pem_of
from banana_delivery.quoting import cited, one_line

SETTING = "BANANA_COSIGN_IDENTITY_TOKEN"
_PATH = "/api/v2/signingCert"
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_FORMS = ("signedCertificateEmbeddedSct", "signedCertificateDetachedSct")
"""With the promise of a public log in the certificate, or beside it; one that has no log answers in the second."""


@dataclass(frozen=True)
class Fulcio:
    """One authority, and who is to be known by it.

    Attributes:
        url: where it answers.
        token: file with a token of the identity, which whoever writes it replaces before it expires.
    """

    url: str
    token: Path

    def certified(self, key: EllipticCurvePrivateKey) -> tuple[SigningCertificate, str]:
        """A certificate for a key, and those that stand behind it, as PEM.

        Raises:
            PassingError: if the authority does not answer.
            ImageError: if there is no token, or it is refused, or the answer is no certificate for this key.
        """
        token = self._token()
        # Signed by the key itself, so it proves that we have it; Fulcio takes nothing else from it.
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        pem = request.public_bytes(serialization.Encoding.PEM)
        body = json.dumps(
            {"credentials": {"oidcIdentityToken": token}, "certificateSigningRequest": base64.b64encode(pem).decode()}
        )
        url, headers = self.url.rstrip("/") + _PATH, {"Content-Type": "application/json"}
        try:
            answer = post(url, body.encode(), headers, "asking for a certificate")
        except PassingError:
            raise
        except ImageError as error:
            raise ImageError(f"{error} The token in {self.token}, which {SETTING} names, {_told(token)}.") from None
        try:
            first, *above = _chain(answer)
            certificate = SigningCertificate.of(first.encode())
            chain = "".join(pem_of(x509.load_pem_x509_certificate(one.encode())) for one in above)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ImageError(f"{url} answered with no certificate for signing: {one_line(str(error))}.") from None
        if certificate.key != key.public_key():
            raise ImageError(f"{url} answered with a certificate for another key; nothing is signed with it.")
        return certificate, chain

    def _token(self) -> str:
        """What whoever knows us wrote, as it is now.

        Raises:
            ImageError: if there is none.
        """
        place = f"{self.token}, which {SETTING} names,"
        try:
            with self.token.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise ImageError(f"{place} cannot be read ({error.strerror}), so nothing can be signed.") from None
        token = content.decode("ascii", "replace").strip()
        if len(content) > MOST_BYTES or not _TOKEN.fullmatch(token):
            raise ImageError(f"{place} holds no identity token (a JWT), so nothing can be signed.")
        hide([token])
        return token


def _chain(answer: bytes) -> list[str]:
    """The certificate and those that stand behind it.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RecursionError: if there is none.
    """
    told = json.loads(answer)
    found = [told[form] for form in _FORMS if told.get(form)]
    if not found:
        raise ValueError("there is none in it")
    return [str(one) for one in found[0]["chain"]["certificates"]]


def _told(token: str) -> str:
    """What a token says of itself that may be why it was refused: nothing that would let anybody in."""
    claims = _claims(token)
    until = claims.get("exp")
    try:
        when = datetime.fromtimestamp(float(until), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if until else "always"
    except (ValueError, TypeError, OverflowError, OSError):
        when = "no time"
    audience = claims.get("aud", "nobody")
    named = " and ".join(map(str, audience)) if isinstance(audience, list) else str(audience)
    return f"is from {cited(str(claims.get('iss', 'nobody')))} for {cited(named)} and counts until {when}"


def _claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    try:
        told = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
