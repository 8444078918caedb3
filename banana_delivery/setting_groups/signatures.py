"""The settings about signatures: who signs images and what is said of them, and whose signatures are asked for."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from banana_delivery.setting_errors import PREFIX


class SignatureSettings(BaseSettings):
    """A part of ``Settings``."""

    # A variable that is set to nothing is one that is not set, as `BANANA_HOME=` in a shell means it.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, allow_inf_nan=False
    )

    # Of images, by a key.
    cosign_key: Path | None = Field(
        default=None,
        description="Private key that signs images and what is said of them, as PEM or as cosign writes it; empty: "
        "nothing is signed.",
    )
    cosign_password: SecretStr = Field(default=SecretStr(""), description="Password of that key, if it has one.")
    cosign_kms: str = Field(
        default="",
        description="Key of AWS KMS that signs instead of a file, as cosign names it: `awskms:///alias/NAME`.",
    )
    cosign_public_key: Path | None = Field(
        default=None,
        description="Public keys as PEM; only what one of them signed is deployed. Empty: nobody asks for signatures.",
    )

    # Of images, by an identity.
    cosign_fulcio_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Fulcio, whose certificates sign instead of a key; empty: none do.",
    )
    cosign_identity_token: Path | None = Field(
        default=None, description="File with the identity token that is shown there, read anew for each signature."
    )
    cosign_timestamp_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Timestamp authority (RFC 3161) that says when that was, for example `https://tsa/api/v1/timestamp`.",
    )
    cosign_certificate_chain: Path | None = Field(
        default=None,
        description="Certificates of that Fulcio as PEM: only whom one of them stands behind counts.",
    )
    cosign_timestamp_chain: Path | None = Field(
        default=None, description="Certificates of the timestamp authority as PEM, its own first and its root last."
    )
    cosign_ct_keys: Path | None = Field(
        default=None,
        description="Public keys of certificate transparency logs as PEM; only a certificate counts that one of them "
        "has promised to publish. Empty: no promise is asked for.",
    )
    cosign_certificate_identity: str = Field(
        default="",
        description="E-mail address or URI in the certificates; only what this identity signed is deployed. "
        "Empty: nobody asks for it.",
    )
    cosign_certificate_issuer: str = Field(
        default="", description="Whose tokens that identity has to have shown, a URL as the certificates have it."
    )

    # Of models.
    model_signing_public_key: Path | None = Field(
        default=None,
        description="Public keys as PEM; only a `best.pt` that one of them signed is delivered, by a `model.sig` "
        "beside it (OpenSSF model signing). Empty: nobody asks for it.",
    )
