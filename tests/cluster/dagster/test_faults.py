"""What happens to runs on a cluster, under users' load: outcome, one notice, a free slot, one colour, no user lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from banana_delivery.policy.model import Colour, Outcome
from tests.cluster.cluster import AT_ONCE, until
from tests.cluster.dagster.installation import START_SECONDS, Installation
from tests.cluster.dagster.overlay import NAMESPACE
from tests.cluster.load import Users

SETTLED = 50
"""Requests that users send afterwards; whatever broke would show in them."""
PER_SECOND = 10.0
"""So many that both colours answer them on what a run, its export and Dagster leave of two cores: replicas that have
less refuse some (503), which says nothing of the fault."""
Fault = Callable[[Installation, str], object]


def deleted(installation: Installation, run_id: str) -> None:
    installation.cluster.kubectl("delete", "pod", installation.pod_of(run_id), "-n", NAMESPACE, "--wait=false")


def deleted_by_force(installation: Installation, run_id: str) -> None:
    installation.cluster.kubectl("delete", "pod", installation.pod_of(run_id), "-n", NAMESPACE, *AT_ONCE)


def job_deleted(installation: Installation, run_id: str) -> None:
    installation.cluster.kubectl("delete", "job", f"dagster-run-{run_id}", "-n", NAMESPACE, "--wait=false")


def evicted(installation: Installation, run_id: str) -> None:
    pod = installation.pod_of(run_id)
    newer = "policy/v1\n" in installation.cluster.kubectl("api-versions")
    eviction = {
        "apiVersion": "policy/v1" if newer else "policy/v1beta1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": NAMESPACE},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    installation.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def cancelled(installation: Installation, run_id: str) -> None:
    installation.terminate(run_id)


@contextmanager
def under_load(installation: Installation, run_id: str, measured: list[str]) -> Iterator[None]:
    """Users come while a run has production, and lose nothing until some time after the block."""
    installation.in_production(run_id)
    with Users(os.environ["GATEWAY_URL"], PER_SECOND) as users:
        yield
        users.more(SETTLED)
    measured.append(users.summary())
    assert users.failures == []


def live(installation: Installation) -> str:
    """What production serves."""
    found = installation.production.live
    assert found is not None, "nothing was released yet"
    return found.version


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (deleted_by_force, Outcome.ERROR),
        pytest.param(deleted, Outcome.ERROR, marks=pytest.mark.long),
        pytest.param(job_deleted, Outcome.ERROR, marks=pytest.mark.long),
        pytest.param(evicted, Outcome.ERROR, marks=pytest.mark.long),
        pytest.param(cancelled, Outcome.CANCELLED, marks=pytest.mark.long),
    ],
)
def test_a_run_that_ends_in_the_shift_leaves_production_as_it_was(
    installation: Installation, fault: Fault, outcome: Outcome, measured: list[str]
) -> None:
    before = live(installation)
    version, run_id = installation.candidate()
    with under_load(installation, run_id, measured):
        installation.shifting(run_id)
        fault(installation, run_id)
        said = installation.ends(run_id, version, outcome)
        until(lambda: installation.serves(before), "one stable colour")
    measured.append(said.reason)
    assert len(installation.notices.about(run_id)) == 1


def restarted(installation: Installation, name: str) -> None:
    installation.cluster.kubectl(*("delete", "pod", "-n", NAMESPACE, "-l", f"app.kubernetes.io/name={name}", *AT_ONCE))


@pytest.mark.long
@pytest.mark.parametrize(
    "fault",
    [
        lambda installation: restarted(installation, "dagster-code-server"),
        lambda installation: installation.database.restart(),
    ],
    ids=["the code server killed", "PostgreSQL restarted"],
)
def test_a_delivery_outlives_what_it_does_not_need(
    installation: Installation, fault: Callable[[Installation], None], measured: list[str]
) -> None:
    version, run_id = installation.candidate()
    with under_load(installation, run_id, measured):
        installation.shifting(run_id)
        fault(installation)
        said = installation.ends(run_id, version, Outcome.RELEASED)
        installation.proven = ""
        until(lambda: installation.serves(version), "one stable colour")
    measured.append(said.reason)
    assert len(installation.notices.about(run_id)) == 1
    until(installation.are_ready, "three Deployments ready", START_SECONDS)


@pytest.mark.long
def test_a_backfill_of_two_goes_on_in_order_though_the_daemon_is_killed(
    installation: Installation, measured: list[str]
) -> None:
    versions = [installation.publish(), installation.publish()]
    first, second = installation.backfill(versions)
    with under_load(installation, first, measured):
        installation.shifting(first)
        restarted(installation, "dagster-daemon")
        installation.told(first, versions[0], Outcome.RELEASED)
    installation.ends(second, versions[1], Outcome.RELEASED)
    assert installation.began(first) < installation.began(second)
    assert installation.serves(versions[1])
    assert [len(installation.notices.about(run_id)) for run_id in (first, second)] == [1, 1]


@pytest.mark.long
def test_a_hand_edit_at_rest_is_restored_by_reconcile(installation: Installation, measured: list[str]) -> None:
    """It sends most users to a colour that is not there; nobody can help those until it is seen."""
    before = live(installation)
    assert installation.serves(before)
    active = installation.production.active
    assert active is not None
    with Users(os.environ["GATEWAY_URL"], PER_SECOND) as users:
        installation.cluster.edit_route({Colour(active): 30, active.other: 70})
        until(lambda: not installation.serves(before), "the edit")
        until(lambda: installation.serves(before), "production as recorded", 120)
        restored = time.monotonic()
        users.more(SETTLED)
    measured.append(users.summary())
    assert [one for one in users.failures if one.sent > restored] == []
