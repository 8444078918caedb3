"""The traffic of an environment on this machine: counted by the router, timed by the replicas."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.embedded.replica_client import ReplicaClient
from banana_delivery.embedded.replica_counters import ReplicaLedger
from banana_delivery.embedded.replicas import ReplicaSet
from banana_delivery.embedded.router_counters import ServiceCounts, count_services, counters
from banana_delivery.embedded.traefik import LOST, Router, service_name
from banana_delivery.errors import TargetError
from banana_delivery.policy.model import COLOURS, Backend, Counters, Environment, TrafficSnapshot, TrafficSource


class LocalTraffic:
    """Takes snapshots; it remembers what replicas counted before they restarted or went."""

    def __init__(self, router: Router, client: ReplicaClient) -> None:
        self._router = router
        self._client = client
        self._ledger = ReplicaLedger()

    def snapshot(self, environment: Environment, sets: Sequence[ReplicaSet], *, at: float) -> TrafficSnapshot:
        """The counters now.

        Args:
            environment: which one.
            sets: what its colours run.
            at: seconds since the epoch.

        Raises:
            TargetError: if the router does not answer, or something else does in its place.
        """
        try:
            self._ask_replicas(environment, sets)
            services = count_services(self._router.metrics())
        except ValueError as error:
            raise TargetError(
                f"The metrics of {environment} cannot be read: {error}; see what listens there."
            ) from error
        latency = self._ledger.latency(environment)
        backends = [
            Backend(colour=colour, source=source) for colour in COLOURS[environment] for source in TrafficSource
        ]
        return TrafficSnapshot(
            at=at,
            backends={
                item.key: _routed(services, item).replace(latency=latency.get(item.key, {})) for item in backends
            },
            digests=self._digests(sets),
        )

    def _ask_replicas(self, environment: Environment, sets: Sequence[ReplicaSet]) -> None:
        for found in sets:
            for replica in found.replicas:
                if text := self._client.metrics(replica.port):
                    self._ledger.enter(environment, found.colour, replica.name, text)

    def _digests(self, sets: Sequence[ReplicaSet]) -> dict[str, str]:
        """By colour, what its replicas say they are; several digests, which should never be, are all named."""
        said = {found.colour: {self._ledger.digest(item.name) for item in found.replicas} - {""} for found in sets}
        return {colour: ",".join(sorted(digests)) for colour, digests in said.items() if digests}


def _routed(services: dict[str, ServiceCounts], backend: Backend) -> Counters:
    name = service_name(backend.colour, backend.source)
    return counters(services.get(f"{name}@file", ServiceCounts()), services.get(f"{name}-{LOST}@file", ServiceCounts()))
