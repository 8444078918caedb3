"""Where the demonstration is played: an empty staging and production that nobody else has anything in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from banana_delivery.demo.acts import ACTS, faults
from banana_delivery.demo.cluster import NAMESPACES, DemoCluster
from banana_delivery.policy.records import Environment
from banana_delivery.settings import Settings


def demo_settings(settings: Settings) -> Settings:
    """The settings of the demonstration: a folder of its own, and on a cluster namespaces of its own."""
    own = {
        "home": settings.home / "demo",
        "plan": "demo",
        "drill_faults": faults(ACTS),
        "kubernetes_staging_context": "",
        "kubernetes_staging_namespace": NAMESPACES[Environment.STAGING],
        "kubernetes_production_context": "",
        "kubernetes_production_namespace": NAMESPACES[Environment.PRODUCTION],
        "kubernetes_routing": "gateway",
    }
    return settings.model_copy(update=own)


@contextmanager
def empty_place(settings: Settings, gateway: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Make the place before the block and remove it after it; the embedded stack brings its own.

    Raises:
        DemoError: if the cluster cannot be used, or what is there is not the demonstration's.
    """
    if settings.target == "local":
        yield
        return
    cluster = DemoCluster(gateway, progress)
    cluster.prepare()
    try:
        yield
    finally:
        cluster.remove()
