"""Traefik's dynamic configuration, as pure values: which backends there are, who reaches them and how they are counted.

For every colour and source there is a service of its own, because Traefik counts by service. It tries again inside
that service, so that another colour never answers for a broken one, and only while no connection was made (Traefik
gives up trying once request bytes were sent). Each try is counted by the service, so what finally reached a client is
counted by a second one: when the last try ended in 502 the ``errors`` middleware asks that service for a page. Nothing
listens at its address, so the client gets the same 502, and the service's count is the number of requests lost.

Weights are kept apart from backends: a deployment never overwrites an edit of the weights, nor the reverse.

Telling the local Traefik what to do, and seeing that it does.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.supervisor import Supervisor
from banana_delivery.errors import TargetError
from banana_delivery.files import write_atomically
from banana_delivery.names import PROBE_HEADER, TRAFFIC_HEADER
from banana_delivery.policy import commands
from banana_delivery.policy.model import COLOURS, Colour, Environment, TrafficSource
from banana_delivery.waiting import retry, wait_until

Config = dict[str, object]

TIMEOUT_SECONDS = 5
"""A replica that has not begun to answer after so long has hung: the client gets 504."""
IDLE_SECONDS = 30
"""Less than a replica's keep-alive, so that a connection is never reused in the moment in which it is closed."""
TRIES = 15
FIRST_PAUSE_MILLISECONDS = 10
"""Between tries; fifteen take about 0.2 s. Two replicas are tried in turn by all requests together, so a single one may
meet the same dead replica several times in a row."""
UPLOAD_BYTES = 64 * 1024 * 1024
"""More than any replica accepts: the replica's own sentence is the better answer."""
NOBODY = "http://127.0.0.1:1"
LOST = "lost"
NO_AUTHORITY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For whoever asks this machine, in plain HTTP: reading all authorities first takes longer than the whole answer."""


def service_name(colour: Colour, source: TrafficSource) -> str:
    """The Traefik service that counts one colour's requests of one source."""
    return f"{colour}-{source}"


def split_name(environment: Environment) -> str:
    """The Traefik service that splits an environment's users by weight."""
    return f"{environment}-users"


def common_config() -> Config:
    """What all environments share, and the way to Traefik's own API."""
    return {
        "http": {
            # Its list of routers would tell everybody on this machine what the probe proves itself by.
            "routers": {
                "api": {
                    "entryPoints": ["api"],
                    "rule": "PathPrefix(`/api/http/services`) || Path(`/api/version`)",
                    "service": "api@internal",
                }
            },
            "middlewares": {
                # The whole request is read before a replica sees it: a slow upload keeps no replica waiting, and a
                # client that leaves half-way is not mistaken for a replica that broke the connection.
                "whole-request": {"buffering": {"maxRequestBodyBytes": UPLOAD_BYTES}},
                "try-again": {"retry": {"attempts": TRIES, "initialInterval": f"{FIRST_PAUSE_MILLISECONDS}ms"}},
                **{
                    f"mark-{source}": {"headers": {"customRequestHeaders": {TRAFFIC_HEADER: source.value}}}
                    for source in TrafficSource
                },
            },
            "serversTransports": {
                "replica": {
                    "forwardingTimeouts": {
                        "dialTimeout": "1s",
                        "responseHeaderTimeout": f"{TIMEOUT_SECONDS}s",
                        "idleConnTimeout": f"{IDLE_SECONDS}s",
                    }
                }
            },
        }
    }


