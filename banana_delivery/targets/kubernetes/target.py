"""Releases on Kubernetes: Deployments made from the platform's PodTemplates, and one fenced record per environment.

Each change goes the same way: first the record, under its resourceVersion and the claim; then the objects beside it,
each stamped with the claim's generation. A claim that takes over stamps them before it does anything else, so whatever
an older owner still has in its hands is refused.

From settings to a ``KubernetesTarget``; nothing is asked of a cluster yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from typing_extensions import override

from banana_delivery.errors import ConflictError, TargetError
from banana_delivery.names import GENERATION_KEY, REPLICAS_KEY
from banana_delivery.policy.model import (
    COLOURS,
    Colour,
    Deployment,
    Environment,
    ImageRef,
    RolloutRecord,
    TrafficSnapshot,
)
from banana_delivery.settings import Settings
from banana_delivery.targets import claims
from banana_delivery.targets.base import Claim, Observed, Readiness, ReleaseTarget
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.endpoints import EndpointRouting
from banana_delivery.targets.kubernetes.gateway import GatewayRouting
from banana_delivery.targets.kubernetes.objects import (
    EnvironmentNamespace,
    annotate,
    annotation,
    asked_replicas,
    deployment_of,
    digest_in,
    image_in,
)
from banana_delivery.targets.kubernetes.readiness import not_led_there, readiness_of, serves
from banana_delivery.targets.kubernetes.record import Change, RecordStore, change_stamped
from banana_delivery.targets.kubernetes.routing import Routing, SoleRouting, digest_at
from banana_delivery.targets.kubernetes.traffic import TRAEFIK_QUERIES, RouterSource, Traffic, prometheus, traefik


@dataclass(frozen=True)
class EnvironmentCluster:
    """One environment in its cluster.

    Attributes:
        api: the cluster.
        place: the environment's namespace.
        routing: how users reach its colours.
        router: where the router's figures come from; None: from the replicas themselves.
    """

    api: KubernetesApi
    place: EnvironmentNamespace
    routing: Routing
    router: RouterSource | None = None

    @cached_property
    def store(self) -> RecordStore:
        """The environment's record."""
        return RecordStore(self.api, self.routing.carrier, self.place.environment)

    @cached_property
    def traffic(self) -> Traffic:
        """The environment's figures."""
        return Traffic(self.api, self.place, self.router)


