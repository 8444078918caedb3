"""What one colour runs on this machine, and how that has to change: pure values and rules."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from banana_delivery.policy.records import Colour, Environment, ImageRef, Value
from banana_delivery.settings import Settings
from banana_delivery.targets.supervisor import Program

KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 10
PRE_STOP_SECONDS = 0.5
"""A replica still accepts for so long after SIGTERM: requests that were on their way when the router let go of it."""
START_SECONDS = 10
"""A replica that ends earlier has failed to start; after ``START_RETRIES`` more tries supervisord gives up on it."""
START_RETRIES = 2


class Replica(Value):
    """One process.

    Attributes:
        name: its program in supervisord; never used again for another release.
        port: where it listens, on 127.0.0.1.
    """

    name: str
    port: int


class ReplicaSet(Value):
    """What a colour was told to run.

    Attributes:
        environment: where.
        colour: which side.
        image: the release.
        directory: the release unpacked: ``app/serving``, ``model/model.onnx``, ``model/version.json``.
        replicas: its processes.
    """

    environment: Environment
    colour: Colour
    image: ImageRef
    directory: Path
    replicas: tuple[Replica, ...] = ()

    @property
    def ports(self) -> list[int]:
        """Where its replicas listen."""
        return [replica.port for replica in self.replicas]

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
            free_ports: where new ones may listen; as many are taken as are needed.
            failed: names of replicas that are not worth keeping.
            known: names of processes that are still there, for example to finish what they have accepted; a process
                that is on its way out cannot be started.
        """
        kept = [replica for replica in self.replicas if replica.name not in failed][:replicas]
        taken = {replica.name for replica in self.replicas} | known
        names = (name for name in self._names() if name not in taken)
        fresh = [
            Replica(name=next(names), port=port)
            for _, port in zip(range(replicas - len(kept)), free_ports, strict=False)
        ]
        return self.but(replicas=(*kept, *fresh))

    def program(self, replica: Replica, settings: Settings) -> Program:
        """How supervisord runs one of its replicas: the release's own serving code, with this environment's Python."""
        environment = {
            "MODEL_PATH": str(self.directory / "model" / "model.onnx"),
            "ENVIRONMENT": self.environment.value,
            "COLOUR": self.colour.value,
            "IMAGE_DIGEST": self.image.digest,
            "DATABASE_URL": settings.serving_database_url.get_secret_value(),
            "FAULT": settings.drill_faults.get(self.image.version, ""),
            "HOST": "127.0.0.1",
            "PORT": str(replica.port),
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
