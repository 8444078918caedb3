"""The manifests are valid today, apply to an older cluster, and never undo what the pipeline has done."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest

from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from tests.cluster.cluster import PRODUCTION, ROOT, VERSIONS, Cluster, Production, Routed, is_going

BLUE, GREEN = Colour.BLUE, Colour.GREEN
TODAY = [
    "environments/staging",
    "environments/production",
    "base/gateway",
    "base/rbac",
    "base/rbac/endpoints",
    "overlays/dev",
    "overlays/dev/without-gateway",
    "overlays/demo",
    "overlays/example",
    "overlays/example/dagster",
]
OLDER = ["overlays/dev/older-api", "overlays/dev/older-api-without-gateway"]
PIPELINES = {
    "Deployment": ("metadata", "spec"),
    "HTTPRoute": ("metadata", "spec"),
    "Service": ("metadata", "spec"),
    "HorizontalPodAutoscaler": ("spec",),
}


@pytest.mark.parametrize("folder", TODAY)
def test_every_object_is_valid_for_the_versions_in_support(cluster: Cluster, folder: str) -> None:
    for thing in cluster.rendered(folder):
        if "gateway.networking" not in thing["apiVersion"]:  # The server that runs the Gateway API checks those.
            for version in VERSIONS:
                kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("folder", OLDER)
def test_an_older_server_accepts_what_is_made_for_it(cluster: Cluster, folder: str) -> None:
    if not cluster.is_older:
        pytest.skip("these manifests are for Kubernetes 1.20 to 1.22")
    cluster.kubectl("apply", "--dry-run=server", "-k", str(ROOT / "k8s" / folder))


def test_the_names_in_the_manifests_are_the_names_in_the_code(cluster: Cluster) -> None:
    found = {
        (thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"])
        for thing in cluster.rendered("overlays/dev")
    }

    for environment, colours in ((PRODUCTION, (BLUE, GREEN)), (Environment.STAGING, (Colour.SOLE,))):
        place = EnvironmentNamespace(environment, str(environment))
        wanted = {("Service", place.name, place.users_service)}
        for colour in colours:
            kinds = ("PodTemplate", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget")
            wanted |= {(kind, place.name, place.object_name(colour)) for kind in kinds}
        assert wanted <= found


@pytest.mark.long
def test_applying_at_any_moment_changes_nothing_that_the_pipeline_owns(
    routed: Routed, releases: dict[str, ImageRef]
) -> None:
    """At rest on green, and again in the middle of the next shift; as people do, and as controllers do.

    Today's servers take a selector for one value, 1.20 takes it key by key: what a selector in the manifest would harm
    does not show there, so tests/unit/k8s/test_manifests.py sees to it that there is none.
    """
    cluster = routed.cluster
    production = Production(routed.target)
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"])
    production.weigh(GREEN, 100)
    production.promote(GREEN)
    for share in (0, 40):
        if share:
            production.deploy(BLUE, releases["3"])
            production.weigh(BLUE, share)
        before, record, pods = _owned(cluster), routed.target.record(PRODUCTION), _names(cluster)

        for options in ((), ("--server-side", "--force-conflicts")):
            cluster.apply(cluster.manifests, *options)

            assert _owned(cluster) == before
            assert routed.target.record(PRODUCTION) == record
            assert _names(cluster) == pods


def _owned(cluster: Cluster) -> dict[str, Any]:
    """Everything that the pipeline writes, without what the API server adds to any write."""
    noise = {"managedFields", "resourceVersion", "generation"}
    owned = {}
    for kind, parts in PIPELINES.items():
        for thing in cluster.get(kind, "-n", "production")["items"]:
            content = {part: {k: v for k, v in thing[part].items() if k not in noise} for part in parts}
            annotations = content.get("metadata", {}).get("annotations", {})
            noisy = ("kubectl.kubernetes.io/", "autoscaling.alpha.", "deployment.kubernetes.io/")
            for key in [key for key in annotations if key.startswith(noisy)]:
                del annotations[key]
            owned[f"{kind}/{thing['metadata']['name']}"] = json.loads(json.dumps(content))
    return owned


def _names(cluster: Cluster) -> set[str]:
    """The pods that stay; some may be on their way out."""
    return {pod["metadata"]["name"] for pod in cluster.pods("production") if not is_going(pod)}


def test_the_pipeline_runs_by_digest_in_each_of_its_pods(cluster: Cluster) -> None:
    pods = [
        one["spec"]["template"]["spec"]
        for one in cluster.rendered("overlays/example/dagster")
        if one["kind"] == "Deployment"
    ]
    images = {container["image"] for pod in pods for container in [*pod.get("initContainers", []), *pod["containers"]]}
    (told,) = [
        entry["value"]
        for pod in pods
        for one in pod["containers"]
        for entry in one.get("env", [])
        if entry["name"] == "DAGSTER_CURRENT_IMAGE"
    ]

    assert images == {told}
    assert "@sha256:" in told
