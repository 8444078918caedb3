from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.images import RegistryImages
from banana_delivery.images.oci_registry.kept import KeptContent
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import quiet
from tests.unit.images.oci_registry.registry_server import RegistryServer, serving

LEASE = 3600.0
START = 1_700_000_000.0
Images = Callable[[], RegistryImages]


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with serving(RegistryServer()) as registry:
        yield registry


@pytest.fixture
def client(registry: RegistryServer) -> Iterator[RegistryClient]:
    repository = Repository.parse(f"{registry.host}/acme/banana")
    with closing(RegistryClient(repository, Credentials(), Retries(attempts=2, first_wait=0.01), quiet)) as client:
        yield client


@pytest.fixture
def now() -> list[float]:
    return [START]


@pytest.fixture
def images(registry: RegistryServer, client: RegistryClient, now: list[float], tmp_path: Path) -> Images:
    """The releases as a new process sees them."""
    repository = Repository.parse(f"{registry.host}/acme/banana")
    return lambda: RegistryImages(client, repository, LEASE, lambda: now[0], KeptContent(tmp_path / "kept"))
