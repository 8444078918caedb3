"""What the real Fulcio, timestamp authority and cosign made once, long after its certificate's ten minutes."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from banana_delivery.images.supply_chain.attachments import Attachment
from banana_delivery.images.supply_chain.keyless.certificates import Identity
from banana_delivery.images.supply_chain.keyless.trust import CERTIFICATE, TIMESTAMP, KeylessTrust
from banana_delivery.images.supply_chain.signatures import doubts, is_signed, statements
from banana_delivery.policy.model import ImageRef

TOLD: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "fixtures" / "cosign" / "by-an-identity.json").read_text()
)
REF = ImageRef(repository="registry.test/banana", digest=TOLD["digest"], version="7", key="k")
US = Identity(TOLD["name"], TOLD["issuer"])
FIELD = "SignedRFC3161Timestamp"


def parts(kind: str) -> list[Attachment]:
    return [Attachment(one["content"].encode(), one["media_type"], one["annotations"]) for one in TOLD[kind]]


@pytest.fixture
def trust(tmp_path: Path) -> KeylessTrust:
    for name in ("chain", "stamps"):
        (tmp_path / name).write_text(TOLD[name])
    return KeylessTrust.of(tmp_path / "chain", tmp_path / "stamps", US)


def test_what_cosign_wrote_counts_for_its_identity_and_its_image_alone(trust: KeylessTrust) -> None:
    stranger = trust.towards(Identity(US.name + "-2", US.issuer))

    assert is_signed(REF, parts("sig"), trust)
    assert list(statements(REF, parts("att"), trust)) == [("urn:test:predicate", {"said": "by cosign"})]
    assert not is_signed(REF.replace(digest="sha256:" + "b" * 64), parts("sig"), trust)
    assert not is_signed(REF, parts("sig"), stranger)
    assert list(statements(REF, parts("att"), stranger)) == []


def test_authorities_that_took_each_others_place_count_for_nothing(trust: KeylessTrust, tmp_path: Path) -> None:
    (swapped := tmp_path / "swapped").write_text(TOLD["stamps"])

    assert not is_signed(REF, parts("sig"), KeylessTrust.of(swapped, tmp_path / "stamps", US))


@pytest.mark.parametrize("seed", range(8))
def test_no_byte_of_a_proof_can_be_changed_or_brings_anything_down(trust: KeylessTrust, seed: int) -> None:
    """Whoever may push can put anything there; what is broken must not hide the signature beside it."""
    dice, (part,) = random.Random(seed), parts("sig")
    stamp = base64.b64decode(json.loads(part.annotations[TIMESTAMP])[FIELD])
    own = x509.load_pem_x509_certificate(part.annotations[CERTIFICATE].encode()).public_bytes(Encoding.DER)
    for _ in range(40):
        broken = {
            TIMESTAMP: json.dumps({FIELD: base64.b64encode(_changed(stamp, dice)).decode()}),
            CERTIFICATE: _pem(_changed(own, dice)),
        }
        name = dice.choice(list(broken))
        told = replace(part, annotations={**part.annotations, name: broken[name]})

        assert "" in list(doubts(REF, [told, part], trust))


def _changed(content: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << dice.randrange(8))]) + content[place + 1 :]


def _pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"
