"""Who signs without a key, and who has to have, as the settings say."""

from __future__ import annotations

from banana_delivery.errors import BadSettingsError
from banana_delivery.images.supply_chain.keyless.certificates import Identity
from banana_delivery.images.supply_chain.keyless.fulcio import Fulcio
from banana_delivery.images.supply_chain.keyless.signer import KeylessSigner
from banana_delivery.images.supply_chain.keyless.trust import KeylessTrust
from banana_delivery.settings import Settings


def keyless_signer(settings: Settings) -> KeylessSigner | None:
    """What signs by an identity; None if nothing is to.

    Raises:
        BadSettingsError: if something is missing, or cannot be used.
    """
    url, token, stamps = settings.cosign_fulcio_url, settings.cosign_identity_token, settings.cosign_timestamp_url
    if not (url or token or stamps):
        return None
    named: dict[str, object] = {
        "BANANA_COSIGN_FULCIO_URL": url,
        "BANANA_COSIGN_IDENTITY_TOKEN": token,
        "BANANA_COSIGN_TIMESTAMP_URL": stamps,
    }
    trust = _trust(settings, named, "To sign by an identity")
    assert token is not None  # `_trust` has looked.
    return KeylessSigner(Fulcio(url, token), stamps, trust)


def keyless_trust(settings: Settings) -> KeylessTrust | None:
    """The identity whose signature is asked for; None if nobody asks for one.

    Raises:
        BadSettingsError: if something is missing, or cannot be used.
    """
    if not (settings.cosign_certificate_identity or settings.cosign_certificate_issuer):
        return None
    return _trust(settings, _identity(settings), "To ask for an identity's signature")


def _trust(settings: Settings, needed: dict[str, object], why: str) -> KeylessTrust:
    """The authorities, and the identity if one is named.

    Raises:
        BadSettingsError: if something that is needed is missing, or cannot be used.
    """
    identity = _identity(settings)
    chain, stamps = settings.cosign_certificate_chain, settings.cosign_timestamp_chain
    needed |= {"BANANA_COSIGN_CERTIFICATE_CHAIN": chain, "BANANA_COSIGN_TIMESTAMP_CHAIN": stamps}
    needed |= identity if any(identity.values()) else {}
    missing = [name for name, value in needed.items() if not value]
    if missing or chain is None or stamps is None:
        raise BadSettingsError(f"{why} set {', '.join(missing)} too: docs/images.md says what each is.")
    named = Identity(*map(str, identity.values())) if all(identity.values()) else None
    return KeylessTrust.of(chain, stamps, named, settings.cosign_ct_keys)


def _identity(settings: Settings) -> dict[str, object]:
    return {
        "BANANA_COSIGN_CERTIFICATE_IDENTITY": settings.cosign_certificate_identity,
        "BANANA_COSIGN_CERTIFICATE_ISSUER": settings.cosign_certificate_issuer,
    }