def backends_config(
    environment: Environment, ports: Mapping[Colour, Sequence[int]], tokens: Mapping[Colour, str]
) -> Config:
    """The services of an environment's colours and the probe's routes to them.

    Args:
        environment: which one.
        ports: on 127.0.0.1, of the replicas that take requests, by colour.
        tokens: what the probe proves itself by, by colour. Whoever cannot is answered 404 by the router itself, and
            counted by nobody.
    """
    routers: Config = {}
    middlewares: Config = {}
    services: Config = {}
    for colour in COLOURS[environment]:
        routers[f"{colour}-probe"] = {
            "entryPoints": ["probe"],
            "rule": _probe_rule(colour, tokens.get(colour, "")),
            "middlewares": ["mark-probe", f"{colour}-strip", "whole-request"],
            "service": service_name(colour, TrafficSource.PROBE),
        }
        middlewares[f"{colour}-strip"] = {"stripPrefix": {"prefixes": [f"/{colour}"]}}
        for source in TrafficSource:
            name = service_name(colour, source)
            middlewares[f"{name}-{LOST}"] = {"errors": {"status": ["502"], "service": f"{name}-{LOST}", "query": "/"}}
            services[f"{name}-{LOST}"] = _balancer([NOBODY])
            services[name] = {
                "middlewares": [f"{name}-{LOST}", "try-again"],
                **_balancer([f"http://127.0.0.1:{port}" for port in ports.get(colour, ())]),
            }
    return {"http": {"routers": routers, "middlewares": middlewares, "services": services}}


def weights_config(environment: Environment, weights: Mapping[Colour, int]) -> Config:
    """The users' route into an environment, split by weight; before the first release nobody is served (503)."""
    split = [
        {"name": service_name(colour, TrafficSource.USER), "weight": weights.get(colour, 0)}
        for colour in COLOURS[environment]
    ]
    return {
        "http": {
            "routers": {
                split_name(environment): {
                    "entryPoints": [environment.value],
                    "rule": "PathPrefix(`/`)",
                    "middlewares": ["mark-user", "whole-request"],
                    "service": split_name(environment),
                }
            },
            "services": {split_name(environment): {"weighted": {"services": split}}},
        }
    }


def _probe_rule(colour: Colour, token: str) -> str:
    path = f"Path(`/{colour}`) || PathPrefix(`/{colour}/`)"
    return f"({path}) && Header(`{PROBE_HEADER}`, `{token}`)" if token else path


def _balancer(urls: Sequence[str]) -> Config:
    # No health check: with one, an environment whose replicas all fail is answered by Traefik itself, and uncounted.
    return {"loadBalancer": {"serversTransport": "replica", "servers": [{"url": url} for url in urls]}}


TAKE_UP_SECONDS = 10.0
"""Traefik reads its folder within a fraction of a second; when it was killed, supervisord needs some to restart it."""
POLL_SECONDS = 0.03


