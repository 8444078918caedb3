"""The record, its copy and the object that carries both, when somebody deletes, replaces or puts back any of them."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest
import yaml

from banana_delivery.errors import ClaimRefusedError, LostRecordError, TargetError
from banana_delivery.names import COLOUR_KEY, GENERATION_KEY, RECORD_KEY, REPLICAS_KEY, URL_KEY
from banana_delivery.policy.model import COLOURS, Colour, Environment, ImageRef, RolloutRecord
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.targets.kubernetes import endpoints
from banana_delivery.targets.kubernetes.api import KubernetesApi
from banana_delivery.targets.kubernetes.endpoints import EndpointRouting
from banana_delivery.targets.kubernetes.gateway import PROBE_ROUTE, USER_ROUTE, GatewayRouting, token_in, weights_in
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, digest_in
from banana_delivery.targets.kubernetes.record_copy import CARRIER, NAME, RECORD, manifest_of
from banana_delivery.targets.kubernetes.routing import SoleRouting
from banana_delivery.targets.kubernetes.target import EnvironmentCluster, KubernetesTarget
from tests import ROOT
from tests.cluster.recorder import Right, asked
from tests.contract.release_target_contract import RestoringContract, TargetFixture, Where, bring_up
from tests.support.claims import steal
from tests.support.cluster_objects import ClusterObjects

PRODUCTION, STAGING = Environment.PRODUCTION, Environment.STAGING
BLUE, GREEN = Colour.BLUE, Colour.GREEN
PLACES = {environment: EnvironmentNamespace(environment, str(environment)) for environment in Environment}
PLACE = PLACES[PRODUCTION]
ROUTE = PLACE.route(USER_ROUTE)
HOSTS = ["bananas.example.com"]


class Counted(ClusterObjects):
    """Objects in memory, with what was asked of them.

    Attributes:
        asked: every call, for example ``replace <path>``, in order.
        refused: what may not be asked, by the beginning of such a call.
    """

    def __init__(self, objects: dict[str, Any]) -> None:
        super().__init__(objects)
        self.asked: list[str] = []
        self.refused = ""

    def get(self, path: str, **query: str) -> Any:
        self._ask("get", path)
        return super().get(path, **query)

    def create(self, path: str, body: Any) -> Any:
        self._ask("create", path)
        return super().create(path, body)

    def replace(self, path: str, body: Any) -> Any:
        self._ask("replace", path)
        return super().replace(path, body)

    def patch(self, path: str, body: Any) -> Any:
        self._ask("patch", path)
        return super().patch(path, body)

    def _ask(self, verb: str, path: str) -> None:
        self.asked.append(f"{verb} {path}")
        if self.refused and self.asked[-1].startswith(self.refused):
            raise TargetError(f"Kubernetes refused {verb} {path} (403).")


def manifests(url: str) -> dict[str, Any]:
    """What `kubectl apply -k` makes, as far as the target uses it."""
    objects: dict[str, Any] = {}
    for environment, place in PLACES.items():
        for colour in COLOURS[environment]:
            labels = {**place.labels, COLOUR_KEY: str(colour)}
            objects[place.template(colour)] = {
                "metadata": {"annotations": {REPLICAS_KEY: "1"}},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "api"}]}},
            }
            objects[place.service(place.object_name(colour))] = service(place.object_name(colour), f"{url}/{colour}")
        objects[place.service(place.users_service)] = service(place.users_service, f"{url}/users-{environment}")
    objects[ROUTE] = route(USER_ROUTE, url)
    objects[PLACE.route(PROBE_ROUTE)] = route(PROBE_ROUTE, f"{url}/probe")
    return objects


def route(name: str, url: str) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": name,
            "namespace": "production",
            "uid": "6b1d",
            "labels": {"app.kubernetes.io/name": "banana-api"},
            "annotations": {URL_KEY: url},
        },
        "spec": {"parentRefs": [{"name": "banana"}], "hostnames": HOSTS},
        "status": {"parents": []},
    }


def service(name: str, url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": {URL_KEY: url}},
        "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]},
    }


class World:
    """A cluster in memory whose router and replicas answer over HTTP with what its objects say."""

    def __init__(self) -> None:
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                world.answer(self)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.cluster = Counted(manifests(self.url))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """The name of the change that the route carries, or the digest of the colour in the path."""
        objects = self.cluster.objects
        if request.path.endswith("/weights"):
            request.send_response_only(302)
            request.send_header("Location", f"http://{token_in(objects.get(ROUTE, {'spec': {}}))}.invalid/")
        else:
            request.send_response_only(200)
            parts = request.path.split("/")
            colour = next((colour for colour in (BLUE, GREEN) if colour in parts), Colour.SOLE)
            place = PLACES[STAGING if colour is Colour.SOLE else PRODUCTION]
            request.send_header("X-Image-Digest", digest_in(objects[place.deployment(colour)]))
        request.send_header("Content-Length", "0")
        request.end_headers()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Bench(TargetFixture):
    """The Kubernetes target on a world in memory."""

    stale_after_seconds = 20.0

    def __init__(self, world: World, way: str) -> None:
        self.world = world
        self.way = way
        self._now = 1000.0
        self.target: ReleaseTarget = self.another_target()

    @property
    def carrier(self) -> str:
        return ROUTE if self.way == "gateway" else PLACE.service(PLACE.users_service)

    @property
    def objects(self) -> dict[str, Any]:
        return self.world.cluster.objects

    def another_target(self) -> KubernetesTarget:
        api = cast(KubernetesApi, self.world.cluster)
        way = GatewayRouting(api, PLACE, 10.0, 1) if self.way == "gateway" else EndpointRouting(api, PLACE)
        staging = PLACES[STAGING]
        return KubernetesTarget(
            sites={
                STAGING: EnvironmentCluster(api, staging, SoleRouting(api, staging)),
                PRODUCTION: EnvironmentCluster(api, PLACE, way),
            },
            clock=lambda: self._now,
        )

    def image(self, version: str, *, failing: bool = False, broken: bool = False) -> ImageRef:
        digest = hashlib.sha256(version.encode()).hexdigest()
        return ImageRef(repository="registry/banana", digest=f"sha256:{digest}", version=version, key="k" + version)

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def send(self, environment: Environment, requests: int) -> None:
        raise NotImplementedError

    def probe(self, environment: Environment, colour: Colour, requests: int) -> None:
        raise NotImplementedError

    def pose_as_probe(self, environment: Environment, colour: Colour) -> None:
        raise NotImplementedError

    def come_by_the_probes_way(self, environment: Environment, colour: Colour) -> None:
        raise NotImplementedError

    def edit_weights(self, weights: dict[Colour, int]) -> None:
        raise NotImplementedError

    def replicas(self, environment: Environment, colour: Colour) -> set[str]:
        place = PLACES[environment]
        return {path for path in self.objects if path.startswith(f"{place.pods}/{place.object_name(colour)}")}

    def lying(self, environment: Environment, where: Where) -> str | None:
        if where == "copy":
            found = self.objects.get(PLACES[environment].config_map(NAME))
            return str(found["data"][RECORD]) if found else None
        annotations = self.objects[self._carrier_of(environment)]["metadata"].get("annotations", {})
        return cast("str | None", annotations.get(RECORD_KEY))

    def lay(self, environment: Environment, where: Where, text: str | None) -> None:
        cluster = self.world.cluster
        if where == "record":
            carrier = self._carrier_of(environment)
            ClusterObjects.patch(cluster, carrier, {"metadata": {"annotations": {RECORD_KEY: text}}})
        elif text is None:
            del self.objects[PLACES[environment].config_map(NAME)]
        else:
            ClusterObjects.patch(cluster, PLACES[environment].config_map(NAME), {"data": {RECORD: text}})

    def lose_the_way(self) -> None:
        del self.objects[self.carrier]

    def forget(self) -> None:
        self.objects.clear()
        self.objects.update(manifests(self.world.url))

    def replace_the_way(self) -> None:
        """As `kubectl replace` does with the manifest."""
        manifest = manifests(self.world.url)[self.carrier]
        manifest["spec"]["hostnames"] = ["moved.example.com"]
        ClusterObjects.replace(self.world.cluster, self.carrier, manifest)

    def _carrier_of(self, environment: Environment) -> str:
        staging = PLACES[STAGING]
        return self.carrier if environment is PRODUCTION else staging.service(staging.users_service)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(endpoints, "PROXY_SECONDS", 0.0)
    opened = World()
    yield opened
    opened.close()


class TestBehindAGateway(RestoringContract):
    @pytest.fixture
    def fixture(self, world: World) -> TargetFixture:
        return Bench(world, "gateway")


class TestWithoutAGateway(RestoringContract):
    @pytest.fixture
    def fixture(self, world: World) -> TargetFixture:
        return Bench(world, "endpoints")


@pytest.fixture(params=["gateway", "endpoints"])
def bench(request: pytest.FixtureRequest, world: World) -> Bench:
    """Version 1 on blue has all users, and nobody owns production."""
    bench = Bench(world, request.param)
    claim = bench.target.claim(PRODUCTION, "run-1")
    bring_up(bench.target, claim, BLUE, bench.image("1"))
    bench.target.set_weights(claim, {BLUE: 100, GREEN: 0})
    bench.target.write(claim, bench.target.record(PRODUCTION).replace(active=BLUE))
    bench.target.release(claim)
    return bench


def spec_without_what_is_given(thing: dict[str, Any]) -> Any:
    return manifest_of(thing)["spec"]


def test_a_deleted_route_is_made_again_by_the_next_claim_as_it_was_with_the_weights_of_the_record(bench: Bench) -> None:
    before, record = bench.objects[bench.carrier], bench.target.record(PRODUCTION)
    bench.lose_the_way()
    assert not any(bench.target.observed(PRODUCTION).weights.values()), "what is observed is not made up"

    claim = bench.another_target().claim(PRODUCTION, "run-2")

    made = bench.objects[bench.carrier]
    assert spec_without_what_is_given(made) == spec_without_what_is_given(before)
    assert made["metadata"]["annotations"][URL_KEY] == before["metadata"]["annotations"][URL_KEY]
    assert made["metadata"].get("labels") == before["metadata"].get("labels")
    assert "status" not in made and "uid" not in made["metadata"] and "clusterIP" not in made["spec"]
    assert bench.target.observed(PRODUCTION).weights == record.weights
    assert claim.generation == record.generation + 1


def test_a_deleted_route_comes_back_with_the_next_sign_of_life_of_whoever_owns_production(bench: Bench) -> None:
    claim = bench.target.claim(PRODUCTION, "run-2")
    bench.lose_the_way()

    bench.target.heartbeat(claim)

    assert bench.target.observed(PRODUCTION).weights == {BLUE: 100, GREEN: 0}
    assert bench.target.record(PRODUCTION).owner == "run-2"


def test_a_replaced_route_gets_its_weights_and_its_record_back_and_keeps_what_is_the_platforms(bench: Bench) -> None:
    record = bench.target.record(PRODUCTION)
    bench.replace_the_way()
    assert not any(bench.target.observed(PRODUCTION).weights.values())

    bench.another_target().claim(PRODUCTION, "run-2")

    assert bench.target.observed(PRODUCTION).weights == {BLUE: 100, GREEN: 0}
    assert bench.objects[bench.carrier]["spec"]["hostnames"] == ["moved.example.com"]
    assert bench.target.record(PRODUCTION).deployments == record.deployments


def test_a_route_that_came_back_from_a_backup_gets_the_weights_of_now(bench: Bench) -> None:
    backup = json.loads(json.dumps(bench.objects[bench.carrier]))
    claim = bench.target.claim(PRODUCTION, "run-2")
    bring_up(bench.target, claim, GREEN, bench.image("2"))
    bench.target.set_weights(claim, {BLUE: 0, GREEN: 100})
    bench.target.write(claim, bench.target.record(PRODUCTION).replace(active=GREEN))
    bench.target.release(claim)
    del backup["metadata"]["resourceVersion"]
    ClusterObjects.replace(bench.world.cluster, bench.carrier, backup)

    target = bench.another_target()
    assert target.record(PRODUCTION).active is GREEN
    target.claim(PRODUCTION, "run-3")

    assert target.observed(PRODUCTION).weights == {BLUE: 0, GREEN: 100}


def test_a_route_that_never_existed_is_to_be_applied_first(world: World) -> None:
    bench = Bench(world, "gateway")
    bench.lose_the_way()

    with pytest.raises(TargetError, match="apply the manifests"):
        bench.target.claim(PRODUCTION, "run-1")


def test_a_route_that_is_lost_with_record_and_copy_is_rebuilt_once_its_manifest_is_applied(world: World) -> None:
    bench = Bench(world, "gateway")
    claim = bench.target.claim(PRODUCTION, "run-1")
    bring_up(bench.target, claim, BLUE, bench.image("1"))
    bench.target.set_weights(claim, {BLUE: 100, GREEN: 0})
    bench.lay(PRODUCTION, "copy", None)
    bench.lose_the_way()

    target = bench.another_target()
    rebuilt = target.rebuild(PRODUCTION)
    assert (rebuilt.active, rebuilt.live) == (BLUE, bench.image("1")), "the Service inside the cluster knows"
    with pytest.raises(TargetError, match="apply the manifests"):
        target.restore(rebuilt, "a person")

    bench.replace_the_way()
    taken = target.restore(rebuilt, "a person")
    target.set_weights(taken, rebuilt.weights)
    assert target.observed(PRODUCTION).weights == {BLUE: 100, GREEN: 0}


def test_a_write_costs_one_request_more_than_without_a_copy(bench: Bench) -> None:
    claim = bench.target.claim(PRODUCTION, "run-2")
    bench.world.cluster.asked.clear()

    for _ in range(3):
        bench.advance(1)
        bench.target.heartbeat(claim)

    copy = f"patch {PLACE.config_map(NAME)}"
    assert bench.world.cluster.asked == [f"get {bench.carrier}", f"replace {bench.carrier}", copy] * 3
    bench.world.cluster.asked.clear()
    bench.target.record(PRODUCTION)
    assert bench.world.cluster.asked == [f"get {bench.carrier}"]


def test_the_copy_bears_no_label_by_which_manifests_are_pruned(bench: Bench) -> None:
    copy = bench.objects[PLACE.config_map(NAME)]

    assert copy["metadata"].get("labels", {}).keys() == {"app.kubernetes.io/managed-by"}
    assert "annotations" not in copy["metadata"]
    assert RECORD_KEY not in copy["data"][CARRIER]


@pytest.mark.parametrize("verb", ["patch", "create"])
def test_rights_to_the_copy_that_are_missing_hold_nobody_up_and_are_said_once(
    verb: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The pipeline is newer than the manifests."""
    bench = Bench(world, "gateway")
    world.cluster.refused = f"{verb} {PLACE.config_maps}"

    with caplog.at_level(logging.WARNING, "banana_delivery"):
        claim = bench.target.claim(PRODUCTION, "run-1")
        for _ in range(3):
            bench.advance(1)
            bench.target.heartbeat(claim)

    assert [entry.message.count("(403)") for entry in caplog.records] == [1]
    damage = bench.target.damage(PRODUCTION)
    assert damage and not damage.restored
    world.cluster.refused = ""
    bench.advance(1)
    bench.target.heartbeat(claim)
    assert bench.target.damage(PRODUCTION) is None


