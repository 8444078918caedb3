"""The traffic of an environment on this machine: counted by the router, timed by the replicas."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from banana_delivery.embedded.replica_client import ReplicaClient
from banana_delivery.embedded.replicas import ReplicaSet
from banana_delivery.embedded.router.traefik import LOST, Router, service_name
from banana_delivery.errors import TargetError
from banana_delivery.policy.model import COLOURS, Backend, Colour, Environment, TrafficSnapshot, TrafficSource
from banana_delivery.targets.meter import Meter, Scrape
from banana_delivery.targets.metrics import Counted, Service, digest_of, replica_page, traefik_page


class LocalTraffic:
    """Takes snapshots; it remembers what replicas counted before they restarted or went.

    Args:
        router: the local Traefik.
        client: asks the replicas.
        clock: seconds since the epoch by this machine's clock, which router and replicas share.
    """

    def __init__(self, router: Router, client: ReplicaClient, clock: Callable[[], float] = time.time) -> None:
        self._router = router
        self._client = client
        self._clock = clock
        self._meters: dict[Environment, Meter] = defaultdict(Meter)
        self._digests: dict[str, str] = {}

    def snapshot(self, environment: Environment, sets: Sequence[ReplicaSet], *, at: float) -> TrafficSnapshot:
        """The counters now. The router is read first: its overloads are then known to the replicas already.

        Args:
            environment: which one.
            sets: what its colours run.
            at: seconds since the epoch.

        Raises:
            TargetError: if the router does not answer, or something else does in its place.
        """
        began = self._clock()
        try:
            page = self._router.metrics()
            routed = traefik_page(page, file_services(environment).get, "router", self._clock())
            replicas, silent = self._ask_replicas(sets)
        except ValueError as error:
            raise TargetError(
                f"The metrics of {environment} cannot be read: {error}; see what listens there."
            ) from error
        meter = self._meters[environment]
        meter.take([routed, *replicas], began, silent=silent)
        backends = [item.backend for item in file_services(environment).values()]
        return meter.snapshot(at, self._digests_of(sets), backends)

    def _ask_replicas(self, sets: Sequence[ReplicaSet]) -> tuple[list[Scrape], set[Colour]]:
        """What the replicas say, and the colours of those that say nothing."""
        scrapes: list[Scrape] = []
        silent: set[Colour] = set()
        for found in sets:
            for replica in found.replicas:
                text = self._client.metrics(*replica.metrics_ports, digest=found.image.digest)
                if text is None:
                    silent.add(found.colour)
                    continue
                scrapes.append(replica_page(text, replica.name, found.colour, router=False, now=self._clock()))
                self._digests[replica.name] = digest_of(text)
        return scrapes, silent

    def _digests_of(self, sets: Sequence[ReplicaSet]) -> dict[str, str]:
        """By colour, what its replicas say they are; several digests, which should never be, are all named."""
        said = {found.colour: {self._digests.get(item.name, "") for item in found.replicas} - {""} for found in sets}
        return {colour: ",".join(sorted(digests)) for colour, digests in said.items() if digests}


def file_services(environment: Environment) -> dict[str, Service]:
    """What the services of the local Traefik stand for, by the names that its metrics give them."""
    found: dict[str, Service] = {}
    for colour in COLOURS[environment]:
        for source in TrafficSource:
            name, backend = service_name(colour, source), Backend(colour=colour, source=source).key
            found[f"{name}@file"] = Service(backend, Counted.TRIES)
            found[f"{name}-{LOST}@file"] = Service(backend, Counted.LOST)
    return found
