"""A delivery by the whole pipeline as its ServiceAccount, through a context of its own for each environment."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.policy.model import Environment
from tests.cluster.recorder import Right
from tests.cluster.rights import as_granted, as_the_pipeline, rights_granted
from tests.cluster.world import ClusterWorld
from tests.integration.delivery.test_every_phase import GOOD

UNUSUAL = {
    ("apps", "deployments", "create"),
    ("autoscaling", "horizontalpodautoscalers", "get"),
    ("", "configmaps", "create"),
    ("", "services", "create"),
    ("gateway.networking.k8s.io", "httproutes", "create"),
}
"""For a colour's first release, for replicas that are more or fewer than the pipeline asked for (test_rbac.py), and for
what was lost: the first copy of a record, a Service or a route (test_lost_record.py)."""


@pytest.mark.long
def test_a_delivery_and_what_follows_it_need_the_rights_that_the_pipeline_has(
    here: ClusterWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, contexts = here.pipeline, {str(environment): environment for environment in Environment}
    here.cluster.apply("k8s/base/rbac")
    with (
        here.reconnecting(),
        as_the_pipeline(here.cluster, tmp_path, monkeypatch, ("nowhere", *contexts)) as needed,
        here.setting(warm_seconds=0.0),
    ):
        here.connect(kubernetes_staging_context="staging", kubernetes_production_context="production")
        version = pipeline.stage(GOOD)
        run = pipeline.run(version)
        for sensor in ("reconcile", "cool_down"):
            pipeline.tick(sensor)

    assert run.status is dg.DagsterRunStatus.SUCCESS
    here.is_at_rest(version)
    granted = rights_granted(here.cluster)
    for context, environment in contexts.items():
        rights = {right for right in granted if right.namespace == environment}
        used = as_granted(needed[context], granted)
        assert used <= rights
        # By kind, since a delivery deploys one of the two colours.
        assert _kinds(rights - used) - _kinds(used) <= UNUSUAL
    assert needed["nowhere"] == set()


def _kinds(rights: set[Right]) -> set[tuple[str, str, str]]:
    return {(right.group, right.resource, right.verb) for right in rights}
