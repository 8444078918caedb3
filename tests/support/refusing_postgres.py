"""A server that speaks PostgreSQL's protocol as far as a refusal: for what those say that cannot be had here."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TLS, GSS = 80877103, 80877104
"""What a client asks for before it says who it is."""


@contextmanager
def refusing(message: bytes) -> Iterator[int]:
    """Refuses whoever comes with a message, of whatever encoding; yields the port on this machine."""
    body = b"SFATAL\0VFATAL\0M" + message + b"\0\0"
    refusal = b"E" + struct.pack("!I", len(body) + 4) + body

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, suppress(OSError, struct.error):
                    while struct.unpack("!II", connection.recv(8, socket.MSG_WAITALL))[1] in {TLS, GSS}:
                        connection.sendall(b"N")
                    connection.sendall(refusal)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        answering.join(10)
