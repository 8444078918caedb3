"""A registry with a base image in it, and what a release is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.images.base import BuildContext
from tests.contract.image_store_contract import Sources
from tests.support.runtime_image import put_base
from tests.unit.images.oci_registry.registry_server import RegistryServer, serving


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with serving(RegistryServer()) as registry:
        yield registry


@pytest.fixture
def base(registry: RegistryServer) -> str:
    return put_base(registry)


@pytest.fixture
def context(tmp_path: Path) -> BuildContext:
    return Sources(tmp_path / "sources").context("7")
