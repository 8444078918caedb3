"""What one colour runs on this machine, and how that has to change: pure values and rules.

Bringing the processes of a colour to what was wished: ports, supervisord, then the router's backends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from operator import not_
from pathlib import Path

from pydantic import Field, ValidationError

from banana_delivery.embedded.paths import LocalPaths, is_free
from banana_delivery.embedded.replica_client import ReplicaClient
from banana_delivery.embedded.router.traefik import Router
from banana_delivery.embedded.supervisor import MEANT_TO_RUN, Process, Program, Supervisor
from banana_delivery.errors import TargetError
from banana_delivery.files import lock, write_atomically
from banana_delivery.policy.model import COLOURS, Colour, Environment, ImageRef, StoredModel, StoredRecord
from banana_delivery.ports import chosen
from banana_delivery.settings import Settings
from banana_delivery.waiting import wait_until

KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 10
PRE_STOP_SECONDS = 0.5
"""A replica still accepts for so long after SIGTERM: requests that were on their way when the router let go of it."""
START_SECONDS = 10
"""A replica that ends earlier has failed to start; after ``START_RETRIES`` more tries supervisord gives up on it."""
START_RETRIES = 2


class Replica(StoredModel):
    """One process.

    Attributes:
        name: its program in supervisord; never used again for another release.
        port: where it listens, on 127.0.0.1.
        internal_port: where it answers what only the pipeline asks; 0 for one that was started before there was such a
            port, which answers everything on the other. So does a release that was built before.
    """

    name: str
    port: int
    internal_port: int = 0

    @property
    def metrics_ports(self) -> tuple[int, ...]:
        """Where its counters may be, the likely place first."""
        return (self.internal_port, self.port) if self.internal_port else (self.port,)


class ReplicaSet(StoredRecord):
    """What a colour was told to run.

    Attributes:
        environment: where.
        colour: which side.
        image: the release.
        directory: the release unpacked: ``app/serving``, ``model/model.onnx``, ``model/version.json``.
        replicas: its processes.
        generation: of the last claim on the environment.
        probe_token: what the probe proves itself by; empty for what was deployed before there were tokens.
    """

    environment: Environment
    colour: Colour
    image: ImageRef
    directory: Path
    generation: int = 0
    probe_token: str = Field(default="", repr=False)
    replicas: tuple[Replica, ...] = ()

    @property
    def ports(self) -> list[int]:
        """Where its replicas listen for users."""
        return [replica.port for replica in self.replicas]

    @property
    def taken_ports(self) -> set[int]:
        """All ports that are its replicas'."""
        return {port for replica in self.replicas for port in replica.metrics_ports}

    @property
    def prefix(self) -> str:
        """What the names of its replicas begin with; the digest keeps the logs of releases apart."""
        return f"{name_prefix(self.environment, self.colour)}{self.image.digest.removeprefix('sha256:')[:10]}-"

    def resized(
        self,
        replicas: int,
        free_ports: Iterable[int],
        failed: frozenset[str] = frozenset(),
        known: frozenset[str] = frozenset(),
    ) -> ReplicaSet:
        """The set with so many replicas: the ones that run stay, the lowest free numbers come on top.

        Args:
            replicas: how many.
            free_ports: where new ones may listen; two for each are taken.
            failed: names of replicas that are not worth keeping.
            known: names of processes that are still there, for example to finish what they have accepted; a process
                that is on its way out cannot be started.
        """
        kept = [replica for replica in self.replicas if replica.name not in failed][:replicas]
        taken = {replica.name for replica in self.replicas} | known
        names = (name for name in self._names() if name not in taken)
        ports = iter(free_ports)
        fresh = [
            Replica(name=next(names), port=next(ports), internal_port=next(ports)) for _ in range(replicas - len(kept))
        ]
        return self.replace(replicas=(*kept, *fresh))

    def program(self, replica: Replica, settings: Settings) -> Program:
        """How supervisord runs one of its replicas: the release's own serving code, with this environment's Python."""
        environment = {
            "MODEL_PATH": str(self.directory / "model" / "model.onnx"),
            "ENVIRONMENT": self.environment.value,
            "COLOUR": self.colour.value,
            "IMAGE_DIGEST": self.image.digest,
            "PROBE_TOKEN": self.probe_token,
            "DATABASE_URL": settings.serving_database_url.get_secret_value(),
            "SOURCE_URL": settings.source_url,
            "FAULT": settings.drill_faults.get(self.image.version, ""),
            "HOST": "127.0.0.1",
            "PORT": str(replica.port),
            **({"INTERNAL_PORT": str(replica.internal_port)} if replica.internal_port else {}),
            "KEEP_ALIVE_SECONDS": str(KEEP_ALIVE_SECONDS),
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
            "PRE_STOP_SECONDS": str(PRE_STOP_SECONDS),
            "PYTHONPATH": str(self.directory / "app"),
            # The release stays as it was unpacked, so that it can be verified.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return Program(
            name=replica.name,
            command=(sys.executable, "-m", "serving"),
            directory=self.directory / "app",
            environment=environment,
            start_seconds=START_SECONDS,
            start_retries=START_RETRIES,
            stop_seconds=DRAIN_SECONDS + 5,
        )

    def _names(self) -> Iterable[str]:
        number = 0
        while True:
            yield f"{self.prefix}{number}"
            number += 1


