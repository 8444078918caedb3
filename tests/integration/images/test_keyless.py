"""Signing by an identity: an authority in Fulcio's published form, openssl's timestamps, and cosign where it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from typing_extensions import override

from banana_delivery.delivery.image_build import build_context
from banana_delivery.delivery.signing.images import ImageSigner, refuse_unsigned
from banana_delivery.errors import BadSettingsError, GateError, ImageError, UnreachableError, redacted
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.images.supply_chain.keyless import asking
from banana_delivery.images.supply_chain.keyless.certificates import Identity
from banana_delivery.images.supply_chain.keyless.trust import CERTIFICATE, TIMESTAMP, KeylessTrust
from banana_delivery.images.supply_chain.keys import Proof, SigningKey
from banana_delivery.images.supply_chain.signatures import attestation, doubts, is_signed, signature, statements
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings
from tests.support.artifacts import artifact_record
from tests.support.authorities import (
    CERTIFICATES,
    ISSUER,
    NAME,
    STAMPS,
    Authorities,
    Chain,
    Log,
    Stamps,
    authorities,
    served,
    token_of,
)
from tests.support.signing_keys import key_pair

REF = ImageRef(repository="registry.test/banana", digest="sha256:" + "a" * 64, version="7", key="k")
OTHER = REF.replace(digest="sha256:" + "b" * 64)
US = Identity(NAME, ISSUER)


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Authorities]:
    with authorities(tmp_path) as own:
        yield own


def settings(ours: Authorities, **more: Any) -> Settings:
    """What names the authorities, and nothing that is asked for yet."""
    return Settings(
        home=ours.folder / "home",
        cosign_fulcio_url=ours.url,
        cosign_identity_token=ours.token,
        cosign_timestamp_url=f"{ours.url}{STAMPS}",
        cosign_certificate_chain=ours.file,
        cosign_timestamp_chain=ours.stamps.file,
        **more,
    )


def asking_for(ours: Authorities, **more: Any) -> Settings:
    return settings(ours, cosign_certificate_identity=NAME, cosign_certificate_issuer=ISSUER, **more)


def built(store: FakeImages, folder: Path) -> ImageRef:
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "version.json").write_text("{}")
    context = build_context(artifact_record(folder, "7"), Settings(home=folder / "home"))
    return store.build(context, lambda _: None).ref


def one_doubt(part: Attachment, trust: KeylessTrust, ref: ImageRef = REF) -> str:
    (doubt,) = doubts(ref, [part], trust)
    return doubt


def test_what_an_identity_signed_counts_for_it_and_for_that_image(ours: Authorities) -> None:
    signer = ours.signer()
    part = signature(REF, signer)
    said = attestation(REF, "urn:test", {"said": "this"}, signer)

    assert one_doubt(part, ours.trust.towards(US)) == ""
    assert list(statements(REF, [said], ours.trust.towards(US))) == [("urn:test", {"said": "this"})]
    assert not is_signed(OTHER, [part], ours.trust.towards(US))
    assert list(statements(OTHER, [said], ours.trust.towards(US))) == []
    assert signer.name == f"{NAME} (by {ISSUER})"


def test_each_signature_has_a_key_of_its_own(ours: Authorities) -> None:
    signer = ours.signer()

    parts = [signature(REF, signer), attestation(REF, "urn:test", {}, signer)]

    assert len({part.annotations[CERTIFICATE] for part in parts}) == 2


@pytest.mark.parametrize("name", ["team@models.test", NAME], ids=["an address", "a URI"])
@pytest.mark.parametrize("old", [True, False], ids=["before", "now"])
def test_identities_are_read_in_every_form_that_fulcio_writes(ours: Authorities, name: str, *, old: bool) -> None:
    ours.answers.name, ours.answers.old_issuer = name, old
    part = signature(REF, ours.signer())

    assert one_doubt(part, ours.trust.towards(Identity(name, ISSUER))) == ""
    assert (
        one_doubt(part, ours.trust.towards(Identity(name, "https://elsewhere.test")))
        == f"{name} (by {ISSUER}) signed it"
    )


def test_a_stranger_with_a_valid_certificate_is_refused(ours: Authorities) -> None:
    ours.answers.name = NAME + "-of-a-stranger"

    part = signature(REF, ours.signer())

    assert one_doubt(part, ours.trust.towards(US)) == f"{NAME}-of-a-stranger (by {ISSUER}) signed it"


def test_nobody_is_believed_where_no_identity_is_named(ours: Authorities) -> None:
    assert one_doubt(signature(REF, ours.signer()), ours.trust)


def test_a_certificate_of_another_authority_counts_for_nothing(ours: Authorities, tmp_path: Path) -> None:
    part = signature(REF, ours.signer())
    (tmp_path / "other").mkdir()
    other, _ = Chain.made("fulcio", [ExtendedKeyUsageOID.CODE_SIGNING], signs=True).write(tmp_path / "other", "fulcio")

    assert "stands behind it" in one_doubt(part, KeylessTrust.of(other, ours.stamps.file, US))


def test_a_timestamp_of_another_authority_counts_for_nothing(ours: Authorities, tmp_path: Path) -> None:
    part = signature(REF, ours.signer())
    other = Stamps(tmp_path / "other")

    assert "timestamp" in one_doubt(part, KeylessTrust.of(ours.file, other.file, US))
    both = tmp_path / "both.pem"
    both.write_text(other.file.read_text() + ours.stamps.file.read_text())
    assert one_doubt(part, KeylessTrust.of(ours.file, both, US)) == ""


@pytest.mark.parametrize("missing", [CERTIFICATE, TIMESTAMP])
def test_a_signature_without_its_proof_counts_for_nothing(ours: Authorities, missing: str) -> None:
    part = signature(REF, ours.signer())
    notes = {name: note for name, note in part.annotations.items() if name != missing}

    assert one_doubt(replace(part, annotations=notes), ours.trust.towards(US))


def test_a_proof_of_one_signature_does_not_stand_behind_another(ours: Authorities) -> None:
    """A stranger has the public key of every certificate, and every timestamp, but none of the keys."""
    signer, trust = ours.signer(), ours.trust.towards(US)
    ours_of_one, ours_of_other = signature(REF, signer), signature(OTHER, signer)
    theirs = signature(OTHER, SigningKey(ec.generate_private_key(ec.SECP256R1())))

    borrowed = replace(theirs, annotations={**ours_of_one.annotations, **theirs.annotations})
    stamped = {**ours_of_other.annotations, TIMESTAMP: ours_of_one.annotations[TIMESTAMP]}

    assert one_doubt(borrowed, trust, OTHER)
    assert one_doubt(replace(ours_of_other, annotations=stamped), trust, OTHER)
    assert one_doubt(ours_of_other, trust, OTHER) == ""


@pytest.mark.parametrize("note", [CERTIFICATE, TIMESTAMP])
def test_no_rubbish_in_an_annotation_is_more_than_a_doubt(ours: Authorities, note: str) -> None:
    part = signature(REF, ours.signer())
    good = part.annotations[note]
    middle = len(good) // 2
    broken = [
        "",
        "rubbish",
        "[]",
        '{"SignedRFC3161Timestamp": 5}',
        '{"SignedRFC3161Timestamp": "MAA="}',
        '{"SignedRFC3161Timestamp": "MAUwAwIBAg=="}',
        "\ud800",
        good[:middle],
        good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :],
        "A" * 200_000,
        "[" * 50_000,
        ours.chain.pem,
    ]

    for rubbish in broken:
        told = replace(part, annotations={**part.annotations, note: rubbish})
        assert one_doubt(told, ours.trust.towards(US)), rubbish[:40]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"early": 700.0}, "says that it is"),
        ({"early": -3600.0}, "says that it is"),
        ({"name": "somebody@else.test"}, "is for somebody@else.test"),
        ({"issuer": "https://elsewhere.test"}, "by https://elsewhere.test"),
        ({"key": ec.generate_private_key(ec.SECP256R1()).public_key()}, "for another key"),
        ({"use": ExtendedKeyUsageOID.CLIENT_AUTH}, "no certificate for signing: it is not for signing code"),
        ({"broken": {CERTIFICATES: b"<html>"}}, "no certificate for signing"),
        ({"broken": {CERTIFICATES: b"{}"}}, "no certificate for signing"),
        ({"broken": {STAMPS: b"<html>"}}, "no timestamp"),
        ({"broken": {STAMPS: bytes.fromhex("3005300302010 2".replace(" ", ""))}}, "it was refused"),
        ({"broken": {CERTIFICATES: b"no such token"}, "status": 400}, "HTTP 400: 'no such token'"),
        ({"broken": {CERTIFICATES: b"elsewhere"}, "status": 302}, "HTTP 302"),
    ],
    ids=[
        "over before it was stamped", "not yet begun", "another identity", "another issuer", "another key",
        "another use", "no document", "no certificate", "no stamp", "a refused stamp", "refused", "sent elsewhere",
    ],
)  # fmt: skip
def test_an_answer_that_lets_nothing_count_signs_nothing(ours: Authorities, changed: dict[str, Any], why: str) -> None:
    ours.answers = replace(ours.answers, **changed)

    with pytest.raises(ImageError) as seen:
        ours.signer(ours.trust.towards(US)).sign(b"content")

    assert why in str(seen.value)
    assert ours.token.read_text() not in str(seen.value)


def test_a_timestamp_of_a_stranger_signs_nothing(ours: Authorities, tmp_path: Path) -> None:
    ours.answers.stamps = Stamps(tmp_path / "stranger")

    with pytest.raises(ImageError, match="answered with no timestamp"):
        ours.signer().sign(b"content")


def test_a_timestamp_that_was_given_before_does_not_count_again(ours: Authorities) -> None:
    """Its nonce is of another question, though it may be about the same bytes."""
    said = ours.stamps.answer
    first: list[bytes] = []
    ours.stamps.answer = lambda question: first[0] if first else (first.append(said(question)) or first[0])  # type: ignore
    signer = ours.signer()
    signer.sign(b"content", lambda _: b"the same")

    with pytest.raises(ImageError, match="answered with no timestamp"):
        signer.sign(b"content", lambda _: b"the same")


def test_a_clock_that_is_a_little_behind_is_waited_for(ours: Authorities) -> None:
    ours.answers.early = -2.0

    assert ours.signer().sign(b"content").notes[TIMESTAMP]


def test_what_passes_is_asked_again_and_what_stays_is_said(ours: Authorities) -> None:
    ours.answers.passing = 2
    assert ours.signer().sign(b"content").signature

    ours.answers.passing = 100
    with pytest.raises(UnreachableError, match="HTTP 503: 'busy'"):
        ours.signer().sign(b"content")


def test_nobody_there_is_said_and_waited_for_no_longer_than_the_retries(ours: Authorities) -> None:
    ours.signer()
    signer = ours.signer()
    signer.fulcio = replace(signer.fulcio, url="http://127.0.0.1:1")

    with pytest.raises(UnreachableError, match="failed while asking for a certificate"):
        signer.sign(b"content")


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, ours: Authorities) -> None:
    class Drips(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(200):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.01)

        @override
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.2)
    with served(Drips) as url, pytest.raises(UnreachableError, match=r"took more than 0\.2 s"):
        signer = ours.signer()
        signer.fulcio = replace(signer.fulcio, url=url)
        signer.sign(b"content")


def test_no_proxy_of_the_environment_reads_a_token_that_stays_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, ours: Authorities
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert is_signed(REF, [signature(REF, ours.signer())], ours.trust.towards(US))


def test_an_answer_without_end_is_not_read(ours: Authorities) -> None:
    ours.answers.broken[CERTIFICATES] = b" " * 300_000

    with pytest.raises(ImageError, match="sends more than"):
        ours.signer().sign(b"content")


def test_the_token_is_read_anew_and_never_told(ours: Authorities) -> None:
    signer = ours.signer()
    signer.sign(b"content")
    second = token_of({"iss": ISSUER, "sub": "the second"})
    ours.token.write_text(second + "\n")

    signer.sign(b"content")

    assert ours.asked[-1]["credentials"] == {"oidcIdentityToken": second}
    assert second not in redacted(f"told {second}")


@pytest.mark.parametrize("content", [None, "", "no token", "a.b", "x" * 100_000], ids=str)
def test_a_file_without_a_token_is_said_and_asked_with_nowhere(ours: Authorities, content: str | None) -> None:
    ours.token.unlink()
    if content is not None:
        ours.token.write_text(content)

    with pytest.raises(ImageError, match=r"BANANA_COSIGN_IDENTITY_TOKEN names.* nothing can be signed"):
        ours.signer().sign(b"content")

    assert ours.asked == []


def test_a_token_that_says_rubbish_of_itself_is_refused_in_a_sentence(ours: Authorities) -> None:
    ours.answers.broken[CERTIFICATES], ours.answers.status = b"no", 400
    rubbish: list[dict[str, object]] = [{"exp": "soon"}, {"exp": 1e400}, {"aud": [1, None]}, {"iss": "'\x1b[31m"}]
    for claims in rubbish:
        ours.token.write_text(token_of(claims))
        with pytest.raises(ImageError, match="counts until") as seen:
            ours.signer().sign(b"content")
        assert "\x1b" not in str(seen.value)
    ours.token.write_text("e30.!!!.e30".replace("!", "-"))
    with pytest.raises(ImageError, match="counts until"):
        ours.signer().sign(b"content")


def test_a_delivery_signs_by_identity_and_asks_for_it(ours: Authorities, tmp_path: Path) -> None:
    store = FakeImages()
    ref = built(store, tmp_path)
    signer = ImageSigner(store, settings(ours))
    with pytest.raises(GateError, match="BANANA_COSIGN_FULCIO_URL"):
        refuse_unsigned(store, ref, asking_for(ours))

    assert not signer.has_signed(ref)
    signer.say(ref, {"urn:test": {"said": 1}})
    signer.say(ref, {"urn:test": {"said": 1}})
    signer.sign(ref)

    refuse_unsigned(store, ref, asking_for(ours))
    assert signer.has_signed(ref)
    assert ImageSigner(store, settings(ours)).has_signed(ref)
    assert len(store.attached(ref, AttachmentKind.ATTESTATION)) == 1
    assert signer.name == str(US)


def test_whose_signature_it_is_stands_in_the_refusal(ours: Authorities, tmp_path: Path) -> None:
    store = FakeImages()
    ref = built(store, tmp_path)
    ImageSigner(store, settings(ours)).sign(ref)
    moved = settings(ours, cosign_certificate_identity=NAME + "-new", cosign_certificate_issuer=ISSUER)

    with pytest.raises(GateError) as seen:
        refuse_unsigned(store, ref, moved)

    assert f"{NAME} (by {ISSUER}) signed it" in str(seen.value)
    assert not ImageSigner(store, moved).has_signed(ref)


def test_asking_needs_no_authority_that_answers_nor_a_token(ours: Authorities, tmp_path: Path) -> None:
    """Years later: the certificate's minutes are over, the issuer is gone."""
    store = FakeImages()
    ref = built(store, tmp_path)
    ImageSigner(store, settings(ours)).sign(ref)
    ours.answers.passing = 10**6
    ours.token.unlink()

    refuse_unsigned(store, ref, asking_for(ours))
    assert ImageSigner(store, asking_for(ours)).has_signed(ref)


