"""Logging in to a registry's API the way its 401 answer asks for: with a password, or with a token from its issuer."""

from __future__ import annotations

import base64
import re

import httpx

from banana_delivery.errors import ImageError
from banana_delivery.images.docker.credentials import Credentials

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def challenge_of(header: str) -> tuple[str, dict[str, str]]:
    """Scheme and parameters of a ``WWW-Authenticate`` header."""
    scheme, _, parameters = header.partition(" ")
    return scheme.lower(), dict(_CHALLENGE.findall(parameters))


def authorization(client: httpx.Client, header: str, credentials: Credentials, path: str, registry: str) -> str | None:
    """The ``Authorization`` header that answers a challenge; None if we have nothing to answer it with.

    Args:
        client: fetches the token.
        header: the registry's ``WWW-Authenticate``.
        credentials: our login.
        path: the repository inside the registry; asked for in full, so that one token serves every call.
        registry: where the challenge came from, a URL.

    Raises:
        ImageError: if the login would be sent without TLS although the registry is asked with it, or no token comes.
        httpx.HTTPError: if the issuer cannot be reached or refuses.
    """
    scheme, challenge = challenge_of(header)
    if scheme == "basic":
        return _basic(credentials) if credentials.username else None
    if scheme != "bearer" or "realm" not in challenge:
        return None
    if has_login(credentials) and not _is_private(challenge["realm"], registry):
        raise ImageError(
            f"{registry} sends its clients to {challenge['realm']} for a token, which would carry the login in plain "
            "sight; nothing was sent there."
        )
    scope = f"repository:{path}:pull,push,delete"
    token = _exchange(client, challenge, credentials, scope)
    return f"Bearer {token}" if token else None


def _exchange(client: httpx.Client, challenge: dict[str, str], credentials: Credentials, scope: str) -> str:
    query = {"service": challenge.get("service", ""), "scope": scope}
    if credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "client_id": "banana-delivery",
        }
        answer = client.post(challenge["realm"], data={**query, **form})
    else:
        headers = {"Authorization": _basic(credentials)} if credentials.username else {}
        answer = client.get(challenge["realm"], params=query, headers=headers)
    answer.raise_for_status()
    try:
        issued = answer.json()
        return str(issued.get("token") or issued.get("access_token") or "")
    except (ValueError, AttributeError) as error:
        raise ImageError(f"{challenge['realm']} answered with something that is no token; see what it is.") from error


def has_login(credentials: Credentials) -> bool:
    """Whether there is anything to keep secret."""
    return bool(credentials.username or credentials.identity_token)


def _is_private(realm: str, registry: str) -> bool:
    """Whether a login is as safe on its way to the issuer as it is on its way to the registry."""
    return httpx.URL(realm).scheme == "https" or httpx.URL(registry).scheme == "http"


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()
