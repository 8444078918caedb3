"""Signing images and what is said of them, and refusing what nobody signed who is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from banana_delivery.errors import BadSettingsError, GateError
from banana_delivery.images.base import ImageStore
from banana_delivery.images.supply_chain import kms
from banana_delivery.images.supply_chain.attachments import AttachmentKind
from banana_delivery.images.supply_chain.keys import Signer, signing_key, verifying_keys
from banana_delivery.images.supply_chain.signatures import attestation, is_signed, signature, statements
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings


@dataclass
class ImageSigner:
    """Signs with the key that the settings name; without one it does nothing.

    Attributes:
        store: where the images are.
        settings: name the key.
    """

    store: ImageStore
    settings: Settings

    @cached_property
    def key(self) -> Signer | None:
        """What signs.

        Raises:
            BadSettingsError: if a key is named that cannot be used, or two are.
            ImageError: if the service that has it does not answer.
        """
        file, service = self.settings.cosign_key, self.settings.cosign_kms
        if file and service:
            raise BadSettingsError(
                f"BANANA_COSIGN_KEY and {kms.SETTING} name a key each; unset the one that is not to sign."
            )
        if service:
            return kms.kms_key(service)
        return signing_key(file, self.settings.cosign_password.get_secret_value()) if file else None

    @property
    def name(self) -> str:
        """What people call the key; empty without one."""
        return self.key.name if self.key else ""

    def has_signed(self, ref: ImageRef) -> bool:
        """Whether there is nothing left to sign: no key, or a signature of it.

        Raises:
            ImageError: if the store does not say.
        """
        return self.key is None or is_signed(ref, self.store.attached(ref, AttachmentKind.SIGNATURE), self.key.public)

    def sign(self, ref: ImageRef) -> None:
        """Sign an image; what others signed stays.

        Raises:
            ImageError: if the store keeps no signature.
        """
        if self.key:
            there = self.store.attached(ref, AttachmentKind.SIGNATURE)
            self.store.attach(ref, AttachmentKind.SIGNATURE, [*there, signature(ref, self.key)])

    def say(self, ref: ImageRef, predicates: Mapping[str, Mapping[str, Any]]) -> None:
        """Say something of an image, by type; what is said already in the same words is not said again.

        Raises:
            ImageError: if the store keeps no statement.
        """
        if self.key is None or not predicates:
            return
        there = self.store.attached(ref, AttachmentKind.ATTESTATION)
        said = list(statements(ref, there, self.key.public))
        new = [
            attestation(ref, kind, predicate, self.key)
            for kind, predicate in predicates.items()
            if (kind, predicate) not in said
        ]
        if new:
            self.store.attach(ref, AttachmentKind.ATTESTATION, [*there, *new])


def refuse_unsigned(store: ImageStore, ref: ImageRef, settings: Settings) -> None:
    """Let only that image be deployed which somebody signed whose key is believed, if the settings name any.

    Raises:
        GateError: if none of them signed it.
        ImageError: if the store does not say.
        BadSettingsError: if their keys cannot be read.
    """
    if settings.cosign_public_key is None:
        return
    keys = verifying_keys(settings.cosign_public_key)
    if is_signed(ref, store.attached(ref, AttachmentKind.SIGNATURE), keys):
        return
    raise GateError(
        f"The image {ref.pinned} bears no signature of {keys.names}, and BANANA_COSIGN_PUBLIC_KEY lets nothing else be "
        "deployed. Deliver its version where BANANA_COSIGN_KEY or BANANA_COSIGN_KMS is set, or sign it if you know it: "
        f"cosign sign --key ... --tlog-upload=false {ref.pinned}"
    )
