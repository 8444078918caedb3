"""Deliveries as Jobs: what MLflow stages is released, and a backfill is delivered in its order."""

from __future__ import annotations

import os

import pytest

from banana_delivery.policy.model import Outcome
from tests.cluster.cluster import until
from tests.cluster.dagster.installation import Installation
from tests.cluster.dagster.overlay import NAMESPACE
from tests.cluster.load import Users


def test_a_version_staged_in_mlflow_is_released_by_the_sensor(installation: Installation, measured: list[str]) -> None:
    version = installation.publish(stage="Staging")
    run_id = installation.started(version)
    until(lambda: bool(installation.pods_of(run_id)), "its pod", 120)
    (pod,) = installation.pods_of(run_id)
    assert pod["spec"]["serviceAccountName"] == "banana-delivery"
    said = installation.ends(run_id, version, Outcome.RELEASED)
    (export,) = installation.exports()
    assert export["status"]["phase"] == "Succeeded"
    assert export["spec"]["serviceAccountName"] == "banana-delivery-export"
    # Neither a token nor a Secret; the scratch space, and one folder of the home.
    assert [set(volume) - {"name"} for volume in export["spec"]["volumes"]] == [{"emptyDir"}, {"persistentVolumeClaim"}]
    assert not {"env", "envFrom"} & set(export["spec"]["containers"][0])
    assert (said.trigger, installation.serves(version)) == ("sensor", True)
    assert len(installation.notices.about(run_id)) == 1
    measured.append(f"{said.seconds:.0f} s: {said.reason}")
    installation.cluster.kubectl("delete", "job", f"dagster-run-{run_id}", "-n", NAMESPACE)
    until(lambda: not installation.pods_of(run_id), "the end of its pod")
    assert f"Version {version}" in installation.printed(run_id)


@pytest.mark.long
def test_a_backfill_of_two_is_delivered_in_its_order(installation: Installation) -> None:
    versions = [installation.publish(), installation.publish()]
    runs = installation.backfill(versions)
    for run_id, version in zip(runs, versions, strict=True):
        installation.told(run_id, version, Outcome.RELEASED)
    assert installation.began(runs[0]) < installation.began(runs[1])
    assert installation.serves(versions[1])
    assert [len(installation.notices.about(run_id)) for run_id in runs] == [1, 1]


@pytest.mark.long
def test_staging_sleeps_between_deliveries_and_the_next_one_wakes_it(
    installation: Installation, measured: list[str]
) -> None:
    if installation.production.live is None:
        first = installation.publish()
        installation.ends(installation.launch(first), first, Outcome.RELEASED)
    until(lambda: installation.staging_replicas() == 0, "staging asleep", 240)
    with Users(os.environ["GATEWAY_URL"]) as users:
        version = installation.publish()
        run_id = installation.launch(version)
        until(lambda: installation.staging_replicas() > 0, "staging awake", 300)
        installation.ends(run_id, version, Outcome.RELEASED)
        assert installation.serves(version)
        until(lambda: installation.staging_replicas() == 0, "staging asleep again", 240)
        until(lambda: not installation.cluster.pods("staging"), "no pod in staging")
    measured.append(users.summary())
    assert users.failures == []
