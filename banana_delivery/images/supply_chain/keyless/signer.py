"""Signing by an identity, as cosign does without a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from banana_delivery.errors import BadSettingsError, ImageError, PassingError
from banana_delivery.images.oci_registry.reference import LOOPBACK
from banana_delivery.images.supply_chain.keyless.certificates import TIME, SigningCertificate, pem_of
from banana_delivery.images.supply_chain.keyless.fulcio import Fulcio
from banana_delivery.images.supply_chain.keyless.timestamps import stamp
from banana_delivery.images.supply_chain.keyless.trust import CERTIFICATE, CHAIN, CHAIN_SETTING, TIMESTAMP, KeylessTrust
from banana_delivery.images.supply_chain.keys import Proof, Signed
from banana_delivery.waiting import Retries

FULCIO_SETTING = "BANANA_COSIGN_FULCIO_URL"
_SKEW_SECONDS = 60.0
"""A timestamp may be so much before its certificate and is then asked for again, later: two clocks are never one."""


@dataclass
class KeylessSigner:
    """Signs with a key that is made for each signature and thrown away, and a certificate that says whose it was.

    Attributes:
        fulcio: who issues the certificate.
        stamps_url: who says when.
        trust: the authorities whose word counts; who it is to be may be left open.
        retries: for failures that pass.
    """

    fulcio: Fulcio
    stamps_url: str
    trust: KeylessTrust
    retries: Retries = field(default_factory=Retries)

    def __post_init__(self) -> None:
        check_private(self.fulcio.url)

    def sign(self, content: bytes, stamped: Callable[[bytes], bytes] = bytes) -> Signed:
        """A signature of the content, with its certificate and a timestamp.

        Raises:
            ImageError: if an authority does not answer, or not what lets the signature count.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, above = self._certified(key)
        trust = self.trust if self.trust.identity else self.trust.towards(certificate.identity)
        made = key.sign(content, ec.ECDSA(hashes.SHA256()))
        kept = stamped(made)
        notes = {CERTIFICATE: pem_of(certificate.certificate), TIMESTAMP: self._stamped(certificate, kept)}
        if doubt := trust.doubt(content, made, Proof(notes, kept)):
            raise ImageError(
                f"What {self.fulcio.url} and {self.stamps_url} answered gives no signature of {trust.names} that is "
                f"believed here: {doubt}. Nothing is signed with it."
            )
        return Signed(made, {**notes, **({CHAIN: above} if above else {})})

    @cached_property
    def public(self) -> KeylessTrust:
        """What verifies its signatures: whoever we are to be, or else whoever we are known as.

        Raises:
            ImageError: if that has to be asked, and is not answered.
        """
        if self.trust.identity:
            return self.trust
        certificate, _ = self._certified(ec.generate_private_key(ec.SECP256R1()))
        return self.trust.towards(certificate.identity)

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.public.names

    def _certified(self, key: ec.EllipticCurvePrivateKey) -> tuple[SigningCertificate, str]:
        """A certificate that lets us sign as who we are to be.

        Raises:
            ImageError: if there is none.
        """
        certificate, above = self.retries.call(lambda: self.fulcio.certified(key), _quiet)
        start = certificate.certificate.not_valid_before_utc
        why = self.trust.doubt_of(certificate, start)
        if not why and self.trust.identity not in (None, certificate.identity):
            why = f"it is for {certificate.identity}, and who signs here has to be {self.trust.names}"
        if why:
            raise ImageError(
                f"The certificate that {self.fulcio.url} issued is not taken: {why}; see {CHAIN_SETTING}, and the "
                "identity that the settings name."
            )
        return certificate, above

    def _stamped(self, certificate: SigningCertificate, kept: bytes) -> str:
        """A timestamp within the certificate's time.

        Raises:
            ImageError: if there is none.
        """
        start, end = certificate.certificate.not_valid_before_utc, certificate.certificate.not_valid_after_utc

        def asked() -> str:
            note, moment = stamp(self.stamps_url, self.trust.stamps, kept)
            early = (start - moment).total_seconds()
            if moment > end or early > _SKEW_SECONDS:
                raise ImageError(
                    f"{self.stamps_url} says that it is {moment:{TIME}}, and the certificate of {self.fulcio.url} "
                    f"counts from {start:{TIME}} to {end:{TIME}}. One of their clocks is wrong, or they took too long; "
                    "nothing is signed."
                )
            if early > 0:
                behind = PassingError(
                    f"The clock of {self.stamps_url} is {early:g} s behind that of {self.fulcio.url}."
                )
                behind.pause = early
                raise behind
            return note

        return self.retries.call(asked, _quiet)


def check_private(url: str) -> None:
    """Let a token be sent over TLS, or not off this machine.

    Raises:
        BadSettingsError: if anybody on the way could take it.
    """
    asked = httpx.URL(url)
    if asked.scheme != "https" and asked.host not in LOOPBACK:
        raise BadSettingsError(f"{FULCIO_SETTING} has to begin with https://: a token is sent there.")


def _quiet(_: str) -> None:
    """What passes is not told; what does not is an error."""
