"""How far a Deployment's pods are, and whether waiting can still help. Pure."""

from __future__ import annotations

from collections import Counter

from banana_delivery.names import GENERATION_KEY
from banana_delivery.targets.base import Readiness
from banana_delivery.targets.kubernetes.api import Json
from banana_delivery.targets.kubernetes.objects import CONTAINER, annotation, asked_replicas, container_of

HOPELESS = {
    "ImagePullBackOff": "the image cannot be pulled",
    "InvalidImageName": "the image's name is not valid",
    "ErrImageNeverPull": "the image is not on the node and may not be pulled",
    "CreateContainerConfigError": "its configuration is incomplete",
    "CreateContainerError": "its container cannot be created",
    "RunContainerError": "its container cannot be started",
}
OWN_FAULT = "RunContainerError"
"""Of these, the one that the image itself is to blame for: the program that it names does not start."""
OVER = ("Failed", "Succeeded")
"""Phases of pods that never run again."""
CRASHES = 2
"""A replica that ended so often by itself does not get better by waiting."""


def readiness_of(deployment: Json, pods: list[Json]) -> Readiness:
    """How far the replicas of a colour are.

    Args:
        deployment: the colour's Deployment.
        pods: every pod of the colour, whatever its age.
    """
    # One that was evicted stays as a note until somebody deletes it.
    pods = [pod for pod in pods if pod.get("status", {}).get("phase") not in OVER]
    wanted = asked_replicas(deployment)
    template = deployment["spec"]["template"]
    current = [pod for pod in pods if _made_as(pod) == _made_as(template)]
    ours = [pod for pod in current if not pod["metadata"].get("deletionTimestamp")]
    if _unnoticed(deployment):
        return Readiness(0, wanted, waiting_for="The cluster has not looked at the change yet.", place_at_fault=True)
    ready = sum(is_ready(pod) for pod in ours)
    replaced = sum(_is_in_the_way(pod, template) for pod in pods)
    if replaced and ready >= wanted:
        going = f"{replaced} replaced replicas have yet to go."
        return Readiness(min(ready, wanted - 1), wanted, waiting_for=going, place_at_fault=True)
    if ready >= wanted:
        return Readiness(ready, wanted)
    missing = [pod for pod in ours if not is_ready(pod)]
    if refusal := _refusal(deployment):
        return Readiness(ready, wanted, failure=refusal, place_at_fault=True)
    # One that ran and ended tells of the release, whatever keeps others from starting.
    if hopeless := sorted(filter(_hopeless, missing), key=_never_ran):
        return Readiness(ready, wanted, failure=_hopeless(hopeless[0]), place_at_fault=_never_ran(hopeless[0]))
    return Readiness(ready, wanted, waiting_for=_doings(missing), place_at_fault=all(map(_never_ran, missing)))


def not_led_there(pods: Readiness, url: str, said: str) -> Readiness:
    """Pods that are ready, but not reached yet: kube-proxy or the Gateway has not heard of them.

    Args:
        pods: how far the pods themselves are.
        url: where they were to be reached.
        said: what is there instead.
    """
    waiting_for = f"{url} does not lead there yet, it says {said!r}."
    return Readiness(min(pods.ready, pods.wanted - 1), pods.wanted, waiting_for=waiting_for, place_at_fault=True)


def serves(deployment: Json) -> bool:
    """Whether something of what a Deployment asks for is there and ready, and nothing of what it asked for before."""
    status = deployment.get("status", {})
    updated = status.get("updatedReplicas", 0) == status.get("replicas", 0)
    return bool(deployment["spec"]["replicas"] and updated and status.get("readyReplicas"))


def ready_in(deployment: Json) -> int:
    """How many pods of a colour take requests, as the cluster counted them the last time; no pod is asked."""
    return int(deployment.get("status", {}).get("readyReplicas", 0))


def is_ready(pod: Json) -> bool:
    """Whether a pod answers and is not about to go."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", [])
    )


def has_ended(pod: Json) -> bool:
    """Whether a pod was told to go and has stopped. The cluster takes some seconds more to put it away."""
    return bool(pod["metadata"].get("deletionTimestamp")) and "terminated" in _status(pod).get("state", {})


def _made_as(pod: Json) -> tuple[str, str]:
    """The image of a pod, or of a template, and the claim under which it was deployed."""
    return container_of(pod["spec"])["image"], annotation(pod, GENERATION_KEY)


def _is_in_the_way(pod: Json, template: Json) -> bool:
    """Whether a colour is not itself while this pod is there.

    One that is told to go still gets requests until every proxy has heard of it; that matters if its digest is another.
    """
    if _made_as(pod) == _made_as(template) or has_ended(pod):
        return False
    same_image = container_of(pod["spec"])["image"] == container_of(template["spec"])["image"]
    return not (same_image and pod["metadata"].get("deletionTimestamp"))


def _unnoticed(deployment: Json) -> bool:
    return int(deployment.get("status", {}).get("observedGeneration", 0)) < int(deployment["metadata"]["generation"])


def _refusal(deployment: Json) -> str:
    """Why the cluster makes no pods at all, for example a quota."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"The cluster refuses to make its pods: {condition.get('message', condition.get('reason', ''))}"
    return ""


def _status(pod: Json) -> Json:
    """The state of the serving container; empty while there is none."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == CONTAINER), {})


def _hopeless(pod: Json) -> str:
    """Why waiting for this pod cannot help; empty if it may."""
    name, status = pod["metadata"]["name"], _status(pod)
    waiting = status.get("state", {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in HOPELESS:
        return f"Pod {name}: {HOPELESS[reason]} ({reason}: {waiting.get('message', '')})."
    # Between its end and the next start, what ended stands in the present state, and there may be no last one.
    ended = (status.get("lastState") or {}).get("terminated") or (status.get("state") or {}).get("terminated") or {}
    if int(status.get("restartCount", 0)) >= CRASHES and not status.get("ready"):
        how = ended.get("reason", "Error")
        return f"Pod {name} crashed {status['restartCount']} times, the last time with {how}, {_exit(ended)}."
    return ""


def _never_ran(pod: Json) -> bool:
    """Whether the release never had its say: no node, no image, no volume, no configuration."""
    status = _status(pod)
    state = status.get("state", {})
    if state.get("waiting", {}).get("reason") == OWN_FAULT:
        return False
    began = state.keys() & {"running", "terminated"} or status.get("lastState") or status.get("restartCount")
    return not began


def _exit(ended: Json) -> str:
    return f"exit code {ended['exitCode']}" if "exitCode" in ended else "no exit code known"


def _doings(pods: list[Json]) -> str:
    """What pods that are not ready do, for a person."""
    doings = Counter(map(_doing, pods))
    return " ".join(f"{count} x {what}." for what, count in doings.items())


def _doing(pod: Json) -> str:
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node takes it ({condition.get('reason', '')}: {condition.get('message', '')})"
    state = _status(pod).get("state", {})
    if "waiting" in state:
        return str(state["waiting"].get("reason", "starting"))
    if "running" in state:
        return "running, but not ready"
    return str(status.get("phase", "Pending")).lower()
