from __future__ import annotations

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.docker.store import docker_images
from banana_delivery.settings import Settings


def test_a_registry_store_needs_a_repository() -> None:
    with pytest.raises(ImageError, match="BANANA_REGISTRY_REPOSITORY is empty"):
        docker_images(Settings())


@pytest.mark.parametrize("name", ["registry/Banana", "localhost:5000/banana:1", "ghcr.io/acme/banana@sha256:00"])
def test_a_repository_with_a_tag_or_capitals_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match="is no repository"):
        docker_images(Settings(registry_repository=name))


def test_making_the_store_contacts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")

    docker_images(Settings(registry_repository="127.0.0.1:9/banana")).close()