def test_a_key_and_an_identity_may_take_each_others_place(ours: Authorities, tmp_path: Path) -> None:
    store = FakeImages()
    ref = built(store, tmp_path)
    key, public = key_pair(tmp_path, "ours")
    by_key = Settings(home=tmp_path / "home", cosign_key=key)
    either = asking_for(ours, cosign_public_key=public)
    ImageSigner(store, by_key).sign(ref)

    refuse_unsigned(store, ref, either)
    with pytest.raises(GateError, match="it bears no certificate"):
        refuse_unsigned(store, ref, asking_for(ours))
    ImageSigner(store, settings(ours)).sign(ref)
    refuse_unsigned(store, ref, asking_for(ours))


def test_where_a_log_is_named_only_a_published_certificate_signs_or_counts(ours: Authorities, tmp_path: Path) -> None:
    store, log = FakeImages(), Log()
    ref = built(store, tmp_path)
    (tmp_path / "logs.pem").write_text(log.pem)
    demanding = asking_for(ours, cosign_ct_keys=tmp_path / "logs.pem")
    ImageSigner(store, settings(ours)).sign(ref)

    with pytest.raises(GateError, match="no log has promised to publish it"):
        refuse_unsigned(store, ref, demanding)
    with pytest.raises(ImageError, match="is not taken: no log has promised to publish it"):
        ImageSigner(store, demanding).sign(ref)
    ours.answers.log = log
    ImageSigner(store, demanding).sign(ref)
    refuse_unsigned(store, ref, demanding)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"cosign_fulcio_url": ""}, "set BANANA_COSIGN_FULCIO_URL too"),
        ({"cosign_identity_token": None}, "set BANANA_COSIGN_IDENTITY_TOKEN too"),
        (
            {"cosign_timestamp_url": "", "cosign_timestamp_chain": None},
            "BANANA_COSIGN_TIMESTAMP_URL, BANANA_COSIGN_T",
        ),
        ({"cosign_certificate_chain": None}, "set BANANA_COSIGN_CERTIFICATE_CHAIN too"),
        ({"cosign_certificate_issuer": ISSUER}, "set BANANA_COSIGN_CERTIFICATE_IDENTITY too"),
        ({"cosign_certificate_chain": Path("/nonexistent")}, "cannot be read"),
        ({"cosign_kms": "awskms:///alias/a"}, "BANANA_COSIGN_KMS and BANANA_COSIGN_FULCIO_URL name what signs"),
        ({"cosign_fulcio_url": "http://fulcio.test"}, "has to begin with https://"),
    ],
)
def test_settings_that_cannot_sign_are_refused_by_name(ours: Authorities, changed: dict[str, Any], why: str) -> None:
    told = settings(ours).model_copy(update=changed)

    with pytest.raises(BadSettingsError) as seen:
        assert ImageSigner(FakeImages(), told).key

    assert why in str(seen.value)


