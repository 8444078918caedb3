"""What clusters do to deliveries, done for real to the whole pipeline: each ends as promised, and is told once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import dagster as dg
import pytest

from banana_delivery.delivery.recovery import resume
from banana_delivery.policy.drift import detect_drift
from banana_delivery.policy.model import Colour, Environment, ImageRef, Outcome, Phase
from banana_delivery.policy.outcomes import CONSEQUENCES
from banana_delivery.targets.kubernetes.api import Json
from banana_delivery.targets.kubernetes.objects import CONTAINER, container_of
from banana_delivery.targets.kubernetes.readiness import is_ready
from banana_delivery.waiting import SystemClock
from tests.cluster.cluster import AT_ONCE, PRODUCTION
from tests.cluster.faults import changed_template, frozen, restart
from tests.cluster.load import Users
from tests.cluster.world import ClusterWorld
from tests.integration.delivery.test_every_phase import GOOD, was_told_once
from tests.support.phases import PhaseHook

STAGING, SOLE = Environment.STAGING, Colour.SOLE
SHIFTING = PhaseHook(PRODUCTION, Phase.SHIFTING)
SETTLED = 50
"""Requests to wait for after a delivery; whatever broke would show in them."""
UPLOAD_SECONDS = 2.0
"""The slowest of the users need no longer to send an image."""
ROUTES_KNOWN_SECONDS = 5.0
MID_SHIFT_SECONDS = 5.0
"""After so long the candidate has a good part of the users, and not yet all of them."""
EVERY_NODE = ("-l", "kubernetes.io/hostname")

Fault = Callable[[ClusterWorld, dict[str, ImageRef]], AbstractContextManager[None]]


@contextmanager
def image_gone(here: ClusterWorld, releases: dict[str, ImageRef]) -> Iterator[None]:
    with here.pushing(releases["2"].replace(digest="sha256:" + "0" * 64)):
        yield


@contextmanager
def no_node(here: ClusterWorld, _: dict[str, ImageRef]) -> Iterator[None]:
    with changed_template(here.cluster, STAGING, SOLE, lambda spec: spec.update(nodeSelector={"no-such": "node"})):
        yield


@contextmanager
def crash_loop(here: ClusterWorld, _: dict[str, ImageRef]) -> Iterator[None]:
    ends = {"command": ["python", "-c", "raise SystemExit(3)"]}
    with changed_template(here.cluster, STAGING, SOLE, lambda spec: container_of(spec).update(ends)):
        yield


@contextmanager
def never_ready(here: ClusterWorld, releases: dict[str, ImageRef]) -> Iterator[None]:
    with here.pushing(releases["sick"]):
        yield


def ends(here: ClusterWorld, run: dg.DagsterRun, outcome: Outcome, reason: str) -> None:
    """The run's end, the attempt, the registry and what people read say the same."""
    pipeline, version = here.pipeline, run.tags["dagster/partition"]
    was_told_once(pipeline, run, outcome)
    (attempt,) = [attempt for attempt in pipeline.attempts(version) if attempt.run_id == run.run_id]
    assert reason in attempt.reason
    (told,) = [notice for notice in pipeline.sent if notice.key.startswith(run.run_id)]
    assert attempt.reason in told.body
    assert run.status.value == CONSEQUENCES[outcome].run_status
    assert (pipeline.registry.describe(version).stage != "Staging") is CONSEQUENCES[outcome].clears_staging


@pytest.mark.parametrize(
    ("fault", "patience", "outcome", "reason"),
    [
        (image_gone, 120.0, Outcome.ERROR, "the image cannot be pulled"),
        (no_node, 5.0, Outcome.ERROR, "Unschedulable"),
        (crash_loop, 120.0, Outcome.REJECTED, "exit code 3"),
        (never_ready, 10.0, Outcome.REJECTED, "running, but not ready"),
    ],
)
def test_a_release_without_replicas_is_rejected_if_it_is_to_blame_and_an_error_if_the_cluster_is(
    here: ClusterWorld,
    releases: dict[str, ImageRef],
    fault: Fault,
    patience: float,
    outcome: Outcome,
    reason: str,
) -> None:
    live, version = here.pipeline.serving, here.pipeline.stage(GOOD)
    with fault(here, releases), here.setting(ready_timeout_seconds=patience):
        run = here.pipeline.run(version)
    ends(here, run, outcome, reason)
    here.is_at_rest(live)


def struck(
    here: ClusterWorld, strikes: Mapping[PhaseHook, Callable[[], object]], version: str = "", assets: Sequence[str] = ()
) -> tuple[dg.DagsterRun, Users]:
    """Deliver a version under users' load; something happens at some moments, of which users see nothing afterwards."""
    here.connect().at.update(strikes)
    with Users(here.pipeline.resources.release_target.url(PRODUCTION)) as users:
        run = here.pipeline.run(version or here.pipeline.stage(GOOD), assets=assets)
        ended = time.monotonic()
        users.more(SETTLED)
    # By when it was sent: a slow upload is answered long after that.
    afterwards = [answer.status for answer in users.answers if answer.sent > ended]
    assert set(afterwards) == {200}
    return run, users


