from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import quiet
from tests.unit.images.oci_registry.registry_server import RegistryServer, serving


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with serving(RegistryServer()) as registry:
        yield registry


@pytest.fixture
def client(registry: RegistryServer) -> Iterator[RegistryClient]:
    repository = Repository.parse(f"{registry.host}/acme/banana")
    with closing(RegistryClient(repository, Credentials(), Retries(attempts=2, first_wait=0.01), quiet)) as client:
        yield client
