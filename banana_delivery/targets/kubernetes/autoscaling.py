"""The colours' autoscalers: the floor that a release sets, and what they added by themselves."""

from __future__ import annotations

from banana_delivery.policy.model import Colour
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, asked_replicas


def set_floor(api: KubernetesApi, place: EnvironmentNamespace, colour: Colour, replicas: int) -> None:
    """Let the autoscaler, if there is one, not go below what the pipeline asks for; at 0 it sleeps by itself."""
    if replicas:
        api.patch(place.autoscaler(colour), {"spec": {"minReplicas": replicas}})


def autoscaler_of(api: KubernetesApi, place: EnvironmentNamespace, colour: Colour) -> Json | None:
    """The colour's autoscaler; None if there is none. A patch of nothing, since staging's role may only patch it."""
    return api.patch(place.autoscaler(colour), {"spec": {}})


def is_content(autoscaler: Json, deployment: Json) -> bool:
    """Whether the Deployment has as many replicas as the autoscaler wants."""
    return bool(autoscaler.get("status", {}).get("desiredReplicas") == deployment["spec"]["replicas"])


def replicas_of(api: KubernetesApi, place: EnvironmentNamespace, colour: Colour, deployment: Json) -> int:
    """Replicas asked for, not counting those that the autoscaler added: those are nobody's hand edit."""
    live, asked = int(deployment["spec"]["replicas"]), asked_replicas(deployment)
    if live == asked:
        return asked
    autoscaler = api.get(place.autoscaler(colour))
    return asked if live > asked > 0 and autoscaler and is_content(autoscaler, deployment) else live