@pytest.mark.long
def test_an_api_server_away_and_a_router_restarted_delay_a_release(here: ClusterWorld, measured: list[str]) -> None:
    restarted: list[float] = []

    def restart_router() -> None:
        restarted.append(time.monotonic())
        restart("traefik")
        restarted.append(time.monotonic())

    with ExitStack() as away:
        strikes = {
            SHIFTING: lambda: away.enter_context(frozen("kube-apiserver", 15)),
            PhaseHook(PRODUCTION, Phase.WATCHING): restart_router,
        }
        run, users = struck(here, strikes)
    measured.append(users.summary())
    ends(here, run, Outcome.RELEASED, "")
    here.is_at_rest(run.tags["dagster/partition"])
    began, back = restarted
    # A router that has just started answers 404 until it knows its routes.
    spared = [one for one in users.failures if not began - UPLOAD_SECONDS < one.sent < back + ROUTES_KNOWN_SECONDS]
    assert spared == [], "only a router that is away may cost users anything"


def test_a_release_whose_replicas_all_die_for_good_is_rolled_back(here: ClusterWorld, measured: list[str]) -> None:
    live = here.pipeline.serving

    def die() -> None:
        here.cluster.kubectl("cordon", *EVERY_NODE)
        kill(here, here.cluster.pods("production", here.candidate_colour))

    try:
        run, users = struck(here, {SHIFTING: die})
    finally:
        here.cluster.kubectl("uncordon", *EVERY_NODE)
    measured.append(users.summary())
    ends(here, run, Outcome.ROLLED_BACK, "gave no sign of life")
    here.is_at_rest(live)
    assert users.failures and len(users.failures) < len(users.answers) / 20


@pytest.mark.long
def test_a_replica_killed_in_the_shift_is_replaced_and_the_release_ends_by_its_figures(
    here: ClusterWorld, measured: list[str]
) -> None:
    """What its death costs may be too much for what is allowed in a step, or not: each is an end as promised."""
    live = here.pipeline.serving
    killed: list[Json] = []

    def kill_one() -> None:
        killed.extend([pod for pod in here.cluster.pods("production", here.candidate_colour) if is_ready(pod)][:1])
        kill(here, killed)

    killer = threading.Timer(MID_SHIFT_SECONDS, kill_one)
    run, users = struck(here, {SHIFTING: killer.start})
    killer.join()
    assert killed
    measured.append(users.summary())
    version = run.tags["dagster/partition"]
    (outcome,) = [one.outcome for one in here.pipeline.attempts(version) if one.run_id == run.run_id]
    assert outcome in {Outcome.RELEASED, Outcome.PARKED, Outcome.ROLLED_BACK}
    ends(here, run, outcome, "")
    here.is_at_rest(version if outcome is Outcome.RELEASED else live)
    assert len(users.failures) < len(users.answers) / 100


@pytest.mark.long
def test_a_hand_edit_in_the_shift_holds_production_as_it_is_until_somebody_resumes(
    here: ClusterWorld, releases: dict[str, ImageRef]
) -> None:
    live, version = here.pipeline.serving, here.pipeline.stage(GOOD)
    candidate = f"deployment/banana-api-{here.candidate_colour}"

    def edit_the_image() -> None:
        running = here.pipeline.resources.release_target.record(PRODUCTION).deployments.values()
        other = next(one for one in releases.values() if one.digest not in {each.image.digest for each in running})
        here.cluster.kubectl("set", "image", candidate, "-n", "production", f"{CONTAINER}={other.pinned}")

    edits: dict[str, Callable[[], object]] = {
        "of the traffic instead of": lambda: here.cluster.edit_route({Colour.BLUE: 55, Colour.GREEN: 45}),
        "has 3 replicas instead of": lambda: here.cluster.kubectl(
            "scale", candidate, "-n", "production", "--replicas=3"
        ),
        "runs sha256:": edit_the_image,
    }
    # What was built and compared once counts for the next attempts.
    attempts: list[Sequence[str]] = [(), *[("production_release",)] * (len(edits) - 1)]
    for (found, edit), assets in zip(edits.items(), attempts, strict=True):
        run, _ = struck(here, {SHIFTING: edit}, version, assets)
        ends(here, run, Outcome.ERROR, found)
        target = here.pipeline.resources.release_target
        record = target.record(PRODUCTION)
        assert (record.phase, found in detect_drift(record, target.observed(PRODUCTION))) == (Phase.DRIFTED, True)
        # People look first. What is told to go while it starts may also stay for a minute.
        here.cluster.kubectl("rollout", "status", candidate, "-n", "production", "--timeout=60s")
        resume(target, PRODUCTION, "Ada", SystemClock())
        here.is_at_rest(live)


def kill(here: ClusterWorld, pods: Sequence[Json]) -> None:
    """End pods of production without a warning."""
    names = [pod["metadata"]["name"] for pod in pods]
    here.cluster.kubectl("delete", "pods", "-n", "production", *names, *AT_ONCE)
