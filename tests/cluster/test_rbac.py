"""The pipeline's ServiceAccount may do what a delivery asks for, all of that, and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from banana_delivery.policy.records import Colour, Environment, ImageRef
from banana_delivery.targets.base import TargetError
from banana_delivery.targets.kubernetes import KubernetesTarget
from tests.cluster.cluster import PRODUCTION, ROOT, Cluster, Production, Routed, until
from tests.cluster.recorder import Right, recording

BLUE, GREEN, SOLE, STAGING = Colour.BLUE, Colour.GREEN, Colour.SOLE, Environment.STAGING
ACCOUNT = "system:serviceaccount:banana-delivery:banana-delivery"


def test_the_verbs_granted_are_the_verbs_used(
    routed: Routed, releases: dict[str, ImageRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = routed.cluster
    cluster.apply(f"k8s/pipeline/{routed.way}")
    with as_the_pipeline(cluster, tmp_path, monkeypatch) as needed:
        deliver(cluster, cluster.target(routed.way), releases)

    granted = rights_granted(cluster)
    assert {_general(right, granted) for right in needed} == granted


def test_secrets_are_none_of_the_pipelines_business(empty: Cluster) -> None:
    empty.apply("k8s/pipeline/gateway")
    for verb in ("get", "list", "watch"):
        for namespace in ("staging", "production", "banana-delivery", "kube-system"):
            may = empty.kubectl("auth", "can-i", verb, "secrets", f"--as={ACCOUNT}", "-n", namespace, check=False)
            assert may.strip() == "no"


def test_whatever_is_not_granted_is_refused_in_a_sentence(
    empty: Cluster, releases: dict[str, ImageRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that may not route where there is a Gateway says which verb it lacks, and has changed nothing."""
    empty.kubectl("delete", "-k", str(ROOT / "k8s/pipeline/gateway"), "--ignore-not-found")
    empty.apply("k8s/pipeline/base")
    with (
        as_the_pipeline(empty, tmp_path, monkeypatch),
        pytest.raises(TargetError, match=r"403.*cannot get resource.*Grant the verb"),
    ):
        empty.target("gateway").claim(PRODUCTION, "a delivery")


@contextmanager
def as_the_pipeline(cluster: Cluster, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Right]]:
    """Targets made and first used in the block are the pipeline's ServiceAccount; yields the rights they needed."""
    view = cluster.kubectl("config", "view", "--raw", "--minify", "-o", "jsonpath={.clusters[0].cluster}")
    server, authority = json.loads(view), scratch / "ca.crt"
    authority.write_bytes(base64.b64decode(server["certificate-authority-data"]))
    token = cluster.kubectl("create", "token", "banana-delivery", "-n", "banana-delivery").strip()
    with recording(server["server"], authority) as (address, needed), monkeypatch.context() as patched:
        kubeconfig = scratch / "kubeconfig"
        kubeconfig.write_text(json.dumps(_kubeconfig(address, token)))
        patched.setenv("KUBECONFIG", str(kubeconfig))
        yield needed


def deliver(cluster: Cluster, target: KubernetesTarget, releases: dict[str, ImageRef]) -> None:
    """A whole delivery: staging, production from nothing, a release on top of it, somebody's meddling, the end."""
    claim = target.claim(STAGING, "a delivery")
    target.deploy(claim, SOLE, releases["1"], target.default_replicas(STAGING))
    target.set_weights(claim, {SOLE: 100})
    until(lambda: target.readiness(STAGING, SOLE).complete, "staging ready")
    assert target.url(STAGING) and target.probe_url(STAGING, SOLE)
    target.traffic(STAGING)
    target.scale(claim, SOLE, 2)
    cluster.kubectl("scale", "deployment/banana-api-staging", "-n", "staging", "--replicas=1")
    target.observed(STAGING)
    target.release(claim)

    production = Production(target)
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"])
    assert target.url(PRODUCTION) and all(target.probe_url(PRODUCTION, colour) for colour in (BLUE, GREEN))
    production.weigh(GREEN, 50)
    target.traffic(PRODUCTION)
    production.weigh(GREEN, 100)
    production.promote(GREEN)
    target.scale(production.claim, BLUE, 0)
    for colour in (BLUE, GREEN):
        cluster.kubectl("scale", f"deployment/banana-api-{colour}", "-n", "production", "--replicas=2")
    target.observed(PRODUCTION)
    target.default_replicas(PRODUCTION)
    production.end()
    second = Production(target, "another delivery")
    assert target.default_replicas(PRODUCTION) >= 1
    target.deploy(second.claim, BLUE, releases["3"], 1)
    second.end()


def rights_granted(cluster: Cluster) -> set[Right]:
    """Every right in the pipeline's Roles."""
    roles = cluster.get("roles", "-A", "-l", "app.kubernetes.io/component=pipeline")["items"]
    return {
        Right(role["metadata"]["namespace"], group, resource, verb, name)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", ["*"])
    }


def _general(right: Right, granted: set[Right]) -> Right:
    """The right as it is granted: some are for every object of a kind."""
    whatever = Right(right.namespace, right.group, right.resource, right.verb, "*")
    return whatever if whatever in granted else right


def _kubeconfig(server: str, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
