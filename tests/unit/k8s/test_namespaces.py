"""Staging and production under other names, by one more kustomization; and what they may take at most."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from banana_delivery.settings import Settings
from tests.unit.k8s.dagster_manifests import K8S
from tests.unit.k8s.test_network import example, needs_kustomize, rendered
from tests.unit.k8s.test_readme_of_manifests import quantity

NAMED = ("overlays/named", "overlays/named/dagster")
NAMES = yaml.safe_load((K8S / NAMED[0] / "names" / "names.yaml").read_text())["data"]


def named() -> list[dict[str, Any]]:
    return [thing for folder in NAMED for thing in rendered(folder)]


def renamed(text: str) -> str:
    """The example as it would be with the other names, whatever else is called staging or production in it."""
    for old, new in NAMES.items():
        for before in (f'"namespace": "{old}"', f'"values": ["{old}"]', f".{old}.svc"):
            text = text.replace(before, before.replace(old, new))
    return text.replace(
        '"values": ["staging", "production"]', f'"values": ["{NAMES["staging"]}", "{NAMES["production"]}"]'
    )


@needs_kustomize
def test_only_the_namespaces_change_and_each_of_them_does() -> None:
    folders = ("overlays/example", "overlays/example/dagster")
    before = [json.dumps(thing, default=str) for folder in folders for thing in rendered(folder)]
    wanted = [json.loads(renamed(text)) for text in before]
    for thing in wanted:
        if thing["kind"] == "Namespace":
            thing["metadata"]["name"] = NAMES.get(thing["metadata"]["name"], thing["metadata"]["name"])
        if thing["metadata"]["name"] == "banana-delivery-settings":
            for environment, name in NAMES.items():
                thing["data"][f"BANANA_KUBERNETES_{environment.upper()}_NAMESPACE"] = name

    def by_name(things: list[dict[str, Any]]) -> dict[tuple[str, str, str], Any]:
        return {
            (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): json.loads(
                json.dumps(one, default=str)
            )
            for one in things
        }

    found = by_name(named())
    quotas = {key for key in found if key[0] == "ResourceQuota"}
    assert {space for _, space, _ in quotas} == set(NAMES.values())
    assert {key: thing for key, thing in found.items() if key not in quotas} == by_name(wanted)


@needs_kustomize
def test_the_rights_are_where_the_replicas_are_and_the_settings_say_the_same() -> None:
    of = {
        kind: {
            one["metadata"]["namespace"]
            for one in named()
            if one["kind"] == kind
            and not one["metadata"]["name"].startswith(("banana-delivery-export", "banana-delivery-publisher"))
        }
        for kind in ("Role", "PodTemplate")
    }
    assert of["PodTemplate"] == set(NAMES.values())
    assert of["Role"] >= of["PodTemplate"]
    (settings,) = [one["data"] for one in named() if one["metadata"]["name"] == "banana-delivery-settings"]
    said = {name: settings[f"BANANA_KUBERNETES_{name.upper()}_NAMESPACE"] for name in NAMES}
    assert said == NAMES
    assert {f"kubernetes_{name}_namespace" for name in NAMES} <= set(Settings.model_fields)


@needs_kustomize
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_quota_lets_every_colour_grow_to_its_ceiling_during_an_update(environment: str) -> None:
    documents = yaml.safe_load_all((K8S / "components/quota/quota.yaml").read_text())
    (hard,) = [one["spec"]["hard"] for one in documents if one["metadata"]["namespace"] == environment]
    here = [one for one in example("PodTemplate") if one["metadata"]["namespace"] == environment]
    ceilings = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]["maxReplicas"]
        for one in example("HorizontalPodAutoscaler")
        if one["metadata"]["namespace"] == environment
    }
    pods = {one["metadata"]["name"]: ceilings[one["metadata"]["name"]] + 1 for one in here}
    assert int(hard["pods"]) == sum(pods.values())
    for kind in ("requests", "limits"):
        for what in ("cpu", "memory"):
            each = {
                one["metadata"]["name"]: quantity(
                    str(one["template"]["spec"]["containers"][0]["resources"][kind][what])
                )
                for one in here
            }
            assert quantity(hard[f"{kind}.{what}"]) == sum(pods[name] * each[name] for name in pods)
