"""The receiver of webhooks on a cluster: it can be reached, knows one secret, and can do nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from banana_delivery.settings import Settings
from tests import ROOT
from tests.unit.k8s.dagster_manifests import K8S, NAMESPACE
from tests.unit.k8s.test_dagster_on_kubernetes import VERSIONS

COMPONENT = K8S / "components" / "webhooks" / "dagster"
OBJECTS = [
    thing
    for file in ("receiver.yaml", "network-policy.yaml")
    for thing in yaml.safe_load_all((COMPONENT / file).read_text())
]
BY_NAME: dict[tuple[str, str], dict[str, Any]] = {
    (thing["kind"], thing["metadata"]["name"]): thing for thing in OBJECTS
}
RECEIVER = BY_NAME["Deployment", "banana-delivery-webhooks"]["spec"]["template"]
POD = RECEIVER["spec"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_for_the_versions_in_support(version: str) -> None:
    for thing in OBJECTS:
        kubernetes_validate.validate(thing, version, strict=True)
        assert thing["metadata"]["namespace"] == NAMESPACE


def test_it_has_no_token_no_right_and_one_secret_which_the_documents_say_how_to_make() -> None:
    account = BY_NAME["ServiceAccount", POD["serviceAccountName"]]
    assert (account["automountServiceAccountToken"], POD["automountServiceAccountToken"]) == (False, False)
    bound = [
        subject["name"]
        for file in (K8S / "base").rglob("*.yaml")
        for thing in yaml.safe_load_all(file.read_text())
        if thing and thing.get("kind") in {"RoleBinding", "ClusterRoleBinding"}
        for subject in thing["subjects"]
    ]
    assert bound and account["metadata"]["name"] not in bound
    (secret,) = [volume["secret"] for volume in POD["volumes"] if "secret" in volume]
    (container,) = POD["containers"]
    assert secret == {"secretName": "banana-delivery-webhooks", "defaultMode": 0o440}
    assert "envFrom" not in container
    made = re.findall(r"create secret generic (\S+) -n banana-delivery --from-literal=(\w+)=", triggers())
    assert made == [(secret["secretName"], "secret")]
    assert {"name": "BANANA_WEBHOOK_SECRET_FILE", "value": "/run/webhooks/secret"} in container["env"]


def triggers() -> str:
    return (ROOT / "docs" / "triggers.md").read_text()


def test_it_is_confined_as_every_pod_is() -> None:
    (container,) = POD["containers"]
    assert POD["securityContext"]["runAsNonRoot"] and POD["enableServiceLinks"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert set(container["resources"]) == {"requests", "limits"}


def test_only_the_sensors_come_in_until_somebody_says_where_mlflow_is_and_nothing_goes_out() -> None:
    ours, theirs = (
        BY_NAME["NetworkPolicy", name]["spec"] for name in ("banana-delivery-webhooks", "webhooks-from-mlflow")
    )
    for policy in (ours, theirs):
        assert policy["podSelector"]["matchLabels"].items() <= RECEIVER["metadata"]["labels"].items()
    (rule,) = ours["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "dagster-code-server"}}}]
    assert (ours["policyTypes"], ours["egress"], theirs["ingress"]) == (["Ingress", "Egress"], [], [])


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kustomize comes with kubectl")
def test_with_the_component_the_sensors_listen_to_it(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    overlay = tmp_path / "k8s" / "overlays" / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "resources: [../../environments/dagster]\n"
        "components: [../../components/network-policies/dagster, ../../components/webhooks/dagster]\n"
    )
    done = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=True)
    built = {(thing["kind"], thing["metadata"]["name"]): thing for thing in yaml.safe_load_all(done.stdout)}

    server = built["Deployment", "dagster-code-server"]["spec"]["template"]["spec"]
    container = next(one for one in server["containers"] if one["name"] == "code-server")
    told = {one["name"]: one.get("value") for one in container["env"]}
    service = built["Service", "banana-delivery-webhooks"]
    port = service["spec"]["ports"][0]["port"]
    assert told["BANANA_WEBHOOK_RECEIVER"] == f"http://{service['metadata']['name']}:{port}"
    assert Settings(webhook_receiver=told["BANANA_WEBHOOK_RECEIVER"]).webhook_receiver
    assert "DAGSTER_CURRENT_IMAGE" in told, "what was there is still there"
    assert any(mount["mountPath"] == "/run/webhooks" for mount in container["volumeMounts"])
    assert len(container["volumeMounts"]) > 1
    (way,) = built["NetworkPolicy", "sensors-to-webhooks"]["spec"]["egress"]
    assert way["to"] == [{"podSelector": {"matchLabels": service["spec"]["selector"]}}]
    assert way["ports"] == [{"protocol": "TCP", "port": port}]
