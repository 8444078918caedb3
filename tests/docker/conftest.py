"""A real Docker engine and registry: REGISTRY and BASE_IMAGE say where they are."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.store import DockerImages
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import quiet

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/docker" in item.nodeid:
            item.add_marker(pytest.mark.docker)


def required(variable: str) -> str:
    if value := os.environ.get(variable):
        return value
    raise pytest.UsageError(
        f"{variable} is not set: start a Docker engine and a registry, and export REGISTRY and BASE_IMAGE for them."
    )


@pytest.fixture(scope="session")
def registry() -> str:
    """The registry that the engine can push to, for example ``localhost:5000``."""
    return required("REGISTRY")


@pytest.fixture(scope="session")
def base_image() -> str:
    return required("BASE_IMAGE")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = Engine(network_mode="host")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def small_lock() -> str:
    """One small package of the real serving lock, with its hashes, so that a runtime image is built in seconds."""
    lock = (ROOT / "requirements" / "serving.txt").read_text()
    found = re.search(r"^idna==.*\n(?:    --hash=.*\n)+", lock, re.MULTILINE)
    assert found, "the serving lock no longer has idna; name another small package here"
    return found[0]


@pytest.fixture(scope="session")
def runtime_repository(registry: str, engine: Engine) -> Iterator[str]:
    """Shared by all tests, so that each runtime image is built once."""
    yield from temporary_repository(registry, engine)


@pytest.fixture
def repository(registry: str, engine: Engine) -> Iterator[str]:
    """A repository of the test's own; nothing of it is left, in the registry or in the engine."""
    yield from temporary_repository(registry, engine)


@pytest.fixture
def make_store(
    repository: str, runtime_repository: str, base_image: str, engine: Engine
) -> Iterator[Callable[..., DockerImages]]:
    """Makes stores on the test's repository; keyword arguments replace the defaults."""
    made: list[DockerImages] = []

    def make(**changes: object) -> DockerImages:
        arguments: dict[str, object] = {
            "repository": repository,
            "runtime_repository": runtime_repository,
            "dockerfile": DOCKERFILE,
            "base_image": base_image,
            "engine": engine,
            "retries": Retries(attempts=3, first_wait=0.1),
            **changes,
        }
        made.append(DockerImages(**arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for store in made:
        store.close()


def temporary_repository(registry: str, engine: Engine) -> Iterator[str]:
    name = f"{registry}/test-{uuid.uuid4().hex[:8]}/banana"
    yield name
    client = RegistryClient(Repository.parse(name), Credentials(), Retries(), quiet)
    for digest in {client.digest_of(tag) for tag in client.tags()} - {None}:
        client.delete_manifest(str(digest))
    client.close()
    for image in engine.api.images(name):
        for reference in [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]:
            if "<none>:" not in reference:
                engine.remove(reference)
