"""Where releases can run: for each ``BANANA_TARGET`` an image store, a release target, and the processes of the stack.

A new platform is a package of its own and one line here; nothing else asks which target is chosen. Only the chosen
one is imported: the client libraries of the others cost a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banana_delivery.errors import BadSettingsError
from banana_delivery.images.base import ImageStore
from banana_delivery.images.release import host_platform
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget

if TYPE_CHECKING:
    from banana_delivery.embedded.processes import ManagedProcess
    from banana_delivery.images.oci_registry.store import RegistryStore


GPU_PLATFORM = "linux/amd64"
"""For which the index has ONNX Runtime with CUDA."""


@dataclass(frozen=True)
class Platform:
    """Where releases run, and what belongs to it.

    Attributes:
        parts: the store of its images and the target that runs them, which belong together.
        processes: what ``banana-delivery up`` starts for it.
        user: who types, by the word of where releases run; empty if nobody there says so.
        is_ours: whether staging and production are the embedded stack's own, and so nobody else's.
    """

    parts: Callable[[Settings], tuple[ImageStore, ReleaseTarget]]
    processes: Callable[[Settings], list[ManagedProcess]]
    user: Callable[[Settings], str]
    is_ours: bool


def platform(settings: Settings) -> Platform:
    """The chosen one."""
    return PLATFORMS[settings.target]


def _local(settings: Settings) -> tuple[ImageStore, ReleaseTarget]:
    from banana_delivery.embedded.target import LocalTarget
    from banana_delivery.images.oci_layout.store import OciLayoutImages

    if settings.serving_device == "cuda":
        raise BadSettingsError(
            "BANANA_SERVING_DEVICE=cuda needs images with packages of their own, and the embedded stack runs replicas "
            "on this machine's; leave it out, or set BANANA_TARGET=kubernetes."
        )
    _refuse_platforms(settings, "the embedded stack runs replicas on this machine alone", "BANANA_TARGET=kubernetes")
    images = OciLayoutImages(settings.home / "images")
    return images, LocalTarget(settings, images.unpack)


def _local_processes(settings: Settings) -> list[ManagedProcess]:
    from banana_delivery.embedded.processes import managed_processes, router

    return [router(settings), *managed_processes(settings)]


def _kubernetes(settings: Settings) -> tuple[ImageStore, ReleaseTarget]:
    from banana_delivery.targets.kubernetes.target import kubernetes_target

    return registry_images(settings), kubernetes_target(settings)


def registry_images(settings: Settings) -> RegistryStore:
    """The store of images in a registry, by who builds them.

    Raises:
        BadSettingsError: if they are to run where nobody publishes packages for, or in integers on a GPU.
    """
    if settings.serving_device == "cuda" and host_platform() != GPU_PLATFORM:
        raise BadSettingsError(
            f"BANANA_SERVING_DEVICE=cuda builds images for {GPU_PLATFORM} alone, and this host is {host_platform()}; "
            "leave it out, or run the pipeline on the other kind of machine."
        )
    if settings.serving_device == "cuda" and set(settings.image_platforms) - {GPU_PLATFORM}:
        raise BadSettingsError(
            f"BANANA_SERVING_DEVICE=cuda builds images for {GPU_PLATFORM} alone, and BANANA_PLATFORMS="
            f"{settings.platforms} asks for more; leave out one of the two."
        )
    if settings.serving_device == "cuda" and settings.precision != "f32":
        raise BadSettingsError(
            f"BANANA_PRECISION={settings.precision} weighs integers by what they save a CPU, and it is not known "
            "whether a GPU answers as that does, or else is not used; leave out that or BANANA_SERVING_DEVICE=cuda."
        )
    if settings.publisher_template:
        if settings.builder != "registry":
            raise BadSettingsError(
                "BANANA_PUBLISHER_TEMPLATE has images written without an engine, and BANANA_BUILDER=docker asks one; "
                "set BANANA_BUILDER=registry, or leave the template out."
            )
        if settings.cosign_key or settings.cosign_kms or settings.cosign_fulcio_url:
            raise BadSettingsError(
                "With BANANA_PUBLISHER_TEMPLATE images are signed by the Job that writes them: take BANANA_COSIGN_KEY, "
                "BANANA_COSIGN_KMS and BANANA_COSIGN_FULCIO_URL from here, and set them in its Secret "
                "banana-delivery-publisher."
            )
        _refuse_elsewhere(settings)
        from banana_delivery.publishing.store import apart_images

        return apart_images(settings)
    if settings.builder == "registry":
        _refuse_elsewhere(settings)
        from banana_delivery.images.direct.store import direct_images

        return direct_images(settings)
    _refuse_platforms(settings, "an engine builds for its own platform alone", "BANANA_BUILDER=registry")
    from banana_delivery.images.docker.store import docker_images

    return docker_images(settings)


def _refuse_platforms(settings: Settings, why: str, otherwise: str) -> None:
    if settings.image_platforms:
        raise BadSettingsError(
            f"BANANA_PLATFORMS={settings.platforms} cannot be had: {why}; leave it out, or set {otherwise}."
        )


def _refuse_elsewhere(settings: Settings) -> None:
    """Every release is tested where the pipeline runs, before it runs anywhere else."""
    if settings.image_platforms and host_platform() not in settings.image_platforms:
        raise BadSettingsError(
            f"BANANA_PLATFORMS={settings.platforms} leaves out {host_platform()}, which this host is, so no release "
            "could be tested here; add it, or run the pipeline on such a machine."
        )
    if len(settings.image_platforms) > 1 and settings.precision != "f32":
        raise BadSettingsError(
            f"BANANA_PRECISION={settings.precision} shows on this host alone that integers lose nothing, and "
            f"BANANA_PLATFORMS={settings.platforms} would have them computed on another kind as well; leave out one of "
            "the two."
        )


def _kubernetes_user(settings: Settings) -> str:
    from banana_delivery.targets.kubernetes.api import kubernetes_user

    return kubernetes_user(settings)


def _without_router(settings: Settings) -> list[ManagedProcess]:
    """The cluster's Gateway is the router."""
    from banana_delivery.embedded.processes import managed_processes

    return managed_processes(settings)


PLATFORMS = {
    "local": Platform(_local, _local_processes, lambda _: "", is_ours=True),
    "kubernetes": Platform(_kubernetes, _without_router, _kubernetes_user, is_ours=False),
}
