"""supervisord as the embedded stack uses it: programs as files, and its XML-RPC interface on a Unix socket."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import signal
import socket
import sys
import xmlrpc.client
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from operator import not_
from pathlib import Path
from typing import Any

from typing_extensions import override

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.errors import TargetError
from banana_delivery.files import write_atomically
from banana_delivery.policy import commands
from banana_delivery.waiting import wait_until

RPC_SECONDS = 15.0
STOP_SECONDS = 60.0
LOG_BYTES = 5_000_000
# supervisor.xmlrpc.Faults
_BAD_NAME, _NO_FILE, _NOT_EXECUTABLE, _ABNORMAL, _SPAWN_ERROR = 10, 20, 21, 40, 50
_ALREADY_STARTED, _NOT_RUNNING, _ALREADY_ADDED, _STILL_RUNNING = 60, 70, 90, 91
_CANNOT_START = (_ALREADY_STARTED, _NO_FILE, _NOT_EXECUTABLE, _ABNORMAL, _SPAWN_ERROR)
SEEN = (
    *("BANANA_TARGET", "BANANA_MODEL_NAME", "BANANA_POLICY", "BANANA_PLAN", "BANANA_FREEZE", "BANANA_DECISION_HOURS"),
    *("BANANA_PRODUCTION_*", "BANANA_STAGING_*", "BANANA_PROBE_*", "BANANA_ROUTER_*", "BANANA_KUBERNETES_*"),
)
"""Where releases run and by which rules: what a page of deliveries has to know, and no secret."""
BASIC = (
    "PATH",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NO_PROXY",
    "no_proxy",
    "DO_NOT_TRACK",
    "MLFLOW_DISABLE_TELEMETRY",
    "SUPERVISOR_*",
)
"""What every program may know: where things are and how people write. No secret stands there."""
_ONLY = Path(__file__).with_name("only.py")
_ENDED = frozenset({"STOPPED", "FATAL"})
"""States of which supervisord starts nothing by itself."""
MEANT_TO_RUN = frozenset({"STARTING", "RUNNING", "BACKOFF", "EXITED", "FATAL"})
"""States of a process that nobody stopped, whether it succeeds or not; a hand that stops it makes it STOPPED."""


@dataclass(frozen=True)
class Program:
    """A process that supervisord keeps running.

    Attributes:
        name: also the name of its configuration and log file.
        command: program and arguments.
        directory: where it runs.
        environment: variables on top of supervisord's own.
        inherits: names of the variables that it may have of supervisord's own beside ``BASIC``; one that ends in ``*``
            is a beginning. None: all of them.
        files: variables beside those whose values stand in files, which are read when it starts.
        priority: lower ones start first and stop last.
        start_seconds: it counts as started after so long; one that ends earlier has failed to start.
        start_retries: how often a failed start is tried again.
        stop_seconds: after SIGTERM it has so long before SIGKILL.
        whole_group: whether signals go to all processes that it started, too.
        leaves_work: whether what it launched is to go on when it is started again. supervisord's own way kills the
            whole group of one that does not stop in time.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits: tuple[str, ...] | None = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    priority: int = 500
    start_seconds: int = 1
    start_retries: int = 3
    stop_seconds: int = 15
    whole_group: bool = False
    leaves_work: bool = False

    @property
    def _command(self) -> tuple[str, ...]:
        if self.inherits is None:
            return self.command
        names = ",".join([*BASIC, *self.inherits, *self.environment])
        files = (f"{name}={file}" for name, file in self.files.items())
        return (sys.executable, "-I", "-S", str(_ONLY), *files, names, *self.command)

    def render(self, logs: Path) -> str:
        """The program's section of supervisord's configuration.

        Raises:
            TargetError: if a value holds what the configuration's syntax cannot express.
        """
        environment = ",".join(f"{name}={_quoted(name, value)}" for name, value in sorted(self.environment.items()))
        lines = {
            "command": _literal(f"The command of {self.name}", shlex.join(self._command)),
            "directory": _literal(f"The directory of {self.name}", str(self.directory)),
            "environment": environment,
            "priority": self.priority,
            "autostart": "true",
            "autorestart": "true",
            "startsecs": self.start_seconds,
            "startretries": self.start_retries,
            "stopwaitsecs": self.stop_seconds,
            "stopasgroup": str(self.whole_group).lower(),
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": _literal(f"The log of {self.name}", str(log_of(logs, self.name))),
            "stdout_logfile_maxbytes": LOG_BYTES,
            "stdout_logfile_backups": 1,
        }
        return "\n".join([f"[program:{self.name}]", *(f"{key}={value}" for key, value in lines.items()), ""])


@dataclass(frozen=True)
class Process:
    """What supervisord says of a program.

    Attributes:
        name: the program.
        state: supervisord's name for its state.
        pid: process id; 0 if it does not run.
        said: supervisord's own remark, for example an uptime or why it could not be started.
    """

    name: str
    state: str
    pid: int
    said: str


def log_of(logs: Path, program: str) -> Path:
    """Where the output of a program goes."""
    return logs / f"{program}.log"


