"""Whose signatures by identity are believed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

from banana_delivery.images.supply_chain.keyless.certificates import (
    Certificates,
    Identity,
    SigningCertificate,
    certificates,
)
from banana_delivery.images.supply_chain.keyless.timestamps import StampAuthorities
from banana_delivery.images.supply_chain.keyless.transparency import Logs
from banana_delivery.images.supply_chain.keys import Proof
from banana_delivery.quoting import one_line

CHAIN_SETTING = "BANANA_COSIGN_CERTIFICATE_CHAIN"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"
"""Annotations of cosign's."""


@dataclass(frozen=True)
class KeylessTrust:
    """One identity, and the authorities by whose word it is known.

    Attributes:
        roots: who may issue certificates, each of them.
        stamps: who may say when.
        identity: who has to have signed; None: not said yet, and nobody is believed.
        logs: who has to have promised that everybody can see a certificate.
    """

    roots: Certificates
    stamps: StampAuthorities
    identity: Identity | None = None
    logs: Logs = field(default_factory=Logs)

    @classmethod
    def of(cls, chain: Path, stamps: Path, identity: Identity | None = None, logs: Path | None = None) -> KeylessTrust:
        """The authorities in their files.

        Raises:
            BadSettingsError: if one of them cannot be used.
        """
        known = Logs.of(logs) if logs else Logs()
        return cls(certificates(chain, CHAIN_SETTING), StampAuthorities.of(stamps), identity, known)

    def towards(self, identity: Identity) -> KeylessTrust:
        """The same authorities, about one identity."""
        return replace(self, identity=identity)

    def doubt(self, content: bytes, signature: bytes, proof: Proof) -> str:
        """Why this is no signature of the content by the identity; empty if it is one."""
        if CERTIFICATE not in proof.notes:
            return "it bears no certificate"
        try:
            certificate = SigningCertificate.of(proof.notes[CERTIFICATE].encode())
            certificate.key.verify(signature, content, ECDSA(hashes.SHA256()))
            moment = self.stamps.moment(proof.notes.get(TIMESTAMP, ""), proof.stamped)
        except InvalidSignature:
            return "another key than its certificate's signed it, or something else"
        except ValueError as error:
            return one_line(f"its certificate or timestamp does not count: {error}")
        if why := self.doubt_of(certificate, moment):
            return one_line(f"its certificate does not count: {why}")
        if certificate.identity != self.identity:
            return one_line(f"{certificate.identity} signed it")
        return ""

    def doubt_of(self, certificate: SigningCertificate, moment: datetime) -> str:
        """Why a certificate did not count at a moment, whoever it names; empty if it did."""
        return certificate.counts_at(moment, self.roots) or self.logs.doubt(certificate.certificate, self.roots)

    @property
    def names(self) -> str:
        """What a person calls who is believed."""
        return str(self.identity)
