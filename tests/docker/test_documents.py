"""Documents beside images in a real registry, which needs no engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from banana_delivery.files import bytes_digest
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.images import RegistryImages
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.supply_chain.attachments import CONFIG_TYPE, MANIFEST_TYPE, Attachment, AttachmentKind
from banana_delivery.names import KEY_LABEL, VERSION_LABEL
from banana_delivery.policy.model import ImageRef
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import quiet
from tests.docker.daemons import OwnRegistry, own_registry


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnRegistry]:
    with own_registry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def client(own: OwnRegistry) -> Iterator[RegistryClient]:
    repository = Repository.parse(f"{own.host}/acme/banana")
    with closing(RegistryClient(repository, Credentials(), Retries(attempts=1), quiet)) as client:
        yield client


@pytest.fixture
def images(own: OwnRegistry, client: RegistryClient) -> RegistryImages:
    return RegistryImages(client, Repository.parse(f"{own.host}/acme/banana"), 0.0, lambda: 4_000_000_000.0)


def release(client: RegistryClient, images: RegistryImages, version: str) -> ImageRef:
    """A release of one layer."""
    layer, key = f"layer of {version}".encode(), version * 64
    labels = {KEY_LABEL: key, VERSION_LABEL: version}
    config = json.dumps(
        {
            "created": f"2026-01-0{version}T00:00:00Z",
            "config": {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [bytes_digest(layer)]},
        }
    ).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": bytes_digest(config), "size": len(config)},
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": bytes_digest(layer),
                "size": len(layer),
            }
        ],
    }
    for content in (layer, config):
        client.put_blob(content)
    client.put_manifest(f"key-{key[:32]}", Manifest.of(json.dumps(document).encode()))
    found = images.find(key)
    assert found
    return found.ref


def test_documents_lie_beside_an_image_and_go_with_it(client: RegistryClient, images: RegistryImages) -> None:
    old, new = release(client, images, "1"), release(client, images, "2")
    for ref in (old, new):
        images.attach(ref.digest, AttachmentKind.SBOM, [Attachment(b"bill of %s" % ref.version.encode(), "text/plain")])
    # A blob that is there already is not sent again, and is found all the same.
    images.attach(new.digest, AttachmentKind.SBOM, [Attachment(b"bill of 2", "text/plain", {"note": "again"})])
    tags = set(client.tags())

    decisions = images.prune(1, tuple, dry_run=False)

    assert [(one.ref, one.keep) for one in decisions] == [(new, True), (old, False)]
    gone = f"sha256-{old.digest.removeprefix('sha256:')}.sbom"
    assert gone in tags
    assert gone not in client.tags()
    assert images.attached(old.digest, AttachmentKind.SBOM) == ()
    assert images.attached(new.digest, AttachmentKind.SBOM) == (
        Attachment(b"bill of 2", "text/plain", {"note": "again"}),
    )
    assert images.tags(new.digest) == frozenset()
