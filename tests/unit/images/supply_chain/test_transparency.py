"""Promises of certificate transparency logs: what Sigstore's public instance issued once, and logs of a test's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from banana_delivery.errors import BadSettingsError
from banana_delivery.images.supply_chain.keyless.transparency import Logs
from tests.support.authorities import Authorities, Log

PUBLIC: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "fixtures" / "cosign" / "sigstore-public.json").read_text()
)
"""Its certificate of a public project's release, the authorities of its trusted root, and the keys of its logs."""
STRANGER = "no log that is believed has promised to publish it"


@pytest.fixture
def ours(tmp_path: Path) -> Authorities:
    return Authorities(tmp_path)


def logs(folder: Path, *told: Log) -> Logs:
    (folder / "logs.pem").write_text("\n".join(log.pem for log in told))
    return Logs.of(folder / "logs.pem")


def issued(ours: Authorities, log: Log | None) -> x509.Certificate:
    ours.answers.log = log
    return x509.load_pem_x509_certificate(
        ours.certificate(ec.generate_private_key(ec.SECP256R1()).public_key()).encode()
    )


def test_what_the_public_instance_issued_was_promised_by_its_log(tmp_path: Path) -> None:
    (tmp_path / "logs.pem").write_text(PUBLIC["logs"])
    public = Logs.of(tmp_path / "logs.pem")
    certificate = x509.load_pem_x509_certificate(PUBLIC["certificate"].encode())
    roots = tuple(x509.load_pem_x509_certificates(PUBLIC["chain"].encode()))

    assert public.doubt(certificate, roots) == ""
    assert public.doubt(certificate, ()) == STRANGER
    assert logs(tmp_path, Log()).doubt(certificate, roots) == STRANGER


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)])
def test_one_believed_log_is_enough_and_a_stranger_is_not(
    ours: Authorities, tmp_path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    own = Log(key)
    certificate = issued(ours, own)

    assert logs(tmp_path, Log(), own).doubt(certificate, ours.chain.certificates) == ""
    assert logs(tmp_path, Log()).doubt(certificate, ours.chain.certificates) == STRANGER
    assert Logs().doubt(issued(ours, None), ours.chain.certificates) == ""


def test_a_certificate_that_nobody_can_see_does_not_count(ours: Authorities, tmp_path: Path) -> None:
    """Fulcio's owner issues one for himself, and tells no log."""
    said = logs(tmp_path, Log()).doubt(issued(ours, None), ours.chain.certificates)

    assert said == "no log has promised to publish it"


def test_a_promise_about_another_certificate_does_not_count(ours: Authorities, tmp_path: Path) -> None:
    log = Log()
    log.about = issued(ours, log).tbs_precertificate_bytes

    assert logs(tmp_path, log).doubt(issued(ours, log), ours.chain.certificates) == STRANGER


def test_a_promise_about_another_issuer_does_not_count(ours: Authorities, tmp_path: Path) -> None:
    log = Log()
    (tmp_path / "other").mkdir()
    other = Authorities(tmp_path / "other")

    assert logs(tmp_path, log).doubt(issued(ours, log), other.chain.certificates) == STRANGER


def test_keys_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    bad = tmp_path / "logs.pem"
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    other_kind = edwards.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for content in (
        "",
        "rubbish",
        other_kind,
        Log().pem + other_kind,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        Log().pem + Log().pem[:-30],
        Log().pem[:-30] + Log().pem,
    ):
        bad.write_text(content)
        with pytest.raises(BadSettingsError, match="BANANA_COSIGN_CT_KEYS names"):
            Logs.of(bad)
    with pytest.raises(BadSettingsError, match="BANANA_COSIGN_CT_KEYS names, cannot be read"):
        Logs.of(tmp_path / "nonexistent")
