"""All that is applied, and all that a delivery asks of the API, by the schemas of Kubernetes 1.30 to 1.36."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from banana_delivery.names import URL_KEY
from banana_delivery.policy.model import Colour, Environment, Phase
from banana_delivery.targets.kubernetes.gateway import PROBE_ROUTE, USER_ROUTE
from banana_delivery.waiting import gateway_duration
from tests import ROOT
from tests.cluster.recorder import PATH
from tests.contract.release_target_contract import wait_until_ready
from tests.support.api_schemas import GATEWAY, SUPPORTED, knows, problems
from tests.support.cluster_objects import ClusterObjects
from tests.unit.k8s.dagster_manifests import K8S
from tests.unit.k8s.test_network import needs_kustomize, rendered
from tests.unit.targets.kubernetes.test_record_copy import Bench, World

TRANSCRIPT = ROOT / "tests" / "fixtures" / "api_calls.txt"
OLD = "older-api"
"""Overlays and components for servers of before: what they hold is not for those of today."""
FOLDERS = sorted(
    str(file.parent.relative_to(K8S))
    for file in K8S.rglob("kustomization.yaml")
    if yaml.safe_load(file.read_text()).get("kind") == "Kustomization"
    and file.relative_to(K8S).parts[0] in {"overlays", "environments", "base"}
    and not any(OLD in part for part in file.relative_to(K8S).parts)
)
COMPONENTS = sorted(
    str(file.parent.relative_to(K8S))
    for file in (K8S / "components").rglob("kustomization.yaml")
    if not any(OLD in part for part in file.relative_to(K8S).parts)
)


ADDED = {"components/webhooks/dagster": "environments/dagster", "components/gpu": "environments/production"}
"""Components that no folder takes, and to what people add them."""


def with_component(component: str, to: str) -> list[dict[str, Any]]:
    """A folder with a component, as an overlay beside ours would take them."""
    with tempfile.TemporaryDirectory() as name:
        overlay = Path(shutil.copytree(K8S, Path(name) / "k8s")) / "overlays" / "mine"
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(f"resources: [../../{to}]\ncomponents: [../../{component}]\n")
        return rendered(str(overlay))


def named_in(folder: str) -> Iterator[str]:
    """What a folder's kustomization takes, and what that takes, as folders of k8s/."""
    told = yaml.safe_load((K8S / folder / "kustomization.yaml").read_text())
    for name in [*told.get("resources", []), *told.get("components", [])]:
        path = (K8S / folder / name).resolve()
        if path.is_dir():
            found = str(path.relative_to(K8S))
            yield found
            yield from named_in(found)


@cache
def everything() -> list[dict[str, Any]]:
    """Each object of any rendering, once."""
    things = [thing for folder in FOLDERS for thing in rendered(folder)]
    things += [thing for component, to in ADDED.items() for thing in with_component(component, to)]
    return [json.loads(text) for text in {json.dumps(thing, sort_keys=True, default=str) for thing in things}]


@needs_kustomize
@pytest.mark.parametrize("version", SUPPORTED)
def test_every_rendering_is_what_a_server_of_that_version_takes(version: str) -> None:
    assert {thing["kind"] for thing in everything()} >= {
        "HTTPRoute",
        "Gateway",
        "Deployment",
        "RoleBinding",
        "PodTemplate",
    }
    assert [problem for thing in everything() for problem in problems(thing, version)] == []


def test_no_component_is_left_out_of_every_rendering() -> None:
    taken = {name for folder in FOLDERS for name in named_in(folder)} | set(ADDED)
    assert set(COMPONENTS) - taken == set()


POD = {"containers": [{"name": "api", "image": "i"}]}


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {**POD, "replicas": 1}}, "replicas"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": "none"}}, "none"),
        ({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}}, "has no"),
        ({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "HTTPRoute", "metadata": {"name": "a"}}, "has no"),
    ],
)
def test_the_schemas_refuse_what_no_server_takes(thing: dict[str, Any], says: str) -> None:
    for version in SUPPORTED:
        assert says in " ".join(problems(thing, version))


def route(**rule: Any) -> dict[str, Any]:
    return {
        "apiVersion": GATEWAY,
        "kind": "HTTPRoute",
        "metadata": {"name": "a"},
        "spec": {"parentRefs": [{"name": "g"}], "rules": [rule]},
    }


BACKEND = {"name": "banana-api-blue", "port": 80, "weight": 90}
REDIRECT = {"type": "RequestRedirect", "requestRedirect": {"hostname": "a.invalid", "statusCode": 302}}


@pytest.mark.parametrize(
    "rule",
    [
        {"timeouts": {"request": "1.5s"}},
        {"timeouts": {"request": 10}},
        {"backendRefs": [{**BACKEND, "weight": -1}]},
        {"backendRefs": [{**BACKEND, "weight": 0.5}]},
        {"backendRefs": [BACKEND] * 17},
        {"backendRefs": [BACKEND], "filters": [REDIRECT]},
        {"filters": [{**REDIRECT, "type": "URLRewrite"}]},
        {"retry": {"attempts": 1}},
        {"matches": [{"path": {"type": "Prefix", "value": "/"}}]},
    ],
    ids=str,
)
def test_the_gateway_api_refuses_what_is_none_of_its_standard_channel(rule: dict[str, Any]) -> None:
    assert problems(route(**rule), "1.33")
    assert problems(route(backendRefs=[BACKEND]), "1.33") == []


