"""The real cosign and the real registry: each reads what the other side of the pipeline wrote.

Where there is no cosign, what it wrote once is in ``tests/fixtures/cosign``, and ``tests/unit`` reads that.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from banana_delivery.delivery.signing.statements import PROVENANCE, SBOM, VERDICT, provenance
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.images import RegistryImages
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.images.supply_chain.installed import asked_for
from banana_delivery.images.supply_chain.keys import SigningKey, signing_key, verifying_keys
from banana_delivery.images.supply_chain.sbom import sbom
from banana_delivery.images.supply_chain.signatures import attestation, is_signed, signature, statements
from tests.docker.test_documents import client, images, own, release
from tests.support.artifacts import artifact_record

__all__ = ["client", "images", "own"]

pytestmark = pytest.mark.skipif(shutil.which("cosign") is None, reason="cosign is not installed")
PASSWORD = "banana"
KINDS = [SBOM, PROVENANCE, VERDICT]


def cosign(*arguments: str, fails: bool = False) -> str:
    """What the real cosign says; nothing leaves this host."""
    done = subprocess.run(
        ["cosign", *arguments],
        env={**os.environ, "COSIGN_PASSWORD": PASSWORD},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode != 0) == fails, f"{arguments}: {done.stderr}"
    return done.stdout


def verify(kind: str, *arguments: str, fails: bool = False) -> str:
    return cosign(kind, "--insecure-ignore-tlog", "--allow-http-registry", *arguments, fails=fails)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    cosign("generate-key-pair", f"--output-key-prefix={tmp_path / 'cosign'}")
    return signing_key(tmp_path / "cosign.key", PASSWORD)


@pytest.fixture
def public(key: SigningKey, tmp_path: Path) -> str:
    return f"--key={tmp_path / 'cosign.pub'}"


def test_cosign_verifies_what_the_pipeline_signed_and_nothing_else(
    client: RegistryClient, images: RegistryImages, key: SigningKey, public: str
) -> None:
    signed, unsigned = release(client, images, "1"), release(client, images, "2")
    part = signature(signed, key)
    images.attach(signed.digest, AttachmentKind.SIGNATURE, [part])

    said = json.loads(verify("verify", public, signed.pinned))

    assert said[0]["critical"]["image"]["docker-manifest-digest"] == signed.digest
    verify("verify", public, unsigned.pinned, fails=True)
    images.attach(unsigned.digest, AttachmentKind.SIGNATURE, [part])
    verify("verify", public, unsigned.pinned, fails=True)
    assert not is_signed(unsigned, images.attached(unsigned.digest, AttachmentKind.SIGNATURE), key.public)


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_verifies_what_the_pipeline_says_of_an_image(
    kind: str, client: RegistryClient, images: RegistryImages, key: SigningKey, public: str
) -> None:
    ref = release(client, images, "1")
    parts = [attestation(ref, one, {"said": one}, key) for one in KINDS]
    images.attach(ref.digest, AttachmentKind.ATTESTATION, parts)

    envelope = json.loads(verify("verify-attestation", public, f"--type={kind}", ref.pinned).splitlines()[0])

    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["predicateType"] == kind
    assert statement["predicate"] == {"said": kind}
    verify("verify-attestation", public, "--type=vuln", ref.pinned, fails=True)


def test_the_pipeline_verifies_what_cosign_signed_and_said(
    client: RegistryClient, images: RegistryImages, key: SigningKey, public: str, tmp_path: Path
) -> None:
    ref, other = release(client, images, "1"), release(client, images, "2")
    artifact = artifact_record("/", "1", source="runs:/run/weights")
    built = provenance(
        artifact, {}, lock="serving.txt", model="detector", run_id="run", commit="a" * 40, start=1.0, end=2.0
    )
    # It holds a provenance to SLSA's schema before it signs it.
    (tmp_path / "predicate.json").write_text(json.dumps(built))
    private = f"--key={tmp_path / 'cosign.key'}"
    offline = ["--tlog-upload=false", "--yes", "--allow-http-registry", private]
    cosign("sign", *offline, ref.pinned)
    cosign("attest", *offline, f"--predicate={tmp_path / 'predicate.json'}", "--type=slsaprovenance1", ref.pinned)
    keys = verifying_keys(tmp_path / "cosign.pub")

    signatures = images.attached(ref.digest, AttachmentKind.SIGNATURE)
    said = images.attached(ref.digest, AttachmentKind.ATTESTATION)

    assert is_signed(ref, signatures, keys)
    assert not is_signed(other, signatures, keys)
    ((kind, predicate),) = statements(ref, said, keys)
    assert kind == PROVENANCE
    assert predicate["runDetails"]["builder"]["id"] == built["runDetails"]["builder"]["id"]
    assert list(statements(other, said, keys)) == []


def test_cosign_adds_to_what_the_pipeline_signed_and_both_stay_valid(
    client: RegistryClient, images: RegistryImages, key: SigningKey, public: str, tmp_path: Path
) -> None:
    ref = release(client, images, "1")
    images.attach(ref.digest, AttachmentKind.SIGNATURE, [signature(ref, key)])
    cosign("generate-key-pair", f"--output-key-prefix={tmp_path / 'second'}")

    cosign(
        "sign", "--tlog-upload=false", "--yes", "--allow-http-registry", f"--key={tmp_path / 'second.key'}", ref.pinned
    )

    verify("verify", public, ref.pinned)
    verify("verify", f"--key={tmp_path / 'second.pub'}", ref.pinned)
    assert is_signed(ref, images.attached(ref.digest, AttachmentKind.SIGNATURE), key.public)


def test_cosign_downloads_the_bill_of_materials(client: RegistryClient, images: RegistryImages) -> None:
    ref = release(client, images, "1")
    bill: Attachment = sbom(ref, {}, asked_for("numpy==2.0.0\n"), "detector")
    images.attach(ref.digest, AttachmentKind.SBOM, [bill])

    said = cosign("download", "sbom", "--allow-http-registry", ref.pinned)

    assert said.strip().encode() == bill.content
