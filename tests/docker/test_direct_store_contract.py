"""The image store's contract without an engine, over a real registry."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from banana_delivery.images.base import ImageStore
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import Clock, ImageStoreContract, Sources, quiet
from tests.docker.daemons import own_registry
from tests.support.runtime_image import DOCKERFILE, PLATFORM, put_runtime
from tests.unit.images.oci_registry.registry_server import RegistryServer

BASE = f"python@sha256:{'b' * 64}"


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with the runtime image of the contract's lock, pushed by its API; returns where that is."""
    lock = tmp_path_factory.mktemp("lock") / "lock.txt"
    lock.write_text(Sources(lock.parent).lock)
    made = RegistryServer()
    put_runtime(made, lock, BASE)
    with own_registry(tmp_path_factory.mktemp("registry")) as registry:
        name = f"{registry.host}/acme/banana-runtime"
        with closing(RegistryClient(Repository.parse(name), Credentials(), Retries(), quiet)) as client:
            (runtime,) = made.others
            for blob in runtime.blobs.values():
                client.put_blob(blob)
            for tag, digest in runtime.tags.items():
                client.put_manifest(tag, Manifest.of(runtime.manifests[digest]))
        yield name


class TestDirectImages(ImageStoreContract):
    @pytest.fixture
    def sources(self, tmp_path: Path) -> Sources:
        return Sources(tmp_path / "sources", salt=uuid.uuid4().hex)

    @pytest.fixture
    def store(self, runtimes: str, clock: Clock) -> Iterator[ImageStore]:
        store = DirectImages(
            runtimes.replace("acme/banana-runtime", f"test-{uuid.uuid4().hex[:8]}/banana"),
            runtime_repository=runtimes,
            dockerfile=DOCKERFILE,
            base_image=BASE,
            platform=PLATFORM,
            clock=clock,
        )
        with closing(store):
            yield store