def test_a_record_that_is_missing_while_the_copy_may_not_be_read_is_no_first_day(bench: Bench) -> None:
    bench.lay(PRODUCTION, "record", None)
    bench.world.cluster.refused = f"get {PLACE.config_maps}"

    with pytest.raises(LostRecordError, match=r"cannot be read .*403"):
        bench.another_target().record(PRODUCTION)


def test_a_writer_that_comes_late_with_its_copy_leaves_the_newer_one(bench: Bench) -> None:
    late, other = bench.another_target(), bench.another_target()
    claim = late.claim(PRODUCTION, "run-2")
    stalled: list[Claim] = []
    patch = ClusterObjects.patch

    def stall(path: str, body: Any) -> Any:
        """Between a process' write of the record and that of its copy, another one takes over."""
        if not stalled and path == PLACE.config_map(NAME):
            stalled.append(claim)
            stalled.append(steal(other, PRODUCTION, "a person"))
        return patch(bench.world.cluster, path, body)

    bench.world.cluster.patch = stall  # type: ignore[method-assign]
    bench.advance(1)
    late.heartbeat(claim)

    copied = RolloutRecord.read(
        {k: v for k, v in json.loads(bench.lying(PRODUCTION, "copy") or "").items() if k != "revision"}
    )
    assert (copied.owner, copied.generation) == ("a person", stalled[1].generation)
    assert bench.target.damage(PRODUCTION) is None


