"""Weights by the Gateway API: one HTTPRoute splits user traffic, another one gives the probe a private way.

Any implementation of the Gateway API will do. None of them says when its routers really follow a change, so every
change brings a rule along whose answer names it, and the change counts as taken up once the router gives that answer.
"""

from __future__ import annotations

import math
import secrets
import time
from functools import partial

import httpx
from typing_extensions import override

from banana_delivery.errors import ConflictError, TargetError
from banana_delivery.names import COLOUR_KEY, TRAFFIC_HEADER, URL_KEY
from banana_delivery.policy.model import COLOURS, Colour, Environment
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.endpoints import closed, selecting, whole
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, annotation
from banana_delivery.targets.kubernetes.record import change_stamped
from banana_delivery.targets.kubernetes.routing import Routing
from banana_delivery.waiting import gateway_duration

USER_ROUTE = "banana-api"
PROBE_ROUTE = "banana-api-probe"
SERVICE_PORT = 80

SETTLE_SECONDS = 20.0
"""A router that was restarted needs some seconds; one that needs longer than this is out of order."""
MISSED = 0.001
"""How often a router that has not followed may be overlooked."""
ROUTERS = 5
"""Pods of a Gateway, where nobody says how many there are."""
FEWEST = 3
"""Answers in a row, even of one router."""


def confirmations(routers: int) -> int:
    """How many answers in a row, each on a connection of its own, show that all routers have followed.

    A new connection meets one router of n by chance, so k of them all miss a straggler with the probability
    (1 - 1/n)^k; k is the smallest number for which that is at most ``MISSED``.
    """
    if routers < 2:
        return FEWEST
    return max(FEWEST, math.ceil(math.log(MISSED) / math.log1p(-1 / routers)))