def test_chains_that_are_none_are_refused_by_name(ours: Authorities, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    alone = tmp_path / "alone.pem"
    alone.write_bytes(ours.stamps.chain.certificates[0].public_bytes(Encoding.PEM))

    with pytest.raises(BadSettingsError, match="CERTIFICATE_CHAIN names, holds no certificates"):
        KeylessTrust.of(rubbish, ours.stamps.file)
    for chain in (alone, ours.file):
        with pytest.raises(BadSettingsError, match="TIMESTAMP_CHAIN names, has to hold"):
            KeylessTrust.of(ours.file, chain)


@pytest.mark.skipif(shutil.which("cosign") is None, reason="cosign is not installed")
def test_cosign_verifies_what_was_signed(ours: Authorities, tmp_path: Path) -> None:
    """A file by the same certificate and timestamp; images are verified with a registry (``tests/keyless``)."""
    content, made = b"content", ours.signer().sign(b"content")
    files = {
        "content": content,
        "signature": made.signature,
        "certificate": made.notes[CERTIFICATE].encode(),
        "stamp": made.notes[TIMESTAMP].encode(),
    }
    for name, one in files.items():
        (tmp_path / name).write_bytes(one)
    told = json.loads(made.notes[TIMESTAMP])
    assert list(told) == ["SignedRFC3161Timestamp"]
    command = [
        "cosign", "verify-blob", "--insecure-ignore-tlog", "--insecure-ignore-sct", "--use-signed-timestamps",
        f"--certificate={tmp_path / 'certificate'}", f"--certificate-chain={ours.file}",
        f"--timestamp-certificate-chain={ours.stamps.file}", f"--rfc3161-timestamp={tmp_path / 'stamp'}",
        f"--certificate-identity={NAME}", f"--certificate-oidc-issuer={ISSUER}",
        f"--signature={tmp_path / 'signature'}",
    ]  # fmt: skip

    done = subprocess.run(
        [*command, str(tmp_path / "content")], check=False, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert ours.trust.towards(US).doubt(content, made.signature, Proof(made.notes, made.signature)) == ""
