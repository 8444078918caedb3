"""Signing images and what is said of them, and refusing what nobody signed who is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from banana_delivery.delivery.signing.identities import keyless_signer, keyless_trust
from banana_delivery.errors import BadSettingsError, GateError
from banana_delivery.images.base import ImageStore
from banana_delivery.images.supply_chain import kms
from banana_delivery.images.supply_chain.attachments import AttachmentKind
from banana_delivery.images.supply_chain.keyless.signer import FULCIO_SETTING
from banana_delivery.images.supply_chain.keys import Signer, Verifier, signing_key, verifying_keys
from banana_delivery.images.supply_chain.signatures import attestation, doubts, is_signed, signature, statements
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings

_ASKING = "BANANA_COSIGN_PUBLIC_KEY or BANANA_COSIGN_CERTIFICATE_IDENTITY lets"
_TOLD = 3
"""Doubts in a sentence, at most."""


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
            BadSettingsError: if something is named that cannot be used, or more than one.
            ImageError: if the service that has the key does not answer.
        """
        file, service, keyless = self.settings.cosign_key, self.settings.cosign_kms, keyless_signer(self.settings)
        named = {"BANANA_COSIGN_KEY": file, kms.SETTING: service, FULCIO_SETTING: keyless}
        several = [setting for setting, value in named.items() if value]
        if len(several) > 1:
            raise BadSettingsError(f"{' and '.join(several)} name what signs, each another; unset what is not to sign.")
        if service:
            return kms.kms_key(service)
        return signing_key(file, self.settings.cosign_password.get_secret_value()) if file else keyless

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
    believed = _believed(settings)
    if not believed:
        return
    there, why = store.attached(ref, AttachmentKind.SIGNATURE), list[str]()
    for by in believed:
        told = list(doubts(ref, there, by))
        if "" in told:
            return
        why += told
    names = " or ".join(by.names for by in believed)
    others = f" What lies beside it does not count: {'; '.join(list(dict.fromkeys(why))[:_TOLD])}." if why else ""
    how = "--key ..." if settings.cosign_public_key else "--fulcio-url ... --timestamp-server-url ..."
    raise GateError(
        f"The image {ref.pinned} bears no signature of {names}, and {_ASKING} nothing else be deployed.{others} "
        f"Deliver its version where BANANA_COSIGN_KEY, {kms.SETTING} or {FULCIO_SETTING} is set, or sign it if you "
        f"know it: cosign sign {how} --tlog-upload=false {ref.pinned}"
    )


def _believed(settings: Settings) -> list[Verifier]:
    """Whose signatures are asked for; any of them will do, so that one can take another's place.

    Raises:
        BadSettingsError: if what the settings name cannot be used.
    """
    keys, identity = settings.cosign_public_key, keyless_trust(settings)
    return [*([verifying_keys(keys)] if keys else []), *([identity] if identity else [])]
