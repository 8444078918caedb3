"""Deliveries whose every write into the registry is a Job's: whole, cut short, and answered by a stranger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from banana_delivery.policy.model import Outcome
from banana_delivery.publishing.order import ANSWER_FILE, FOLDER_PREFIX, LOG_FILE
from banana_delivery.targets.kubernetes.api import Json
from tests.cluster.cluster import until
from tests.cluster.dagster.installation import DELIVERY_SECONDS, Installation
from tests.cluster.dagster.overlay import NAMESPACE

pytestmark = pytest.mark.long
PUBLISHER = "banana-delivery-publisher"
PROGRAM = f"python -P -m banana_delivery.delivery.signing.publisher >{LOG_FILE} 2>&1"
BY_NAME = ("-n", NAMESPACE, "-l", f"app.kubernetes.io/name={PUBLISHER}")


@pytest.fixture(scope="module")
def apart(installation: Installation) -> Iterator[Installation]:
    """Runs have Jobs write; the registry of these tests asks nobody for a login."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": PUBLISHER,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/part-of": "banana-delivery"},
        },
        "stringData": {},
    }
    installation.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    before = installation.overlay
    settings = {**before.settings, "BANANA_PUBLISHER_TEMPLATE": PUBLISHER}
    apply(installation, replace(before, settings=settings).write(installation.folder))
    yield installation
    apply(installation, before.write(installation.folder))


def apply(installation: Installation, folder: object) -> None:
    """A changed setting reaches the next run by itself."""
    installation.cluster.kubectl("apply", "-k", str(folder))


@contextmanager
def running(apart: Installation, line: str) -> Iterator[None]:
    """For the block a shell's line is what the Jobs run."""
    kind = ("podtemplate", PUBLISHER, "-n", NAMESPACE)
    ours = apart.cluster.get(*kind)
    value = ["/bin/sh", "-c", line]
    patch = [{"op": "replace", "path": "/template/spec/containers/0/command", "value": value}]
    apart.cluster.kubectl("patch", *kind, "--type=json", "-p", json.dumps(patch))
    try:
        yield
    finally:
        metadata = {"name": PUBLISHER, "namespace": NAMESPACE, "labels": ours["metadata"]["labels"]}
        back = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": ours["template"]}
        apart.cluster.kubectl("replace", "-f", "-", stdin=json.dumps(back))


def published(installation: Installation) -> dict[str, Json]:
    """The pods that wrote, or are at it, by their Jobs' names."""
    found = installation.cluster.get("pods", *BY_NAME)["items"]
    return {pod["metadata"]["labels"]["job-name"]: pod for pod in found}


def test_a_delivery_whose_job_is_ended_half_way_is_an_error_and_the_next_one_releases_by_jobs_alone(
    apart: Installation, measured: list[str]
) -> None:
    before = set(published(apart))
    live = apart.production.live
    version = apart.publish()
    # It has written, and its answer is not read before it ends.
    with running(apart, f"{PROGRAM}; sleep 600"):
        run_id = apart.launch(version)
        answers = f"artifacts/*/{FOLDER_PREFIX}*/{ANSWER_FILE}"
        until(lambda: bool(list(apart.overlay.home.glob(answers))), "a Job that has written", DELIVERY_SECONDS)
        (job,) = set(published(apart)) - before
        apart.cluster.kubectl("delete", "job", job, "-n", NAMESPACE, "--grace-period=0", "--force")
        said = apart.ends(run_id, version, Outcome.ERROR)
    # As its pod was seen for the last time: failed, or gone with its Job.
    assert "writes into the registry was ended" in said.reason, said
    assert apart.production.live == live

    before = set(published(apart))
    again = apart.launch(version)
    ended = apart.ends(again, version, Outcome.RELEASED)
    assert apart.serves(version)
    written = [pod for name, pod in published(apart).items() if name not in before]
    # The image, unless what was written is found and is right; its documents; `stable`.
    assert len(written) >= 2
    assert {pod["status"]["phase"] for pod in written} == {"Succeeded"}
    assert {pod["spec"]["serviceAccountName"] for pod in written} == {PUBLISHER}
    measured.append(f"written by {len(written)} Jobs, {ended.seconds:.0f} s: {ended.reason}")


def test_what_a_stranger_answers_is_not_released(apart: Installation) -> None:
    """He names a release of ours that is in the registry, and is not what was ordered."""
    if apart.production.live is None:
        first = apart.publish()
        apart.ends(apart.launch(first), first, Outcome.RELEASED)
    live = apart.production.live
    assert live is not None
    answer = json.dumps({"digest": live.digest})
    with running(apart, f"echo '{answer}' >{ANSWER_FILE}"):
        version = apart.publish()
        said = apart.ends(apart.launch(version), version, Outcome.ERROR)
    assert "is not what its inputs give, and is not released" in said.reason
    assert (apart.production.live, apart.production.owner) == (live, None)
