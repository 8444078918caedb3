"""One installation of Dagster on the cluster for all of these tests; each leaves it fit for the next delivery."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
import yaml

from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import MEASURED
from tests.cluster.dagster.image import pipeline_for_tests, put_runtime
from tests.cluster.dagster.installation import START_SECONDS, Installation, put_secrets
from tests.cluster.dagster.notices import Notices, receiving
from tests.cluster.dagster.overlay import NAMESPACE, USER, Overlay
from tests.integration.model_registry.conftest import mlflow_server  # noqa: F401 - a real MLflow, here as well
from tests.integration.serving.postgres import Postgres, postgres
from tests.support.ports import free_port

HOLDOUT_IMAGES = 100


@pytest.fixture(scope="session")
def pipeline_image(cluster: Cluster) -> str:
    """The pipeline's own image."""
    return pipeline_for_tests()


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> str:
    """The node's address, as its pods see it."""
    (found,) = cluster.get("nodes")["items"]
    return str(next(one["address"] for one in found["status"]["addresses"] if one["type"] == "InternalIP"))


@pytest.fixture(scope="session")
def notices() -> Iterator[Notices]:
    """Who is told."""
    with receiving() as listening:
        yield listening


@pytest.fixture(scope="session")
def database(node: str) -> Iterator[tuple[Postgres, dict[str, str]]]:
    """A real PostgreSQL beside the cluster, and what Dagster is told about it."""
    password = secrets.token_hex(8)
    # Not among pytest's own folders, which the next session closes for everybody else: this server is started again.
    with (
        TemporaryDirectory(prefix="dagster-postgres-") as folder,
        postgres(Path(folder) / "server", guests=f"{node}/16", password=password) as server,
    ):
        yield (
            server,
            {
                "DAGSTER_POSTGRES_HOST": node,
                "DAGSTER_POSTGRES_PORT": str(server.port),
                "DAGSTER_POSTGRES_USER": "banana",
                "DAGSTER_POSTGRES_PASSWORD": password,
                "DAGSTER_POSTGRES_DB": "postgres",
            },
        )


@pytest.fixture(scope="session")
def installation(
    cluster: Cluster,
    pipeline_image: str,
    database: tuple[Postgres, dict[str, str]],
    notices: Notices,
    mlflow_server: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """Dagster, installed as docs/kubernetes.md says, with nothing delivered yet."""
    scratch = tmp_path_factory.mktemp("dagster")
    repository = f"{os.environ['REGISTRY']}/cluster-tests/by-dagster"
    put_runtime(scratch / "model", repository, os.environ["BASE_IMAGE"])
    remove(cluster)
    cluster.reset()
    cluster.apply("k8s/base/rbac")
    server, secret = database
    put_secrets(cluster, secret, notices)
    port = free_port()
    pages = f"http://127.0.0.1:{port}"
    settings = {
        "BANANA_REGISTRY_REPOSITORY": repository,
        "BANANA_BASE_IMAGE": os.environ["BASE_IMAGE"],
        "BANANA_BUILDER": "registry",
        "BANANA_DAGSTER_PUBLIC_URL": pages,
        "BANANA_HOLDOUT_IMAGES": str(HOLDOUT_IMAGES),
        "BANANA_KUBERNETES_ROUTER_METRICS_URL": os.environ["GATEWAY_METRICS_URL"],
        "BANANA_POLICY": "demo",
        "BANANA_STAGING_IDLE_SECONDS": "60",
        "MLFLOW_TRACKING_URI": mlflow_server,
    }
    home = scratch / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    began = time.monotonic()
    try:
        overlay = Overlay(pipeline_image, settings, home, {})
        names = made_services(cluster, overlay.write(scratch / "services"))
        overlay = Overlay(pipeline_image, settings, home, names)
        folder = overlay.write(scratch / "overlay")
        cluster.kubectl("apply", "-k", str(folder))
        with forwarded(cluster, port):
            made = Installation(cluster, pages, mlflow_server, notices, server, overlay, folder)
            until(made.are_ready, "three Deployments ready", START_SECONDS)
            MEASURED.append(f"dagster: Deployments ready {time.monotonic() - began:.0f} s after they were applied")
            yield made
    finally:
        remove(cluster)


@contextmanager
def forwarded(cluster: Cluster, port: int) -> Iterator[None]:
    """The pages at a port of this machine, by ``kubectl port-forward``, also after a connection broke."""
    command = ["kubectl", "--kubeconfig", cluster.kubeconfig, "port-forward", "-n", NAMESPACE]
    forever = f"while :; do {' '.join(command)} service/dagster-webserver {port}:3000; sleep 1; done"
    process = subprocess.Popen(
        ["sh", "-c", forever], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until(lambda: answers(port), "the pages", START_SECONDS)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def remove(cluster: Cluster) -> None:
    """Take Dagster off the cluster, with all that it made; the namespace and the rights stay."""
    everything = "deployments,jobs,pods,services,configmaps,secrets,persistentvolumeclaims,networkpolicies"
    kinds = ("delete", everything, "-n", NAMESPACE, "--ignore-not-found")
    cluster.kubectl(*kinds, "-l", "app.kubernetes.io/part-of=banana-delivery", "--grace-period=1", "--wait=false")
    cluster.kubectl("delete", "pv", "banana-delivery-home", "--ignore-not-found", "--wait=false")
    ours = ("-n", NAMESPACE, "-o", "name")
    until(lambda: not cluster.kubectl("get", "pods,pvc", *ours), "an empty namespace", 240)
    until(lambda: not cluster.kubectl("get", "pv", "banana-delivery-home", "--ignore-not-found"), "no volume")


def made_services(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Make the Services first; returns the address of each by its name, for clusters without a server of names."""
    rendered = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(folder))))
    services = [thing for thing in rendered if thing["kind"] == "Service"]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(services))
    names = [thing["metadata"]["name"] for thing in services]
    return {name: cluster.get("service", name, "-n", NAMESPACE)["spec"]["clusterIP"] for name in names}


def answers(port: int) -> bool:
    """Whether the pages do at a port of this machine."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/server_info", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
