"""Where the embedded stack keeps what, below ``BANANA_HOME``, and which ports are free."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from banana_delivery.files import text_sha256
from banana_delivery.policy.model import Colour, Environment

SOCKET_PATH_LIMIT = 100
"""Linux allows 107 characters for a Unix socket's path; supervisord appends its pid while it creates the socket."""


@dataclass(frozen=True)
class LocalPaths:
    """All paths that the local target and the stack around it share.

    Attributes:
        home: the folder that holds them.
    """

    home: Path

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.home / "logs"

    @property
    def runs_logs(self) -> Path:
        """A file for each run: what it prints, beside what Dagster keeps of its steps; runs outlive the code server."""
        return self.logs / "runs"

    @property
    def supervisor_conf(self) -> Path:
        """The configuration of supervisord itself."""
        return self.home / "supervisor" / "supervisord.conf"

    @property
    def supervisor_pid(self) -> Path:
        """Holds supervisord's process id while it runs."""
        return self.home / "supervisor" / "supervisord.pid"

    @property
    def programs(self) -> Path:
        """One file for each program that supervisord runs."""
        return self.home / "supervisor" / "conf.d"

    @property
    def socket(self) -> Path:
        """Where supervisord listens: in the home, or in the temporary folder if the home's path is too long for it."""
        path = self.home / "supervisor" / "supervisord.sock"
        if len(str(path)) + len(".4194304") < SOCKET_PATH_LIMIT:
            return path
        name = text_sha256(str(self.home))[:16]
        return Path(tempfile.gettempdir()) / f"banana-{name}" / "supervisord.sock"

    @property
    def code_server_socket(self) -> Path:
        """Where the code server listens, beside supervisord; its name is the shorter one."""
        return self.socket.with_name("code.sock")

    @property
    def router_static(self) -> Path:
        """Traefik's static configuration."""
        return self.home / "router" / "traefik.yml"

    @property
    def router_dynamic(self) -> Path:
        """The folder that Traefik watches."""
        return self.home / "router" / "dynamic"

    @property
    def ports_lock(self) -> Path:
        """Held while a replica is given a port."""
        return self.home / "supervisor" / "ports.lock"

    @property
    def reserve(self) -> Path:
        """Room that is given back for a rollback on a full disk."""
        return self.home / "reserve"

    def record(self, environment: Environment) -> Path:
        """The fenced record of an environment."""
        return self.home / "environments" / environment / "record.json"

    def record_copy(self, environment: Environment) -> Path:
        """Its second copy, where nothing else lies: whoever removes one of the folders leaves the other."""
        return self.home / "records" / f"{environment}.json"

    def replica_set(self, environment: Environment, colour: Colour) -> Path:
        """What a colour runs: release, folder, names and ports."""
        return self.home / "environments" / environment / f"{colour}.json"


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still being forgotten is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
