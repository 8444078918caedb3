"""Releases on Kubernetes: Deployments made from the platform's PodTemplates, and one fenced record per environment.

Each change goes the same way: first the record, under its resourceVersion and the claim; then the objects beside it,
each stamped with the claim's generation. A claim that takes over stamps them before it does anything else, so whatever
an older owner still has in its hands is refused.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from typing_extensions import override

from banana_delivery.errors import ConflictError, FencedError, TargetError
from banana_delivery.names import GENERATION_KEY, IMAGE_KEY, REPLICAS_KEY
from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import (
    COLOURS,
    Colour,
    Deployment,
    Environment,
    ImageRef,
    Phase,
    RolloutRecord,
    TrafficSnapshot,
)
from banana_delivery.settings import Settings
from banana_delivery.targets import claims
from banana_delivery.targets.base import Claim, Readiness, RecordDamage, ReleaseTarget, Takeover
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.autoscaling import autoscaler_of, is_content, replicas_of, set_floor
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
    release_in,
    token_of,
)
from banana_delivery.targets.kubernetes.readiness import not_led_there, readiness_of, ready_in, serves
from banana_delivery.targets.kubernetes.record import Change, RecordStore, change_stamped
from banana_delivery.targets.kubernetes.routing import Routing, SoleRouting, digest_at
from banana_delivery.targets.kubernetes.traffic import RouterSource, Traffic, router_source
from banana_delivery.targets.restoring import Running, rebuilt

_log = logging.getLogger(__name__)


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
        return RecordStore(self.api, self.routing)

    @cached_property
    def traffic(self) -> Traffic:
        """The environment's figures."""
        return Traffic(self.api, self.place, self.router)

    def needed(self, colour: Colour, deployment: Json, asked: int) -> int:
        """As many replicas as asked for, or as the autoscaler added under load: only it takes those away."""
        live = int(deployment["spec"]["replicas"])
        if not 0 < asked < live or not self.routing.weights(self.store.carrier()).get(colour):
            return asked
        autoscaler = autoscaler_of(self.api, self.place, colour)
        return live if autoscaler and is_content(autoscaler, deployment) else asked


