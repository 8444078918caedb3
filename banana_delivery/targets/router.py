"""Telling the local Traefik what to do, and seeing that it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from banana_delivery.policy.records import COLOURS, Colour, Environment, Stratum
from banana_delivery.targets import traefik
from banana_delivery.targets.base import TargetError
from banana_delivery.targets.files import write_atomically
from banana_delivery.targets.local_paths import LocalPaths

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
        # No connection is kept: a look a second does not need it, and nobody has to close it.
        self._client = httpx.Client(timeout=5.0, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def prepare(self) -> None:
        """Write what is missing for Traefik's first start; what is there stays."""
        self._write("common", traefik.common_config())
        for environment in Environment:
            if not self._file(f"{environment}-weights").exists():
                self.write_weights(environment, {})
            if not self._file(f"{environment}-backends").exists():
                self.write_backends(environment, {})

    def write_weights(self, environment: Environment, weights: Mapping[Colour, int]) -> None:
        """Wish for a split of the users."""
        self._write(f"{environment}-weights", traefik.weights_config(environment, weights))

    def write_backends(self, environment: Environment, ports: Mapping[Colour, Sequence[int]]) -> None:
        """Wish for the replicas that take requests."""
        self._write(f"{environment}-backends", traefik.backends_config(environment, ports))

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
        name = traefik.split_name(environment)
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
            if (name := traefik.service_name(colour, Stratum.USER)) in by_name
        }

    def metrics(self) -> str:
        """Traefik's counters, in Prometheus' text format.

        Raises:
            TargetError: if Traefik does not answer.
        """
        return self._get("/metrics").text

    def _ports(self, colour: Colour) -> set[int]:
        balancer = self._service(traefik.service_name(colour, Stratum.USER)).get("loadBalancer", {})
        return {httpx.URL(server["url"]).port or 80 for server in balancer.get("servers") or []}

    def _service(self, name: str) -> dict[str, Any]:
        answer = self._get(f"/api/http/services/{name}@file")
        return {} if answer.status_code == httpx.codes.NOT_FOUND else dict(answer.json())

    def _get(self, path: str) -> httpx.Response:
        """Ask Traefik, again for some seconds while nothing listens: supervisord brings it back when it was killed."""
        deadline = time.monotonic() + TAKE_UP_SECONDS
        while True:
            try:
                return self._client.get(self._api + path)
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise TargetError(
                        f"The router does not answer on {self._api}; see whether it runs with: banana-delivery status"
                    ) from error
                time.sleep(0.2)

    def _await(self, taken_up: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TAKE_UP_SECONDS
        while not taken_up():
            if time.monotonic() > deadline:
                raise TargetError(
                    f"The router did not take up {what} within {TAKE_UP_SECONDS:.0f} s; see the folder {self._folder} "
                    f"and the router's log for what it refuses."
                )
            time.sleep(POLL_SECONDS)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.yml"

    def _write(self, name: str, config: traefik.Config) -> None:
        try:
            write_atomically(self._file(name), yaml.safe_dump(config, sort_keys=False))
        except OSError as error:
            raise TargetError(
                f"The router's configuration cannot be written to {self._file(name)}: {error.strerror}; make room or "
                f"correct the folder's permissions."
            ) from error
