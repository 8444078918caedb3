"""The embedded stack as a whole: up, down and how it is.

Whether the ports that the stack wants are free, and who has them if they are not.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from banana_delivery.embedded.paths import LocalPaths, is_free
from banana_delivery.embedded.processes import ROUTER, ManagedProcess, variable
from banana_delivery.embedded.replica_client import ReplicaClient
from banana_delivery.embedded.replicas import Replica, Replicas, ReplicaSet
from banana_delivery.embedded.reserve import Reserve
from banana_delivery.embedded.router.traefik import Router
from banana_delivery.embedded.supervisor import Process, Supervisor, last_line, log_of
from banana_delivery.embedded.supervisord import Daemon
from banana_delivery.embedded.upgrade.installation import started_by
from banana_delivery.embedded.upgrade.plan import Plan
from banana_delivery.errors import StackError
from banana_delivery.files import lock, make_private
from banana_delivery.policy.model import Environment
from banana_delivery.quoting import one_line
from banana_delivery.settings import Settings
from banana_delivery.waiting import Deadline, wait_until

SERVICE_SECONDS = 300.0
"""A service has so long to answer; MLflow lays out its database at its first start."""
NEWS_SECONDS = 5.0
"""Whoever waits for a service hears so often that it is waited for."""
LONGEST_NEWS = 50
"""Characters of its last line."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ProcessStatus:
    """How one process of the stack is.

    Attributes:
        name: its name in supervisord.
        state: as supervisord calls it; ``DOWN`` if supervisord does not know it.
        pid: process id; 0 if it does not run.
        url: its page; empty if it has none.
        said: supervisord's remark, for example its uptime.
    """

    name: str
    state: str
    pid: int
    url: str
    said: str


@dataclass
class WaitingNews:
    """Says now and then that a service is waited for, and the last that its log says.

    Attributes:
        name: of the service.
        logs: the folder of its log.
        progress: told a line.
    """

    name: str
    logs: Path
    progress: Progress
    _next: float = NEWS_SECONDS

    def __call__(self, waited: float) -> None:
        """Say it if it is time to, after so many seconds in all."""
        if waited < self._next:
            return
        self._next = waited + NEWS_SECONDS
        said = one_line(last_line(log_of(self.logs, self.name)))
        self.progress(f"{self.name} is starting ({waited:.0f} s){': ' + said[:LONGEST_NEWS] if said else ''}")


