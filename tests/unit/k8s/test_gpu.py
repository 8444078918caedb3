"""What the component for GPUs makes of the Deployments of a release, and what any of them keeps of its PodTemplate."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from banana_delivery.policy.model import Colour, Deployment, Environment, ImageRef
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, deployment_of
from tests.unit.k8s.dagster_manifests import K8S
from tests.unit.k8s.test_network import needs_kustomize, rendered
from tests.unit.k8s.test_readme_of_manifests import README

WHERE = {
    "banana-api-blue": (Environment.PRODUCTION, Colour.BLUE),
    "banana-api-green": (Environment.PRODUCTION, Colour.GREEN),
    "banana-api-staging": (Environment.STAGING, Colour.SOLE),
}
RELEASE = Deployment(
    image=ImageRef(repository="registry.test/banana", digest="sha256:" + "1" * 64, version="7", key="key"), replicas=3
)


@cache
def pods(*components: str) -> dict[str, dict[str, Any]]:
    """The pod's spec of each Deployment that a release would make, by the names of the PodTemplates."""
    with tempfile.TemporaryDirectory() as name:
        overlay = Path(shutil.copytree(K8S, Path(name) / "k8s")) / "overlays" / "mine"
        overlay.mkdir()
        taken = ", ".join(f"../../components/{one}" for one in components)
        (overlay / "kustomization.yaml").write_text(
            f"resources: [../../environments/staging, ../../environments/production]\ncomponents: [{taken}]\n"
        )
        templates = [one for one in rendered(str(overlay)) if one["kind"] == "PodTemplate"]
    return {
        one["metadata"]["name"]: deployment_of(
            EnvironmentNamespace(WHERE[one["metadata"]["name"]][0], "any"),
            WHERE[one["metadata"]["name"]][1],
            one,
            RELEASE,
            token="",
            fault="",
        )["spec"]["template"]["spec"]
        for one in templates
    }


def without_gpu(pod: dict[str, Any]) -> dict[str, Any]:
    """What is left of a pod once all that the component says is taken away."""
    [container] = pod["containers"]
    limits = {key: value for key, value in container["resources"]["limits"].items() if "gpu" not in key}
    resources = container["resources"] | {"limits": limits}
    startup = container["startupProbe"] | {"failureThreshold": 90}
    rest = {key: value for key, value in pod.items() if key not in {"nodeSelector", "tolerations"}}
    return rest | {"containers": [container | {"resources": resources, "startupProbe": startup}]}


@needs_kustomize
@pytest.mark.parametrize("components", [("gpu",), ("gpu", "small"), ("small", "gpu"), ("priority", "gpu", "quota")])
def test_every_deployment_of_a_release_gets_a_gpu_whatever_else_an_overlay_takes(components: tuple[str, ...]) -> None:
    found, plain = pods(*components), pods(*(one for one in components if one != "gpu"))

    assert found.keys() == WHERE.keys()
    for name, pod in found.items():
        assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert without_gpu(pod) == plain[name]


@needs_kustomize
def test_a_release_pulls_with_the_secret_of_a_private_registry_and_runs_on_any_processor() -> None:
    for pod in pods().values():
        assert pod["imagePullSecrets"] == [{"name": "registry-pull"}]
        assert "nodeSelector" not in pod
        assert "affinity" not in pod


def test_the_sizes_say_that_a_replica_takes_a_gpu() -> None:
    assert "With `components/gpu` each replica takes a GPU as well." in README
