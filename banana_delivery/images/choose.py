"""Choosing the image store that the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banana_delivery.images.base import ImageError
from banana_delivery.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from banana_delivery.images.docker.store import DockerImages


def docker_images(settings: Settings) -> DockerImages:
    """The store in the registry that the settings name; nothing is contacted before it is used.

    Raises:
        ImageError: if no repository is named, or its name cannot be one.
    """
    # Imported only when chosen: the client libraries would slow down a host that has no engine.
    from banana_delivery.images.docker.engine import Engine
    from banana_delivery.images.docker.store import DockerImages

    if not settings.registry_repository:
        raise ImageError("BANANA_TARGET is kubernetes but BANANA_REGISTRY_REPOSITORY is empty; set it to host/path.")
    return DockerImages(
        settings.registry_repository,
        dockerfile=PROJECT_ROOT / "Dockerfile",
        base_image=settings.base_image,
        username=settings.registry_username,
        password=settings.registry_password.get_secret_value(),
        kept=settings.home / "registry-content",
        engine=Engine(network_mode=settings.build_network or None),
    )
