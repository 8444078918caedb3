"""docs/kubernetes.md as it is typed: from an empty cluster to a release, the way back, another version, and away."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from banana_delivery.model_registry.publish import publish
from banana_delivery.policy.model import Environment
from banana_delivery.sample_data.models import sample_run
from banana_delivery.targets.kubernetes.target import KubernetesTarget
from tests.cluster.cluster import PRODUCTION, Cluster, until
from tests.cluster.dagster.conftest import (  # noqa: F401 - what a platform engineer has beside the cluster
    answers,
    database,
    made_services,
    node,
    notices,
    remove,
)
from tests.cluster.dagster.image import put_runtime
from tests.cluster.dagster.notices import Notices
from tests.cluster.dagster.overlay import DEPLOYMENTS, NAMESPACE, USER, Overlay
from tests.cluster.kubernetes_page import FIRST, MOVES, NAMES, REMOVAL, RUNNING, THERE, TYPED, UPGRADE, wanted
from tests.e2e.typing import Terminal, Typed
from tests.integration.model_registry.conftest import mlflow_server  # noqa: F401
from tests.integration.serving.postgres import Postgres
from tests.support.ports import free_port
from tests.upgrade.installing import checkout

SECONDS = 1500.0
"""For one command: the image is built, and gigabytes are unpacked."""
DELIVERY_SECONDS = 1200.0
IMAGE = "registry.example.com/banana-delivery:0.1.0"


@dataclass
class Reader:
    """Who types the page, and puts in what is his.

    Attributes:
        terminal: in his checkout.
        folder: the checkout.
        cluster: to be looked at.
        yours: what he puts in, by what stands on the page.
        done: what he typed of the page, as its headings and beginnings.
    """

    terminal: Terminal
    folder: Path
    cluster: Cluster
    yours: dict[str, str] = field(default_factory=dict)
    done: set[tuple[str, str]] = field(default_factory=set)

    def types(self, heading: str, begins: str, only_here: Mapping[str, str] | None = None) -> str:
        """Type a command of the page; returns what was seen of it.

        Args:
            heading: under which it stands.
            begins: how it begins.
            only_here: what he puts in behind a name and `=` in this command alone.
        """
        command = wanted(heading, begins)
        self.done.add((heading, begins))
        for name, value in (only_here or {}).items():
            before, found, after = command.partition(f"{name}=")
            assert found, (name, command)
            command = f"{before}{found}{shlex.quote(value)}{after[len(after.split()[0]) :]}"
        for here, put in self.yours.items():
            command = command.replace(here, put)
        return self.ran(command)

    def ran(self, command: str) -> str:
        """Type something; returns what was seen."""
        code, seen = self.terminal.type(Typed(command), SECONDS)
        assert code == 0, f"{command}\n{seen[-4000:]}"
        return seen


@pytest.fixture
def bare(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster on which nothing of ours is."""

    def take_away() -> None:
        remove(cluster)
        namespaces = [*map(str, Environment), NAMESPACE]
        cluster.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--wait=false")
        left = ("get", "namespace", *namespaces, "--ignore-not-found", "-o", "name")
        until(lambda: not cluster.kubectl(*left), "an empty cluster", 300)

    take_away()
    yield cluster
    take_away()
    cluster.apply(cluster.manifests)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh clone of this checkout as it is."""
    to = tmp_path / "clone"
    to.mkdir()
    checkout(to)
    who = ("-c", "user.name=a reader", "-c", "user.email=reader@example.com")
    for command in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "--message", "As it is"]):
        subprocess.run(["git", *command], cwd=to, check=True, capture_output=True)
    return to


def put_names_in(cluster: Cluster, copy: Path) -> None:
    """What the page says of a server that is not the usual one, in the copy of the example."""
    file = copy / "kustomization.yaml"
    told: dict[str, Any] = yaml.safe_load(file.read_text())
    told["components"] = ["../../components/priority", "../../components/small", "../../components/node-ports"]
    told["components"] += ["../../components/local-gateway"]
    if cluster.is_older:
        told["components"].append("../../components/older-api")
    # They are of Istio, of other routers, and of policies that no plugin enforces here.
    del told["patches"]
    file.write_text(yaml.safe_dump(told))


def live(target: KubernetesTarget) -> str:
    """The version that users get, at rest; empty otherwise."""
    record = target.record(PRODUCTION)
    return record.live.version if record.live and record.owner is None else ""


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_the_page_works_as_it_stands(
    bare: Cluster,
    folder: Path,
    tmp_path: Path,
    node: str,  # noqa: F811
    database: tuple[Postgres, dict[str, str]],  # noqa: F811
    mlflow_server: str,  # noqa: F811
    notices: Notices,  # noqa: F811
    measured: list[str],
) -> None:
    server, logins = database
    base, repository = os.environ["BASE_IMAGE"], f"{os.environ['REGISTRY']}/cluster-tests/by-a-reader"
    image = f"{os.environ['REGISTRY']}/cluster-tests/pipeline-of-a-reader:0.1.0"
    put_runtime(tmp_path / "model", repository, base)
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "KUBECONFIG") if name in os.environ}
    with Terminal(folder, {**environment, "USER": "reader"}) as terminal:
        reader = Reader(terminal, folder, bare, {"python:3.11-slim": base, IMAGE: image})

        reader.types(FIRST, "cp -r k8s/overlays/example")
        copy = folder / "k8s/overlays/yours"
        reader.types(NAMES, "cp -r k8s/overlays/named")
        put_names_in(bare, copy)
        reader.types(FIRST, "kubectl apply -k k8s/overlays/yours")
        reader.types(THERE, "kubectl create secret docker-registry registry-pull", registry_login())
        log = server.url.replace("127.0.0.1", node)
        reader.types(THERE, "kubectl create secret generic database-secret", {"url": log})
        image_of_the_pipeline(reader)
        secrets_of_the_pipeline(reader, logins, notices)

        home = tmp_path / "home"
        home.mkdir()
        os.chown(home, USER, USER)
        settings = {
            "BANANA_REGISTRY_REPOSITORY": repository,
            "BANANA_BASE_IMAGE": base,
            "BANANA_BUILDER": "registry",
            "BANANA_HOLDOUT_IMAGES": "100",
            "BANANA_KUBERNETES_ROUTER_METRICS_URL": os.environ["GATEWAY_METRICS_URL"],
            "BANANA_POLICY": "demo",
            "MLFLOW_TRACKING_URI": mlflow_server,
        }
        overlay = Overlay(image, settings, home, {}, folder)
        overlay = replace(overlay, names=made_services(bare, overlay.write(copy / "dagster")))
        overlay.write(copy / "dagster")
        reader.types(RUNNING, "kubectl apply -k k8s/overlays/yours/dagster")
        reader.types(RUNNING, "kubectl wait")
        assert "Staging: idle" in reader.types(RUNNING, "kubectl exec -it")
        port = free_port()
        # It goes on, behind what is typed next; somebody else on this machine may have that port.
        reader.yours |= {"webserver 3000 ": f"webserver {port}:3000 >/dev/null 2>&1 & "}
        reader.types(RUNNING, "kubectl port-forward")
        until(lambda: answers(port), "the pages", 60)

        target = bare.target("gateway")
        first = released(target, staged(mlflow_server))
        second = released(target, staged(mlflow_server))
        assert f'"version":"{second}"' in reader.types(MOVES, "kubectl get httproute").replace(" ", "")
        reader.types(RUNNING, "kubectl exec -n")
        until(lambda: live(target) == first, "the way back")

        subprocess.run(["docker", "tag", image, f"{image}-newer"], check=True)
        for name, what in ((f"{image}-newer", "another version"), (image, "back again")):
            replace(overlay, image=name).write(copy / "dagster")
            for begins in UPGRADES:
                reader.types(UPGRADE, begins)
            until(partial(runs_only, bare, name), what, 300)
            until(lambda: are_available(bare), "three Deployments", 300)
        assert live(target) == first

        reader.types(REMOVAL, "kubectl delete deployment dagster-daemon")
        reader.types(REMOVAL, "kubectl delete job")
        reader.types(REMOVAL, "kubectl delete -k k8s/overlays/yours/dagster")
        reader.types(REMOVAL, "kubectl delete -k k8s/overlays/yours")
        assert not bare.kubectl("get", "namespace", *map(str, Environment), NAMESPACE, "--ignore-not-found")
    assert reader.done == set(TYPED)
    measured.append("from an empty cluster to an empty cluster, as the page says")


UPGRADES = (
    "kubectl delete job",
    "kubectl apply -k k8s/overlays/yours/dagster -l",
    "kubectl wait",
    "kubectl apply -k k8s/overlays/yours/dagster",
)


def image_of_the_pipeline(reader: Reader) -> None:
    """Built by the engine of the only node, by the host's network."""
    reader.types(RUNNING, "docker pull")
    reader.types(RUNNING, "BASE_IMAGE=")
    reader.yours["docker build"] = "docker build --network host"
    reader.types(RUNNING, "git archive")


