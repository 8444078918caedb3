"""supervisord itself: its configuration, its start and its end, and what it leaves behind when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.processes import children_environment
from banana_delivery.embedded.supervisor import Supervisor, last_line
from banana_delivery.errors import StackError
from banana_delivery.files import make_private, write_atomically
from banana_delivery.settings import Settings
from banana_delivery.waiting import Deadline, wait_until

START_SECONDS = 20.0
END_SECONDS = 30.0


class Daemon:
    """The supervisord of one home."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._paths = LocalPaths(settings.home)
        self._supervisor = Supervisor(self._paths)

    @property
    def process(self) -> psutil.Process | None:
        """The running supervisord of this home; None if there is none."""
        try:
            process = psutil.Process(int(self._paths.supervisor_pid.read_text()))
            return process if str(self._paths.supervisor_conf) in process.cmdline() else None
        except (FileNotFoundError, ValueError, psutil.Error):
            return None

    def start(self) -> None:
        """Start it and, with it, every program that is configured.

        Raises:
            StackError: if it does not come up.
        """
        self._make_folders()
        write_atomically(self._paths.supervisor_conf, self._configuration())
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._paths.supervisor_conf)],
            cwd=self._settings.home,
            env=children_environment(self._settings),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

        def failed(alive: bool) -> StackError:  # noqa: ARG001 - it is not
            said = (done.stderr or done.stdout).strip().splitlines()
            why = said[-1] if said else last_line(self._log)
            return StackError(f"supervisord did not start: {why}; see {self._log}.")

        if done.returncode != 0:
            raise failed(alive=False)
        wait_until(lambda: self._supervisor.alive, START_SECONDS, failed, pause=0.05)

    def end(self) -> None:
        """End it, and every program that still runs under it.

        Raises:
            StackError: if it does not end.
        """
        process = self.process
        if process is None:
            return
        self._supervisor.shut_down()
        if _still_run([process]):
            raise StackError(
                f"supervisord (pid {process.pid}) did not end within {END_SECONDS:.0f} s; see {self._log}."
            )

    def end_orphans(self) -> int:
        """End what runs beside supervisord, and say how many processes that were.

        One that was killed leaves everything; what a restarted program had launched goes on without it.
        """
        orphans = self._orphans()
        for process in orphans:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        stubborn = _still_run(orphans)
        for process in stubborn:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _still_run(stubborn)
        return len(orphans)

    @property
    def _log(self) -> Path:
        return self._paths.logs / "supervisord.log"

    def _orphans(self) -> list[psutil.Process]:
        """Processes that carry this supervisord's mark and are not below it, with all that they started.

        We may be one of them.
        """
        mark = f"unix://{self._paths.socket}"
        ourselves = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        if daemon := self.process:
            with suppress(psutil.NoSuchProcess):
                ourselves |= {daemon.pid, *(child.pid for child in daemon.children(recursive=True))}
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid not in ourselves and process.environ().get("SUPERVISOR_SERVER_URL") == mark:
                    found += [process, *process.children(recursive=True)]
            except psutil.Error:
                continue
        return [process for process in dict.fromkeys(found) if process.pid not in ourselves]

    def _make_folders(self) -> None:
        make_private(self._paths.home)
        for folder in (self._paths.programs, self._paths.logs):
            folder.mkdir(parents=True, exist_ok=True)
        folder = self._paths.socket.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise StackError(
                f"{folder} belongs to somebody else; set TMPDIR to a folder of your own, or BANANA_HOME to a "
                f"shorter path."
            )

    def _configuration(self) -> str:
        paths = self._paths
        lines = [
            "[unix_http_server]",
            f"file={_literal(paths.socket)}",
            "chmod=0600",
            "[supervisord]",
            f"logfile={_literal(self._log)}",
            "logfile_maxbytes=5000000",
            "logfile_backups=1",
            f"pidfile={_literal(paths.supervisor_pid)}",
            f"childlogdir={_literal(paths.logs)}",
            # Whatever a process of the stack writes is for this user alone.
            "umask=077",
            # Being started by root is said on purpose: without this line supervisord warns about it.
            *(["user=root"] if os.getuid() == 0 else []),
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            "[supervisorctl]",
            f"serverurl=unix://{_literal(paths.socket)}",
            # Relative to this file, so that a blank in the home's path does no harm.
            "[include]",
            "files=conf.d/*.ini",
            "",
        ]
        return "\n".join(lines)


def _literal(path: Path) -> str:
    return str(path).replace("%", "%%")


def _still_run(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Wait for processes to end, and return those that have not in time.

    One that nobody reaps, as in a container whose first process looks after no other, has ended and stays in the list
    of processes all the same.
    """
    left, deadline = list(processes), Deadline(END_SECONDS)
    while left := [process for process in left if _runs(process)]:
        if deadline.passed:
            break
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
