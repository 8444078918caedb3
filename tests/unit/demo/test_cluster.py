"""The demonstration on a cluster: what it needs to be told, and what it writes into its manifests."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import httpx
import pytest

from banana_delivery.demo.cluster import NAMESPACES, DemoCluster, address
from banana_delivery.demo.runner import demo_settings
from banana_delivery.errors import DemoError
from banana_delivery.policy.model import Environment
from banana_delivery.settings import Settings
from tests import ROOT

NEEDED = ("KUBECONFIG", "REGISTRY", "BASE_IMAGE", "GATEWAY_URL", "GATEWAY_METRICS_URL")


@pytest.mark.parametrize("missing", NEEDED)
def test_make_says_which_variable_is_missing(missing: str) -> None:
    rule = subprocess.run(
        ["make", "--no-print-directory", "--assume-old=.venv/.product", "demo-cluster"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **{name: "x" for name in NEEDED if name != missing}},
        capture_output=True,
        text=True,
        check=False,
    )

    assert rule.returncode != 0
    assert rule.stderr.startswith(f"{missing} is not set")


def test_no_cluster_is_taken_that_was_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(DemoError, match="KUBECONFIG is not set"):
        DemoCluster("http://127.0.0.1:8085", print).prepare()


def test_a_gateway_that_nobody_named_is_asked_for() -> None:
    with pytest.raises(DemoError, match="GATEWAY_URL"):
        DemoCluster("", print).prepare()


def test_it_plays_in_namespaces_of_its_own_whatever_the_settings_say() -> None:
    real = Settings(
        target="kubernetes",
        kubernetes_staging_namespace="staging",
        kubernetes_production_namespace="production",
        kubernetes_production_context="production-cluster",
        kubernetes_routing="endpoints",
    )

    shown = demo_settings(real)

    assert shown.kubernetes_staging_namespace == NAMESPACES[Environment.STAGING] != "staging"
    assert shown.kubernetes_production_namespace == NAMESPACES[Environment.PRODUCTION] != "production"
    assert (shown.kubernetes_production_context, shown.kubernetes_routing) == ("", "gateway")
    assert shown.home.parent == real.home


def test_everything_is_reached_where_the_gateway_is() -> None:
    gateway: Any = {"kind": "Gateway", "spec": {"listeners": [{"port": 80}]}}
    route: Any = {"kind": "HTTPRoute", "metadata": {"annotations": {"banana-delivery/url": "http://example.com"}}}
    exposed: Any = {"kind": "Service", "metadata": {}, "spec": {"ports": [{"port": 80, "nodePort": 30090}]}}
    inner: Any = {"kind": "Service", "metadata": {}, "spec": {"ports": [{"port": 80}]}}

    for thing in (gateway, route, exposed, inner):
        address(thing, httpx.URL("http://127.0.0.1:8085"))

    assert gateway["spec"]["listeners"] == [{"port": 8085}]
    assert route["metadata"]["annotations"] == {"banana-delivery/url": "http://127.0.0.1:8085"}
    assert exposed["metadata"]["annotations"] == {"banana-delivery/url": "http://127.0.0.1:30090"}
    assert inner["metadata"] == {}
