"""Signatures of images and statements about them, in the forms that cosign writes and reads.

A signature is over a small document that names the image's digest ("simple signing"). A statement is in-toto's, in a
DSSE envelope. Both are attachments beside the image. Whoever may push to the registry may put anything there, so what
does not verify, or speaks of another image, is passed over as if it were not there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from banana_delivery.images.supply_chain.attachments import Attachment, canonical
from banana_delivery.images.supply_chain.keys import Proof, Signer, Verifier
from banana_delivery.images.supply_chain.sbom import image_name
from banana_delivery.policy.model import ImageRef

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
SIGNATURE = "dev.cosignproject.cosign/signature"
_KIND = "cosign container image signature"


def signature(ref: ImageRef, key: Signer) -> Attachment:
    """A signature of an image."""
    content = canonical(
        {
            "critical": {
                "identity": {"docker-reference": _reference(ref)},
                "image": {"docker-manifest-digest": ref.digest},
                "type": _KIND,
            },
            "optional": None,
        }
    )
    signed = key.sign(content)
    return Attachment(content, SIMPLE_SIGNING, {SIGNATURE: _text(signed.signature), **signed.notes})


def is_signed(ref: ImageRef, parts: Iterable[Attachment], by: Verifier) -> bool:
    """Whether one of the documents is a signature of this very image that is believed."""
    return any(not doubt for doubt in doubts(ref, parts, by))


def doubts(ref: ImageRef, parts: Iterable[Attachment], by: Verifier) -> Iterator[str]:
    """Why each signature of this very image is not believed; empty for one that is."""
    for part in parts:
        if _is_of(ref, part.content):
            signed = _signature_of(part)
            yield by.doubt(part.content, signed, Proof(part.annotations, signed))


def attestation(ref: ImageRef, kind: str, predicate: Mapping[str, Any], key: Signer) -> Attachment:
    """A signed statement about an image.

    Args:
        ref: the image.
        kind: URI of the predicate's type.
        predicate: what is said.
        key: signs it.
    """
    statement = canonical(
        {
            "_type": STATEMENT,
            "subject": [{"name": _reference(ref), "digest": {"sha256": ref.digest.removeprefix("sha256:")}}],
            "predicateType": kind,
            "predicate": predicate,
        }
    )

    def envelope(made: bytes) -> bytes:
        document = {
            "payloadType": IN_TOTO,
            "payload": _text(statement),
            "signatures": [{"keyid": "", "sig": _text(made)}],
        }
        return canonical(document)

    signed = key.sign(authenticated(statement), envelope)
    notes = {SIGNATURE: "", "predicateType": kind, **signed.notes}
    return Attachment(envelope(signed.signature), DSSE, notes)


def statements(ref: ImageRef, parts: Iterable[Attachment], by: Verifier) -> Iterator[tuple[str, Any]]:
    """Type and predicate of every statement about this very image whose signature is believed, in their order."""
    for part in parts:
        try:
            envelope = json.loads(part.content)
            body = base64.b64decode(envelope["payload"], validate=True)
            signed = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]]
            told, proof = authenticated(body), Proof(part.annotations, part.content)
            if envelope["payloadType"] != IN_TOTO or all(by.doubt(told, one, proof) for one in signed):
                continue
            statement = json.loads(body)
            subjects = [f"sha256:{one['digest'].get('sha256')}" for one in statement["subject"]]
            if ref.digest in subjects:
                yield str(statement["predicateType"]), statement["predicate"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue


def authenticated(body: bytes) -> bytes:
    """What DSSE signs: the body together with its type and both of their lengths."""
    return b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(body), body)


def _reference(ref: ImageRef) -> str:
    """A repository as cosign names it; of a folder of images its name alone."""
    return image_name(ref) if ref.repository.startswith("/") else ref.repository


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _is_of(ref: ImageRef, content: bytes) -> bool:
    try:
        critical = json.loads(content)["critical"]
        return bool(critical["type"] == _KIND and critical["image"]["docker-manifest-digest"] == ref.digest)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _signature_of(part: Attachment) -> bytes:
    try:
        return base64.b64decode(part.annotations.get(SIGNATURE, ""), validate=True)
    except (ValueError, TypeError):
        return b""
