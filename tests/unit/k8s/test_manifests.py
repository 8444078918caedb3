"""What lies in k8s/ of releases, as it lies there: nothing that the pipeline owns, whoever applies it and however."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from banana_delivery.policy.model import Environment
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from tests import ROOT

K8S = ROOT / "k8s"
USERS_SERVICE = EnvironmentNamespace(Environment.PRODUCTION, "production").users_service
OWNED = [
    ("Service", USERS_SERVICE, "selector"),
    ("HTTPRoute", "banana-api", "rules"),
    ("HTTPRoute", "banana-api-probe", "rules"),
    ("HorizontalPodAutoscaler", "banana-api", "minReplicas"),
]


def releases_files() -> Iterator[dict[str, Any]]:
    """Every document that has to do with releases; Dagster's own Deployments are nobody else's."""
    for path in sorted(K8S.rglob("*.yaml")):
        if "dagster" not in path.relative_to(K8S).parts:
            yield from yaml.safe_load_all(path.read_text())


def objects_of(folder: Path) -> Iterator[dict[str, Any]]:
    """What a folder and those below its resources hold, before any patch."""
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        if (folder / name).is_dir():
            yield from objects_of(folder / name)
        else:
            yield from yaml.safe_load_all((folder / name).read_text())


def changed(patch: list[dict[str, Any]] | dict[str, Any]) -> list[str]:
    """What a patch changes: one by operations, or one that looks like the object."""
    if isinstance(patch, list):
        return [str(change["path"]) for change in patch]
    return [f"/{part}/{field}" for part, fields in patch.items() if isinstance(fields, dict) for field in fields]


OBJECTS = [thing for thing in releases_files() if "metadata" in thing]
KUSTOMIZATIONS = [thing for thing in releases_files() if thing.get("kind") in {"Kustomization", "Component"}]


@pytest.mark.parametrize(("kind", "name", "field"), OWNED)
def test_no_manifest_has_a_field_that_the_pipeline_owns(kind: str, name: str, field: str) -> None:
    found = [thing for thing in OBJECTS if (thing["kind"], thing["metadata"]["name"]) == (kind, name)]

    assert len(found) == 1
    assert field not in found[0]["spec"]


def test_no_manifest_is_a_deployment() -> None:
    assert "Deployment" not in {thing["kind"] for thing in OBJECTS}


def test_no_patch_adds_a_field_that_the_pipeline_owns() -> None:
    patches = [patch for thing in KUSTOMIZATIONS for patch in thing.get("patches", [])]
    paths = [path for patch in patches for path in changed(yaml.safe_load(patch["patch"]))]

    owned = {"selector", "rules", "replicas", "minReplicas"}
    assert paths and not [path for path in paths if path.startswith("/spec/") and owned & set(path.split("/"))]


def test_no_labels_of_a_kustomization_reach_the_selector_of_the_users_service() -> None:
    """With `includeSelectors` kustomize writes the labels into every selector, also where there was none."""
    for path in sorted(K8S.rglob("kustomization.yaml")):
        content = yaml.safe_load(path.read_text())
        if any(label.get("includeSelectors") for label in content.get("labels", [])):
            assert content["resources"] == ["../../../base/replicas"]


@pytest.mark.parametrize(
    ("part", "namespace"),
    [
        ("account", "banana-delivery"),
        ("staging", "staging"),
        ("production", "production"),
        ("routing", "production"),
        ("endpoints/routing", "production"),
    ],
)
def test_a_cluster_with_one_environment_can_get_its_part_of_the_rights_alone(part: str, namespace: str) -> None:
    things = list(objects_of(K8S / "base/rbac" / part))

    named = {
        thing["metadata"]["name"] if thing["kind"] == "Namespace" else thing["metadata"]["namespace"]
        for thing in things
    }
    assert named == {namespace}


def test_without_a_gateway_the_rights_differ_in_the_rules_of_routing_alone() -> None:
    component = yaml.safe_load((K8S / "components/endpoints-routing/kustomization.yaml").read_text())
    patch, without = component["patches"]
    (change,) = yaml.safe_load(patch["patch"])
    routing = [thing for thing in objects_of(K8S / "base/rbac/routing") if thing["kind"] == "Role"]

    assert [thing["metadata"]["name"] for thing in routing] == [patch["target"]["name"], without["target"]["name"]]
    assert yaml.safe_load(without["patch"])["$patch"] == "delete"
    assert (change["op"], change["path"]) == ("replace", "/rules")
    assert not [rule for rule in change["value"] if rule["apiGroups"] != [""]]
