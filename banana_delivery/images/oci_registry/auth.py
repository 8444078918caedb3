"""Logging in to a registry's API the way its 401 answer asks for: with a password, or with a token from its issuer."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection

import httpx

from banana_delivery.errors import ImageError, redacted
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.reference import DOCKER_HUB, LOOPBACK

_REFUSED = (httpx.codes.BAD_REQUEST, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND)
"""What is said of a repository; 401 is said of the login."""
EVERYTHING, READING = "pull,push,delete", "pull"
"""What a token is asked for, in the words of registries."""
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def challenge_of(header: str) -> tuple[str, dict[str, str]]:
    """Scheme and parameters of a ``WWW-Authenticate`` header."""
    scheme, _, parameters = header.partition(" ")
    return scheme.lower(), dict(_CHALLENGE.findall(parameters))


def authorization(
    client: httpx.Client,
    header: str,
    credentials: Credentials,
    path: str,
    registry: str,
    token_hosts: Collection[str] = (),
    reads: Collection[str] = (),
    actions: str = EVERYTHING,
) -> str | None:
    """The ``Authorization`` header that answers a challenge; None if we have nothing to answer it with.

    Args:
        client: fetches the token.
        header: the registry's ``WWW-Authenticate``.
        credentials: our login.
        path: the repository inside the registry; asked for in full, so that one token serves every call.
        registry: where the challenge came from, a URL.
        token_hosts: hosts with their ports that may issue tokens beside the registry's own.
        reads: paths of other repositories there that are read.
        actions: what is to be done in ours.

    Raises:
        ImageError: if the login would go to another host, or over a network without TLS, or no token comes.
        httpx.HTTPError: if the issuer cannot be reached or refuses.
    """
    scheme, challenge = challenge_of(header)
    if scheme == "basic":
        return _basic(credentials) if credentials.username else None
    if scheme != "bearer" or "realm" not in challenge:
        return None
    _check_issuer(challenge["realm"], registry, token_hosts)
    scopes = [f"repository:{path}:{actions}", *(f"repository:{other}:pull" for other in reads)]
    try:
        token = _exchange(client, challenge, credentials, scopes)
    except httpx.HTTPStatusError as error:
        # Some issuers refuse everything for one repository that is not there, or not ours to read; without it, layers
        # are sent instead of linked.
        if not reads or error.response.status_code not in _REFUSED:
            raise
        token = _exchange(client, challenge, credentials, scopes[:1])
    return f"Bearer {token}" if token else None


def _exchange(client: httpx.Client, challenge: dict[str, str], credentials: Credentials, scopes: list[str]) -> str:
    service = challenge.get("service", "")
    if credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "client_id": "banana-delivery",
        }
        asked = {"service": service, "scope": " ".join(scopes), **form}
        answer = client.post(challenge["realm"], data=asked, follow_redirects=False)
    else:
        headers = {"Authorization": _basic(credentials)} if credentials.username else {}
        query = httpx.QueryParams([("service", service), *(("scope", scope) for scope in scopes)])
        answer = client.get(challenge["realm"], params=query, headers=headers, follow_redirects=False)
    answer.raise_for_status()  # A redirect too: the login would go where it leads.
    try:
        issued = answer.json()
        return str(issued.get("token") or issued.get("access_token") or "")
    except (ValueError, AttributeError) as error:
        raise ImageError(f"{challenge['realm']} answered with something that is no token; see what it is.") from error


def has_login(credentials: Credentials) -> bool:
    """Whether there is anything to keep secret."""
    return bool(credentials.username or credentials.identity_token)


def _check_issuer(realm: str, registry: str, token_hosts: Collection[str]) -> None:
    """Let tokens come from the registry's own host and those that were named, and over TLS unless it is this machine.

    Whoever answers in the registry's place would else be told the login. No login, no difference: a token that is
    fetched elsewhere would be somebody else's word, too.
    """
    try:
        issuer, asked = httpx.URL(realm), httpx.URL(registry)
    except httpx.InvalidURL as error:
        raise ImageError(f"{registry} names no address that issues tokens; see what answers there.") from error
    place = redacted(realm)
    private = issuer.scheme == "https" or (issuer.scheme == "http" and issuer.host in LOOPBACK)
    if not private:
        raise ImageError(
            f"{registry} sends its clients to {place} for a token, which would carry the login in plain sight; nothing "
            "was sent there."
        )
    if (issuer.host, _port(issuer)) == (asked.host, _port(asked)):
        return
    known = {*token_hosts, *([f"auth.{DOCKER_HUB}"] if asked.host.endswith(f".{DOCKER_HUB}") else [])}
    if issuer.netloc.decode().rpartition("@")[2] not in known:
        raise ImageError(
            f"{registry} sends its clients to {place} for a token, which is another host, so no login was sent there; "
            f"if that is right, add {issuer.netloc.decode().rpartition('@')[2]} to BANANA_REGISTRY_TOKEN_HOSTS."
        )


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()