class Router:
    """The local Traefik.

    Args:
        paths: where its configuration lies.
        api_port: where its API and metrics are, on 127.0.0.1.
    """

    def __init__(self, paths: LocalPaths, api_port: int) -> None:
        self._folder = paths.router_dynamic
        self._api = f"http://127.0.0.1:{api_port}"
        self._supervisor = Supervisor(paths)
        # No connection is kept: a look a second does not need it, and nobody has to close it.
        self._client = httpx.Client(
            timeout=5.0, trust_env=False, verify=NO_AUTHORITY, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def prepare(self) -> None:
        """Write what is missing for Traefik's first start; what is there stays."""
        self._write("common", common_config())
        for environment in Environment:
            if not self._file(f"{environment}-weights").exists():
                self.write_weights(environment, {})
            if not self._file(f"{environment}-backends").exists():
                self.write_backends(environment, {}, {})

    def write_weights(self, environment: Environment, weights: Mapping[Colour, int]) -> None:
        """Wish for a split of the users."""
        self._write(f"{environment}-weights", weights_config(environment, weights))

    def restore_weights(self, environment: Environment, weights: Mapping[Colour, int]) -> None:
        """Write the split again if somebody removed its file; one that is there stays, whoever edited it."""
        if not self._file(f"{environment}-weights").exists():
            self.write_weights(environment, weights)

    def write_backends(
        self, environment: Environment, ports: Mapping[Colour, Sequence[int]], tokens: Mapping[Colour, str]
    ) -> None:
        """Wish for the replicas that take requests, and for what the probe must prove itself by."""
        self._write(f"{environment}-backends", backends_config(environment, ports, tokens))

    def await_weights(self, environment: Environment, weights: Mapping[Colour, int]) -> None:
        """Wait until users are split so.

        Raises:
            TargetError: if they are not in time.
        """
        self._await(lambda: self.weights(environment) == dict(weights), f"the weights of {environment}")

    def await_backends(self, environment: Environment, ports: Mapping[Colour, Sequence[int]]) -> None:
        """Wait until exactly these replicas take requests.

        Raises:
            TargetError: if they do not in time.
        """

        def taken_up() -> bool:
            return all(self._ports(colour) == set(ports.get(colour, ())) for colour in COLOURS[environment])

        self._await(taken_up, f"the replicas of {environment}")

    def weights(self, environment: Environment) -> dict[Colour, int]:
        """The split of the users that is in force.

        Raises:
            TargetError: if Traefik does not answer, or has not read its folder in time.
        """
        name = split_name(environment)
        service = self._service(name)
        if not service and self._file(f"{environment}-weights").exists():
            # A Traefik that has just started answers some tenths of a second before it has read its folder.
            self._await(lambda: bool(self._service(name)), f"the weights of {environment}")
            service = self._service(name)
        split = service.get("weighted", {}).get("services", [])
        by_name = {service["name"]: service.get("weight", 0) for service in split}
        return {
            colour: by_name[name]
            for colour in COLOURS[environment]
            if (name := service_name(colour, TrafficSource.USER)) in by_name
        }

    def metrics(self) -> str:
        """Traefik's counters, in Prometheus' text format.

        Raises:
            TargetError: if Traefik does not answer, or not with a page.
        """
        answer = self._get("/metrics")
        if not answer.is_success:
            raise TargetError(
                f"The router answers {answer.status_code} {answer.reason_phrase} on {self._api}/metrics; see what "
                "listens there."
            )
        return answer.text

    def _ports(self, colour: Colour) -> set[int]:
        balancer = self._service(service_name(colour, TrafficSource.USER)).get("loadBalancer", {})
        return {httpx.URL(server["url"]).port or 80 for server in balancer.get("servers") or []}

    def _service(self, name: str) -> dict[str, Any]:
        answer = self._get(f"/api/http/services/{name}@file")
        return {} if answer.status_code == httpx.codes.NOT_FOUND else dict(answer.json())

    def _get(self, path: str) -> httpx.Response:
        """Ask Traefik, again for some seconds while nothing listens: supervisord brings it back when it was killed.

        Where no supervisord runs nobody does, and whoever asks is told at once.
        """

        def is_looked_after(error: httpx.TransportError) -> None:
            if not self._supervisor.alive:
                raise error

        try:
            return retry(
                lambda: self._client.get(self._api + path),
                TAKE_UP_SECONDS,
                on=(httpx.TransportError,),
                meanwhile=is_looked_after,
                pause=0.2,
            )
        except httpx.TransportError as error:
            raise TargetError(
                f"The router does not answer on {self._api}; see whether it runs with: {commands.status()}"
            ) from error

    def _await(self, taken_up: Callable[[], bool], what: str) -> None:
        wait_until(
            taken_up,
            TAKE_UP_SECONDS,
            lambda _: TargetError(
                f"The router did not take up {what} within {TAKE_UP_SECONDS:.0f} s; see the folder {self._folder} "
                f"and the router's log for what it refuses."
            ),
            pause=POLL_SECONDS,
        )

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.yml"

    def _write(self, name: str, config: Config) -> None:
        try:
            write_atomically(self._file(name), yaml.safe_dump(config, sort_keys=False))
        except OSError as error:
            raise TargetError(
                f"The router's configuration cannot be written to {self._file(name)}: {error.strerror}; make room or "
                f"correct the folder's permissions."
            ) from error
