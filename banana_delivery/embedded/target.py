"""The embedded target: replicas under supervisord, traffic split by Traefik, records in files. No engine, no root."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from typing_extensions import override

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.record import RecordFile
from banana_delivery.embedded.replica_client import Health, ReplicaClient
from banana_delivery.embedded.replicas import Replica, Replicas, ReplicaSet
from banana_delivery.embedded.reserve import Reserve
from banana_delivery.embedded.router.traefik import Router
from banana_delivery.embedded.router.traffic import LocalTraffic
from banana_delivery.embedded.supervisor import Process, Supervisor, last_line, log_of
from banana_delivery.errors import ImageError, TargetError
from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import (
    COLOURS,
    Colour,
    Deployment,
    Environment,
    ImageRef,
    Phase,
    RolloutRecord,
    TrafficSnapshot,
)
from banana_delivery.settings import Settings
from banana_delivery.targets import claims
from banana_delivery.targets.base import Claim, Readiness, RecordDamage, ReleaseTarget, Takeover
from banana_delivery.targets.restoring import Running, Traces, rebuilt

_log = logging.getLogger(__name__)


class LocalTarget(ReleaseTarget):
    """Releases on this machine.

    Args:
        settings: ports, numbers of replicas, home.
        unpack: makes a release a directory: ``app/serving``, ``model/model.onnx``, ``model/version.json``.
        clock: seconds since the epoch, for people.
    """

    show_seconds = 0.9
    """A file is written in milliseconds, and each look of a rollout, one a second, is shown at once."""

    def __init__(
        self, settings: Settings, unpack: Callable[[ImageRef], Path], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._unpack = unpack
        self._clock = clock
        self._paths = LocalPaths(settings.home)
        self._supervisor = Supervisor(self._paths)
        self._router = Router(self._paths, settings.router_api_port)
        self._client = ReplicaClient()
        self._replicas = Replicas(settings, self._paths, self._supervisor, self._router, self._client)
        self._reserve = Reserve(self._paths.reserve)
        self._traffic = LocalTraffic(self._router, self._client)
        self._records = {
            environment: RecordFile(
                self._paths.record(environment),
                self._paths.record_copy(environment),
                environment,
                partial(self._traces, environment),
            )
            for environment in Environment
        }

    @override
    def record(self, environment: Environment) -> RolloutRecord:
        return self._records[environment].read()

    @override
    def damage(self, environment: Environment) -> RecordDamage | None:
        return self._records[environment].damage()

    @override
    def rebuild(self, environment: Environment, active: Colour | None = None) -> RolloutRecord:
        sets = self._replicas.all(environment)
        running = Running(
            observed=self.observed(environment),
            images={found.colour: found.image for found in sets},
            answering={found.colour: self.readiness(environment, found.colour).ready for found in sets},
        )
        return rebuilt(environment, running, self._records[environment].newest(), active)

    @override
    def restore(self, record: RolloutRecord, owner: str) -> Claim:
        file = self._records[record.environment]
        with file.replacing(record) as base:
            return self._claimed(file, claims.claimed(base, owner, self._clock()))

    @override
    def claim(
        self,
        environment: Environment,
        owner: str,
        *,
        seen: RolloutRecord | None = None,
        takeover: Takeover | None = None,
    ) -> Claim:
        def claimed() -> Claim:
            file = self._records[environment]
            with file.locked() as record:
                return self._claimed(file, claims.claimed(record, owner, self._clock(), seen=seen, takeover=takeover))

        claim = self._reserve.making_room(claimed, lambda: takeover is not None)
        if takeover is None:
            self._reserve.fill()
        return claim

    @override
    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        def written() -> RolloutRecord:
            file = self._records[claim.environment]
            with file.locked() as present:
                return file.write(claims.written(present, claim, record, self._clock()))

        return self._reserve.making_room(written, lambda: _goes_back(record))

    @override
    def heartbeat(self, claim: Claim, look: str | None = None) -> None:
        file = self._records[claim.environment]
        with file.locked() as record:
            file.write(claims.heartbeat(record, claim, self._clock(), look))

    @override
    def release(self, claim: Claim) -> None:
        file = self._records[claim.environment]
        with file.locked() as record:
            file.write(claims.released(record, claim))

    @override
    def deploy(self, claim: Claim, colour: Colour, image: ImageRef, replicas: int) -> None:
        def deployed() -> None:
            with self._changing(claim) as record:
                wished = claims.deployed(record, colour, image, replicas, self._routed(claim.environment))
                directory = self._unpacked(image)
                if wished.weights != record.weights:
                    self._router.write_weights(claim.environment, wished.weights)
                self._apply(wished, colour, directory)

        self._reserve.making_room(deployed, lambda: _goes_back(self.record(claim.environment)))

    @override
    def scale(self, claim: Claim, colour: Colour, replicas: int) -> None:
        with self._changing(claim) as record:
            wished = claims.scaled(record, colour, replicas, self._routed(claim.environment))
            self._apply(wished, colour, self._unpacked(wished.deployments[colour].image))

    @override
    def set_weights(self, claim: Claim, weights: dict[Colour, int]) -> None:
        def weighted() -> None:
            with self._changing(claim) as record:
                wished = self._records[claim.environment].write(claims.weighted(record, weights))
                self._router.write_weights(claim.environment, wished.weights)
                self._router.await_weights(claim.environment, wished.weights)

        self._reserve.making_room(weighted, lambda: _goes_back(self.record(claim.environment)))

    @override
    def readiness(self, environment: Environment, colour: Colour) -> Readiness:
        """Each replica is asked itself; supervisord is asked about those that do not answer."""
        found = self._replicas.of(environment, colour)
        if found is None:
            return Readiness(ready=0, wanted=0, failure=claims.never_deployed(environment, colour))
        healths = {replica: self._client.health(replica.port, found.image.digest) for replica in found.replicas}
        missing = {replica: health.waiting_for for replica, health in healths.items() if not health.ready}
        ready = len(healths) - len(missing)
        processes = self._supervisor.processes() if missing else {}
        for replica in missing:
            if failure := self._failure(replica, processes.get(replica.name)):
                return Readiness(ready, len(healths), failure=failure)
        waiting_for = "; ".join(f"{replica.name}: {what}" for replica, what in missing.items())
        return Readiness(ready, len(healths), waiting_for=waiting_for)

    @override
    def observed(self, environment: Environment) -> Observed:
        """The router's split, the processes that supervisord really has, and what they say when they are asked."""
        sets = self._replicas.all(environment)
        healths = self._healths(sets)
        weights = self._router.weights(environment)
        return Observed(
            weights=weights,
            replicas={found.colour: len(self._replicas.running(found)) for found in sets},
            digests={found.colour: found.image.digest for found in sets},
            ready={colour: sum(health.ready for health in found) for colour, found in healths.items()},
            reported={
                colour: said
                for colour, found in healths.items()
                if (said := ",".join(sorted({health.reported for health in found} - {""})))
            },
            route="" if weights else f"The router has no route to {environment}, so no user is served.",
        )

    @override
    def traffic(self, environment: Environment) -> TrafficSnapshot:
        """The router's counters, and the latency that the replicas measured."""
        return self._traffic.snapshot(environment, self._replicas.all(environment), at=time.monotonic())

    @override
    def url(self, environment: Environment) -> str:
        """The router's entry point for the environment's users."""
        settings = self._settings
        port = settings.staging_port if environment is Environment.STAGING else settings.production_port
        return f"http://127.0.0.1:{port}"

    @override
    def probe_url(self, environment: Environment, colour: Colour) -> str:
        """The router's internal entry point, by colour."""
        return f"http://127.0.0.1:{self._settings.probe_port}/{colour}"

    @override
    def probe_token(self, environment: Environment, colour: Colour) -> str:
        """What the router's internal route and the colour's replicas ask for."""
        found = self._replicas.of(environment, colour)
        return found.probe_token if found else ""

    @override
    def default_replicas(self, environment: Environment) -> int:
        """As the settings say."""
        settings = self._settings
        return settings.staging_replicas if environment is Environment.STAGING else settings.production_replicas

    def _traces(self, environment: Environment) -> Traces:
        """What is left of earlier claims, apart from the record; asks nobody."""
        paths = [self._paths.replica_set(environment, colour) for colour in COLOURS[environment]]
        programs = self._paths.programs.glob(f"{environment}-*.ini")
        there = tuple(str(path) for path in (*paths, *sorted(programs)) if path.exists())
        try:
            return Traces(max((found.generation for found in self._replicas.all(environment)), default=0), there)
        except TargetError:
            return Traces(running=there)  # What cannot be read is there all the same.

    def _claimed(self, file: RecordFile, record: RolloutRecord) -> Claim:
        """Store the claim, then leave its generation beside it, so that an older record is known for what it is.

        The claim holds without what follows: whoever has to take users back is not kept from it by a full disk.
        """
        claimed = file.write(record)
        try:
            self._replicas.stamp(claimed.environment, claimed.generation)
            self._router.restore_weights(claimed.environment, claimed.weights)
        except TargetError as error:
            _log.warning("Not all beside the record of %s follows the claim: %s", claimed.environment, error)
        return claims.claim_on(claimed)

    def _healths(self, sets: Sequence[ReplicaSet]) -> dict[Colour, list[Health]]:
        """What each replica says, all asked at once: a look takes no longer because some of them hang."""
        asked = [(found.colour, replica.port, found.image.digest) for found in sets for replica in found.replicas]
        said: dict[Colour, list[Health]] = {found.colour: [] for found in sets}
        with ThreadPoolExecutor(max_workers=max(1, len(asked))) as pool:
            answers = pool.map(lambda one: self._client.health(one[1], one[2]), asked)
            for (colour, *_), health in zip(asked, answers, strict=True):
                said[colour].append(health)
        return said

    def _routed(self, environment: Environment) -> dict[Colour, float]:
        """Percent of production's users by colour, as the router has it."""
        if environment is Environment.STAGING:
            return {}
        return {colour: float(weight) for colour, weight in self._router.weights(environment).items()}

    @contextmanager
    def _changing(self, claim: Claim) -> Iterator[RolloutRecord]:
        """Hold the environment's lock for one change under a claim that is in force, and beat the heart at its end."""
        file = self._records[claim.environment]
        with file.locked() as record:
            yield claims.heartbeat(record, claim, self._clock())
            file.write(claims.alive(file.read(), self._clock()))

    def _apply(self, wished: RolloutRecord, colour: Colour, directory: Path) -> None:
        """Store the wish first: if this process dies now, whoever takes over knows what may be running."""
        self._records[wished.environment].write(wished)
        deployment: Deployment = wished.deployments[colour]
        replicas = ReplicaSet(
            environment=wished.environment,
            colour=colour,
            image=deployment.image,
            directory=directory,
            generation=wished.generation,
            # Where the same release runs already, its own stays.
            probe_token=secrets.token_hex(16),
        )
        self._replicas.apply(replicas, deployment.replicas, carries_users=wished.weights.get(colour, 0) > 0)

    def _unpacked(self, image: ImageRef) -> Path:
        try:
            return self._unpack(image)
        except ImageError as error:
            raise TargetError(str(error)) from error

    def _failure(self, replica: Replica, process: Process | None) -> str:
        """Why waiting for a replica cannot help; empty if it may."""
        if process is None:
            return f"supervisord does not know {replica.name}; deploy the version again."
        if process.state not in {"FATAL", "STOPPED"}:
            return ""
        log = log_of(self._paths.logs, replica.name)
        said = last_line(log) or process.said or "nothing"
        how = "was stopped by hand" if process.state == "STOPPED" else "ends again and again"
        return f"{replica.name} {how}; the last it said is {said!r} (see {log})."


def _goes_back(record: RolloutRecord) -> bool:
    """Whether users are being brought back, which waits for no disk."""
    return record.phase is Phase.ROLLING_BACK or record.intent is not None
