"""When waiting for pods makes sense, and what it is that is waited for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from banana_delivery.targets.kubernetes.readiness import readiness_of, serves

OURS, OLD = "registry/banana@sha256:new", "registry/banana@sha256:old"


def deployment(replicas: int = 2, *, noticed: bool = True, conditions: list[Any] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"generation": 3, "annotations": {"banana-delivery/replicas": str(replicas)}},
        "spec": {
            "template": {
                "metadata": {"annotations": {"banana-delivery/generation": "5"}},
                "spec": {"containers": [{"name": "mesh", "image": "x"}, {"name": "api", "image": OURS}]},
            }
        },
        "status": {"observedGeneration": 3 if noticed else 2, "conditions": conditions or []},
    }


def pod(
    image: str = OURS, *, ready: bool = True, going: bool = False, restarts: int = 0, generation: int = 5, **state: Any
) -> dict[str, Any]:
    container = {"name": "api", "state": state or {"running": {}}, "restartCount": restarts, "ready": ready}
    if restarts:
        container["lastState"] = {"terminated": {"reason": "Error", "exitCode": 2}}
    return {
        "metadata": {
            "name": "pod-1",
            "annotations": {"banana-delivery/generation": str(generation)},
            **({"deletionTimestamp": "now"} if going else {}),
        },
        "spec": {"containers": [{"name": "api", "image": image}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [container],
        },
    }


def test_a_colour_is_ready_when_all_its_pods_run_the_digest_and_answer() -> None:
    assert readiness_of(deployment(2), [pod(), pod()]).complete
    assert not readiness_of(deployment(2), [pod(), pod(ready=False)]).complete
    assert not readiness_of(deployment(2), [pod(), pod(going=True)]).complete


@pytest.mark.parametrize("going", [False, True])
def test_pods_that_run_the_digest_before_are_waited_out(*, going: bool) -> None:
    mixed = readiness_of(deployment(1), [pod(), pod(OLD, going=going)])

    assert not mixed.complete
    assert mixed.waiting_for == "1 replaced replicas have yet to go."
    assert readiness_of(deployment(1), [pod()]).complete


def test_what_became_of_an_earlier_attempt_with_the_same_digest_tells_nothing_of_this_one() -> None:
    crashed = pod(ready=False, restarts=2, generation=4, waiting={"reason": "CrashLoopBackOff"})

    assert not readiness_of(deployment(1), [crashed, pod(ready=False)]).failure
    assert readiness_of(deployment(1), [crashed, pod()]).waiting_for == "1 replaced replicas have yet to go."
    assert readiness_of(deployment(1), [pod()]).complete


def test_pods_of_the_same_digest_that_go_are_not_waited_for() -> None:
    assert readiness_of(deployment(1), [pod(), pod(going=True)]).complete
    assert readiness_of(deployment(1), [pod(), pod(going=True, generation=4)]).complete


def test_a_replaced_pod_that_has_ended_is_not_waited_for_unless_it_will_start_again() -> None:
    ended = {"reason": "Completed", "exitCode": 0}
    assert readiness_of(deployment(1), [pod(), pod(OLD, ready=False, going=True, terminated=ended)]).complete
    assert not readiness_of(deployment(1), [pod(), pod(OLD, ready=False, terminated=ended)]).complete


@pytest.mark.parametrize("image", [OURS, OLD])
def test_a_pod_that_was_evicted_is_neither_waited_for_nor_held_against_the_release(image: str) -> None:
    evicted = pod(image, ready=False, restarts=2, terminated={"exitCode": 137})
    evicted["status"]["phase"] = "Failed"
    assert readiness_of(deployment(1), [pod(), evicted]).complete
    alone = readiness_of(deployment(1), [evicted])
    assert (alone.complete, alone.failure, alone.place_at_fault) == (False, "", True)


def test_enough_replicas_are_enough_though_the_cluster_refuses_more() -> None:
    full = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert readiness_of(deployment(1, conditions=[full]), [pod()]).complete


def test_a_change_that_the_cluster_has_not_looked_at_yet_is_not_ready() -> None:
    assert not readiness_of(deployment(2, noticed=False), [pod(), pod()]).complete


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (pod(ready=False, waiting={"reason": "ImagePullBackOff", "message": "manifest unknown"}), "cannot be pulled"),
        (pod(ready=False, waiting={"reason": "CreateContainerConfigError"}), "configuration is incomplete"),
        (pod(ready=False, restarts=2, waiting={"reason": "CrashLoopBackOff"}), "crashed 2 times.*exit code 2"),
    ],
)
def test_what_does_not_get_better_by_waiting_is_a_failure_at_once(broken: dict[str, Any], sentence: str) -> None:
    assert re.search(sentence, readiness_of(deployment(1), [broken]).failure)


@pytest.mark.parametrize(
    "patient",
    [
        pod(ready=False, waiting={"reason": "ErrImagePull"}),
        pod(ready=False, restarts=1, waiting={"reason": "CrashLoopBackOff"}),
        pod(ready=False),
        pod(ready=True, restarts=5),
    ],
)
def test_a_first_stumble_is_not_a_failure(patient: dict[str, Any]) -> None:
    assert not readiness_of(deployment(1), [patient]).failure


def homeless() -> dict[str, Any]:
    pending = pod(ready=False)
    pending["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}
        ],
    }
    return pending


def test_a_pod_that_no_node_takes_says_why() -> None:
    waiting = readiness_of(deployment(1), [homeless()])

    assert waiting.waiting_for == "1 x no node takes it (Unschedulable: Insufficient cpu)."


UNPULLED = pod(ready=False, waiting={"reason": "ImagePullBackOff"})
CRASHED = pod(ready=False, restarts=2, waiting={"reason": "CrashLoopBackOff"})


@pytest.mark.parametrize(
    "pods",
    [
        [UNPULLED],
        [pod(ready=False, waiting={"reason": "CreateContainerConfigError"})],
        [pod(ready=False, waiting={"reason": "ContainerCreating"})],
        [homeless()],
        [pod(), homeless()],
        [],
    ],
    ids=["unpulled", "misconfigured", "creating", "homeless", "one-homeless", "none-made"],
)
def test_a_release_that_never_ran_is_not_to_blame(pods: list[Any]) -> None:
    assert readiness_of(deployment(2), pods).place_at_fault


@pytest.mark.parametrize(
    "pods",
    [
        [CRASHED],
        [UNPULLED, CRASHED],
        [pod(ready=False)],
        [pod(ready=False), homeless()],
        [pod(ready=False, waiting={"reason": "RunContainerError"})],
    ],
    ids=["crashed", "one-crashed", "never-ready", "one-never-ready", "not-runnable"],
)
def test_a_release_that_ran_and_did_not_answer_is_to_blame(pods: list[Any]) -> None:
    assert not readiness_of(deployment(2), pods).place_at_fault


def test_a_change_that_nobody_carries_out_is_the_places_fault() -> None:
    assert readiness_of(deployment(1, noticed=False), []).place_at_fault
    assert readiness_of(deployment(1), [pod(), pod(OLD)]).place_at_fault


def test_a_cluster_that_makes_no_pods_is_quoted() -> None:
    refused = deployment(1, conditions=[{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}])

    for pods in ([], [pod(ready=False)]):
        assert "exceeded quota" in readiness_of(refused, pods).failure
        assert readiness_of(refused, pods).place_at_fault


@pytest.mark.parametrize(
    ("replicas", "status", "expected"),
    [
        (2, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, True),
        (2, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 1}, True),
        (2, {"replicas": 2, "updatedReplicas": 2}, False),
        (1, {"replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}, False),
        (0, {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}, False),
        (1, {}, False),
    ],
    ids=["all", "one of two", "none", "that of an earlier deployment", "told to go", "just made"],
)
def test_a_deployment_serves_once_replicas_of_its_own_are_ready(
    replicas: int, status: dict[str, int], *, expected: bool
) -> None:
    assert serves({"spec": {"replicas": replicas}, "status": status}) is expected
