"""Who may come in and go out in the three namespaces, what may run there, and how users come in."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from banana_delivery.names import DOMAIN
from banana_delivery.policy.model import COLOURS, Environment, ImageRef
from banana_delivery.targets.kubernetes.gateway import PROBE_ROUTE, USER_ROUTE
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, container_of, metrics_ports
from banana_delivery.targets.kubernetes.record_copy import NAME as COPY_NAME
from tests.unit.k8s.dagster_manifests import INSTANCE, K8S, MIGRATE
from tests.unit.k8s.test_dagster_on_kubernetes import VERSIONS

NAMESPACES = ("staging", "production", "banana-delivery")
NAME = "app.kubernetes.io/name"
ROUTER = {"gateway.networking.k8s.io/gateway-name": "banana"}
needs_kustomize = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the overlays")


@cache
def rendered(folder: str) -> list[dict[str, Any]]:
    """The objects of a folder of k8s/, as they would be applied."""
    command = ["kubectl", "kustomize", str(K8S / folder)]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def example(kind: str) -> list[dict[str, Any]]:
    """The objects of one kind in the example overlay, Dagster's among them."""
    return [one for folder in ("", "/dagster") for one in rendered(f"overlays/example{folder}") if one["kind"] == kind]


@dataclass(frozen=True)
class Peer:
    """A pod, or an address outside the cluster."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    address: str = ""
    namespace_labels: dict[str, str] = field(default_factory=dict)

    @property
    def of_namespace(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace, **self.namespace_labels}


def may(source: Peer, target: Peer, port: int) -> bool:
    """Whether a connection is let out of one pod and into the other, as the rules of NetworkPolicies are defined."""
    return _open(source, target, port, "Egress") and _open(target, source, port, "Ingress")


def _open(pod: Peer, other: Peer, port: int, way: str) -> bool:
    if not pod.namespace:
        return True
    policies = [
        one["spec"]
        for one in example("NetworkPolicy")
        if one["metadata"]["namespace"] == pod.namespace
        and way in one["spec"]["policyTypes"]
        and _chosen(one["spec"]["podSelector"], pod.labels)
    ]
    key, end = way.lower(), {"Ingress": "from", "Egress": "to"}[way]
    rules = [rule for spec in policies for rule in spec.get(key) or []]
    return not policies or any(
        port in {one["port"] for one in rule["ports"]} and any(_is(one, other, pod.namespace) for one in rule[end])
        for rule in rules
    )


def _is(named: dict[str, Any], other: Peer, here: str) -> bool:
    if "ipBlock" in named:
        return bool(other.address) and ipaddress.ip_address(other.address) in ipaddress.ip_network(
            named["ipBlock"]["cidr"]
        )
    if other.address:
        return False
    in_namespace = (
        _chosen(named["namespaceSelector"], other.of_namespace)
        if "namespaceSelector" in named
        else other.namespace == here
    )
    return in_namespace and _chosen(named.get("podSelector", {}), other.labels)


def _chosen(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    tests = {
        "In": lambda one: labels.get(one["key"]) in one["values"],
        "NotIn": lambda one: labels.get(one["key"]) not in one["values"],
        "DoesNotExist": lambda one: one["key"] not in labels,
    }
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        tests[one["operator"]](one) for one in selector.get("matchExpressions", [])
    )


def replica(namespace: str) -> Peer:
    templates = [one for one in example("PodTemplate") if one["metadata"]["namespace"] == namespace]
    return Peer(namespace, templates[0]["template"]["metadata"]["labels"])


def dagster(name: str) -> Peer:
    (found,) = [one for one in example("Deployment") if one["metadata"]["name"] == name]
    return Peer("banana-delivery", found["spec"]["template"]["metadata"]["labels"])


def run() -> Peer:
    return Peer("banana-delivery", INSTANCE["run_launcher"]["config"]["labels"])


STRANGERS = [
    Peer("default"),
    Peer("production"),
    Peer("staging", {NAME: "miner"}),
    Peer("banana-delivery", {NAME: "x"}),
]
INTERNET = Peer(address="203.0.113.9")


@needs_kustomize
def test_replicas_are_reached_by_those_who_are_named_and_by_nobody_else() -> None:
    for namespace in ("staging", "production"):
        target = replica(namespace)
        named = [
            run(),
            dagster("dagster-code-server"),
            Peer("shop", namespace_labels={"banana-delivery/client": "true"}),
        ]
        others = [
            Peer("monitoring"),
            dagster("dagster-webserver"),
            dagster("dagster-daemon"),
            replica("staging"),
            INTERNET,
            *STRANGERS,
        ]

        assert all(may(source, target, 8000) for source in named)
        assert not [source for source in others if may(source, target, 8000)]
        assert not [source for source in named if may(source, target, 22)]
    assert may(Peer("production", ROUTER), replica("production"), 8000)
    assert not may(Peer("production", ROUTER), replica("staging"), 8000)
    assert not may(replica("production"), replica("production"), 8000)


@needs_kustomize
def test_what_replicas_say_of_themselves_is_read_by_those_who_watch_and_by_no_user() -> None:
    watching, api_server = Peer("monitoring"), Peer(address="192.0.2.3")
    client = Peer("shop", namespace_labels={"banana-delivery/client": "true"})
    others = [run(), dagster("dagster-code-server"), client, INTERNET, *STRANGERS]

    for namespace in ("staging", "production"):
        assert may(watching, replica(namespace), 9000)
        assert not [one for one in others if may(one, replica(namespace), 9000)]
        assert not may(Peer("production", ROUTER), replica(namespace), 9000)
        assert not may(replica("production"), replica(namespace), 9000)
    # By the API server the pipeline reads production; releases from before there was an internal port on that of users.
    assert may(api_server, replica("production"), 9000) and may(api_server, replica("production"), 8000)
    assert not [port for port in (8000, 9000) if may(api_server, replica("staging"), port)]


@needs_kustomize
def test_no_service_leads_to_the_internal_port_and_the_pipeline_finds_it_by_its_name() -> None:
    replicas = [one for one in example("PodTemplate") if one["metadata"]["namespace"] in {"staging", "production"}]
    assert len(replicas) == 3
    for template in replicas:
        container = container_of(template["template"]["spec"])
        told = {one["name"]: one.get("value") for one in container["env"]}
        internal, users = metrics_ports(template["template"])

        assert (told["INTERNAL_PORT"], told["PORT"]) == (str(internal), str(users))
        assert template["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(internal)
        probes = [container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")]
        assert probes == ["http"] * 3, "of an image from before there was an internal port, too"
    targets = {port["targetPort"] for one in example("Service") for port in one["spec"]["ports"]}
    assert targets == {"http", "grpc"}


@needs_kustomize
def test_replicas_ask_for_names_and_log_predictions_and_call_nobody_else() -> None:
    for namespace in ("staging", "production"):
        source = replica(namespace)

        assert may(source, Peer("kube-system"), 53)
        assert may(source, Peer(address="198.51.100.5"), 5432)
        assert not may(source, INTERNET, 53), "names can carry what nobody is to have"
        assert not [port for port in (80, 443, 5432) if may(source, INTERNET, port)]
        assert not [peer for peer in (run(), dagster("dagster-webserver")) if may(source, peer, 3000)]


@needs_kustomize
def test_whatever_else_is_started_in_the_three_namespaces_talks_to_nobody() -> None:
    for stranger in STRANGERS[1:]:
        for target, port in ((INTERNET, 443), (Peer("default"), 80), (Peer(address="192.0.2.3"), 22)):
            assert not may(stranger, target, port), stranger
    assert not [one for one in STRANGERS if may(one, dagster("dagster-webserver"), 3000)]


@needs_kustomize
def test_the_pages_reach_no_release_and_the_deliveries_reach_what_they_need() -> None:
    pages, server, daemon = (dagster(f"dagster-{name}") for name in ("webserver", "code-server", "daemon"))

    assert may(pages, server, 4000) and may(daemon, server, 4000) and may(server, pages, 3000)
    assert not may(pages, Peer("mlflow"), 5000) and not may(pages, INTERNET, 443)
    for delivering in (run(), server):
        assert may(delivering, replica("production"), 8000) and may(delivering, Peer("mlflow"), 5000)
        assert may(delivering, Peer("production", ROUTER), 80)
        assert not may(delivering, INTERNET, 443)
    for one in (pages, server, daemon, run()):
        assert may(one, Peer("kube-system"), 53) and may(one, Peer(address="198.51.100.5"), 5432)
        assert may(one, Peer(address="192.0.2.3"), 6443)


@needs_kustomize
def test_what_brings_the_database_forward_reaches_that_and_nothing_else() -> None:
    (job,) = [one for one in example("Job") if one["metadata"]["name"] == MIGRATE]
    migrating = Peer("banana-delivery", job["spec"]["template"]["metadata"]["labels"])
    others = [(INTERNET, 443), (Peer(address="192.0.2.3"), 6443), (dagster("dagster-code-server"), 4000)]

    assert may(migrating, Peer("kube-system"), 53) and may(migrating, Peer(address="198.51.100.5"), 5432)
    assert not [peer for peer, port in others if may(migrating, peer, port)]
    assert not [one for one in (run(), dagster("dagster-webserver"), *STRANGERS) if may(one, migrating, 8000)]


@needs_kustomize
def test_what_writes_into_the_registry_reaches_that_and_no_release() -> None:
    (template,) = [one for one in example("PodTemplate") if one["metadata"]["name"] == "banana-delivery-publisher"]
    publisher = Peer("banana-delivery", template["template"]["metadata"]["labels"])
    registry, database, api_server = (Peer(address=one) for one in ("198.51.100.9", "198.51.100.5", "192.0.2.3"))
    others = [
        (INTERNET, 443),
        (database, 5432),
        (api_server, 6443),
        (Peer("mlflow"), 5000),
        (replica("production"), 8000),
    ]

    assert may(publisher, registry, 443) and may(publisher, Peer("kube-system"), 53)
    assert not [peer for peer, port in others if may(publisher, peer, port)]
    assert not [one for one in (run(), dagster("dagster-webserver"), *STRANGERS) if may(one, publisher, 8000)]


@needs_kustomize
def test_no_rule_of_the_example_is_for_everybody() -> None:
    policies = example("NetworkPolicy")
    rules = [
        (one["metadata"]["name"], rule["ports"], rule[end])
        for one in policies
        for way, end in (("ingress", "from"), ("egress", "to"))
        for rule in one["spec"].get(way) or []
    ]

    assert {one["metadata"]["namespace"] for one in policies} == set(NAMESPACES)
    assert len(rules) > 15
    for name, ports, peers in rules:
        assert ports and peers and {} not in peers, name
        assert not [one for one in peers if one.get("namespaceSelector") == {}], name
        assert not [one for one in peers if one.get("ipBlock", {}).get("cidr", "").endswith("/0")], name


@pytest.mark.parametrize("version", VERSIONS)
def test_every_policy_is_valid_for_the_versions_in_support(version: str) -> None:
    files = [*(K8S / "components").glob("network-policies/*/*.yaml"), *(K8S / "components/only-our-images").iterdir()]
    things = [thing for file in files for thing in yaml.safe_load_all(file.read_text()) if "metadata" in thing]

    assert {thing["kind"] for thing in things} >= {"NetworkPolicy", "ValidatingAdmissionPolicy", "ConfigMap"}
    for thing in things:
        kubernetes_validate.validate(thing, version, strict=True)


def admission() -> dict[tuple[str, str], dict[str, Any]]:
    text = (K8S / "components/only-our-images/policies.yaml").read_text()
    return {(one["kind"], one["metadata"]["name"]): one["spec"] for one in yaml.safe_load_all(text)}


def expression(name: str, variable: str) -> str:
    (found,) = [
        one["expression"]
        for one in admission()["ValidatingAdmissionPolicy", name]["variables"]
        if one["name"] == variable
    ]
    return str(found)


def test_what_may_run_is_a_digest_of_the_repository_as_the_pipeline_writes_it() -> None:
    image = ImageRef(repository="registry.example.com/banana", digest=f"sha256:{'a' * 64}", version="7", key="k")
    rule = expression("banana-delivery-images", "strangers")
    ((between, length, pattern),) = re.findall(
        r"startsWith\(repository \+ '(.+?)'\) && .*?repository\.size\(\) \+ (\d+)\)\.matches\('(.+?)'\)", rule
    )

    assert image.pinned.startswith(image.repository + between) and len(between) == int(length)
    assert re.search(pattern, image.pinned[len(image.repository) + int(length) :])
    assert not re.search(pattern, "a" * 63) and not re.search(pattern, "a" * 64 + ":7")


def test_what_ran_before_the_fence_may_stay_with_every_kind_of_container_that_is_looked_at() -> None:
    """A mesh's init container would else keep its pod from being labelled, and its ReplicaSet from being scaled."""
    policy = "banana-delivery-images"
    looked_at, before = expression(policy, "containers"), expression(policy, "before")

    assert looked_at.count("variables.pod") == 5
    assert before == f"({looked_at.replace('variables.pod', 'variables.old')}) .map(container, container.image)"
    assert expression(policy, "old").startswith("oldObject == null ? dyn({'containers': []})")


