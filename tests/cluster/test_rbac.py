"""The pipeline's ServiceAccount may do what deliveries ask for, all of that, and nothing else.

A delivery by the whole pipeline under this account: test_pipeline_account.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.targets.kubernetes.target import KubernetesTarget
from tests.cluster.cluster import PRODUCTION, ROOT, Cluster, Production, Routed, until
from tests.cluster.rights import ACCOUNT, as_granted, as_the_pipeline, rights_granted

BLUE, GREEN, SOLE, STAGING = Colour.BLUE, Colour.GREEN, Colour.SOLE, Environment.STAGING
CARRIERS = {"gateway": "httproute/banana-api", "endpoints": "service/banana-api-service"}
RIGHTS = {"gateway": "k8s/base/rbac", "endpoints": "k8s/base/rbac/endpoints"}


def test_the_verbs_granted_are_the_verbs_used(
    routed: Routed, releases: dict[str, ImageRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = routed.cluster
    cluster.apply(RIGHTS[routed.way])
    with as_the_pipeline(cluster, tmp_path, monkeypatch) as needed:
        moves(cluster, cluster.target(routed.way), releases, CARRIERS[routed.way])

    granted = rights_granted(cluster)
    assert as_granted(needed["here"], granted) == granted


def test_secrets_are_none_of_the_pipelines_business(empty: Cluster) -> None:
    empty.apply("k8s/base/rbac")
    for verb in ("get", "list", "watch"):
        for namespace in ("staging", "production", "banana-delivery", "kube-system"):
            may = empty.kubectl("auth", "can-i", verb, "secrets", f"--as={ACCOUNT}", "-n", namespace, check=False)
            assert may.strip() == "no"


def test_whatever_is_not_granted_is_refused_in_a_sentence(
    empty: Cluster, releases: dict[str, ImageRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that may not route where there is a Gateway says which verb it lacks, and has changed nothing."""
    empty.kubectl("delete", "-k", str(ROOT / "k8s/base/rbac"), "--ignore-not-found")
    empty.apply("k8s/base/rbac/common")
    with (
        as_the_pipeline(empty, tmp_path, monkeypatch),
        pytest.raises(TargetError, match=r"403.*cannot get resource.*Grant the verb"),
    ):
        empty.target("gateway").claim(PRODUCTION, "a delivery")


def moves(cluster: Cluster, target: KubernetesTarget, releases: dict[str, ImageRef], carrier: str) -> None:
    """Every move: staging, production from nothing, a release on top of it, somebody's meddling, the end.

    What carries the records is deleted in between, and made again.
    """
    claim = target.claim(STAGING, "a delivery")
    target.deploy(claim, SOLE, releases["1"], target.default_replicas(STAGING))
    target.set_weights(claim, {SOLE: 100})
    until(lambda: target.readiness(STAGING, SOLE).complete, "staging ready")
    assert target.url(STAGING)
    target.scale(claim, SOLE, 2)
    target.release(claim)
    cluster.kubectl("delete", "service", "banana-api-staging-service", "-n", "staging")
    target.release(target.claim(STAGING, "another delivery"))

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
    cluster.kubectl("delete", carrier, "-n", "production")
    second = Production(target, "another delivery")
    assert target.default_replicas(PRODUCTION) >= 1
    target.deploy(second.claim, BLUE, releases["3"], 1)
    second.end()
