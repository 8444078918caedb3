"""What counts as a signature or a statement, and what somebody who may push cannot make count."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from banana_delivery.errors import ImageError
from banana_delivery.images.supply_chain.attachments import MOST_BYTES, Attachment, Subject, documents, layers
from banana_delivery.images.supply_chain.keys import SigningKey, verifying_keys
from banana_delivery.images.supply_chain.signatures import SIGNATURE, attestation, is_signed, signature, statements
from banana_delivery.policy.model import ImageRef

FIXTURES = Path(__file__).parents[3] / "fixtures" / "cosign"
REF = ImageRef(repository="registry.test/banana", digest="sha256:" + "a" * 64, version="7", key="k")
OTHER = REF.replace(digest="sha256:" + "b" * 64)
KEY = SigningKey(ec.generate_private_key(ec.SECP256R1()))
STRANGER = SigningKey(ec.generate_private_key(ec.SECP256R1()))


def by_cosign() -> tuple[ImageRef, dict[str, list[Attachment]]]:
    """What the real cosign put beside an image."""
    told = json.loads((FIXTURES / "beside-an-image.json").read_text())
    parts = {
        kind: [Attachment(one["content"].encode(), one["media_type"], one["annotations"]) for one in told[kind]]
        for kind in ("sig", "att")
    }
    return REF.replace(digest=told["digest"]), parts


def test_what_cosign_wrote_counts_for_its_key_and_its_image_alone() -> None:
    ref, parts = by_cosign()
    keys = verifying_keys(FIXTURES / "cosign.pub")

    assert is_signed(ref, parts["sig"], keys)
    assert not is_signed(ref, parts["sig"], KEY.public)
    assert not is_signed(OTHER, parts["sig"], keys)
    assert list(statements(ref, parts["att"], keys)) == [("urn:test:predicate", {"said": "by cosign"})]
    assert list(statements(ref, parts["att"], KEY.public)) == []
    assert list(statements(OTHER, parts["att"], keys)) == []


def test_a_signature_counts_among_those_of_strangers_and_rubbish() -> None:
    rubbish = [
        Attachment(b"", "text/plain"),
        Attachment(b"[]", "application/json", {SIGNATURE: "!"}),
        replace(signature(REF, KEY), annotations={}),
        replace(signature(REF, KEY), annotations={SIGNATURE: "AAAA"}),
        signature(REF, STRANGER),
        signature(OTHER, KEY),
    ]

    assert not is_signed(REF, rubbish, KEY.public)
    assert is_signed(REF, [*rubbish, signature(REF, KEY)], KEY.public)
    assert not is_signed(REF, [], KEY.public)


def test_a_statement_is_no_signature_and_a_signature_no_statement() -> None:
    said = attestation(REF, "urn:a", {}, KEY)
    envelope = json.loads(said.content)
    as_signature = Attachment(
        base64.b64decode(envelope["payload"]), said.media_type, {SIGNATURE: envelope["signatures"][0]["sig"]}
    )

    assert not is_signed(REF, [said, as_signature], KEY.public)
    assert list(statements(REF, [signature(REF, KEY)], KEY.public)) == []


def altered(part: Attachment, **changes: Any) -> Attachment:
    return replace(part, content=json.dumps({**json.loads(part.content), **changes}).encode())


def test_a_statement_that_was_altered_or_is_about_another_image_is_passed_over() -> None:
    good = attestation(REF, "urn:a", {"verdict": "FAIL"}, KEY)
    body = base64.b64decode(json.loads(good.content)["payload"]).replace(b"FAIL", b"PASS")
    parts = [
        altered(good, payload=base64.b64encode(body).decode()),
        altered(good, payloadType="text/plain"),
        altered(good, signatures=[]),
        altered(good, signatures="none"),
        altered(good, payload=5),
        attestation(REF, "urn:a", {}, STRANGER),
        attestation(OTHER, "urn:a", {}, KEY),
        replace(good, content=b"no json"),
    ]

    assert list(statements(REF, parts, KEY.public)) == []
    assert list(statements(REF, [*parts, good], KEY.public)) == [("urn:a", {"verdict": "FAIL"})]


def test_the_folder_that_images_lie_in_is_in_no_signature() -> None:
    ref = REF.replace(repository="/home/jane/.banana/images")

    assert b"jane" not in signature(ref, KEY).content
    assert b"jane" not in base64.b64decode(json.loads(attestation(ref, "urn:a", {}, KEY).content)["payload"])


def test_more_than_anybody_has_reason_to_put_there_is_not_read() -> None:
    _, manifest = documents([Attachment(b"1", "text/plain")], Subject(REF.digest, "m", 1))
    document = json.loads(manifest)
    assert len(layers(document)) == 1

    document["layers"][0]["size"] = MOST_BYTES + 1
    with pytest.raises(ImageError, match="find out who put them there"):
        layers(document)
    document["layers"] = [{**document["layers"][0], "size": 1}] * 501
    with pytest.raises(ImageError, match="501 documents"):
        layers(document)


DEEP = b"[" * 100_000
RUBBISH = [
    {"layers": None},
    {"layers": {}},
    {"layers": [None, 5, "x", []]},
    [],
    None,
    5,
]
WRONG: list[dict[str, Any]] = [
    {"size": None},
    {"size": "1"},
    {"size": -1},
    {"size": True},
    {"size": 1.5},
    {"digest": 5},
    {"digest": "sha256:../../secrets"},
    {"mediaType": None},
]


def one_document() -> dict[str, Any]:
    _, manifest = documents([Attachment(b"1", "text/plain", {"a": "b"})], Subject(REF.digest, "m", 1))
    (told,) = json.loads(manifest)["layers"]
    return dict(told)


@pytest.mark.parametrize("manifest", RUBBISH)
def test_a_manifest_that_names_no_documents_has_none(manifest: Any) -> None:
    assert layers(manifest) == []


@pytest.mark.parametrize("wrong", WRONG)
def test_what_describes_no_document_is_passed_over_and_its_neighbours_are_not(wrong: dict[str, Any]) -> None:
    good = one_document()

    (found,) = layers({"layers": [{**good, **wrong}, good, {"size": 1}]})

    assert (found.digest, found.size, found.annotations) == (good["digest"], 1, {"a": "b"})


@pytest.mark.parametrize("notes", [[], None, 5, "x", {"a": 1}, {"a": None}])
def test_annotations_that_are_none_are_none(notes: Any) -> None:
    (found,) = layers({"layers": [{**one_document(), "annotations": notes}]})

    assert found.annotations == {}


def test_sizes_below_nothing_make_no_room_for_others() -> None:
    good = one_document()

    with pytest.raises(ImageError, match="find out who put them there"):
        layers({"layers": [{**good, "size": -MOST_BYTES}, {**good, "size": MOST_BYTES}, good]})


@pytest.mark.parametrize("note", ["\u00e9", 5, None, [], {}])
def test_a_note_that_is_no_signature_is_passed_over(note: Any) -> None:
    wrong = replace(signature(REF, KEY), annotations={SIGNATURE: note})

    assert not is_signed(REF, [wrong], KEY.public)
    assert is_signed(REF, [wrong, signature(REF, KEY)], KEY.public)


@pytest.mark.parametrize("content", [DEEP, b'{"critical":' * 100_000, b"\xff", b"5"])
def test_a_document_that_no_reader_gets_through_is_passed_over(content: bytes) -> None:
    deep = replace(signature(REF, KEY), content=content)
    inside = altered(attestation(REF, "urn:a", {}, KEY), payload=base64.b64encode(content).decode())
    said = attestation(REF, "urn:a", {"b": "c"}, KEY)

    assert is_signed(REF, [deep, signature(REF, KEY)], KEY.public)
    assert list(statements(REF, [deep, inside, said], KEY.public)) == [("urn:a", {"b": "c"})]
