"""The manifests of Dagster on a cluster: valid, restricted, and of one piece with k8s/base/rbac."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from banana_delivery.runs.schema.waiting import PATIENCE_SECONDS
from tests import ROOT
from tests.unit.k8s import test_readme_of_manifests as sizes
from tests.unit.k8s.dagster_manifests import (
    BASE,
    CLUSTER_WIDE,
    INSTANCE,
    K8S,
    NAMESPACE,
    OBJECTS,
    PODS,
    SETTINGS,
    all_pods,
    containers,
    job_of_a_run,
    launcher,
    named,
    referred_to,
)

POOL = "banana_delivery.runs.instance"
MAY_NOTHING = {"banana-delivery-export", "banana-delivery-publisher", "dagster-migrate"}
VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())


@pytest.fixture
def every_pod(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The pods of the Deployments and of a run, as they are to be created."""
    return all_pods(tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_for_the_versions_in_support(version: str, tmp_path: Path) -> None:
    for thing in [*OBJECTS, job_of_a_run(launcher(tmp_path))]:
        kubernetes_validate.validate(thing, version, strict=True)


def test_everything_lives_where_the_pipeline_does() -> None:
    files = (K8S / "base/rbac").glob("*/role.yaml")
    roles = [thing for path in files for thing in yaml.safe_load_all(path.read_text())]
    bindings = [thing for thing in [*OBJECTS, *roles] if thing["kind"] == "RoleBinding"]
    subjects = [subject for thing in bindings for subject in thing["subjects"]]
    launched = INSTANCE["run_launcher"]["config"]["job_namespace"]

    local = [thing for thing in OBJECTS if thing["kind"] not in CLUSTER_WIDE]
    assert {thing["metadata"]["namespace"] for thing in local} == {NAMESPACE} == {launched}
    assert NAMESPACE in named("Namespace")
    assert {(one["namespace"], one["name"]) for one in subjects} == {
        (NAMESPACE, name) for name in named("ServiceAccount") - MAY_NOTHING
    }


def test_every_pod_finds_what_it_names_and_the_documents_say_how_to_make_the_secrets(
    every_pod: dict[str, dict[str, Any]],
) -> None:
    kustomizations = [yaml.safe_load((folder / "kustomization.yaml").read_text()) for folder in (BASE, SETTINGS)]
    page = (ROOT / "docs/kubernetes.md").read_text()
    made = {
        "ConfigMap": {generated["name"] for one in kustomizations for generated in one["configMapGenerator"]},
        "Secret": set(re.findall(r"create secret [a-z-]+ ([a-z-]+) -n banana-delivery", page)),
        "PersistentVolumeClaim": named("PersistentVolumeClaim"),
        "ServiceAccount": named("ServiceAccount"),
        "PriorityClass": named("PriorityClass"),
    }

    for name, pod in every_pod.items():
        missing = [(kind, what) for kind, what in referred_to(pod) if what not in made[kind]]
        assert not missing, name
    assert all(one["generatorOptions"]["disableNameSuffixHash"] for one in kustomizations), "dagster.yaml names them"


def test_every_pod_is_restricted_and_limited_and_takes_no_service_for_a_setting(
    every_pod: dict[str, dict[str, Any]],
) -> None:
    for pod in every_pod.values():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]) == {"requests", "limits"}


def test_secrets_reach_only_what_delivers(every_pod: dict[str, dict[str, Any]]) -> None:
    holders = {name for name, pod in every_pod.items() if ("Secret", "banana-delivery-secrets") in referred_to(pod)}
    accounts = {name: pod["serviceAccountName"] for name, pod in every_pod.items()}

    assert holders == {"dagster-code-server", "run"}
    # Each kind of pod is somebody else; test_rights_of_dagster.py says which two of them may release.
    assert accounts == {name: "banana-delivery" if name == "run" else name for name in every_pod}


TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def test_a_token_is_where_the_api_server_is_asked_and_in_no_container_beside_it(
    every_pod: dict[str, dict[str, Any]],
) -> None:
    whole = {name for name, pod in every_pod.items() if pod.get("automountServiceAccountToken")}
    told = {
        (name, container["name"])
        for name, pod in every_pod.items()
        for container in containers(pod)
        if TOKEN in {mount["mountPath"] for mount in container["volumeMounts"]}
    }
    accounts = [thing for thing in OBJECTS if thing["kind"] == "ServiceAccount"]

    assert {thing["automountServiceAccountToken"] for thing in accounts} == {False}
    assert told == {
        ("dagster-code-server", "code-server"),
        ("dagster-daemon", "daemon"),
        ("dagster-webserver", "webserver"),
    }
    assert whole == {"run"}
    assert len(containers(every_pod["run"])) == 1
    for name, _ in told:
        (volume,) = [one for one in every_pod[name]["volumes"] if one["name"] == "api-access"]
        paths = [
            path
            for source in volume["projected"]["sources"]
            for kind in source.values()
            for path in ([kind["path"]] if "path" in kind else [item["path"] for item in kind["items"]])
        ]
        assert paths == ["token", "ca.crt", "namespace"]


