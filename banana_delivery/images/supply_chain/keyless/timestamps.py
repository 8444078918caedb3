"""Timestamps (RFC 3161): that a signature was there while its certificate counted, which lasts longer than either."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from rfc3161_client import TimestampRequestBuilder, TimeStampResponse, VerifierBuilder, decode_timestamp_response
from rfc3161_client.base import HashAlgorithm
from rfc3161_client.errors import VerificationError

from banana_delivery.errors import BadSettingsError, ImageError
from banana_delivery.images.supply_chain.attachments import canonical
from banana_delivery.images.supply_chain.keyless.asking import post
from banana_delivery.images.supply_chain.keyless.certificates import (
    MOST_BYTES,
    UNREADABLE,
    Certificates,
    certificates,
    is_authority,
)

CHAIN_SETTING = "BANANA_COSIGN_TIMESTAMP_CHAIN"
_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
_FIELD = "SignedRFC3161Timestamp"


@dataclass(frozen=True)
class StampAuthorities:
    """Whose timestamps are believed.

    Attributes:
        chains: of each authority its own certificate, then those that stand behind it.
    """

    chains: tuple[Certificates, ...]

    @classmethod
    def of(cls, path: Path) -> StampAuthorities:
        """Those in a file, one chain after the other.

        Raises:
            BadSettingsError: if a chain is not complete.
        """
        chains: list[list[x509.Certificate]] = []
        for one in certificates(path, CHAIN_SETTING):
            if not is_authority(one):
                chains.append([])
            if not chains:
                break
            chains[-1].append(one)
        if not chains or min(len(chain) for chain in chains) < 2:
            raise BadSettingsError(
                f"{path}, which {CHAIN_SETTING} names, has to hold the timestamp authority's own certificate and then "
                "those that stand behind it, its root last; what the authority answers at /api/v1/timestamp/certchain."
            )
        return cls(tuple(tuple(chain) for chain in chains))

    def moment(self, note: str, stamped: bytes) -> datetime:
        """When something was there, as an annotation of cosign's proves.

        Raises:
            ValueError: if it proves nothing.
        """
        if len(note) > MOST_BYTES:
            raise ValueError("its timestamp is too large")
        try:
            answer = _decoded(base64.b64decode(json.loads(note)[_FIELD], validate=True))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError("it bears no timestamp") from None
        return self.moment_of(answer, stamped)

    def moment_of(self, answer: TimeStampResponse, stamped: bytes, nonce: int | None = None) -> datetime:
        """The same of an answer.

        Args:
            answer: of an authority.
            stamped: what it is about.
            nonce: of the question, so that no earlier answer counts; None: any will do.

        Raises:
            ValueError: if it proves nothing.
        """
        why = ""
        for own, *above in self.chains:
            builder = VerifierBuilder(tsa_certificate=own, intermediates=above[:-1], roots=[above[-1]], nonce=nonce)
            try:
                builder.build().verify_message(answer, stamped)
            except (VerificationError, *UNREADABLE) as error:
                why = why or str(error)
            else:
                return answer.tst_info.gen_time
        raise ValueError(f"its timestamp is of no authority that is believed, or of something else ({why})")


def stamp(url: str, authorities: StampAuthorities, stamped: bytes) -> tuple[str, datetime]:
    """Have something stamped: the annotation as cosign keeps it, and the time in it.

    Raises:
        PassingError: if the authority does not answer.
        ImageError: if it answers something that proves nothing.
    """
    request = TimestampRequestBuilder().data(stamped).hash_algorithm(HashAlgorithm.SHA256).build()
    content = post(url, request.as_bytes(), _HEADERS, "asking for a timestamp")
    try:
        moment = authorities.moment_of(_decoded(content), stamped, request.nonce)
    except ValueError as error:
        raise ImageError(
            f"{url} answered with no timestamp that {CHAIN_SETTING} lets count: {error}. Nothing is signed with it."
        ) from None
    return canonical({_FIELD: base64.b64encode(content).decode()}).decode(), moment


def _decoded(content: bytes) -> TimeStampResponse:
    """An answer of an authority.

    Raises:
        ValueError: if it is none.
    """
    if len(content) > MOST_BYTES:
        raise ValueError("too large")
    answer = decode_timestamp_response(content)
    if answer.status != 0:  # What was refused has no time in it, and asking for one would raise something else.
        raise ValueError("it was refused")
    return answer