def registry_login() -> dict[str, str]:
    """The registry asks nobody who he is."""
    return {"--docker-server": os.environ["REGISTRY"], "--docker-username": "reader", "--docker-password": "none"}


def secrets_of_the_pipeline(reader: Reader, logins: Mapping[str, str], notices: Notices) -> None:  # noqa: F811
    """Those that nothing here does without, and the key of the page."""
    reader.types(RUNNING, "kubectl apply -k k8s/base/rbac")
    reader.types(RUNNING, "kubectl create secret generic dagster-postgres", logins)
    reader.types(RUNNING, "kubectl create secret generic banana-delivery-evidence")
    nobody = dict.fromkeys(("BANANA_REGISTRY_USERNAME", "BANANA_REGISTRY_PASSWORD", "MLFLOW_TRACKING_TOKEN"), "")
    whom = {"BANANA_NOTIFY_URLS": json.dumps([notices.url])}
    reader.types(RUNNING, "kubectl create secret generic banana-delivery-secrets", nobody | whom)
    reader.types(RUNNING, "kubectl create secret generic dagster-pages")
    reader.types(RUNNING, "kubectl create secret generic banana-delivery-page")
    reader.types(RUNNING, "kubectl create secret docker-registry registry-pull", registry_login())


def released(target: KubernetesTarget, version: str) -> str:
    """Wait until users get a version; returns it."""
    until(lambda: live(target) == version, f"version {version} in production", DELIVERY_SECONDS)
    return version


def staged(mlflow: str) -> str:
    """Mark a new version "Staging" in the team's MLflow; returns its number."""
    checkpoint, metrics, params = sample_run("better")
    return publish(checkpoint, metrics=metrics, params=params, tracking_uri=mlflow, stage="Staging")


def runs_only(cluster: Cluster, image: str) -> bool:
    """Whether the pods of the Deployments run this and nothing else."""
    found = cluster.get("pods", "-n", NAMESPACE)["items"]
    run = {
        container["image"]
        for pod in found
        if pod["metadata"]["labels"].get("app.kubernetes.io/name") in DEPLOYMENTS
        for container in pod["spec"]["containers"]
    }
    return run == {image}


def are_available(cluster: Cluster) -> bool:
    """Whether all Deployments of Dagster are."""
    found = cluster.get("deployments", "-n", NAMESPACE, *DEPLOYMENTS)["items"]
    return all(one["status"].get("readyReplicas") == one["spec"]["replicas"] for one in found)
