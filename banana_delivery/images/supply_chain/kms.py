"""A key that never leaves AWS's key management service, named as cosign names it: ``awskms://[ENDPOINT]/ID``.

Account, region and whatever else AWS's library needs come from where it looks for them (environment, shared files, the
pod's own account); nothing of it passes through here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from banana_delivery.errors import BadSettingsError, ImageError
from banana_delivery.images.supply_chain.keys import Signed, VerifyingKeys, name_of

SETTING = "BANANA_COSIGN_KMS"
_URI = re.compile(
    r"awskms://(?P<endpoint>[^/\s]*)/(?P<key>[0-9a-f-]{36}|mrk-[0-9a-f-]{32,36}|alias/\S+"
    r"|arn:[\w-]+:kms:(?P<region>[\w-]+):\d{12}:(?:key|alias)/\S+)",
    re.IGNORECASE,
)
_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 10
_TRIES = 4
"""The library's own, with a growing pause between them: a throttled or restarting service is no reason to stop."""


@dataclass(frozen=True)
class KmsKey:
    """A key of the service.

    Attributes:
        client: asks the service.
        key: the key's own ARN; an alias may be moved to another key between two questions.
        public_key: what verifies its signatures.
    """

    client: Any
    key: str
    public_key: EllipticCurvePublicKey

    def sign(self, content: bytes, stamped: Callable[[bytes], bytes] = bytes) -> Signed:
        """A signature of the content; only its sha256 is sent.

        Raises:
            ImageError: if the service does not sign, or what it answers is no signature by this key.
        """
        del stamped  # A key counts as long as somebody believes it.
        digest = hashlib.sha256(content).digest()
        answer = _asked(
            lambda: self.client.sign(
                KeyId=self.key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
            ),
            "sign with",
        )
        signature = answer.get("Signature", b"")
        if not self.public.verifies(content, signature):
            raise ImageError(
                f"What {SETTING} names answered is no signature by {self.name}; nothing is signed with it."
            )
        return Signed(bytes(signature))

    @property
    def public(self) -> VerifyingKeys:
        """What verifies its signatures."""
        return VerifyingKeys((self.public_key,))

    @property
    def name(self) -> str:
        """What a person calls it."""
        return name_of(self.public_key)


def kms_key(uri: str) -> KmsKey:
    """The key that a URI names.

    Raises:
        BadSettingsError: if it names none that can sign here.
        ImageError: if the service does not say.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise BadSettingsError(
            f"{SETTING} names no key of AWS KMS, the only such service that is asked: awskms:///alias/NAME, "
            "awskms:///ID or awskms:///ARN, before the third slash the host of another endpoint."
        )
    client = _client(match["endpoint"], match["region"])
    answer = _asked(lambda: client.get_public_key(KeyId=match["key"]), "show the public half of")
    try:
        public, key = serialization.load_der_public_key(answer["PublicKey"]), str(answer["KeyId"])
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm):
        public, key = None, ""
    if not isinstance(public, EllipticCurvePublicKey) or not isinstance(public.curve, SECP256R1):
        raise BadSettingsError(f"The key that {SETTING} names is not one for ECDSA on P-256 (ECC_NIST_P256).")
    if answer.get("KeyUsage") != "SIGN_VERIFY":
        raise BadSettingsError(f"The key that {SETTING} names may not sign: its use is {answer.get('KeyUsage')}.")
    return KmsKey(client, key, public)


def _client(endpoint: str, region: str | None) -> Any:
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
    )
    try:
        return boto3.session.Session().client(
            "kms", config=config, region_name=region, endpoint_url=f"https://{endpoint}" if endpoint else None
        )
    except (BotoCoreError, ValueError) as error:
        raise BadSettingsError(f"AWS KMS, which {SETTING} names, cannot be asked: {_said(error)}") from None


def _asked(question: Callable[[], dict[str, Any]], what: str) -> dict[str, Any]:
    """The answer of the service.

    Raises:
        BadSettingsError: if it knows no such key, or this account may not use it.
        ImageError: if it does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

    try:
        return question()
    except ClientError as error:
        told = error.response.get("Error", {})
        sentence = f"AWS KMS does not {what} the key that {SETTING} names ({told.get('Code')}: {_said(error)})"
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if 400 <= status < 500 and status != 429 and told.get("Code") not in _PASSING:
            raise BadSettingsError(f"{sentence}; name one that may be used, or let this account use it.") from None
        raise ImageError(f"{sentence}; try again later.") from None
    except NoCredentialsError:
        raise BadSettingsError(
            f"No credentials of AWS are here for the key that {SETTING} names; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or give the pod's account a role."
        ) from None
    except (
        BotoCoreError,
        HTTPClientError,
        ValueError,
        TypeError,
    ) as error:  # The library's own, where an answer is none.
        raise ImageError(f"AWS KMS did not {what} the key that {SETTING} names: {_said(error)}; try again.") from None


_PASSING = frozenset(
    {
        "ThrottlingException",
        "LimitExceededException",
        "DependencyTimeoutException",
        "KMSInternalException",
        "KeyUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
    }
)
"""Codes that another try may cure, though their status says that the question was wrong."""


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
