"""Where a stranger's checkpoint is read on a cluster: nothing to steal, nobody to tell, and room for it."""

from __future__ import annotations

import re
from typing import Any

import yaml

from banana_delivery.export.apart.job import EXPORT
from banana_delivery.targets.kubernetes.jobs.templates import VOLUME
from tests.unit.k8s.dagster_manifests import INSTANCE, K8S, OBJECTS, SETTINGS
from tests.unit.k8s.test_readme_of_manifests import quantity

TEMPLATE = next(thing for thing in OBJECTS if thing["kind"] == "PodTemplate")
POD: dict[str, Any] = TEMPLATE["template"]["spec"]
LABELS = TEMPLATE["template"]["metadata"]["labels"]


def test_it_has_an_account_that_may_nothing_and_no_token_secret_or_setting() -> None:
    (only,) = POD["containers"]
    bound = [subject["name"] for thing in OBJECTS if thing["kind"] == "RoleBinding" for subject in thing["subjects"]]

    assert (only["name"], POD["automountServiceAccountToken"], POD["enableServiceLinks"]) == (
        EXPORT.container,
        False,
        False,
    )
    assert POD["serviceAccountName"] not in {"default", *bound}
    assert not {"env", "envFrom"} & set(only)
    assert {name for volume in POD["volumes"] for name in volume} == {"name", "emptyDir", "persistentVolumeClaim"}
    # Of the home it sees what the delivery adds to its mounts.
    assert [mount["name"] for mount in only["volumeMounts"]] == ["scratch"]
    assert VOLUME in {volume["name"] for volume in POD["volumes"]}


def test_it_is_restricted_like_every_other_pod() -> None:
    assert POD["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert POD["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["priorityClassName"] == "banana-delivery-run"


def test_nobody_comes_in_and_nothing_goes_out_not_even_a_name() -> None:
    inside = yaml.safe_load_all((K8S / "components/network-policies/dagster/inside.yaml").read_text())
    neighbours = yaml.safe_load_all((K8S / "components/network-policies/dagster/neighbours.yaml").read_text())
    policies = [thing for thing in [*OBJECTS, *inside, *neighbours] if thing["kind"] == "NetworkPolicy"]
    chosen = [thing for thing in policies if _chooses(thing["spec"]["podSelector"])]

    assert {"banana-delivery-export", "nobody-else"} == {thing["metadata"]["name"] for thing in chosen}
    for policy in chosen:
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert not {"ingress", "egress"} & set(policy["spec"])


def test_the_memory_of_an_export_is_held_by_it_and_not_by_the_watch() -> None:
    run = INSTANCE["run_launcher"]["config"]["resources"]
    export = POD["containers"][0]["resources"]

    assert quantity(run["requests"]["memory"]) <= quantity("1Gi") < quantity(export["requests"]["memory"])
    assert quantity(run["limits"]["memory"]) < quantity(export["limits"]["memory"])
    assert f"BANANA_EXPORT_TEMPLATE={TEMPLATE['metadata']['name']}\n" in (SETTINGS / "settings.env").read_text()


def _chooses(selector: dict[str, Any]) -> bool:
    wanted = selector.get("matchLabels", {})
    rules = selector.get("matchExpressions", [])
    labels = {**LABELS, "app.kubernetes.io/component": "dagster", "app.kubernetes.io/part-of": "banana-delivery"}
    matched = all((labels.get(rule["key"]) in rule["values"]) is (rule["operator"] == "In") for rule in rules)
    return matched and all(labels.get(key) == value for key, value in wanted.items())


def test_no_component_for_replicas_changes_where_models_are_exported() -> None:
    patches = [
        patch["target"]
        for file in (K8S / "components").rglob("kustomization.yaml")
        for patch in yaml.safe_load(file.read_text()).get("patches", [])
        if patch.get("target", {}).get("kind") == "PodTemplate"
    ]

    assert len(patches) > 3
    assert not [one for one in patches if re.fullmatch(one.get("name", ".*"), TEMPLATE["metadata"]["name"])]