def test_the_pipeline_may_create_what_its_code_calls_so_and_nothing_else() -> None:
    names = expression("banana-delivery-names", "names")
    told = {kind: set(re.findall(r"'([^']+)'", listed)) for kind, listed in re.findall(r"'(\w+)': \[(.*?)\]", names)}
    places = [EnvironmentNamespace(environment, str(environment)) for environment in Environment]

    assert told == {
        "deployments": {place.object_name(colour) for place in places for colour in COLOURS[place.environment]},
        "services": {place.users_service for place in places},
        "configmaps": {COPY_NAME},
        "httproutes": {USER_ROUTE, PROBE_ROUTE},
    }


def test_the_fence_stands_around_both_environments_and_fails_closed() -> None:
    policies = admission()
    for name in ("banana-delivery-images", "banana-delivery-names"):
        assert policies["ValidatingAdmissionPolicy", name]["failurePolicy"] == "Fail"
        binding = policies["ValidatingAdmissionPolicyBinding", name]
        assert (binding["policyName"], binding["validationActions"]) == (name, ["Deny"])
        (chosen,) = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert chosen == {
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": [str(environment) for environment in Environment],
        }
    parameters = policies["ValidatingAdmissionPolicyBinding", "banana-delivery-images"]["paramRef"]
    assert parameters == {"name": f"{DOMAIN}-images", "namespace": DOMAIN, "parameterNotFoundAction": "Deny"}
    kinds = {
        kind
        for rule in policies["ValidatingAdmissionPolicy", "banana-delivery-images"]["matchConstraints"]["resourceRules"]
        for kind in rule["resources"]
        if set(rule["operations"]) == {"CREATE", "UPDATE"}
    }
    assert {"pods", "pods/ephemeralcontainers", "deployments"} <= kinds


@needs_kustomize
def test_the_example_lets_run_what_its_pipeline_pushes() -> None:
    images, settings = (
        next(one["data"] for one in example("ConfigMap") if one["metadata"]["name"] == name)
        for name in ("banana-delivery-images", "banana-delivery-settings")
    )

    assert images["repositories"].split() == [settings["BANANA_REGISTRY_REPOSITORY"]]


@needs_kustomize
def test_users_of_the_example_come_by_tls_alone() -> None:
    (gateway,) = [one for one in example("Gateway") if one["metadata"]["name"] == "banana"]
    (route,) = [one for one in example("HTTPRoute") if one["metadata"]["name"] == USER_ROUTE]
    (listener,) = gateway["spec"]["listeners"]
    (hostname,) = route["spec"]["hostnames"]

    assert (listener["protocol"], listener["tls"]["mode"], listener["hostname"]) == ("HTTPS", "Terminate", hostname)
    assert listener["tls"]["certificateRefs"] == [{"kind": "Secret", "name": "banana-tls"}]
    assert route["metadata"]["annotations"]["banana-delivery/url"] == f"https://{hostname}"
