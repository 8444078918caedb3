"""Weights without a Gateway: which pods stand behind one Service.

At rest the Service selects the active colour. During a shift it selects a label that some pods of both colours carry;
each step labels its pods anew under a label key not in use and then moves the selector, so a step, and the way back,
is one write to the Service, and both colours keep all their replicas. The keys carry the generation of the claim:
labels that a dead owner still hands out select nothing. The share is what a head count can give; who asks for 10 % and
has two old pods gets a third, and is told so.

The whole selector is ours and in no manifest: to the API server it is one value, so whoever applied a part of it would
take the rest away.
"""

from __future__ import annotations

import secrets
import time
from itertools import product

from typing_extensions import override

from banana_delivery.errors import TargetError
from banana_delivery.names import COLOUR_KEY, DOMAIN
from banana_delivery.policy.model import COLOURS, Colour, Environment
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, selector_text
from banana_delivery.targets.kubernetes.readiness import is_ready
from banana_delivery.targets.kubernetes.routing import Routing
from banana_delivery.waiting import wait_until

MEMBER_PREFIX = f"{DOMAIN}/member-"
NOBODY = "none"
SETTLE_SECONDS = 20.0
PROXY_SECONDS = 1.0
"""How long kube-proxy may sit on a change of endpoints by default."""


def members(weights: dict[Colour, int], ready: dict[Colour, int]) -> dict[Colour, int]:
    """How many pods of each colour come nearest to the weights; as many as possible where several do.

    Raises:
        TargetError: if a colour that is to get traffic has no ready pod.
    """
    for colour, weight in weights.items():
        if weight and not ready.get(colour):
            raise TargetError(f"{colour} is to get {weight} % of the traffic, but has no ready replica.")
    colours = list(weights)
    ranges = [
        range(1 if weights[colour] else 0, (ready.get(colour, 0) if weights[colour] else 0) + 1) for colour in colours
    ]
    counts = (dict(zip(colours, choice, strict=True)) for choice in product(*ranges))
    return min(counts, key=lambda count: (_distance(weights, count), -sum(count.values())))


def shares(counts: dict[Colour, int]) -> dict[Colour, float]:
    """Percent of new connections by colour that so many members give."""
    total = sum(counts.values())
    return {colour: 100 * count / total if total else 0.0 for colour, count in counts.items()}


def weights_in(selector: dict[str, str]) -> dict[Colour, int]:
    """The weights that a selector of ours stands for; zeros for any other."""
    asked = next((value for key, value in selector.items() if key.startswith(MEMBER_PREFIX)), None)
    if asked is not None:
        return _asked(asked)
    return {colour: 100 if selector.get(COLOUR_KEY) == colour else 0 for colour in COLOURS[Environment.PRODUCTION]}


def free_key(selector: dict[str, str], generation: int) -> str:
    """A label key of this generation that no pod is selected by now."""
    first, second = (f"{MEMBER_PREFIX}{generation}-{letter}" for letter in "ab")
    return second if first in selector else first


def selecting(place: EnvironmentNamespace, key: str, value: str) -> dict[str, str]:
    """The selector of those replicas of the environment that carry a label."""
    return {**place.labels, key: value}


def closed(place: EnvironmentNamespace, selector: dict[str, str]) -> dict[str, str]:
    """The selector as it is, or one that lets nobody in if the pipeline has never decided who may."""
    return selector if any(map(_is_ours, selector)) else selecting(place, COLOUR_KEY, NOBODY)


def whole(weights: dict[Colour, int]) -> str:
    """The colour that has everything, as a label value; ``none`` if nobody has anything."""
    return next((str(colour) for colour, weight in weights.items() if weight == 100), NOBODY)


