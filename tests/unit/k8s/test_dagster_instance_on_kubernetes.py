"""The Dagster instance on a cluster agrees with the embedded one, with the code, and with the pods it runs in."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dagster._core.instance import InstanceRef

from banana_delivery.defs.build import build_resources
from banana_delivery.embedded.processes import variable
from banana_delivery.settings import Settings, load_settings
from tests import ROOT
from tests.unit.k8s.dagster_manifests import BASE, INSTANCE, OBJECTS, PODS, SETTINGS, all_pods

LIBRARIES = {"MLFLOW_TRACKING_URI", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}


def test_the_instance_is_the_embedded_one_but_for_where_it_keeps_and_runs_things(tmp_path: Path) -> None:
    embedded = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    elsewhere = {"storage", "local_artifact_storage", "compute_logs", "run_launcher"}
    (tmp_path / "dagster.yaml").write_text((BASE / "dagster.yaml").read_text())

    ref = InstanceRef.from_dir(str(tmp_path))  # Dagster's own check of the whole file.
    assert ref.local_artifact_storage and ref.compute_log_manager and ref.run_coordinator

    assert {key: value for key, value in INSTANCE.items() if key not in elsewhere} == embedded


def test_a_cancelled_run_has_as_long_to_bring_the_traffic_back_as_monitoring_waits_for_it(tmp_path: Path) -> None:
    patience = INSTANCE["run_monitoring"]["cancel_timeout_seconds"]

    assert all_pods(tmp_path)["run"]["terminationGracePeriodSeconds"] == patience


def test_the_workspace_names_the_code_server_and_the_location_as_everywhere() -> None:
    server = yaml.safe_load((BASE / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    embedded = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    service = next(one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == ("Service", server["host"]))
    command = PODS["dagster-code-server"]["containers"][0]["command"]

    assert {f"--{key.replace('_', '-')}={value}" for key, value in embedded.items()} <= set(command)
    assert server["location_name"] == embedded["location_name"]
    assert service["spec"]["ports"][0]["port"] == server["port"]
    assert f"--port={server['port']}" in command


def test_the_settings_are_settings_and_the_code_location_loads_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {variable(name) for name in Settings.model_fields} | LIBRARIES
    given = settings_given()
    assert set(given) <= known
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert build_resources(settings).publisher.dagster_url == "http://127.0.0.1:3000"
    assert settings.dagster_url == "http://dagster-webserver:3000"
    mounts = {mount["mountPath"] for mount in PODS["dagster-code-server"]["containers"][0]["volumeMounts"]}
    assert {str(settings.home), given["DOCKER_CERT_PATH"]} <= mounts


def settings_given() -> dict[str, str]:
    """What ``settings.env`` says, by variable."""
    lines = (SETTINGS / "settings.env").read_text().splitlines()
    return {name: value for name, found, value in (line.partition("=") for line in lines if line[:1] != "#") if found}
