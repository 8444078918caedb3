"""The manifests of k8s/base/dagster as they lie there, and the pods of runs as dagster-k8s makes them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import dagster as dg
import yaml
from dagster._config import process_config
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import construct_dagster_k8s_job
from kubernetes.client import ApiClient

from tests import ROOT
from tests.support.kubeconfig import write_kubeconfig

K8S = ROOT / "k8s"
BASE = K8S / "base" / "dagster"
SETTINGS = K8S / "environments" / "dagster"
NAMESPACE = "banana-delivery"


def objects_in(folder: Path) -> list[dict[str, Any]]:
    files = sorted(path for path in folder.glob("*.yaml") if path.stem not in {"kustomization", "dagster", "workspace"})
    return [thing for file in files for thing in yaml.safe_load_all(file.read_text())]


OBJECTS = objects_in(BASE)
DEPLOYMENTS = {thing["metadata"]["name"]: thing for thing in OBJECTS if thing["kind"] == "Deployment"}
PODS = {name: thing["spec"]["template"]["spec"] for name, thing in DEPLOYMENTS.items()}
MIGRATE = "dagster-migrate"
(MIGRATION,) = [thing for thing in OBJECTS if thing["kind"] == "Job"]
INSTANCE = yaml.safe_load((BASE / "dagster.yaml").read_text())


CLUSTER_WIDE = {"PriorityClass"}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def named(kind: str) -> set[str]:
    return {
        thing["metadata"]["name"]
        for thing in [*OBJECTS, *objects_in(K8S / "base/rbac/account")]
        if thing["kind"] == kind
    }


def referred_to(pod: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and name of everything that a pod needs in its namespace, Secrets that may be missing included."""
    yield "ServiceAccount", pod["serviceAccountName"]
    if "priorityClassName" in pod:
        yield "PriorityClass", pod["priorityClassName"]
    yield from (("Secret", secret["name"]) for secret in pod["imagePullSecrets"])
    for source in (source for container in containers(pod) for source in container.get("envFrom", [])):
        kind, reference = next(iter(source.items()))
        yield {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"]
    for volume in pod["volumes"]:
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def launcher(scratch: Path, server: str = "http://127.0.0.1:9") -> K8sRunLauncher:
    """The launcher that dagster.yaml describes, outside a cluster."""
    named = INSTANCE["run_launcher"]
    kind: type[K8sRunLauncher] = getattr(importlib.import_module(named["module"]), named["class"])
    processed = process_config(kind.config_type(), named["config"])  # type: ignore[no-untyped-call]
    assert processed.success, processed.errors
    kubeconfig = write_kubeconfig(scratch / "kubeconfig", {"here": server})
    outside = {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    return kind(**{**cast(dict[str, Any], processed.value), **outside})


def job_of_a_run(launcher: K8sRunLauncher, **tags: str) -> dict[str, Any]:
    """The Job of a run, as it is sent to the API server."""
    context = launcher.get_container_context_for_run(dg.DagsterRun(job_name="deliver", tags=tags))
    job = construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config("registry.example.com/banana-delivery:1", launcher),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run-0",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return cast(dict[str, Any], ApiClient().sanitize_for_serialization(job))


def all_pods(scratch: Path) -> dict[str, dict[str, Any]]:
    """The pods of the Deployments, of the Job that goes before them and of a run, as they are to be created."""
    return {
        **PODS,
        MIGRATE: MIGRATION["spec"]["template"]["spec"],
        "run": job_of_a_run(launcher(scratch))["spec"]["template"]["spec"],
    }