@pytest.mark.parametrize("seconds", [0.001, 0.5, 1.5, 10.0, 90.0, 3600.0, 86_400.0, 100_000.0])
def test_a_timeout_is_written_as_the_gateway_api_reads_it(seconds: float) -> None:
    assert problems(route(timeouts={"request": gateway_duration(seconds)}), "1.33") == []


class Recorded(ClusterObjects):
    """Objects in memory, with each call and what it left behind.

    Attributes:
        calls: the verb, the path, and the object as it is afterwards; None for a reading.
    """

    def __init__(self, objects: dict[str, Any]) -> None:
        super().__init__(objects)
        self.calls: list[tuple[str, str, dict[str, Any] | None]] = []

    def get(self, path: str, **query: str) -> Any:
        found = super().get(path, **query)
        collection = path.rpartition("/")[2] in {"pods"}
        self.calls.append(("list" if collection else "get", path, None))
        return found

    def create(self, path: str, body: Any) -> Any:
        return self._kept("create", path, super().create(path, body))

    def replace(self, path: str, body: Any) -> Any:
        return self._kept("update", path, super().replace(path, body))

    def patch(self, path: str, body: Any) -> Any:
        return self._kept("patch", path, super().patch(path, body))

    def _kept(self, verb: str, path: str, left: Any) -> Any:
        self.calls.append((verb, path, copy.deepcopy(left)))
        return left


COLLECTIONS = {
    "PodTemplate": "/api/v1/namespaces/{}/podtemplates",
    "Service": "/api/v1/namespaces/{}/services",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v1/namespaces/{}/horizontalpodautoscalers",
}
OF_AUTOSCALERS = ("scaleTargetRef", "minReplicas", "maxReplicas")
"""What of one is the same in autoscaling/v1, in which the pipeline reads and writes them."""


def applied(url: str) -> dict[str, Any]:
    """What the example overlay makes of staging and production, all of it answering at one address."""
    objects: dict[str, Any] = {}
    for thing in copy.deepcopy(rendered("overlays/example")):
        space, name, kind = thing["metadata"].get("namespace"), thing["metadata"]["name"], thing["kind"]
        if kind not in COLLECTIONS or space not in {"staging", "production"}:
            continue
        if kind == "HorizontalPodAutoscaler":
            spec = {part: thing["spec"][part] for part in OF_AUTOSCALERS if part in thing["spec"]}
            thing.update(apiVersion="autoscaling/v1", spec=spec)
        if kind in {"HTTPRoute", "Service"}:
            own = {USER_ROUTE: "", PROBE_ROUTE: "/probe"}.get(name, f"/{name.rpartition('-')[2]}")
            thing["metadata"].setdefault("annotations", {})[URL_KEY] = url + own
        objects[f"{COLLECTIONS[kind].format(space)}/{name}"] = thing
    return objects


@pytest.fixture(scope="module")
def calls() -> Iterator[list[tuple[str, str, dict[str, Any] | None]]]:
    """All that two releases and the way back ask of the API."""
    world = World()
    recorded = Recorded(applied(world.url))
    world.cluster = cast(Any, recorded)
    bench = Bench(world, "gateway")
    target = bench.target
    try:
        for number, colour in ((1, Colour.BLUE), (2, Colour.GREEN)):
            claim = target.claim(Environment.PRODUCTION, f"run-{number}", seen=target.record(Environment.PRODUCTION))
            image = bench.image(str(number))
            target.deploy(claim, colour, image, 1)
            wait_until_ready(target, Environment.PRODUCTION, colour)
            shares = (100,) if number == 1 else (10, 0, 20, 100)
            for weight in shares:
                other = {} if number == 1 else {colour.other: 100 - weight}
                target.set_weights(claim, {colour: weight, **other})
                target.heartbeat(claim)
            record = target.record(Environment.PRODUCTION)
            target.write(claim, record.replace(active=colour, phase=Phase.IDLE, candidate=None))
            if number == 2:
                target.set_weights(claim, {Colour.BLUE: 100, Colour.GREEN: 0})
                target.scale(claim, Colour.GREEN, 0)
            target.observed(Environment.PRODUCTION)
            target.release(claim)
        yield recorded.calls
    finally:
        world.close()


def line(verb: str, path: str) -> str:
    """A call without the names of things: verb, version of the API, resource."""
    found = PATH.match(path)
    assert found, path
    version = path.removeprefix("/apis/").removeprefix("/api/").partition("/namespaces/")[0]
    return f"{verb} {version} {found['resource']}"


@needs_kustomize
def test_a_delivery_asks_what_the_transcript_says(calls: list[tuple[str, str, Any]]) -> None:
    asked = sorted({line(verb, path) for verb, path, _ in calls})
    assert asked == TRANSCRIPT.read_text().splitlines()


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_resource_of_the_transcript_is_in_that_version(version: str) -> None:
    lines = [one.split() for one in TRANSCRIPT.read_text().splitlines()]
    assert len(lines) > 8
    assert [one for one in lines if not knows(version, one[1], one[2])] == []
    assert not knows(version, "autoscaling/v2beta2", "horizontalpodautoscalers")


@needs_kustomize
@pytest.mark.parametrize("version", SUPPORTED)
def test_whatever_a_delivery_writes_is_what_a_server_of_that_version_takes(
    calls: list[tuple[str, str, dict[str, Any] | None]], version: str
) -> None:
    written = [left for _, _, left in calls if left]
    assert {thing["kind"] for thing in written} >= {"Deployment", "HTTPRoute", "ConfigMap"}
    unique = {json.dumps(thing, sort_keys=True) for thing in written}
    assert [problem for text in unique for problem in problems(json.loads(text), version)] == []
