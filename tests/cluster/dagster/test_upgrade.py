"""Another version on the cluster, by the lines of docs/kubernetes.md: its database first, and then what reads it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from banana_delivery.policy.model import Outcome
from banana_delivery.runs.schema.migration import JOB
from tests.cluster.cluster import ROOT, until
from tests.cluster.dagster.installation import START_SECONDS, Installation
from tests.cluster.dagster.overlay import DEPLOYMENTS, NAMESPACE
from tests.support.dagster_database import has_newest_step, in_use, step_back

pytestmark = pytest.mark.long
TOLD = "Until the last line all that runs"
SECOND = f"{JOB}-again"


@pytest.fixture(scope="module")
def lines(installation: Installation) -> list[str]:
    """What the page has people type, for this installation."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    (block,) = re.findall(r"### Another version\n\n(?:[^ \n][^\n]*\n)+\n((?: {4}[^\n]*\n)+)", page)
    assert TOLD in page
    return [line.replace("k8s/overlays/yours/dagster", str(installation.folder)).strip() for line in block.splitlines()]


@pytest.fixture
def older(installation: Installation) -> Iterator[str]:
    """The address of the database, as the version before left it."""
    step_back(installation.database.url)
    yield installation.database.url


def typed(installation: Installation, line: str) -> None:
    """As a person types it, but with less patience."""
    command, *arguments = line.replace("15m", "100s").split()
    assert command == "kubectl"
    installation.cluster.kubectl(*arguments)


def pods(installation: Installation) -> set[str]:
    """What the Deployments run, by what nothing else is ever called."""
    found = installation.cluster.get("pods", "-n", NAMESPACE)["items"]
    return {
        pod["metadata"]["uid"] for pod in found if pod["metadata"]["labels"]["app.kubernetes.io/name"] in DEPLOYMENTS
    }


def said(installation: Installation, of: str, *more: str) -> str:
    """What a pod printed; empty before it can."""
    return installation.cluster.kubectl("logs", "-n", NAMESPACE, of, *more, check=False)


def is_complete(installation: Installation, job: str) -> bool:
    return bool(installation.cluster.get("job", job, "-n", NAMESPACE)["status"].get("succeeded"))


def test_a_version_whose_database_cannot_be_changed_yet_changes_nothing_else_and_goes_on_when_it_can(
    installation: Installation, lines: list[str], older: str, measured: list[str]
) -> None:
    running, image = pods(installation), installation.overlay.image
    newer = replace(installation.overlay, image=f"{image}-newer")
    subprocess.run(["docker", "tag", image, newer.image], check=True)
    try:
        newer.write(installation.folder)
        *first, wait, last = lines
        with in_use(older):
            for line in first:
                typed(installation, line)
            until(lambda: "lock timeout" in said(installation, f"job/{JOB}"), "its sentence", START_SECONDS)
            assert "What runs is as it was." in said(installation, f"job/{JOB}")
            assert (pods(installation), installation.are_ready()) == (running, True)
        # It is free, and the Job tries again by itself.
        typed(installation, wait)
        assert has_newest_step(older)
        assert pods(installation) == running

        typed(installation, last)
        until(lambda: not pods(installation) & running, "only pods of the new version", START_SECONDS)
        until(installation.are_ready, "three Deployments ready", START_SECONDS)
        until(installation.answers, "the pages")
        version = installation.publish()
        run_id = installation.launch(version)
        ended = installation.ends(run_id, version, Outcome.RELEASED)
        (pod,) = installation.pods_of(run_id)
        assert pod["spec"]["containers"][0]["image"] == newer.image
        measured.append(f"by another version, {ended.seconds:.0f} s: {ended.reason}")
    finally:
        # Back again, by the same lines.
        installation.overlay.write(installation.folder)
        for line in lines:
            typed(installation, line)
        until(installation.are_ready, "three Deployments ready", START_SECONDS)
        until(installation.answers, "the pages")


def test_pods_wait_for_the_job_and_say_so_and_two_jobs_take_turns(
    installation: Installation, lines: list[str], older: str
) -> None:
    cluster, webserver = installation.cluster, "deploy/dagster-webserver"
    before = pods(installation)
    cluster.kubectl("rollout", "restart", webserver, "-n", NAMESPACE)
    until(lambda: bool(pods(installation) - before), "a new pod")
    (new,) = [
        pod["metadata"]["name"]
        for pod in cluster.get("pods", "-n", NAMESPACE)["items"]
        if pod["metadata"]["uid"] in pods(installation) - before
    ]
    until(lambda: f"Job {JOB} brings it" in said(installation, f"pod/{new}", "-c", "schema"), "its sentence", 120)
    assert installation.answers()

    typed(installation, lines[0])
    try:
        with in_use(older):
            typed(installation, lines[1])
            again = cluster.get("job", JOB, "-n", NAMESPACE)
            for name in ("controller-uid", "job-name"):
                again["spec"]["template"]["metadata"]["labels"].pop(name, None)
            again["metadata"] = {"name": SECOND, "namespace": NAMESPACE, "labels": again["metadata"]["labels"]}
            del again["spec"]["selector"], again["status"]
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(again))
            waits = "is being brought forward by another pod"
            until(
                lambda: any(waits in said(installation, f"job/{job}") for job in (JOB, SECOND)), "one that waits", 120
            )
        for job in (JOB, SECOND):
            until(partial(is_complete, installation, job), f"the end of {job}", 120)
    finally:
        cluster.kubectl("delete", "job", SECOND, "-n", NAMESPACE, "--ignore-not-found")
    until(lambda: new in ready(installation), "the new webserver", START_SECONDS)


def ready(installation: Installation) -> set[str]:
    """The names of pods that are."""
    found = installation.cluster.get("pods", "-n", NAMESPACE)["items"]
    return {
        pod["metadata"]["name"]
        for pod in found
        if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
    }
