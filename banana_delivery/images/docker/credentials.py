"""Who we are to a registry: given outright, or as `docker login` and credential helpers left it."""

from __future__ import annotations

from dataclasses import dataclass, field

import docker.auth
import docker.errors

from banana_delivery.errors import ImageError


@dataclass(frozen=True)
class Credentials:
    """A login at one registry. All empty: anonymous.

    Attributes:
        username: the account.
        password: its password or access token.
        identity_token: an OAuth2 refresh token, which some helpers give instead of the two.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def for_engine(self) -> dict[str, str] | None:
        """The form in which the engine wants them; None lets it go anonymously."""
        if self.identity_token:
            return {"identitytoken": self.identity_token}
        return {"username": self.username, "password": self.password} if self.username else None


def credentials_for(host: str, username: str = "", password: str = "") -> Credentials:
    """The login for a registry: the one given, else the one in the Docker config or its credential helper.

    Raises:
        ImageError: if a credential helper fails.
    """
    if username:
        return Credentials(username, password)
    try:
        found = docker.auth.load_config().resolve_authconfig(host) or {}
    except docker.errors.DockerException as error:
        raise ImageError(f"The credential helper for {host} failed ({error}); run `docker login {host}`.") from error
    lower = {key.lower(): value for key, value in found.items()}
    return Credentials(lower.get("username") or "", lower.get("password") or "", lower.get("identitytoken") or "")
