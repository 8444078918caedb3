"""Engines and registries that a test may kill and fill up, beside the ones that everybody uses."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx
import pytest

from banana_delivery.images.docker.engine import Engine

_STARTING_SECONDS = 60.0
# The user `banana` with the password `right`, as htpasswd -B writes it.
HTPASSWD = "banana:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC\n"


@dataclass
class Daemon:
    """A process that can be killed and started again with the same data."""

    command: list[str]
    log: Path
    ready: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + _STARTING_SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self.command[0]} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, by: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(by)
            self.process.wait(timeout=_STARTING_SECONDS)
            self.process = None


@dataclass
class OwnRegistry(Daemon):
    """A registry that only this test uses."""

    host: str = ""


@dataclass
class OwnEngine(Daemon):
    """An engine that only this test uses."""

    url: str = ""

    def kill(self) -> None:
        super().kill()
        # Its containerd dies with it. Where nobody reaps orphans, its process id seems alive to the next start.
        (Path(self.url.removeprefix("unix://")).parent / "exec" / "containerd" / "containerd.pid").unlink()

    def connect(self) -> Engine:
        return Engine(network_mode="none", connect=lambda version: docker.DockerClient(self.url, version, timeout=60))

    def import_base(self, repository: str) -> str:
        """Push an image of one empty file and return its name; nothing runs in it."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("base"))
        with contextlib.closing(self.connect()) as engine:
            engine.api.import_image_from_data(content.getvalue(), repository=repository, tag="1")
            engine.api.push(f"{repository}:1")
        return f"{repository}:1"


@contextmanager
def own_registry(directory: Path, *, with_login: bool = False, deletes: bool = True) -> Iterator[OwnRegistry]:
    """A registry on a free port."""
    port, config = free_port(), directory / "registry.yml"
    delete = f"delete: {{enabled: {str(deletes).lower()}}}"
    directory.mkdir(parents=True, exist_ok=True)
    login = ""
    if with_login:
        (directory / "htpasswd").write_text(HTPASSWD)
        login = f"auth: {{htpasswd: {{realm: test, path: {directory / 'htpasswd'}}}}}\n"
    config.write_text(
        "version: 0.1\nlog: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory / 'data'}}}, {delete}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{login}"
    )
    registry = OwnRegistry(
        ["docker-registry", "serve", str(config)],
        directory / "registry.log",
        lambda: answers(f"http://127.0.0.1:{port}/v2/"),
        host=f"localhost:{port}",
    )
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


BRIDGE = "bd-test0"


@contextmanager
def own_engine(disk: Path | None = None) -> Iterator[OwnEngine]:
    """An engine with its own socket and data (on ``disk``, if one is given); it builds, but runs nothing."""
    # A short path: a socket's address holds 107 bytes.
    with tempfile.TemporaryDirectory(prefix="bd-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        sock, data = directory / "engine.sock", disk or directory / "data"
        command = ["dockerd", f"--host=unix://{sock}", f"--data-root={data}", f"--exec-root={directory / 'exec'}"]
        options = [f"--pidfile={directory / 'pid'}", f"--bridge={BRIDGE}", "--iptables=false", "--storage-driver=vfs"]
        engine = OwnEngine([*command, *options], directory / "engine.log", lambda: pings(sock), url=f"unix://{sock}")
        try:
            # With --bridge=none an engine removes docker0 as it starts, and with it the network of every pod here.
            subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
            subprocess.run(["ip", "address", "add", "172.31.255.1/24", "dev", BRIDGE], check=True)
            engine.start()
            yield engine
        finally:
            engine.stop()
            subprocess.run(["ip", "link", "delete", BRIDGE], check=False)
            if disk is None:
                unmount_all(data)


def unmount_all(path: Path) -> None:
    """Undo what an engine that was killed left mounted on its own data, once for each time that it was started."""
    while f" {path} " in Path("/proc/self/mounts").read_text():
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def small_disk(directory: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of its own of so many MiB."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code in (httpx.codes.OK, httpx.codes.UNAUTHORIZED)
    except httpx.HTTPError:
        return False


def pings(sock: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(sock))
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in client.recv(100)
        except OSError:
            return False
