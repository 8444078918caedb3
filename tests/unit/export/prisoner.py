"""A subprocess that has been taken over and tries what its order says; run by ``test_jail.py`` alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from banana_delivery.export.sandbox import serve
from banana_delivery.policy.model import Model


class Attempt(Model):
    deed: str
    where: str = ""


class Loot(Model):
    got: str


def attempt(order: Attempt) -> Loot:
    try:
        return Loot(got=attempted(order.deed, order.where))
    except OSError as error:
        return Loot(got=f"refused: {type(error).__name__}")


def attempted(deed: str, where: str) -> str:
    match deed:
        case "read":
            return Path(where).read_bytes().decode(errors="replace")
        case "write":
            Path(where).write_text("mine")
            return "written"
        case "list":
            return " ".join(os.listdir(where))  # noqa: PTH208
        case "connect":
            return connected(where)
        case "run":
            return subprocess.run(["/bin/echo", "run"], capture_output=True, check=True, text=True).stdout
        case "signal":
            os.kill(int(where), 0)
            return "signalled"
        case "link":
            Path("answer.json").symlink_to(where)
            os._exit(0)
        case "flood":
            Path("answer.json").write_bytes(b" " * 70_000_000)
            os._exit(0)
        case "many files":
            return str(len([os.open("/dev/null", os.O_RDONLY) for _ in range(5000)]))
        case "large file":
            with Path("large").open("wb") as file:
                return str(file.truncate(5 * 1024**3))
        case _:
            return survived(deed, where)


def connected(where: str) -> str:
    kind, _, address = where.partition(" ")
    if kind == "unix":
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address)
            return "connected"
    with socket.create_connection(("127.0.0.1", int(address)), timeout=2):
        return "connected"


def survived(deed: str, where: str) -> str:
    """Leave somebody behind who writes into the scratch folder for as long as it lives."""
    if os.fork():
        time.sleep(0.3)
        return "left"
    if deed == "leave in another session":
        with suppress(OSError):
            os.setsid()
        if os.fork():
            os._exit(0)
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    while True:
        Path(where).write_text(str(time.time_ns()))
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], Attempt, attempt))
