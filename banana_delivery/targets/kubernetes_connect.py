"""From settings to a ``KubernetesTarget``; nothing is asked of a cluster yet."""

from __future__ import annotations

from banana_delivery.policy.records import Environment
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes import KubernetesTarget, Site
from banana_delivery.targets.kubernetes_api import KubernetesApi
from banana_delivery.targets.kubernetes_endpoints import EndpointRouting
from banana_delivery.targets.kubernetes_gateway import GatewayRouting
from banana_delivery.targets.kubernetes_objects import Place
from banana_delivery.targets.kubernetes_routing import Routing, SoleRouting
from banana_delivery.targets.kubernetes_sources import TRAEFIK_QUERIES, RouterSource, prometheus, traefik


def kubernetes_target(settings: Settings) -> KubernetesTarget:
    """The target that the settings describe."""
    staging = Place(Environment.STAGING, settings.kubernetes_staging_namespace)
    staging_api = KubernetesApi(settings.kubernetes_staging_context)
    production = Place(Environment.PRODUCTION, settings.kubernetes_production_namespace)
    production_api = KubernetesApi(settings.kubernetes_production_context)
    return KubernetesTarget(
        sites={
            Environment.STAGING: Site(staging_api, staging, SoleRouting(staging_api, staging)),
            Environment.PRODUCTION: Site(
                production_api, production, _routing(settings, production_api, production), _router(settings)
            ),
        },
        stale_after_seconds=settings.stale_after_seconds,
        faults=settings.drill_faults,
    )


def _routing(settings: Settings, api: KubernetesApi, place: Place) -> Routing:
    if settings.kubernetes_routing == "endpoints":
        return EndpointRouting(api, place)
    return GatewayRouting(api, place, settings.kubernetes_route_timeout_seconds)


def _router(settings: Settings) -> RouterSource | None:
    """The best source of the router's figures that is configured; without a Gateway there is no router to ask."""
    if settings.kubernetes_routing == "endpoints":
        return None
    if settings.kubernetes_prometheus_url:
        queries = {**TRAEFIK_QUERIES, **settings.kubernetes_prometheus_queries}
        return prometheus(settings.kubernetes_prometheus_url, queries)
    return traefik(settings.kubernetes_router_metrics_url) if settings.kubernetes_router_metrics_url else None