def test_a_stamp_that_is_newer_than_both_locks_nobody_out_once_the_record_is_rebuilt(bench: Bench) -> None:
    path = PLACE.deployment(BLUE)
    ClusterObjects.patch(bench.world.cluster, path, {"metadata": {"annotations": {GENERATION_KEY: "31"}}})
    target = bench.another_target()
    with pytest.raises(LostRecordError):
        target.claim(PRODUCTION, "run-2")

    claim = target.restore(target.rebuild(PRODUCTION), "a person")

    assert claim.generation == 32
    with pytest.raises(ClaimRefusedError):
        target.claim(PRODUCTION, "run-3")
    target.release(claim)
    assert target.claim(PRODUCTION, "run-3").generation == 33


def test_a_release_that_is_not_pinned_is_not_taken_into_a_rebuilt_record(bench: Bench) -> None:
    containers = [{"name": "api", "image": "registry/banana:latest"}]
    bench.objects[PLACE.deployment(BLUE)]["spec"]["template"]["spec"]["containers"] = containers

    with pytest.raises(TargetError, match="cannot be told from what runs"):
        bench.target.rebuild(PRODUCTION)


def test_weights_in_a_route_are_those_of_its_copy(bench: Bench) -> None:
    copied = json.loads(bench.objects[PLACE.config_map(NAME)]["data"][CARRIER])

    read = weights_in(copied) if bench.way == "gateway" else endpoints.weights_in(copied["spec"]["selector"])
    assert read == bench.target.record(PRODUCTION).weights


