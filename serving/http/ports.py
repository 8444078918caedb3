"""Two applications behind one server, told apart by the port at which a connection arrived."""

from starlette.types import ASGIApp, Receive, Scope, Send


class ByPort:
    """Users have a port, and whoever runs the replica has another one: only what is behind a port is reached there.

    The kernel says which port that was (it is the socket's own address), and nothing that a client sends.
    """

    def __init__(self, public: ASGIApp, internal: ASGIApp, internal_port: int) -> None:
        self._public = public
        self._internal = internal
        self._internal_port = internal_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection; starting and stopping is the public application's."""
        is_internal = scope["type"] == "http" and (scope.get("server") or ("", 0))[1] == self._internal_port
        await (self._internal if is_internal else self._public)(scope, receive, send)
