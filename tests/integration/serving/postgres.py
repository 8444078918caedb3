"""A real PostgreSQL server for tests, from the machine's own packages (Debian: postgresql)."""

import ipaddress
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port


@dataclass
class Postgres:
    """A running server; `folder` is its data directory."""

    url: str
    folder: Path
    port: int = 0
    options: str = ""

    def stop(self) -> None:
        """Stop it; whoever asks is refused."""
        _run(_unprivileged_user(), "pg_ctl", "stop", "-w", "-D", self.folder, "-m", "fast")

    def start(self, options: str = "", *, wait: bool = True) -> None:
        """Start it again, with further options of the program, and wait until it answers."""
        begins = "-w" if wait else "-W"
        told = ("-o", f"{self.options} {options}", "-l", self.folder.parent / "log")
        _run(_unprivileged_user(), "pg_ctl", "start", begins, "-D", self.folder, *told)

    def restart(self) -> None:
        """Stop it as for an update, which ends every connection, and start it again."""
        _run(_unprivileged_user(), "pg_ctl", "restart", "-w", "-D", self.folder, "-m", "fast")

    def freeze(self) -> None:
        """Stops every process of the server from running: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets the server run again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        main = int((self.folder / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for pid in [main, *map(int, children)]:
            # A child of one that goes on may end meanwhile.
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def postgres(folder: Path, guests: str = "", password: str = "") -> Iterator[Postgres]:
    """Runs a server with an empty database until the block ends.

    It listens on this machine alone; `guests` is an address of this machine with its network, `172.17.0.1/16`, from
    which others come in with a password.
    """
    user = _unprivileged_user()
    data, sockets = folder / "data", folder / "sockets"
    for path in (folder, sockets):
        path.mkdir(parents=True, exist_ok=True)
        if user is not None:
            shutil.chown(path, user)
    if user is not None:
        for parent in folder.parents[:2]:
            parent.chmod(parent.stat().st_mode | 0o011)
    port = free_port()
    (folder / "password").write_text(password or "banana")
    (folder / "password").chmod(0o644)
    passwords = f"--pwfile={folder / 'password'}"
    _run(user, "initdb", "-D", data, "-U", "banana", "--auth=trust", passwords, "--no-sync")
    listen = "127.0.0.1"
    if guests:
        met = ipaddress.ip_interface(guests)
        listen += f",{met.ip}"
        with (data / "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host all all {whence} scram-sha-256\n" for whence in (met.network, "samehost"))
    options = f"-p {port} -k {sockets} -c listen_addresses={listen} -c fsync=off"
    server = Postgres(f"postgresql://banana@127.0.0.1:{port}/postgres", data, port, options)
    server.start()
    try:
        yield server
    finally:
        server.thaw()
        _run(user, "pg_ctl", "stop", "-D", data, "-m", "immediate")


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None


def _run(user: str | None, program: str, *arguments: str | Path) -> None:
    group = None if user is None else pwd.getpwnam(user).pw_gid
    command = [_find(program), *map(str, arguments)]
    subprocess.run(
        command, check=True, timeout=60, stdout=subprocess.DEVNULL, user=user, group=group, extra_groups=None, cwd="/"
    )


def _find(program: str) -> str:
    found = shutil.which(program) or next(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{program}")), None)
    if found is None:
        raise AssertionError(f"{program} is not installed; install PostgreSQL (Debian: apt-get install postgresql).")
    return found
