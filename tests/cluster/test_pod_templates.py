"""What the platform decides about every replica, as the manifests of staging and production say it."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from banana_delivery.policy.model import Colour, Deployment, Environment, ImageRef
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, container_of, deployment_of, metrics_ports
from tests.cluster.cluster import PRODUCTION, VERSIONS, Cluster

STAGING = Environment.STAGING
RESOURCES = {
    STAGING: {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
    PRODUCTION: {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}},
}
OF_THE_POD = {
    "serviceAccountName": "banana-api",
    "automountServiceAccountToken": False,
    "imagePullSecrets": [{"name": "registry-pull"}],
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
OF_THE_CONTAINER = {
    "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
}
PROBES = {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
SCRAPED = {"prometheus.io/scrape": "true", "prometheus.io/port": "9000", "prometheus.io/path": "/metrics"}
DATABASE = {"secretKeyRef": {"name": "database-secret", "key": "url", "optional": True}}
every_set = pytest.mark.parametrize(
    ("environment", "colour"), [(STAGING, Colour.SOLE), (PRODUCTION, Colour.BLUE), (PRODUCTION, Colour.GREEN)]
)


def objects(cluster: Cluster, environment: Environment, kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind in an environment's manifests, by name."""
    found = (thing for thing in cluster.rendered(f"environments/{environment}") if thing["kind"] == kind)
    return {thing["metadata"]["name"]: thing for thing in found}


def template_of(cluster: Cluster, environment: Environment, colour: Colour) -> dict[str, Any]:
    return objects(cluster, environment, "PodTemplate")[
        EnvironmentNamespace(environment, environment).object_name(colour)
    ]


@every_set
def test_a_replica_has_its_limits_its_rights_its_probes_and_its_secrets(
    cluster: Cluster, environment: Environment, colour: Colour
) -> None:
    pod = template_of(cluster, environment, colour)["template"]["spec"]
    container = container_of(pod)

    assert container["resources"] == RESOURCES[environment]
    assert {key: pod[key] for key in OF_THE_POD} == OF_THE_POD
    assert {key: container[key] for key in OF_THE_CONTAINER} == OF_THE_CONTAINER
    assert {probe: container[probe]["httpGet"]["path"] for probe in PROBES} == PROBES
    assert {"name": "DATABASE_URL", "valueFrom": DATABASE} in container["env"]


@every_set
def test_a_replica_says_where_its_metrics_are_and_is_reached_there(
    cluster: Cluster, environment: Environment, colour: Colour
) -> None:
    pod = template_of(cluster, environment, colour)["template"]
    (policy,) = objects(cluster, environment, "NetworkPolicy").values()

    assert pod["metadata"]["annotations"] == SCRAPED
    ports = {port["name"]: port["containerPort"] for port in container_of(pod["spec"])["ports"]}
    assert ports == {"http": 8000, "internal": 9000}
    assert metrics_ports(pod) == [9000, 8000]
    (opened,) = policy["spec"]["ingress"]
    assert opened == {"ports": [{"protocol": "TCP", "port": port} for port in ports.values()]}, "from every namespace"
    services = objects(cluster, environment, "Service").values()
    assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} == {"http"}


@every_set
def test_everything_that_chooses_pods_chooses_these(cluster: Cluster, environment: Environment, colour: Colour) -> None:
    """Spread, budget and Service choose the colour's own replicas, the NetworkPolicy all of them."""
    place = EnvironmentNamespace(environment, environment)
    pod = template_of(cluster, environment, colour)["template"]
    spread = {
        one["topologyKey"]: one["labelSelector"]["matchLabels"] for one in pod["spec"]["topologySpreadConstraints"]
    }
    budget = objects(cluster, environment, "PodDisruptionBudget")[place.object_name(colour)]["spec"]
    service = objects(cluster, environment, "Service")[place.object_name(colour)]["spec"]
    (policy,) = objects(cluster, environment, "NetworkPolicy").values()

    ours = {**place.labels, "banana-delivery/colour": str(colour)}
    assert ours.items() <= pod["metadata"]["labels"].items()
    assert spread == {"kubernetes.io/hostname": ours, "topology.kubernetes.io/zone": ours}
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": ours}}
    assert service["selector"] == ours
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= ours.items()


@every_set
@pytest.mark.parametrize("version", VERSIONS)
def test_the_deployment_that_the_pipeline_makes_is_valid_for_the_versions_in_support(
    cluster: Cluster, environment: Environment, colour: Colour, version: str
) -> None:
    image = ImageRef(repository="registry.example.com/banana", digest=f"sha256:{'a' * 64}", version="7", key="k")
    place, template = EnvironmentNamespace(environment, environment), template_of(cluster, environment, colour)

    made = deployment_of(place, colour, template, Deployment(image=image, replicas=3), token="t", fault="error")

    kubernetes_validate.validate(made, version, strict=True)
    assert made["spec"]["selector"]["matchLabels"].items() <= made["spec"]["template"]["metadata"]["labels"].items()
