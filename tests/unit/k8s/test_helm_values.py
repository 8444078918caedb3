"""The values for the official chart: what dagster-k8s makes of them, and what the pipeline does."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml
from dagster import Shape
from dagster._config import process_config
from dagster_k8s.job import DagsterK8sJobConfig

from banana_delivery.embedded.processes import variable
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.settings import Settings, load_settings
from tests.unit.k8s import helm_schema
from tests.unit.k8s.dagster_manifests import K8S, PODS, named

VALUES = yaml.safe_load((K8S / "dagster/helm-values.yaml").read_text())
(DEPLOYMENT,) = VALUES["dagster-user-deployments"]["deployments"]
GIVEN = {one["name"]: one["value"] for one in DEPLOYMENT["env"]}


def container_context() -> dict[str, Any]:
    """What the chart gives to the pods of runs, by the names that dagster-k8s has."""
    return {
        "image_pull_policy": DEPLOYMENT["image"]["pullPolicy"],
        "env": DEPLOYMENT["env"],
        "env_secrets": [one["name"] for one in DEPLOYMENT["envSecrets"]],
        "volumes": DEPLOYMENT["volumes"],
        "volume_mounts": DEPLOYMENT["volumeMounts"],
        "resources": DEPLOYMENT["resources"],
        "security_context": DEPLOYMENT["securityContext"],
        "service_account_name": DEPLOYMENT["serviceAccount"]["name"],
        "server_k8s_config": {"pod_spec_config": {"security_context": DEPLOYMENT["podSecurityContext"]}},
    }


def test_dagsters_own_configuration_of_pods_takes_them() -> None:
    context = DagsterK8sJobConfig.config_type_container_context()  # type: ignore[no-untyped-call]
    processed = process_config(Shape(context), container_context())  # type: ignore[no-untyped-call]
    assert processed.success, processed.errors


def test_a_value_of_a_wrong_shape_would_not_be_taken() -> None:
    context = DagsterK8sJobConfig.config_type_container_context()  # type: ignore[no-untyped-call]
    wrong = {**container_context(), "volumes": [{"nonsense": 1}]}
    assert not process_config(Shape(context), wrong).success  # type: ignore[no-untyped-call]


def test_the_charts_schema_takes_them() -> None:
    jsonschema_rs.validate(helm_schema.DEPLOYMENT, DEPLOYMENT)
    # The schema says no more of the other key than that it is an object.
    assert set(VALUES) == {"dagster-user-deployments", "dagsterDaemon"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"port": "4000"}, 'is not of type "integer"'),
        ({"includeConfigInLaunchedRuns": True}, 'is not of type "object"'),
        ({"image": {"repository": "banana-delivery", "pullPolicy": "Sometimes"}}, "is not one of"),
        ({"serviceAccountName": "banana-delivery"}, "were unexpected|was unexpected"),
        ({"env": [1]}, "is not valid under any"),
    ],
)
def test_the_charts_schema_would_not_take_a_mistake(change: dict[str, Any], says: str) -> None:
    with pytest.raises(jsonschema_rs.ValidationError, match=says):
        jsonschema_rs.validate(helm_schema.DEPLOYMENT, {**DEPLOYMENT, **change})


def test_kubernetes_takes_the_pod_that_the_chart_makes_of_them() -> None:
    container = {
        "name": DEPLOYMENT["name"],
        "image": f"{DEPLOYMENT['image']['repository']}:{DEPLOYMENT['image']['tag']}",
        "env": DEPLOYMENT["env"],
        "envFrom": [{"secretRef": one} for one in DEPLOYMENT["envSecrets"]],
        "volumeMounts": DEPLOYMENT["volumeMounts"],
        "resources": DEPLOYMENT["resources"],
        "securityContext": DEPLOYMENT["securityContext"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": DEPLOYMENT["name"]},
        "spec": {
            "containers": [container],
            "volumes": DEPLOYMENT["volumes"],
            "securityContext": DEPLOYMENT["podSecurityContext"],
        },
    }
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_the_settings_are_settings_and_name_the_location_that_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(GIVEN) <= {variable(name) for name in Settings.model_fields} | {"MLFLOW_TRACKING_URI"}
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    location = CodeLocation.of(settings)
    assert f"--location-name={location.name}" in DEPLOYMENT["dagsterApiGrpcArgs"]
    assert location.prefix
    assert not settings.dagster_sensors_start
    assert settings.pages_url and "3000" not in settings.pages_url


def test_the_code_server_is_the_one_of_our_own_dagster() -> None:
    containers = PODS["dagster-code-server"]["containers"]
    (ours,) = [one for one in containers if one["name"] == "code-server"]  # beside it the dead man watches
    assert set(DEPLOYMENT["dagsterApiGrpcArgs"]) <= set(ours["command"])
    assert DEPLOYMENT["port"] == ours["ports"][0]["containerPort"]
    assert DEPLOYMENT["securityContext"] == ours["securityContext"]
    assert DEPLOYMENT["serviceAccount"]["name"] in named("ServiceAccount")
    mounted = {mount["mountPath"] for mount in DEPLOYMENT["volumeMounts"]}
    assert GIVEN["BANANA_HOME"] in mounted
    assert {mount["name"] for mount in DEPLOYMENT["volumeMounts"]} == {one["name"] for one in DEPLOYMENT["volumes"]}