@dataclass
class KubernetesTarget(ReleaseTarget):
    """Staging and production on Kubernetes, in one cluster or two.

    Attributes:
        sites: where each environment is.
        faults: rehearsals: model version to the serving application's FAULT switch.
        clock: seconds since the epoch, for people.
    """

    sites: Mapping[Environment, EnvironmentCluster]
    faults: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    @override
    def record(self, environment: Environment) -> RolloutRecord:
        return self.sites[environment].store.read()

    @override
    def damage(self, environment: Environment) -> RecordDamage | None:
        return self.sites[environment].store.damage()

    @override
    def rebuild(self, environment: Environment, active: Colour | None = None) -> RolloutRecord:
        """From the Deployments, the route, and the Service for clients inside the cluster."""
        site = self.sites[environment]
        found = {colour: site.api.get(site.place.deployment(colour)) for colour in COLOURS[environment]}
        images = {colour: image for colour, it in found.items() if it and (image := release_in(it))}
        answering = {colour: self.readiness(environment, colour).ready for colour in images}
        running = Running(self.observed(environment), images, answering, site.routing.main())
        return rebuilt(environment, running, site.store.newest(), active)

    @override
    def restore(self, record: RolloutRecord, owner: str) -> Claim:
        """Write the record anew, then close everything beside it to older generations."""
        site = self.sites[record.environment]
        stored = site.store.replace(record, lambda base: claims.claimed(base, owner, self.clock()))
        return self._fenced(claims.claim_on(stored))

    @override
    def claim(
        self,
        environment: Environment,
        owner: str,
        *,
        seen: RolloutRecord | None = None,
        takeover: Takeover | None = None,
    ) -> Claim:
        """Take the record, then close everything beside it to older generations."""
        site = self.sites[environment]

        def change(carrier: Json, record: RolloutRecord) -> RolloutRecord:
            site.routing.initialise(carrier)
            return claims.claimed(record, owner, self.clock(), seen=seen, takeover=takeover)

        return self._fenced(claims.claim_on(site.store.change(change, closely=True)[1]))

    @override
    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        return self._change(claim, lambda _, now: claims.written(now, claim, record, self.clock()))[1]

    @override
    def heartbeat(self, claim: Claim, look: str | None = None) -> None:
        self._change(claim, lambda _, now: claims.heartbeat(now, claim, self.clock(), look))

    @override
    def release(self, claim: Claim) -> None:
        """Give the environment back; what grew under the load of a release is the autoscaler's from now on."""
        record = self.record(claim.environment)
        try:
            claims.check(record, claim)
            self._hand_over(claim, record)
        except FencedError:
            return  # It is not ours any more.
        except TargetError as error:
            _log.warning("The autoscaler of %s keeps its floor for now: %s", claim.environment, error)
        self._change(claim, lambda _, now: claims.released(now, claim))

    @override
    def deploy(self, claim: Claim, colour: Colour, image: ImageRef, replicas: int) -> None:
        """Make the colour's Deployment, or turn it into this release."""
        site = self.sites[claim.environment]
        self._record(claim, lambda now, routed: claims.deployed(now, colour, image, replicas, routed))
        set_floor(site.api, site.place, colour, replicas)
        template = site.api.get(site.place.template(colour))
        if template is None:
            raise TargetError(
                f"PodTemplate {site.place.name}/{site.place.object_name(colour)} does not exist; "
                "apply the manifests in k8s/."
            )
        fault = self.faults.get(image.version, "")
        release = Deployment(image=image, replicas=replicas)
        wanted = deployment_of(site.place, colour, template, release, token=secrets.token_hex(16), fault=fault)
        self._put(site, colour, claim, wanted)

    @override
    def scale(self, claim: Claim, colour: Colour, replicas: int) -> None:
        """Change the Deployment's replicas; its pods finish what they have accepted, as their PodTemplate says."""
        site = self.sites[claim.environment]
        self._record(claim, lambda now, routed: claims.scaled(now, colour, replicas, routed))
        set_floor(site.api, site.place, colour, replicas)

        def change(deployment: Json) -> None:
            deployment["spec"]["replicas"] = site.needed(colour, deployment, replicas)
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
            becomes = claims.alive(claims.weighted(now, split), self.clock())
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
        """What the route, the Deployments and the autoscalers say, even if the record cannot be read."""
        site = self.sites[environment]
        carrier = site.api.get(site.routing.carrier)
        found = {colour: site.api.get(site.place.deployment(colour)) for colour in COLOURS[environment]}
        deployments = {colour: deployment for colour, deployment in found.items() if deployment}
        return Observed(
            weights=site.routing.weights(carrier) if carrier else {},
            replicas={
                colour: replicas_of(site.api, site.place, colour, deployment)
                for colour, deployment in deployments.items()
            },
            digests={colour: digest_in(deployment) for colour, deployment in deployments.items()},
            shares=site.routing.shares(carrier) if carrier else {},
            ready={colour: ready_in(deployment) for colour, deployment in deployments.items()},
            route="" if carrier else f"{site.routing.carrier} does not exist in the cluster, so no user is served.",
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
    def probe_token(self, environment: Environment, colour: Colour) -> str:
        """What the Deployment gives its pods."""
        site = self.sites[environment]
        return token_of(site.api.get(site.place.deployment(colour)))

    @override
    def default_replicas(self, environment: Environment) -> int:
        """What the PodTemplate says, or as many as the active colour has grown to under load."""
        site, record = self.sites[environment], self.record(environment)
        colour = record.active or COLOURS[environment][0]
        active = site.api.get(site.place.deployment(colour)) if record.active else None
        grown = int(active["spec"]["replicas"]) if active else 0
        return max(self._base_replicas(environment, colour), grown)

    def _fenced(self, claim: Claim) -> Claim:
        """The claim, once everything beside the record is closed to older ones."""
        site = self.sites[claim.environment]
        site.routing.fence(claim.generation)
        for colour in COLOURS[claim.environment]:
            change_stamped(site.api, site.place.deployment(colour), claim.generation, lambda _: None)
        return claim

    def _hand_over(self, claim: Claim, record: RolloutRecord) -> None:
        """Ask for no more replicas of the active colour than its PodTemplate says, without taking any away.

        A release asks for as many as its predecessor had grown to. That was right while it was on trial; afterwards the
        autoscaler knows better, and the next release would else begin from there. Where there is none, or it is about
        to change something, everything stays as it is until the environment is given back the next time.
        """
        site = self.sites[claim.environment]
        colour = record.active or COLOURS[claim.environment][0]
        deployment = site.api.get(site.place.deployment(colour))
        autoscaler = autoscaler_of(site.api, site.place, colour)
        if not (deployment and autoscaler) or record.weights.get(colour) != 100 or record.phase is Phase.DRIFTED:
            return
        base, asked = self._base_replicas(claim.environment, colour), asked_replicas(deployment)
        if max(asked, autoscaler["spec"].get("minReplicas", 1)) <= base or not is_content(autoscaler, deployment):
            return
        if asked > base:
            self._record(claim, lambda now, routed: claims.scaled(now, colour, base, routed))
            path = site.place.deployment(colour)
            change_stamped(site.api, path, claim.generation, lambda it: annotate(it, REPLICAS_KEY, str(base)))
        set_floor(site.api, site.place, colour, base)

    def _base_replicas(self, environment: Environment, colour: Colour) -> int:
        """What the PodTemplate says."""
        site = self.sites[environment]
        template = site.api.get(site.place.template(colour)) or {"metadata": {}}
        return int(annotation(template, REPLICAS_KEY) or 1)

    def _record(self, claim: Claim, become: Callable[[RolloutRecord, dict[Colour, float]], RolloutRecord]) -> None:
        """Change the record alone, under the claim; what it becomes may depend on where users really go."""
        routing = self.sites[claim.environment].routing

        def change(carrier: Json, now: RolloutRecord) -> RolloutRecord:
            claims.check(now, claim)
            return claims.alive(become(now, routing.carried(carrier)), self.clock())

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
            deployment["spec"]["replicas"] = site.needed(colour, deployment, wanted["spec"]["replicas"])
            if not kept:
                # A PodTemplate that was changed meanwhile takes effect with a release, never under one that serves.
                deployment["spec"]["template"] = wanted["spec"]["template"]
                deployment["spec"]["strategy"] = wanted["spec"]["strategy"]
                annotate(deployment, IMAGE_KEY, annotation(wanted, IMAGE_KEY))

        if change_stamped(site.api, site.place.deployment(colour), claim.generation, change) is None:
            try:
                site.api.create(site.place.deployments, wanted)
            except ConflictError:
                self._put(site, colour, claim, wanted)


def kubernetes_target(settings: Settings) -> KubernetesTarget:
    """The target that the settings describe; nothing is asked of a cluster yet."""
    staging = EnvironmentNamespace(Environment.STAGING, settings.kubernetes_staging_namespace)
    staging_api = KubernetesApi(settings.kubernetes_staging_context)
    production = EnvironmentNamespace(Environment.PRODUCTION, settings.kubernetes_production_namespace)
    production_api = KubernetesApi(settings.kubernetes_production_context)
    return KubernetesTarget(
        sites={
            Environment.STAGING: EnvironmentCluster(staging_api, staging, SoleRouting(staging_api, staging)),
            Environment.PRODUCTION: EnvironmentCluster(
                production_api, production, _routing(settings, production_api, production), router_source(settings)
            ),
        },
        faults=settings.drill_faults,
    )


def _routing(settings: Settings, api: KubernetesApi, place: EnvironmentNamespace) -> Routing:
    if settings.kubernetes_routing == "endpoints":
        return EndpointRouting(api, place)
    return GatewayRouting(api, place, settings.kubernetes_route_timeout_seconds, settings.kubernetes_gateway_replicas)