def user_rules(
    weights: dict[Colour, int], key: str, token: str, timeout_seconds: float, place: EnvironmentNamespace
) -> list[Json]:
    """The rules of the users' route.

    Args:
        weights: percent by colour.
        key: the secret part of internal paths.
        token: a host label that names this change.
        timeout_seconds: after which the router answers 504, where the implementation supports it; 0 for never.
        place: the environment.
    """
    split: Json = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "filters": [_traffic("user")],
        "backendRefs": [
            {"kind": "Service", "name": place.object_name(colour), "port": SERVICE_PORT, "weight": weight}
            for colour, weight in weights.items()
        ],
    }
    if timeout_seconds:
        split["timeouts"] = {"request": gateway_duration(timeout_seconds)}
    redirect = {"hostname": f"{token}.invalid", "statusCode": 302}
    echo: Json = {
        "matches": [{"path": {"type": "Exact", "value": _echo_path(key)}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
    }
    return [split, echo]


def weights_in(route: Json) -> dict[Colour, int]:
    """Percent of user traffic by colour that a route asks for; zeros before the first release.

    Weights that do not sum to 100 (somebody's own edit) are given as they are.
    """
    by_service = {
        backend["name"]: int(backend.get("weight", 1))
        for rule in route["spec"].get("rules", [])
        for backend in rule.get("backendRefs", [])
    }
    return {colour: by_service.get(f"banana-api-{colour}", 0) for colour in COLOURS[Environment.PRODUCTION]}


def token_in(route: Json) -> str:
    """The name of the last change that a route carries; empty before the first."""
    for rule in route["spec"].get("rules", []):
        for step in rule.get("filters", []):
            if step["type"] == "RequestRedirect":
                return str(step["requestRedirect"]["hostname"]).removesuffix(".invalid")
    return ""


def probe_rules(key: str, place: EnvironmentNamespace) -> list[Json]:
    """The rules of the probe's route: a secret path per colour."""
    return [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": _probe_path(key, colour)}}],
            "filters": [
                _traffic("probe"),
                {
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
                },
            ],
            "backendRefs": [{"kind": "Service", "name": place.object_name(colour), "port": SERVICE_PORT}],
        }
        for colour in COLOURS[place.environment]
    ]


def key_in(route: Json) -> str:
    """The secret of the probe's route; empty before the pipeline has written its rules."""
    for rule in route["spec"].get("rules", []):
        for match in rule.get("matches", []):
            parts = str(match.get("path", {}).get("value", "")).strip("/").split("/")
            if len(parts) == 3 and parts[0] == "-":
                return parts[1]
    return ""


class GatewayRouting(Routing):
    """Production behind a Gateway.

    Args:
        api: the cluster.
        place: the environment's namespace.
        timeout_seconds: after which the router gives a request up.
        routers: how many of them there are at most; a change is confirmed often enough to have met each.
    """

    owned = "rules"

    def __init__(
        self, api: KubernetesApi, place: EnvironmentNamespace, timeout_seconds: float, routers: int = ROUTERS
    ) -> None:
        super().__init__(api, place, place.route(USER_ROUTE))
        self._timeout_seconds = timeout_seconds
        self._confirmations = confirmations(routers)

    @override
    def main(self) -> Colour | None:
        """The one that clients inside the cluster are led to."""
        service = self.api.get(self._service) or {"spec": {}}
        chosen = (service["spec"].get("selector") or {}).get(COLOUR_KEY)
        return next((colour for colour in COLOURS[self.place.environment] if colour == chosen), None)

    @override
    def fence(self, generation: int) -> None:
        """Close the Service for clients inside the cluster to older generations, and to everybody before a release."""
        change_stamped(self.api, self._service, generation, self._close)

    @override
    def prepare(self, weights: dict[Colour, int], generation: int) -> Json:
        """Make sure that the probe has its route, and name the change."""
        split = "-".join(f"{colour}{weight}" for colour, weight in weights.items())
        return {"key": self._key(), "token": f"{split}-{secrets.token_hex(4)}"}

    @override
    def apply(self, carrier: Json, weights: dict[Colour, int], prepared: Json) -> None:
        """Write the weights into the route."""
        carrier["spec"]["rules"] = user_rules(
            weights, prepared["key"], prepared["token"], self._timeout_seconds, self.place
        )

    @override
    def wait_applied(self, carrier: Json, prepared: Json) -> None:
        """Ask for the name of the change that the routers follow, until each must have said that it is this one.

        One that names another change, or does not answer, makes it begin anew.
        """
        expected = f"{prepared['token']}.invalid"
        url = _url_of(carrier, USER_ROUTE) + _echo_path(prepared["key"])
        deadline, seen, said, other = time.monotonic() + SETTLE_SECONDS, 0, "", ""
        # Kept connections would ask the same router again and again.
        limits = httpx.Limits(max_keepalive_connections=0)
        own = httpx.create_ssl_context()  # It knows ``SSL_CERT_FILE``; a proxy of the environment is not meant here.
        with httpx.Client(
            timeout=2.0, trust_env=False, verify=own, limits=limits, headers={"Connection": "close"}
        ) as client:
            while seen < self._confirmations:
                said = _redirect_host(client, url)
                seen, other = (seen + 1, other) if said == expected else (0, said)
                if time.monotonic() > deadline and seen < self._confirmations:
                    raise TargetError(
                        f"The Gateway did not follow HTTPRoute {self.place.name}/{USER_ROUTE} within "
                        f"{SETTLE_SECONDS:.0f} s: asked at {_url_of(carrier, USER_ROUTE)}, it said {other!r}, and "
                        f"then {seen} times in a row what it was to say ({self._confirmations} are needed). The "
                        "weights are stored and hold once it does; look at the Gateway's pods."
                    )
                if not seen:
                    time.sleep(0.05)

    @override
    def sync_service(self, weights: dict[Colour, int], generation: int) -> None:
        """Clients inside the cluster are moved as a whole, by their Service, once a colour has everything."""
        if set(weights.values()) <= {0, 100}:
            change_stamped(self.api, self._service, generation, partial(self._select, colour=whole(weights)))

    @override
    def weights(self, carrier: Json) -> dict[Colour, int]:
        """What the route asks for."""
        return weights_in(carrier)

    @override
    def url(self) -> str:
        """Where users reach production."""
        return _url_of(self._route(USER_ROUTE), USER_ROUTE)

    @override
    def probe_url(self, colour: Colour) -> str:
        """The secret path to one colour."""
        key = self._key()
        return _url_of(self._route(PROBE_ROUTE), PROBE_ROUTE) + _probe_path(key, colour)

    @property
    def _service(self) -> str:
        return self.place.service(self.place.users_service)

    def _close(self, service: Json) -> None:
        service["spec"]["selector"] = closed(self.place, service["spec"].get("selector", {}))

    def _select(self, service: Json, colour: str) -> None:
        service["spec"]["selector"] = selecting(self.place, COLOUR_KEY, colour)

    def _key(self) -> str:
        """The secret; made, and the probe's route written, when it is asked for the first time."""
        route = self._route(PROBE_ROUTE)
        key = key_in(route)
        if key:
            return key
        route["spec"]["rules"] = probe_rules(secrets.token_hex(16), self.place)
        try:
            return key_in(self.api.replace(self.place.route(PROBE_ROUTE), route))
        except ConflictError:
            return self._key()

    def _route(self, name: str) -> Json:
        route = self.api.get(self.place.route(name))
        if route is None:
            raise TargetError(
                f"HTTPRoute {self.place.name}/{name} does not exist; apply k8s/base/gateway, or set "
                "BANANA_KUBERNETES_ROUTING=endpoints where there is no Gateway."
            )
        return route


def _traffic(kind: str) -> Json:
    """Says whose request it is, whatever the client said."""
    return {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": TRAFFIC_HEADER, "value": kind}]},
    }


def _echo_path(key: str) -> str:
    return f"/-/{key}/weights"


def _probe_path(key: str, colour: Colour) -> str:
    return f"/-/{key}/{colour}"


def _url_of(route: Json, name: str) -> str:
    """Where a route is reached.

    Raises:
        TargetError: if nobody said.
    """
    url = annotation(route, URL_KEY)
    hosts = route["spec"].get("hostnames", [])
    if url or hosts:
        return (url or f"http://{hosts[0]}").rstrip("/")
    raise TargetError(f"HTTPRoute {name} does not say where it is reached; annotate it with {URL_KEY}.")


def _redirect_host(client: httpx.Client, url: str) -> str:
    """The host that a router redirects to; what went wrong if it does not redirect."""
    try:
        answer = client.get(url)
        location = answer.headers.get("location")
        return httpx.URL(location).host if location else f"HTTP {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or repr(error)