def test_whoever_watches_the_sensors_knows_whom_to_tell_and_no_other_secret(
    every_pod: dict[str, dict[str, Any]],
) -> None:
    (watching,) = [one for one in every_pod["dagster-code-server"]["containers"] if one["name"] == "dead-man"]
    (told,) = watching["env"]

    assert [next(iter(source)) for source in watching["envFrom"]] == ["configMapRef"]
    assert told["valueFrom"]["secretKeyRef"]["key"] == told["name"] == "BANANA_NOTIFY_URLS"
    # Ticks and what was told already lie in the home.
    assert {mount["name"] for mount in watching["volumeMounts"]} == {"home", "scratch"}


def test_the_keys_that_sign_records_reach_only_what_delivers(every_pod: dict[str, dict[str, Any]]) -> None:
    def has_keys(pod: dict[str, Any]) -> bool:
        return any(v.get("secret", {}).get("secretName") == "banana-delivery-evidence" for v in pod["volumes"])

    holders = {name for name, pod in every_pod.items() if has_keys(pod)}
    homes = {
        name
        for name, pod in every_pod.items()
        if {"name": "home", "mountPath": "/var/lib/banana-delivery"} in pod["containers"][0]["volumeMounts"]
    }
    told = (SETTINGS / "settings.env").read_text()

    assert holders == {"dagster-code-server", "run"} == homes
    assert "BANANA_EVIDENCE_KEY_FILE=/run/evidence/keys" in told
    for name in holders:
        mounts = [mount for container in containers(every_pod[name]) for mount in container["volumeMounts"]]
        assert {"name": "evidence", "mountPath": "/run/evidence", "readOnly": True} in mounts
        (keys,) = [volume for volume in every_pod[name]["volumes"] if volume["name"] == "evidence"]
        # Read by the group of the pod's user, and by nobody else.
        assert keys["secret"]["defaultMode"] == 0o440


def test_runs_and_the_code_server_share_everything_that_a_delivery_reads_again(
    every_pod: dict[str, dict[str, Any]],
) -> None:
    """The same volumes in the same places; only the scratch space and the token are each one's own."""

    def shared(pod: dict[str, Any]) -> list[dict[str, Any]]:
        return [volume for volume in pod["volumes"] if not {"emptyDir", "projected"} & set(volume)]

    def mounts(pod: dict[str, Any]) -> list[dict[str, Any]]:
        return [mount for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] != TOKEN]

    run, server = every_pod["run"], every_pod["dagster-code-server"]
    assert shared(run) == shared(server)
    assert mounts(run) == mounts(server)


def test_the_pages_see_what_they_show_and_nothing_else_of_the_volume(every_pod: dict[str, dict[str, Any]]) -> None:
    logs = INSTANCE["compute_logs"]["config"]["folder"]
    home = next(
        mount["mountPath"] for mount in containers(every_pod["run"])[0]["volumeMounts"] if mount["name"] == "home"
    )
    webserver = every_pod["dagster-webserver"]
    seen = [mount for mount in webserver["containers"][0]["volumeMounts"] if mount["name"] == "home"]
    (first,) = [one for one in webserver["initContainers"] if one["name"] == "folders"]

    for mount in seen:
        assert mount == {**mount, "mountPath": f"{home}/{mount['subPath']}", "readOnly": True}
    # Where retention looks, and the embedded stack's Dagster writes.
    assert logs == f"{home}/dagster/storage"
    shown = ["dagster/storage", "reports", "ticks", "sightings"]
    assert [mount["subPath"] for mount in seen] == shown
    assert first["command"][2:] == [f"{first['volumeMounts'][0]['mountPath']}/{folder}" for folder in shown]
    assert not {"env", "envFrom"} & set(first)


def test_the_page_of_deliveries_signs_with_a_key_of_its_own_and_knows_none_of_records_and_no_login(
    every_pod: dict[str, dict[str, Any]],
) -> None:
    """By whoever believes it, and by whoever sends links to it."""
    needs = {"name": "page", "mountPath": "/run/page", "readOnly": True}
    holders = {name for name, pod in every_pod.items() if needs in pod["containers"][0]["volumeMounts"]}
    webserver = every_pod["dagster-webserver"]
    (program,) = [one for one in webserver["containers"] if "banana_delivery.delivery.page" in one["command"]]

    assert holders == {"dagster-webserver", "dagster-code-server", "run"}
    for name in holders:
        (keys,) = [volume for volume in every_pod[name]["volumes"] if volume["name"] == "page"]
        assert keys["secret"] == {"secretName": "banana-delivery-page", "defaultMode": 0o440, "optional": True}
    assert "BANANA_PAGES_KEY_FILE=/run/page/keys" in (SETTINGS / "settings.env").read_text()
    assert {source["secretRef"]["name"] for source in program["envFrom"] if "secretRef" in source} == {
        "dagster-postgres",
        "dagster-pages",
    }
    assert "env" not in program