@dataclass
class KubernetesTarget(ReleaseTarget):
    """Staging and production on Kubernetes, in one cluster or two.

    Attributes:
        sites: where each environment is.
        stale_after_seconds: an owner silent for longer is dead.
        faults: rehearsals: model version to the serving application's FAULT switch.
        clock: seconds since the epoch.
    """

    sites: Mapping[Environment, EnvironmentCluster]
    stale_after_seconds: float
    faults: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    @override
    def record(self, environment: Environment) -> RolloutRecord:
        """The annotation, parsed."""
        return self.sites[environment].store.read()[1]

    @override
    def claim(self, environment: Environment, owner: str, *, takeover: bool = False) -> Claim:
        """Take the record, then close everything beside it to older generations."""
        site = self.sites[environment]

        def change(carrier: Json, record: RolloutRecord) -> RolloutRecord:
            site.routing.initialise(carrier)
            return claims.claimed(record, owner, self.clock(), self.stale_after_seconds, takeover=takeover)

        claim = claims.claim_on(site.store.change(change)[1])
        site.routing.fence(claim.generation)
        for colour in COLOURS[environment]:
            change_stamped(site.api, site.place.deployment(colour), claim.generation, lambda _: None)
        return claim

    @override
    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        """Store what the owner knows."""
        return self._change(claim, lambda _, now: claims.written(now, claim, record, self.clock()))[1]

    @override
    def heartbeat(self, claim: Claim) -> None:
        """Show life."""
        self._change(claim, lambda _, now: claims.heartbeat(now, claim, self.clock()))

    @override
    def release(self, claim: Claim) -> None:
        """Give the environment back."""
        self._change(claim, lambda _, now: claims.released(now, claim))

    @override
    def deploy(self, claim: Claim, colour: Colour, image: ImageRef, replicas: int) -> None:
        """Make the colour's Deployment, or turn it into this release."""
        site = self.sites[claim.environment]
        self._record(claim, lambda now: claims.deployed(now, colour, image, replicas))
        _set_floor(site, colour, replicas)
        template = site.api.get(site.place.template(colour))
        if template is None:
            raise TargetError(
                f"PodTemplate {site.place.name}/{site.place.object_name(colour)} does not exist; "
                "apply the manifests in k8s/."
            )
        fault = self.faults.get(image.version, "")
        wanted = deployment_of(site.place, colour, template, Deployment(image=image, replicas=replicas), fault)
        self._put(site, colour, claim, wanted)

    @override
    def scale(self, claim: Claim, colour: Colour, replicas: int) -> None:
        """Change the Deployment's replicas; its pods finish what they have accepted, as their PodTemplate says."""
        site = self.sites[claim.environment]
        self._record(claim, lambda now: claims.scaled(now, colour, replicas))
        _set_floor(site, colour, replicas)

        def change(deployment: Json) -> None:
            deployment["spec"]["replicas"] = replicas
            annotate(deployment, REPLICAS_KEY, str(replicas))

        if change_stamped(site.api, site.place.deployment(colour), claim.generation, change) is None:
            raise TargetError(
                f"Deployment {site.place.name}/{site.place.object_name(colour)} was deleted; redeploy its version."
            )

    @override
    def set_weights(self, claim: Claim, weights: dict[Colour, int]) -> None:
        """Change weights and record in one write, then wait until the router has followed."""
        routing = self.sites[claim.environment].routing
        record = self.record(claim.environment)
        claims.check(record, claim)
        split = claims.weighted(record, weights).weights
        prepared = routing.prepare(split, claim.generation)

        def change(carrier: Json, now: RolloutRecord) -> RolloutRecord:
            claims.check(now, claim)
            becomes = claims.weighted(now, split).replace(heartbeat=self.clock())
            routing.apply(carrier, split, prepared)
            return becomes

        carrier, _ = self._change(claim, change)
        routing.wait_applied(carrier, prepared)
        routing.sync_service(split, claim.generation)

    @override
    def readiness(self, environment: Environment, colour: Colour) -> Readiness:
        """How far the pods are; once they are ready, whether the proxies before them have followed."""
        site = self.sites[environment]
        found = site.api.get(site.place.pods, labelSelector=site.place.selector(colour)) or {"items": []}
        deployment = site.api.get(site.place.deployment(colour))
        if deployment is None:
            return Readiness(0, 0, failure=claims.never_deployed(environment, colour))
        now = readiness_of(deployment, found["items"])
        if not now.complete or not now.wanted:
            return now
        check_url = site.routing.check_url(colour)
        said = digest_at(check_url)
        return now if said == digest_in(deployment) else not_led_there(now, check_url, said)

    @override
    def observed(self, environment: Environment) -> Observed:
        """What the route, the Deployments and the autoscalers say."""
        site = self.sites[environment]
        carrier, _ = site.store.read()
        found = {colour: site.api.get(site.place.deployment(colour)) for colour in COLOURS[environment]}
        deployments = {colour: deployment for colour, deployment in found.items() if deployment}
        return Observed(
            weights=site.routing.weights(carrier),
            replicas={colour: _replicas(site, colour, deployment) for colour, deployment in deployments.items()},
            digests={colour: digest_in(deployment) for colour, deployment in deployments.items()},
            shares=site.routing.shares(carrier),
        )

    @override
    def traffic(self, environment: Environment) -> TrafficSnapshot:
        """Router and replicas, added up since this process first looked."""
        return self.sites[environment].traffic.snapshot()

    @override
    def url(self, environment: Environment) -> str:
        """Where users reach the environment."""
        return self.sites[environment].routing.url()

    @override
    def probe_url(self, environment: Environment, colour: Colour) -> str:
        """The internal way to one colour."""
        return self.sites[environment].routing.probe_url(colour)

    @override
    def default_replicas(self, environment: Environment) -> int:
        """What the PodTemplate says, or as many as the active colour has grown to under load."""
        site, record = self.sites[environment], self.record(environment)
        colour = record.active or COLOURS[environment][0]
        template = site.api.get(site.place.template(colour)) or {"metadata": {}}
        active = site.api.get(site.place.deployment(colour)) if record.active else None
        grown = int(active["spec"]["replicas"]) if active else 0
        return max(int(annotation(template, REPLICAS_KEY) or 1), grown)

    def _record(self, claim: Claim, become: Callable[[RolloutRecord], RolloutRecord]) -> None:
        """Change the record alone, under the claim."""

        def change(_: Json, now: RolloutRecord) -> RolloutRecord:
            claims.check(now, claim)
            return become(now).replace(heartbeat=self.clock())

        self._change(claim, change)

    def _change(self, claim: Claim, change: Change) -> tuple[Json, RolloutRecord]:
        return self.sites[claim.environment].store.change(change)

    def _put(self, site: EnvironmentCluster, colour: Colour, claim: Claim, wanted: Json) -> None:
        """Create the Deployment, or make the one that exists like it."""
        annotate(wanted, GENERATION_KEY, str(claim.generation))
        # So that what an earlier attempt left behind is replaced, and not taken for replicas of this one.
        annotate(wanted["spec"]["template"], GENERATION_KEY, str(claim.generation))

        def change(deployment: Json) -> None:
            annotate(deployment, REPLICAS_KEY, str(wanted["spec"]["replicas"]))
            kept = serves(deployment) and image_in(deployment) == image_in(wanted)
            deployment["spec"]["replicas"] = wanted["spec"]["replicas"]
            if not kept:
                # A PodTemplate that was changed meanwhile takes effect with a release, never under one that serves.
                deployment["spec"]["template"] = wanted["spec"]["template"]
                deployment["spec"]["strategy"] = wanted["spec"]["strategy"]

        if change_stamped(site.api, site.place.deployment(colour), claim.generation, change) is None:
            try:
                site.api.create(site.place.deployments, wanted)
            except ConflictError:
                self._put(site, colour, claim, wanted)