class EmbeddedStack:
    """All processes of the stack, owned by one supervisord.

    Args:
        settings: home, ports and everything that the processes are to know.
        processes: what runs beside the replicas, in the order in which it starts.
    """

    def __init__(self, settings: Settings, processes: Sequence[ManagedProcess]) -> None:
        self._settings = settings
        self._processes = list(processes)
        self._paths = LocalPaths(settings.home)
        self._daemon = Daemon(settings)
        self._supervisor = Supervisor(self._paths)
        self._client = ReplicaClient()
        router = Router(self._paths, settings.router_api_port)
        self._replicas = Replicas(settings, self._paths, self._supervisor, router, self._client)

    def up(self, progress: Progress) -> None:
        """Start what does not run, and wait until it answers. The replicas of last time come back with their weights.

        Raises:
            StackError: if a port is taken, or something does not come up.
            TargetError: if what the environments ran cannot be read.
        """
        make_private(self._settings.home)
        Reserve(self._paths.reserve).fill()
        with self._alone():
            begin = self._begin if self._daemon.process is None else self._complete
            for service in begin(progress):
                self._await(service, progress)
        self._await_replicas(progress)

    def would_start(self) -> Plan:
        """What ``up`` would do; nothing is changed.

        Raises:
            StackError: if a port that a process needs is taken.
        """
        running = {one.name for one in self.status() if one.pid}
        able = with_free_ports([one for one in self._processes if one.program.name not in running], lambda _: None)
        replicas = [replica.name for _, replica in self._all_replicas() if replica.name not in running]
        again = [
            one
            for one in self._processes
            if one.program.name in running and not one.outlasts() and not self._supervisor.has(one.program)
        ]
        return Plan(
            start=[*(one.program.name for one in able), *replicas],
            again=[one.program.name for one in again],
            migrate=[one.database.package for one in [*able, *again] if one.database and one.database.is_behind],
        )

    def down(self, progress: Progress) -> None:
        """Stop everything: first what launches work, serving last. What it knows stays.

        Raises:
            StackError: if something does not end.
        """
        with self._alone():
            if self._daemon.process is None:
                self._clear_orphans(progress)
                progress("The stack is not running.")
                return
            others = [service.program.name for service in reversed(self._processes) if service.program.name != ROUTER]
            if others:
                progress(f"stopping {', '.join(others)}")
                self._supervisor.stop(*others, wait=True)
            if count := self._daemon.end_orphans():
                progress(f"ended {count} processes that went on when what had launched them was started again")
            if len(others) < len(self._processes):
                progress("stopping the router and the replicas")
                self._supervisor.stop(ROUTER, wait=True)
            self._daemon.end()
            progress("The stack is down; what it knows is kept.")

    def status(self) -> list[ProcessStatus]:
        """Every process, the replicas last; one that is not there is ``DOWN``."""
        processes = self._supervisor.processes() if self._daemon.process else {}
        services = [_status(item.program.name, item.url, processes) for item in self._processes]
        replicas = [_status(item.name, f"http://127.0.0.1:{item.port}", processes) for _, item in self._all_replicas()]
        return services + replicas

    def _begin(self, progress: Progress) -> list[ManagedProcess]:
        self._clear_orphans(progress)
        services = with_free_ports(self._processes, progress)
        for leftover in self._paths.programs.glob("*.ini"):
            leftover.unlink()
        self._write_services(services, progress)
        self._replicas.restore()
        self._daemon.start()
        return services

    def _complete(self, progress: Progress) -> list[ManagedProcess]:
        """Start what is missing, and start again what is configured otherwise now."""
        if not self._supervisor.alive:
            raise StackError(
                f"supervisord runs, but does not answer on {self._paths.socket}; see the log in {self._paths.logs}."
            )
        running = {name for name, process in self._supervisor.processes().items() if process.pid}
        able = with_free_ports([item for item in self._processes if item.program.name not in running], progress)
        services = [item for item in self._processes if item.program.name in running or item in able]
        kept = [item for item in services if item.program.name in running and item.outlasts()]
        self._write_services([item for item in services if item not in kept], lambda _: None)
        self._say_who_started(kept, progress)
        self._supervisor.update(alone={item.program.name for item in services if item.program.leaves_work})
        self._supervisor.start(*(service.program.name for service in services))
        return services

    def _say_who_started(self, kept: Sequence[ManagedProcess], progress: Progress) -> None:
        """Name the folder that must not go yet: what serves goes on as another installation started it."""
        for name in (item.program.name for item in kept):
            folder = started_by(self._paths.programs / f"{name}.ini", name)
            if folder and folder != Path(sys.prefix):
                progress(
                    f"{name} and replicas go on as {folder} started them, so that users notice nothing; "
                    f"keep that folder until the stack was down and up again."
                )

    def _write_services(self, services: Sequence[ManagedProcess], progress: Progress) -> None:
        for service in services:
            progress(f"preparing {service.program.name}")
            service.prepare()
            self._supervisor.write(service.program)

    def _await(self, service: ManagedProcess, progress: Progress) -> None:
        """Wait until it is up; what the stack can do without keeps nobody from using the rest."""
        try:
            self._await_needed(service, progress)
        except StackError as error:
            if service.needed:
                raise
            progress(str(error))

    def _await_needed(self, service: ManagedProcess, progress: Progress) -> None:
        name, start = service.program.name, time.monotonic()
        news = WaitingNews(name, self._paths.logs, progress)
        wait_until(
            lambda: self._is_up(service),
            SERVICE_SECONDS,
            lambda _: StackError(
                f"{name} did not answer within {SERVICE_SECONDS:.0f} s; see {log_of(self._paths.logs, name)}."
            ),
            pause=0.2,
            meanwhile=lambda: news(time.monotonic() - start),
        )
        progress(f"{name} is up ({time.monotonic() - start:.1f} s){' at ' + service.url if service.url else ''}")

    def _is_up(self, service: ManagedProcess) -> bool:
        name = service.program.name
        process = self._supervisor.processes().get(name)
        if process is None or process.state == "FATAL":
            log = log_of(self._paths.logs, name)
            raise StackError(f"{name} ends again and again; the last it said is {last_line(log)!r} (see {log}).")
        # An answer alone may be somebody else's, or the last of a process that ended right after it.
        return process.state == "RUNNING" and _responds(service)

    def _await_replicas(self, progress: Progress) -> None:
        """Wait for the replicas of last time; one that does not come back keeps nobody from using the rest."""
        deadline = Deadline(self._settings.ready_timeout_seconds)
        for found, replica in self._all_replicas():
            progress(self._await_replica(found, replica, deadline.left))

    def _await_replica(self, found: ReplicaSet, replica: Replica, seconds: float) -> str:
        """How it is, when it is ready or the time is over."""
        try:
            wait_until(
                lambda: self._client.health(replica.port, found.image.digest).ready,
                seconds,
                lambda _: StackError(f"{replica.name} is not ready yet; see {log_of(self._paths.logs, replica.name)}"),
                pause=0.2,
            )
        except StackError as late:
            return str(late)
        return f"{replica.name} serves version {found.image.version}"

    def _all_replicas(self) -> list[tuple[ReplicaSet, Replica]]:
        return [
            (found, replica)
            for environment in Environment
            for found in self._replicas.all(environment)
            for replica in found.replicas
        ]

    def _clear_orphans(self, progress: Progress) -> None:
        if count := self._daemon.end_orphans():
            progress(f"ended {count} processes that a supervisord that was killed had left")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second ``up`` or ``down`` of the same home out."""
        home = self._settings.home
        with lock(home / "stack.lock", 0.0, f"The stack in {home}", error=StackError):
            yield


def _status(name: str, url: str, processes: dict[str, Process]) -> ProcessStatus:
    process = processes.get(name, Process(name=name, state="DOWN", pid=0, said=""))
    return ProcessStatus(name=name, state=process.state, pid=process.pid, url=url, said=process.said)


def _responds(service: ManagedProcess) -> bool:
    if service.socket:
        return _accepts(service.socket)
    return not service.url or _answers(service.url)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def with_free_ports(services: Sequence[ManagedProcess], progress: Progress) -> list[ManagedProcess]:
    """Those that can start; what the stack can do without is left out where its port is somebody else's.

    Raises:
        StackError: if that of another one is taken.
    """
    needed = {setting: port for service in services if service.needed for setting, port in service.ports.items()}
    check_free(needed)
    able = []
    for service in services:
        try:
            if not service.needed:
                _check_apart(service.ports, needed)
                check_free(service.ports)
        except StackError as taken:
            progress(f"{service.program.name} is left out: {taken}")
        else:
            able.append(service)
    return able


def _check_apart(ports: Mapping[str, int], others: Mapping[str, int]) -> None:
    """Let pass only ports that no other part of the stack is about to take.

    Raises:
        StackError: naming both settings.
    """
    for setting, port in ports.items():
        for other, taken in others.items():
            if port == taken:
                raise StackError(f"{variable(setting)} and {variable(other)} are both {port}; choose another port.")


def check_free(ports: Mapping[str, int]) -> None:
    """Let pass only if nobody listens on any of these ports of 127.0.0.1.

    Args:
        ports: by the setting that chooses them.

    Raises:
        StackError: naming the first port that is taken, who has it as far as this user may see, and the variable that
            chooses another one.
    """
    for setting, port in ports.items():
        if not is_free(port):
            raise StackError(
                f"Port {port} on 127.0.0.1 is taken{_by_whom(port)}; end that, or choose another port with "
                f"{variable(setting)}."
            )


def _by_whom(port: int) -> str:
    for process in psutil.process_iter(["pid", "name"]):
        try:
            listens = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr]
        except psutil.Error:
            continue
        if any(connection.laddr.port == port for connection in listens):
            return f" by {process.info['name']} (pid {process.info['pid']})"
    return ""