VERBS = {"get": "GET", "create": "POST", "replace": "PUT", "patch": "PATCH"}
ROLES = {
    "gateway": ["staging/role.yaml", "production/role.yaml", "routing/role.yaml"],
    "endpoints": ["staging/role.yaml", "production/role.yaml"],
}


def grants(way: str) -> list[Any]:
    """The namespace and rules of the pipeline's Roles, as the manifests give them."""
    folder = ROOT / "k8s" / "base" / "rbac"
    things = [thing for name in ROLES[way] for thing in yaml.safe_load_all((folder / name).read_text())]
    found = [(thing["metadata"]["namespace"], thing["rules"]) for thing in things if thing["kind"] == "Role"]
    if way == "endpoints":
        component = yaml.safe_load((ROOT / "k8s/components/endpoints-routing/kustomization.yaml").read_text())
        found.append(("production", yaml.safe_load(component["patches"][0]["patch"])[0]["value"]))
    return found


def is_granted(right: Right, rules: list[Any]) -> bool:
    return any(
        right.namespace == namespace
        and right.group in rule["apiGroups"]
        and right.resource in rule["resources"]
        and right.verb in rule["verbs"]
        and ("resourceNames" not in rule or right.name in rule["resourceNames"])
        for namespace, of_it in rules
        for rule in of_it
    )


@pytest.mark.parametrize("way", ["gateway", "endpoints"])
def test_the_manifests_grant_what_copying_and_making_again_ask_for(way: str, world: World) -> None:
    bench = Bench(world, way)
    for environment, colour in ((STAGING, Colour.SOLE), (PRODUCTION, BLUE)):
        claim = bench.target.claim(environment, "run-1")
        bench.target.deploy(claim, colour, bench.image("1"), 1)
        bench.target.release(claim)
    bench.lose_the_way()
    del bench.objects[PLACES[STAGING].service(PLACES[STAGING].users_service)]
    for environment in Environment:
        bench.another_target().claim(environment, "run-2")
        bench.target.damage(environment)

    rights = {asked(VERBS[call.split()[0]], call.split()[1]) for call in world.cluster.asked}
    assert {right.verb for right in rights if right.resource == "configmaps"} == {"get", "patch", "create"}
    assert {right.verb for right in rights if right.resource in {"httproutes", "services"}} == {
        "get",
        "update",
        "create",
    }
    assert [right for right in rights if not is_granted(right, grants(way))] == []