def _set_floor(site: EnvironmentCluster, colour: Colour, replicas: int) -> None:
    """Let the autoscaler, if there is one, not go below what the pipeline asks for; at 0 it sleeps by itself."""
    if replicas:
        site.api.patch(site.place.autoscaler(colour), {"spec": {"minReplicas": replicas}})


def _replicas(site: EnvironmentCluster, colour: Colour, deployment: Json) -> int:
    """Replicas asked for, not counting those that the autoscaler added: those are nobody's hand edit."""
    live, asked = int(deployment["spec"]["replicas"]), asked_replicas(deployment)
    if live == asked:
        return asked
    autoscaler = site.api.get(site.place.autoscaler(colour)) or {}
    wanted = autoscaler.get("status", {}).get("desiredReplicas")
    return asked if live > asked > 0 and wanted == live else live


def kubernetes_target(settings: Settings) -> KubernetesTarget:
    """The target that the settings describe."""
    staging = EnvironmentNamespace(Environment.STAGING, settings.kubernetes_staging_namespace)
    staging_api = KubernetesApi(settings.kubernetes_staging_context)
    production = EnvironmentNamespace(Environment.PRODUCTION, settings.kubernetes_production_namespace)
    production_api = KubernetesApi(settings.kubernetes_production_context)
    return KubernetesTarget(
        sites={
            Environment.STAGING: EnvironmentCluster(staging_api, staging, SoleRouting(staging_api, staging)),
            Environment.PRODUCTION: EnvironmentCluster(
                production_api, production, _routing(settings, production_api, production), _router(settings)
            ),
        },
        stale_after_seconds=settings.stale_after_seconds,
        faults=settings.drill_faults,
    )


def _routing(settings: Settings, api: KubernetesApi, place: EnvironmentNamespace) -> Routing:
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