def name_prefix(environment: Environment, colour: Colour) -> str:
    """What the names of all programs of a colour begin with."""
    return f"{environment}-{colour}-"


PORTS_TRIED = 500
WARM_SECONDS = 10.0
"""How long a change waits for new replicas beside others that carry users; the environment is locked meanwhile."""
PORTS_LOCK_SECONDS = 30.0
"""How long a change waits for another one that chooses ports; that reads some small files."""


class Replicas:
    """The processes of all colours on this machine. Whoever changes an environment's holds its record's lock."""

    def __init__(
        self, settings: Settings, paths: LocalPaths, supervisor: Supervisor, router: Router, client: ReplicaClient
    ) -> None:
        self._settings = settings
        self._paths = paths
        self._supervisor = supervisor
        self._router = router
        self._client = client

    def of(self, environment: Environment, colour: Colour) -> ReplicaSet | None:
        """What a colour was told to run; None if nothing ever.

        Raises:
            TargetError: if that cannot be read.
        """
        path = self._paths.replica_set(environment, colour)
        try:
            return ReplicaSet.read_json(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise TargetError(f"{path} cannot be read ({type(error).__name__}); remove it and deploy again.") from error

    def all(self, environment: Environment) -> list[ReplicaSet]:
        """What the colours of an environment were told to run."""
        return [found for colour in COLOURS[environment] if (found := self.of(environment, colour))]

    def running(self, replicas: ReplicaSet) -> list[Process]:
        """Those of its processes that nobody stopped.

        Raises:
            TargetError: if supervisord does not answer.
        """
        processes = self._supervisor.processes()
        found = [processes[replica.name] for replica in replicas.replicas if replica.name in processes]
        return [process for process in found if process.state in MEANT_TO_RUN]

    def apply(self, wished: ReplicaSet, replicas: int, *, carries_users: bool) -> None:
        """Make a colour run this release with so many replicas.

        Replicas of the same release that run stay. Those that go leave the router first, and then finish what they
        have accepted; nobody waits for that here. Those that come to others that carry users get requests once they
        are ready.

        Args:
            wished: the release, and where it is unpacked.
            replicas: how many.
            carries_users: whether users are sent to this colour now.

        Raises:
            TargetError: if supervisord or the router does not answer, or new replicas beside others that carry users
                do not get ready within seconds; the users stay with the others.
        """
        processes = self._supervisor.processes()
        present = self.of(wished.environment, wished.colour)
        same = present if present and present.image.digest == wished.image.digest else None
        with self._free_ports() as free_ports:
            base = same.replace(directory=wished.directory, generation=wished.generation) if same else wished
            target = base.resized(replicas, free_ports, _failed(base, processes), frozenset(processes))
            self._write(target)
        kept = [replica for replica in target.replicas if same and replica in same.replicas]
        self._retire(target, kept, processes)
        self._start(target)
        if kept and carries_users:
            self._await_ready(target)
        self._route(target.environment)

    def restore(self) -> None:
        """Write what supervisord and the router need to run what was last wished, before they start.

        A port that somebody else has taken meanwhile is replaced.

        Raises:
            TargetError: if no port is free, or what was wished cannot be read.
        """
        for found in chain.from_iterable(self.all(environment) for environment in Environment):
            with self._free_ports() as free_ports:
                moved = tuple(self._moved(replica, free_ports) for replica in found.replicas)
                self._write(found.replace(replicas=moved))
            for replica in moved:
                self._supervisor.write(found.program(replica, self._settings))
        for environment in Environment:
            self._router.write_backends(environment, self._ports(environment), self._tokens(environment))

    def stamp(self, environment: Environment, generation: int) -> None:
        """Leave the generation of a claim on what the colours were told to run."""
        for found in self.all(environment):
            self._write(found.replace(generation=generation))

    def _retire(self, target: ReplicaSet, kept: list[Replica], processes: dict[str, Process]) -> None:
        """Let go of every process of the colour that is not kept, the router first."""
        prefix, stay = name_prefix(target.environment, target.colour), {replica.name for replica in kept}
        leaving = [name for name in processes if name.startswith(prefix) and name not in stay]
        if leaving:
            ports = {**self._ports(target.environment), target.colour: [replica.port for replica in kept]}
            self._router.write_backends(target.environment, ports, self._tokens(target.environment))
            self._router.await_backends(target.environment, ports)
        for name in leaving:
            self._supervisor.forget(name)
        self._supervisor.stop(*leaving)
        self._supervisor.remove(*leaving)

    def _start(self, target: ReplicaSet) -> None:
        for replica in target.replicas:
            self._supervisor.write(target.program(replica, self._settings))
        if target.replicas:
            self._supervisor.start(*(replica.name for replica in target.replicas))

    def _await_ready(self, target: ReplicaSet) -> None:
        wait_until(
            lambda: [r.name for r in target.replicas if not self._client.health(r.port, target.image.digest).ready],
            WARM_SECONDS,
            lambda late: TargetError(
                f"{', '.join(late)} did not get ready within {WARM_SECONDS:.0f} s, so the users stay with the "
                f"other replicas of {target.colour}; see {self._paths.logs}, and scale it again."
            ),
            done=not_,
        )

    def _route(self, environment: Environment) -> None:
        ports = self._ports(environment)
        self._router.write_backends(environment, ports, self._tokens(environment))
        self._router.await_backends(environment, ports)

    def _ports(self, environment: Environment) -> dict[Colour, list[int]]:
        return {found.colour: found.ports for found in self.all(environment)}

    def _tokens(self, environment: Environment) -> dict[Colour, str]:
        return {found.colour: found.probe_token for found in self.all(environment)}

    def _write(self, replicas: ReplicaSet) -> None:
        path = self._paths.replica_set(replicas.environment, replicas.colour)
        try:
            write_atomically(path, replicas.model_dump_json(indent=2))
        except OSError as error:
            sentence = f"{path} cannot be written: {error.strerror}; make room or correct its permissions."
            raise TargetError(sentence) from error

    @contextmanager
    def _free_ports(self) -> Iterator[Iterator[int]]:
        """Ports that no replica has and nobody listens on, while no other change takes any."""
        with lock(
            self._paths.ports_lock,
            PORTS_LOCK_SECONDS,
            "The list of replicas' ports",
            error=TargetError,
            end_stopped=True,
        ):
            sets = chain.from_iterable(self.all(environment) for environment in Environment)
            given = {port for found in sets for port in found.taken_ports}
            yield self._candidates(given)

    def _candidates(self, given: set[int]) -> Iterator[int]:
        first = self._settings.replica_port_base
        for port in range(first, min(first + PORTS_TRIED, 65536)):
            if port not in given and self._may_have(port):
                yield port
        raise TargetError(
            f"No free port for a replica between {first} and {first + PORTS_TRIED}; set BANANA_REPLICA_PORT_BASE to a "
            f"quieter range."
        )

    def _may_have(self, port: int) -> bool:
        """Whether nobody listens there, nor will: while the stack is down, its own ports are free."""
        return port not in chosen(self._settings) and is_free(port)

    def _moved(self, replica: Replica, free_ports: Iterator[int]) -> Replica:
        """A replica that does not run, away from ports that are taken, and with an internal one if it had none."""
        port = replica.port if self._may_have(replica.port) else next(free_ports)
        stays = replica.internal_port and self._may_have(replica.internal_port)
        return replica.replace(port=port, internal_port=replica.internal_port if stays else next(free_ports))


def _failed(replicas: ReplicaSet, processes: dict[str, Process]) -> frozenset[str]:
    """Replicas that supervisord gave up on, that were stopped by hand or that it does not know: not worth keeping."""
    lively = {name for name, process in processes.items() if process.state in MEANT_TO_RUN - {"FATAL"}}
    return frozenset(replica.name for replica in replicas.replicas if replica.name not in lively)
