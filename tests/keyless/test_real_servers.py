"""What the real servers answer signs images that the real cosign verifies, and the other way round."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest

from banana_delivery.delivery.signing.statements import PROVENANCE, SBOM, VERDICT
from banana_delivery.errors import ImageError
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.images import RegistryImages
from banana_delivery.images.supply_chain.attachments import AttachmentKind
from banana_delivery.images.supply_chain.keyless.certificates import Identity
from banana_delivery.images.supply_chain.signatures import attestation, doubts, is_signed, signature, statements
from tests.docker.test_documents import client, images, own, release
from tests.keyless.conftest import NAME, Servers

__all__ = ["client", "images", "own"]
KINDS = [SBOM, PROVENANCE, VERDICT]


def cosign(*arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        ["cosign", *arguments], check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert (done.returncode != 0) == fails, f"{arguments}: {done.stdout} {done.stderr}"
    return done.stdout


def verify(servers: Servers, kind: str, *arguments: str, fails: bool = False, name: str = NAME) -> str:
    return cosign(
        kind,
        "--insecure-ignore-tlog",
        "--insecure-ignore-sct",
        "--allow-http-registry",
        "--use-signed-timestamps",
        f"--certificate-chain={servers.chain}",
        f"--timestamp-certificate-chain={servers.stamps_chain}",
        f"--certificate-identity={name}",
        f"--certificate-oidc-issuer={servers.issuer.url}",
        *arguments,
        fails=fails,
    )


def test_cosign_verifies_what_the_pipeline_signed_and_said(
    servers: Servers, client: RegistryClient, images: RegistryImages
) -> None:
    ref, other, signer = release(client, images, "1"), release(client, images, "2"), servers.signer
    images.attach(ref.digest, AttachmentKind.SIGNATURE, [signature(ref, signer)])
    said = [attestation(ref, kind, {"said": kind}, signer) for kind in KINDS]
    images.attach(ref.digest, AttachmentKind.ATTESTATION, said)

    told = json.loads(verify(servers, "verify", ref.pinned))

    assert told[0]["critical"]["image"]["docker-manifest-digest"] == ref.digest
    assert signer.name == f"{NAME} (by {servers.issuer.url})"
    for kind in KINDS:
        envelope = json.loads(verify(servers, "verify-attestation", f"--type={kind}", ref.pinned).splitlines()[0])
        assert json.loads(base64.b64decode(envelope["payload"]))["predicate"] == {"said": kind}
    verify(servers, "verify", ref.pinned, fails=True, name=NAME + "-2")
    verify(servers, "verify", other.pinned, fails=True)


def test_the_pipeline_verifies_what_cosign_signed_and_said(
    servers: Servers, client: RegistryClient, images: RegistryImages, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ref, other = release(client, images, "1"), release(client, images, "2")
    predicate = tmp_path_factory.mktemp("predicate") / "predicate.json"
    predicate.write_text('{"said": "by cosign"}')
    asked = [
        "--yes",
        "--tlog-upload=false",
        "--allow-http-registry",
        "--insecure-skip-verify",
        f"--fulcio-url={servers.fulcio}",
        f"--identity-token={servers.token}",
        f"--timestamp-server-url={servers.stamps}",
    ]
    cosign("sign", *asked, ref.pinned)
    cosign("attest", *asked, f"--predicate={predicate}", "--type=urn:test:predicate", ref.pinned)
    ours = servers.trust.towards(Identity(NAME, servers.issuer.url))

    signed = images.attached(ref.digest, AttachmentKind.SIGNATURE)
    said = images.attached(ref.digest, AttachmentKind.ATTESTATION)

    assert list(doubts(ref, signed, ours)) == [""]
    assert not is_signed(other, signed, ours)
    assert not is_signed(ref, signed, servers.trust.towards(Identity(NAME, "https://elsewhere.test")))
    assert list(statements(ref, said, ours)) == [("urn:test:predicate", {"said": "by cosign"})]


@pytest.mark.parametrize(
    "wrong", [{"seconds": -60.0}, {"audience": "elsewhere"}], ids=["expired", "for another audience"]
)
def test_a_token_that_does_not_count_signs_nothing_and_is_not_told(servers: Servers, wrong: dict[str, object]) -> None:
    token = servers.issuer.token(**wrong)  # type: ignore[arg-type]
    servers.token.write_text(token)

    with pytest.raises(
        ImageError, match=r"refused while asking for a certificate .*is from .* and counts until"
    ) as seen:
        servers.signer.sign(b"content")

    assert token not in str(seen.value)


def test_a_token_is_read_anew_for_each_signature(servers: Servers) -> None:
    signer = servers.signer
    signer.sign(b"content")
    servers.token.write_text(servers.issuer.token(seconds=-60))
    with pytest.raises(ImageError, match="refused"):
        signer.sign(b"content")
    servers.token.write_text(servers.issuer.token())

    assert signer.sign(b"content").signature


def test_another_account_of_the_same_cluster_is_refused(servers: Servers) -> None:
    servers.token.write_text(servers.issuer.token(account="somebody"))
    signer = servers.signer
    signer.trust = servers.trust.towards(Identity(NAME, servers.issuer.url))

    with pytest.raises(ImageError, match=r"is not taken: it is for .*serviceaccounts/somebody"):
        signer.sign(b"content")
