"""Whether the ports that the stack wants are free, and who has them if they are not."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil

from banana_delivery.stack.environment import variable
from banana_delivery.stack.errors import StackError


def check_free(ports: Mapping[str, int]) -> None:
    """Let pass only if nobody listens on any of these ports of 127.0.0.1.

    Args:
        ports: by the setting that chooses them.

    Raises:
        StackError: naming the first port that is taken, who has it as far as this user may see, and the variable that
            chooses another one.
    """
    for setting, port in ports.items():
        if _is_taken(port):
            raise StackError(
                f"Port {port} on 127.0.0.1 is taken{_by_whom(port)}; end that, or choose another port with "
                f"{variable(setting)}."
            )


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still being forgotten is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _by_whom(port: int) -> str:
    for process in psutil.process_iter(["pid", "name"]):
        try:
            listens = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr]
        except psutil.Error:
            continue
        if any(connection.laddr.port == port for connection in listens):
            return f" by {process.info['name']} (pid {process.info['pid']})"
    return ""