class EndpointRouting(Routing):
    """Production behind a Service alone."""

    owned = "selector"

    def __init__(self, api: KubernetesApi, place: EnvironmentNamespace) -> None:
        super().__init__(api, place, place.service(place.users_service))

    @override
    def initialise(self, carrier: Json) -> None:
        """Before the first release the Service must not lead to a candidate."""
        carrier["spec"]["selector"] = closed(self.place, carrier["spec"].get("selector", {}))

    @override
    def prepare(self, weights: dict[Colour, int], generation: int) -> Json:
        """Label the pods of the next step; nobody selects them yet."""
        if set(weights.values()) <= {0, 100}:
            return {"key": COLOUR_KEY, "value": whole(weights)}
        carrier = self.api.get(self.carrier) or {"spec": {}}
        key = free_key(carrier["spec"].get("selector", {}), generation)
        value = f"{'-'.join(f'{colour}{weight}' for colour, weight in weights.items())}-{secrets.token_hex(4)}"
        pods = {colour: self._ready(colour) for colour in weights}
        counts = members(weights, {colour: len(found) for colour, found in pods.items()})
        for colour, found in pods.items():
            for pod in found[: counts[colour]]:
                self._label(pod, key, value)
        return {"key": key, "value": value}

    @override
    def apply(self, carrier: Json, weights: dict[Colour, int], prepared: Json) -> None:
        """Select the pods of the step."""
        carrier["spec"]["selector"] = selecting(self.place, prepared["key"], prepared["value"])

    @override
    def wait_applied(self, carrier: Json, prepared: Json) -> None:
        """Wait until the Service leads to the pods of the step, and kube-proxy has had the time to follow."""
        selector = selector_text(carrier["spec"]["selector"])
        somebody = prepared["value"] != NOBODY
        wait_until(
            lambda: (self._addresses(selector), self._endpoints()),
            SETTLE_SECONDS,
            lambda seen: TargetError(
                f"Service {self.place.name}/{self.place.users_service} leads to {len(seen[1])} replicas and "
                f"not to the {len(seen[0])} of {prepared['value']} after {SETTLE_SECONDS:.0f} s; look at the "
                "pods' readiness."
            ),
            done=lambda seen: seen[0] == seen[1] and bool(seen[0]) == somebody,
        )
        time.sleep(PROXY_SECONDS)

    @override
    def weights(self, carrier: Json) -> dict[Colour, int]:
        """What the Service's selector stands for."""
        return weights_in(carrier["spec"].get("selector", {}))

    @override
    def shares(self, carrier: Json) -> dict[Colour, float]:
        """What the head count gives, however it came about."""
        selector = carrier["spec"].get("selector", {})
        # To a Service, no selector means nobody; to a search it means everybody.
        pods = self._pods(selector_text(selector)) if selector else []
        colours = [pod["metadata"]["labels"][COLOUR_KEY] for pod in pods]
        return shares({colour: colours.count(str(colour)) for colour in COLOURS[self.place.environment]})

    @override
    def url(self) -> str:
        """The Service."""
        return self.service_url(self.place.users_service)

    @override
    def probe_url(self, colour: Colour) -> str:
        """The colour's own Service."""
        return self.service_url(self.place.object_name(colour))

    def _ready(self, colour: Colour) -> list[Json]:
        return sorted(self._pods(self.place.selector(colour)), key=lambda pod: str(pod["metadata"]["name"]))

    def _pods(self, selector: str) -> list[Json]:
        found = self.api.get(self.place.pods, labelSelector=selector) or {"items": []}
        return [pod for pod in found["items"] if is_ready(pod)]

    def _label(self, pod: Json, key: str, value: str) -> None:
        name = pod["metadata"]["name"]
        if self.api.patch(self.place.pod(name), {"metadata": {"labels": {key: value}}}) is None:
            raise TargetError(f"Pod {name} went away while it was to get traffic; try again.")

    def _addresses(self, selector: str) -> set[str]:
        return {str(pod["status"]["podIP"]) for pod in self._pods(selector)}

    def _endpoints(self) -> set[str]:
        found = self.api.get(self.place.endpoints(self.place.users_service)) or {}
        return {
            str(address["ip"]) for subset in found.get("subsets") or [] for address in subset.get("addresses") or []
        }


def _is_ours(key: str) -> bool:
    return key == COLOUR_KEY or key.startswith(MEMBER_PREFIX)


def _distance(weights: dict[Colour, int], counts: dict[Colour, int]) -> float:
    given = shares(counts)
    return max(abs(given[colour] - weight) for colour, weight in weights.items())


def _asked(value: str) -> dict[Colour, int]:
    """The weights in a label value such as ``blue80-green20-0f3a``; zeros if it is not ours."""
    parts = dict.fromkeys(COLOURS[Environment.PRODUCTION], 0)
    for part in value.split("-"):
        for colour in parts:
            number = part.removeprefix(colour)
            if number != part and number.isdigit():
                parts[colour] = int(number)
    return parts