def last_line(log: Path) -> str:
    """The last line that a program wrote; empty if it wrote nothing."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 4096, 0))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1].strip() if lines else ""


class Supervisor:
    """The supervisord of one home."""

    def __init__(self, paths: LocalPaths) -> None:
        self._paths = paths

    @property
    def alive(self) -> bool:
        """Whether it answers."""
        try:
            self._call("getState")
        except TargetError:
            return False
        return True

    def processes(self) -> dict[str, Process]:
        """All programs, by name.

        Raises:
            TargetError: if supervisord does not answer.
        """
        found = [
            Process(name=info["name"], state=info["statename"], pid=info["pid"], said=info["description"])
            for info in self._call("getAllProcessInfo")
        ]
        return {process.name: process for process in found}

    def write(self, program: Program) -> None:
        """Put a program into the configuration; supervisord runs it from its next start on, or after ``start``.

        Raises:
            TargetError: if the configuration cannot express it.
        """
        self._paths.logs.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(program.name), program.render(self._paths.logs))

    def has(self, program: Program) -> bool:
        """Whether the configuration has it just as it is."""
        try:
            return self._file(program.name).read_text() == program.render(self._paths.logs)
        except FileNotFoundError:
            return False

    def forget(self, name: str) -> None:
        """Take a program out of the configuration; it is not started again once it ended."""
        self._file(name).unlink(missing_ok=True)

    def start(self, *names: str) -> None:
        """Start programs that are in the configuration, or bring them back if they had failed.

        Raises:
            TargetError: if supervisord does not answer or does not know one.
        """
        self._call("reloadConfig")
        for name in names:
            self._call("addProcessGroup", name, tolerate=(_ALREADY_ADDED,))
            # A program that cannot be spawned shows as FATAL; that is for whoever waits for it.
            self._call("startProcess", name, False, tolerate=_CANNOT_START)

    def stop(self, *names: str, wait: bool = False) -> None:
        """Send SIGTERM to all of them; return at once, or when they have ended.

        Raises:
            TargetError: if supervisord does not answer, or one does not end.
        """
        for name in names:
            self._call("stopProcess", name, False, tolerate=(_BAD_NAME, _NOT_RUNNING))
        if wait:
            wait_until(
                lambda: [name for name in names if self._stopping(name)],
                STOP_SECONDS,
                lambda late: TargetError(
                    f"{', '.join(late)} did not end within {STOP_SECONDS:.0f} s; see {self._paths.logs}."
                ),
                done=not_,
            )

    def remove(self, *names: str) -> None:
        """Drop programs that have ended; those that still drain are left for the next time.

        Raises:
            TargetError: if supervisord does not answer.
        """
        for name in names:
            self._call("removeProcessGroup", name, tolerate=(_BAD_NAME, _STILL_RUNNING))

    def update(self, alone: Collection[str] = ()) -> None:
        """Make what runs follow the configuration files: new programs start, changed ones restart, others stop.

        Args:
            alone: programs that end without what they launched, which goes on.

        Raises:
            TargetError: if supervisord does not answer.
        """
        added, changed, removed = self._call("reloadConfig")[0]
        gone = [*changed, *removed]
        self._end_alone([name for name in gone if name in alone])
        self.stop(*gone, wait=True)
        self.remove(*gone)
        self.start(*added, *changed)

    def shut_down(self) -> None:
        """Stop everything that is left and end supervisord.

        Raises:
            TargetError: if supervisord does not answer.
        """
        self._call("shutdown")

    def _end_alone(self, names: Collection[str]) -> None:
        """End these processes themselves; what supervisord then starts in their place has launched nothing yet.

        As they wait for what they launched before they end, they are not asked to.
        """
        killed = {one.name: one.pid for one in self.processes().values() if one.name in names and one.pid}
        for pid in killed.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        def still_to_come() -> list[str]:
            """Those that supervisord has not begun anew: asked to stop in between, it would begin them all the same."""
            seen = self.processes()
            running = {name: seen[name].pid for name in killed if name in seen and seen[name].state not in _ENDED}
            return [name for name, pid in running.items() if pid in {0, killed[name]}]

        wait_until(
            still_to_come,
            STOP_SECONDS,
            lambda late: TargetError(f"{', '.join(late)} did not start again; see {self._paths.logs}."),
            done=not_,
        )

    def _stopping(self, name: str) -> bool:
        process = self.processes().get(name)
        return process is not None and process.state == "STOPPING"

    def _file(self, name: str) -> Path:
        return self._paths.programs / f"{name}.ini"

    def _call(self, method: str, *arguments: object, tolerate: tuple[int, ...] = ()) -> Any:
        transport = _UnixTransport(self._paths.socket, RPC_SECONDS)
        with xmlrpc.client.ServerProxy("http://supervisord", transport=transport, allow_none=True) as proxy:
            try:
                return getattr(proxy.supervisor, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode in tolerate:
                    return None
                raise TargetError(
                    f"supervisord refused {method} {' '.join(map(str, arguments))}: {fault.faultString}; see "
                    f"{self._paths.logs / 'supervisord.log'}."
                ) from fault
            except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
                raise TargetError(
                    f"supervisord does not answer on {self._paths.socket}; start the stack with: {commands.up()}"
                ) from error


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self._path = path
        self._seconds = seconds

    @override
    def make_connection(self, host: object) -> http.client.HTTPConnection:
        """A connection to the socket, whatever the host's name; the proxy closes it at its end."""
        connection = _UnixConnection(self._path, self._seconds)
        self._connection = "", connection
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("supervisord", timeout=seconds)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _literal(name: str, text: str) -> str:
    """Text that supervisord's configuration takes as it is: it expands %, and a line holds one value."""
    if re.search(r"\n|\s[;#]", text):
        raise TargetError(
            f"{name} holds a line end, or a ; or # after a blank, which supervisord's configuration cannot express; "
            f"choose another value."
        )
    return text.replace("%", "%%")


def _quoted(name: str, value: str) -> str:
    """A value between quotes; supervisord knows no escapes, and strips quotes at its ends."""
    for quote in ('"', "'"):
        if quote not in value and value == value.strip("'\""):
            return f"{quote}{_literal(name, value)}{quote}"
    raise TargetError(
        f"{name} holds both kinds of quotes, or one at its beginning or end, which supervisord cannot pass on; "
        f"percent-encode or remove them."
    )
