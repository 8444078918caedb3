"""The five acts on a real cluster, and what keeps them from being played on somebody's production."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.demo.cluster import DemoCluster
from banana_delivery.errors import DemoError
from banana_delivery.policy.model import Colour, Environment, Outcome
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.settings import Settings
from tests.cluster.cluster import ROOT, Cluster
from tests.support.demonstration import run_demo

BLUE, GREEN = Colour.BLUE, Colour.GREEN
GATEWAY = "k8s/base/gateway"
ROLLBACK_SECONDS = 2
"""What a Gateway promises: all traffic is back on the old colour within this time of the verdict."""


@pytest.fixture
def unrouted(empty: Cluster) -> Iterator[Cluster]:
    """A cluster whose Gateway leads nowhere."""
    empty.kubectl("delete", "-k", str(ROOT / GATEWAY), "--ignore-not-found")
    yield empty
    empty.apply(empty.manifests)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_act_ends_as_told_the_colours_swap_and_no_client_request_is_lost(
    unrouted: Cluster, tmp_path: Path, measured: list[str]
) -> None:
    file = tmp_path / "summary.json"
    environment = {**os.environ, **_free_ports(), "BANANA_HOME": str(tmp_path)}
    deliveries = run_demo(["make", "demo-cluster", f"SUMMARY={file}"], file, environment, ROOT)
    measured.append(", ".join(f"{one['outcome']} in {one['seconds']:.0f} s" for one in deliveries))
    assert _colours(tmp_path / "demo") == [BLUE, GREEN, None, BLUE, BLUE]
    (back,) = (one["rollback_seconds"] for one in deliveries if one["outcome"] == Outcome.ROLLED_BACK)
    assert back < ROLLBACK_SECONDS


def _free_ports() -> dict[str, str]:
    """Ports that nobody listens on, for what the stack runs beside the cluster."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.socket()) for _ in range(3)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        names = ("BANANA_DAGSTER_PORT", "BANANA_MLFLOW_PORT", "BANANA_WEBHOOK_PORT")
        return {name: str(one.getsockname()[1]) for name, one in zip(names, listeners, strict=True)}


def _colours(home: Path) -> list[Colour | None]:
    """The colour that each delivery took in production, the oldest first."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        log = AuditLog(instance, CodeLocation.of(Settings(home=home)))
        return [attempt.colour for attempt in reversed(log.attempts())]


def test_a_namespace_of_its_name_that_is_somebodys_is_left_alone(unrouted: Cluster) -> None:
    namespace = "banana-demo-production"
    unrouted.kubectl("delete", "namespace", namespace, "--ignore-not-found")
    unrouted.kubectl("create", "namespace", namespace)
    try:
        with pytest.raises(DemoError, match=f"Namespace {namespace} exists and is not the demonstration's"):
            DemoCluster(os.environ["GATEWAY_URL"], print).prepare()
        assert unrouted.get("namespace", namespace)["status"]["phase"] == "Active"
    finally:
        unrouted.kubectl("delete", "namespace", namespace)


def test_a_gateway_that_leads_somewhere_is_left_alone(empty: Cluster) -> None:
    with pytest.raises(DemoError, match=r"leads somewhere already .*HTTPRoute production/banana-api"):
        DemoCluster(os.environ["GATEWAY_URL"], print).prepare()
    assert Environment.PRODUCTION in empty.kubectl("get", "namespaces", "-o", "name")
    assert "banana-demo" not in empty.kubectl("get", "namespaces", "-o", "name")
