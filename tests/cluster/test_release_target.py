"""The contract of a release target, kept on a real cluster, behind a Gateway and without one."""

from __future__ import annotations

import time

import httpx
import pytest

from banana_delivery.evaluation.probe import as_probe
from banana_delivery.names import COLOUR_KEY, RECORD_KEY
from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.targets.kubernetes.endpoints import MEMBER_PREFIX
from banana_delivery.targets.kubernetes.gateway import USER_ROUTE
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, annotation
from banana_delivery.targets.kubernetes.record_copy import NAME, RECORD
from tests.cluster.cluster import Cluster, Way
from tests.cluster.load import IMAGE
from tests.contract.release_target_contract import (
    BLUE,
    GREEN,
    PRODUCTION,
    RecordContract,
    ReleaseTargetContract,
    RestoringContract,
    RoutingContract,
    TargetFixture,
    Where,
    bring_up,
    counters,
    eventually,
)

FAILING, BROKEN = "4", "3"


class ClusterBench(TargetFixture):
    """The Kubernetes target, with a clock that can be moved on."""

    def __init__(self, cluster: Cluster, way: Way, releases: dict[str, ImageRef]) -> None:
        self._cluster = cluster
        self._way: Way = way
        self._releases = releases
        self._place = EnvironmentNamespace(PRODUCTION, "production")
        self._ahead = 0.0
        self.target: ReleaseTarget = self.another_target()

    def another_target(self) -> ReleaseTarget:
        # A FAULT that the serving application does not understand ends it at once: a crash loop.
        target = self._cluster.target(self._way, drill_faults={FAILING: "error", BROKEN: "no such fault"})
        target.clock = lambda: time.time() + self._ahead
        return target

    def image(self, version: str, *, failing: bool = False, broken: bool = False) -> ImageRef:
        assert not failing or version == FAILING
        assert not broken or version == BROKEN
        known = self._releases.get(version) or self._releases["3"]
        return known.replace(version=version)

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    def send(self, environment: Environment, requests: int) -> None:
        _predict(self.target.url(environment), requests)

    def probe(self, environment: Environment, colour: Colour, requests: int) -> None:
        _predict(
            self.target.probe_url(environment, colour), requests, as_probe(self.target.probe_token(environment, colour))
        )

    def pose_as_probe(self, environment: Environment, colour: Colour) -> None:
        _predict(self.target.url(environment), 1, as_probe("a guess"))

    def come_by_the_probes_way(self, environment: Environment, colour: Colour) -> None:
        """As any pod may that no NetworkPolicy keeps from it; the Gateway's way for the probe is not known to it."""
        service = self._cluster.api.get(self._place_of(environment).service(f"banana-api-{colour}"))
        assert service is not None
        address = f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"
        for headers in (as_probe(""), as_probe("a guess")):
            _predict(address, 1, headers)

    def edit_weights(self, weights: dict[Colour, int]) -> None:
        if self._way == "endpoints":
            by_hand = "-".join(f"{colour}{weight}" for colour, weight in weights.items())
            selector = {COLOUR_KEY: None, f"{MEMBER_PREFIX}by-hand": by_hand}
            self._cluster.api.patch(self._place.service("banana-api-service"), {"spec": {"selector": selector}})
            return
        self._cluster.edit_route(weights)

    def replicas(self, environment: Environment, colour: Colour) -> set[str]:
        pods = self._cluster.pods(environment, colour)
        return {pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}

    def lying(self, environment: Environment, where: Where) -> str | None:
        if where == "copy":
            copy = self._cluster.api.get(self._place_of(environment).config_map(NAME))
            return str(copy["data"][RECORD]) if copy else None
        carrier = self._cluster.api.get(self._carrier_of(environment))
        assert carrier is not None
        return annotation(carrier, RECORD_KEY) or None

    def lay(self, environment: Environment, where: Where, text: str | None) -> None:
        copy = self._place_of(environment).config_map(NAME)
        if where == "record":
            body = {"metadata": {"annotations": {RECORD_KEY: text}}}
            assert self._cluster.api.patch(self._carrier_of(environment), body)
        elif text is None:
            self._cluster.kubectl("delete", "configmap", NAME, "-n", str(environment))
        else:
            assert self._cluster.api.patch(copy, {"data": {RECORD: text}})

    def lose_the_way(self) -> None:
        kind, _, name = self._carrier_of(PRODUCTION).rpartition("/")
        self._cluster.kubectl("delete", kind.rpartition("/")[2], name, "-n", "production")

    def forget(self) -> None:
        self._cluster.reset()

    def _place_of(self, environment: Environment) -> EnvironmentNamespace:
        return EnvironmentNamespace(environment, str(environment))

    def _carrier_of(self, environment: Environment) -> str:
        place = self._place_of(environment)
        routed = environment is PRODUCTION and self._way == "gateway"
        return place.route(USER_ROUTE) if routed else place.service(place.users_service)


def _predict(url: str, requests: int, headers: dict[str, str] | None = None) -> None:
    with httpx.Client(timeout=20, headers=headers) as client:
        for _ in range(requests):
            client.post(f"{url}/predict", files={"image": ("leaf.jpg", IMAGE, "image/jpeg")})


class TestBehindAGateway(ReleaseTargetContract):
    @pytest.fixture
    def fixture(self, empty: Cluster, releases: dict[str, ImageRef]) -> TargetFixture:
        return ClusterBench(empty, "gateway", releases)


class TestWithoutAGateway(RecordContract, RoutingContract, RestoringContract):
    """What has to do with routing and its carrier, but for what only a router can do."""

    @pytest.fixture
    def fixture(self, empty: Cluster, releases: dict[str, ImageRef]) -> TargetFixture:
        return ClusterBench(empty, "endpoints", releases)

    def test_users_are_split_by_weight_and_counted_where_they_went(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        bring_up(target, claim, GREEN, fixture.image("2"))

        target.set_weights(claim, {BLUE: 75, GREEN: 25})

        observed = target.observed(PRODUCTION)
        assert target.record(PRODUCTION).weights == {BLUE: 75, GREEN: 25} == observed.weights
        assert observed.shares == {BLUE: 50, GREEN: 50}, "one pod each can give no other share, and says so"
        for _ in range(20):
            fixture.send(PRODUCTION, 1)
        eventually(lambda: counters(target, BLUE).requests + counters(target, GREEN).requests == 20)
        assert counters(target, BLUE).requests and counters(target, GREEN).requests

    def test_failures_are_counted_where_they_happened(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        bring_up(target, claim, GREEN, fixture.image("4", failing=True))
        target.set_weights(claim, {BLUE: 50, GREEN: 50})

        for _ in range(20):
            fixture.send(PRODUCTION, 1)

        eventually(lambda: counters(target, BLUE).requests + counters(target, GREEN).requests == 20)
        assert counters(target, GREEN).failures["5xx"] == counters(target, GREEN).requests > 0
        assert counters(target, BLUE).failed == 0