def opens_the_database(command: list[str]) -> bool:
    """Whether a program of a pod's is one that ends where Dagster's database does not answer as it starts."""
    return any(one in command for one in ("dagster", "dagster-daemon", "banana_delivery.delivery.page", POOL))


def test_whatever_ends_without_a_database_waits_for_it_first_and_the_dead_man_tells_meanwhile(
    every_pod: dict[str, dict[str, Any]],
) -> None:
    commands = {
        (name, one["name"]): one["command"] for name in PODS for one in containers(every_pod[name]) if "command" in one
    }
    opening = {where for where, command in commands.items() if opens_the_database(command)}

    assert {name for name, _ in opening} == set(PODS)
    assert all(commands[where][:4] == ["python", "-m", "banana_delivery.runs.schema", "wait"] for where in opening)
    # He has to tell that nobody ticks, and needs no database for that: nothing comes before him.
    (with_dead_man,) = [
        pod for pod in every_pod.values() if any(one["name"] == "dead-man" for one in pod["containers"])
    ]
    assert "initContainers" not in with_dead_man


def test_what_waits_for_the_database_is_not_started_again_meanwhile(
    every_pod: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    for name in ("dagster-code-server", "dagster-webserver"):
        startup = every_pod[name]["containers"][0]["startupProbe"]
        # It ends before that, and says why.
        assert startup["periodSeconds"] * startup["failureThreshold"] == 1800 > PATIENCE_SECONDS + 60
    daemon = every_pod["dagster-daemon"]["containers"][0]
    shell, option, line = daemon["livenessProbe"]["exec"]["command"]

    def alive(command: list[str]) -> bool:
        first = tmp_path / "cmdline"
        first.write_bytes("\0".join(command).encode())
        asked = line.replace("/proc/1/cmdline", str(first)).replace("dagster-daemon liveness-check", "false")
        return subprocess.run([shell, option, asked], check=False).returncode == 0

    assert alive(daemon["command"])
    assert not alive(daemon["command"][4:]), "Dagster's own check is not asked"


def test_no_pod_overrules_what_the_databases_secret_tells_libpq(every_pod: dict[str, dict[str, Any]]) -> None:
    named = {
        variable["name"] for pod in every_pod.values() for one in containers(pod) for variable in one.get("env", [])
    }

    assert not [name for name in named if name.startswith("PG")]


def test_no_node_autoscaler_ends_a_delivery_and_its_job_outlasts_no_day(tmp_path: Path) -> None:
    job = job_of_a_run(launcher(tmp_path))

    assert job["spec"]["template"]["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }
    monitoring = INSTANCE["run_monitoring"]
    assert monitoring["start_timeout_seconds"] >= 1200, "pulling an image of 8 GB takes minutes"
    assert job["spec"]["activeDeadlineSeconds"] > 2 * monitoring["start_timeout_seconds"]
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    assert job["spec"]["backoffLimit"] == 0, "a run is never begun a second time"


def test_a_run_never_comes_before_the_replicas_that_answer_users(every_pod: dict[str, dict[str, Any]]) -> None:
    component = K8S / "components/priority"
    (patch,) = yaml.safe_load((component / "kustomization.yaml").read_text())["patches"]
    (change,) = yaml.safe_load(patch["patch"])
    serving = yaml.safe_load((component / "serving.yaml").read_text())
    runs = next(thing for thing in OBJECTS if thing["kind"] == "PriorityClass")

    assert (change["path"], change["value"]) == ("/template/spec/priorityClassName", serving["metadata"]["name"])
    assert re.fullmatch(patch["target"]["name"], "banana-api-blue")
    assert re.fullmatch(patch["target"]["name"], "banana-api-green")
    assert every_pod["run"]["priorityClassName"] == runs["metadata"]["name"]
    assert serving["value"] > runs["value"]
    assert serving["preemptionPolicy"] == runs["preemptionPolicy"] == "Never"
    for version in VERSIONS:
        kubernetes_validate.validate(serving, version, strict=True)


@pytest.mark.parametrize("components", [(), ("small",)])
def test_a_run_has_a_smaller_share_of_a_busy_processor_than_any_replica_of_production(
    components: tuple[str, ...], every_pod: dict[str, dict[str, Any]]
) -> None:
    folders = [K8S / "environments/production/blue", *(K8S / "components" / name for name in components)]
    replica = sizes.container(sizes.template("banana-api-blue", *folders))["resources"]
    run = every_pod["run"]["containers"][0]["resources"]

    assert sizes.quantity(run["requests"]["cpu"]) <= sizes.quantity(replica["requests"]["cpu"]) / 2
