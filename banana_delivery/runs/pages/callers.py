"""Who is at the other end: by which name he asks, from which page, and who he is where a proxy knows."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import ClassVar, NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from banana_delivery.errors import RefusedError
from banana_delivery.settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_PERSON = re.compile(r"[\w.@+:/ -]{1,200}", re.ASCII)
"""How people are called by proxies: names, addresses of mail, ids; nothing that would have to be quoted."""


class Place(NamedTuple):
    """A host as a browser sees it; the port None if it is the scheme's own."""

    name: str
    port: int | None


class Callers:
    """Tells who may ask, as the settings have it.

    Args:
        hosts: names by which the pages are reached, whatever the port.
        public_url: where people reach them; empty if that is not known.
        login_header: in which a proxy names people; empty if nobody is asked.
        proxies: addresses or networks whose login header is believed.
        token: of the command line; empty if it has none.
    """

    COMMAND_LINE: ClassVar[str] = "the command line"

    def __init__(
        self,
        hosts: Collection[str],
        public_url: str = "",
        *,
        login_header: str = "",
        proxies: Collection[str] = (),
        token: str = "",
    ) -> None:
        self._public = urlsplit(public_url)
        named = (*LOOPBACK, *hosts, *([self._public.netloc.rpartition("@")[2]] if public_url else []))
        self._hosts = {place.name for host in named if (place := _place(host))}
        self._login_header = login_header
        self._proxies: list[IPv4Network | IPv6Network] = [ip_network(one) for one in proxies]
        self._token = token

    @classmethod
    def of(cls, settings: Settings) -> Callers:
        """As the settings have it."""
        return cls(
            [settings.dagster_host, *settings.pages_hosts],
            settings.pages_url,
            login_header=settings.pages_login_header,
            proxies=settings.pages_proxies,
            token=settings.pages_token.get_secret_value(),
        )

    def refuse_unknown_host(self, scope: Scope) -> None:
        """A stranger's name that leads here makes his page one of ours, for a browser.

        Raises:
            RefusedError: if the request names a host that is not ours, none, or several.
        """
        names = Headers(scope=scope).getlist("host")
        place = _place(names[0]) if len(names) == 1 else None
        if place is None or place.name not in self._hosts:
            raise RefusedError(403, "The pages are not known by this name; see BANANA_PAGES_HOSTS.")

    def refuse_foreign_data(self, scope: Scope) -> None:
        """What one page of ours asks for another may not even have sent.

        Raises:
            RefusedError: if a page that is not ours asks.
        """
        headers = Headers(scope=scope)
        if any(site not in {"same-origin", "none"} for site in headers.getlist("sec-fetch-site")):
            raise RefusedError(403, "Another page may not ask this.")
        if not all(self._is_ours(origin, scope, headers["host"]) for origin in headers.getlist("origin")):
            raise RefusedError(403, "Another page may not ask this; see BANANA_DAGSTER_PUBLIC_URL if it is ours.")

    def refuse_foreign_page(self, scope: Scope) -> None:
        """Browsers say from which page a request comes, others need not.

        Raises:
            RefusedError: if it comes from a page that is not ours.
        """
        headers = Headers(scope=scope)
        # Of a socket, browsers do not agree what to say there; its origin all of them tell.
        sites = headers.getlist("sec-fetch-site") if scope["type"] == "http" else []
        if any(site not in {"same-origin", "none"} for site in sites):
            raise RefusedError(403, "Another page may not ask this.")
        if headers.get("sec-fetch-dest", "empty") in {"image", "script", "style", "iframe", "frame", "object", "embed"}:
            raise RefusedError(403, "A picture or frame may not ask this.")
        if not all(self._is_ours(origin, scope, headers["host"]) for origin in headers.getlist("origin")):
            raise RefusedError(403, "Another page may not ask this; see BANANA_DAGSTER_PUBLIC_URL if it is ours.")

    def person(self, scope: Scope) -> str:
        """Who asks; empty where nobody is asked who he is.

        Raises:
            RefusedError: if that has to be known, and no proxy that is believed says it.
        """
        headers = Headers(scope=scope)
        if self._token and hmac.compare_digest(
            headers.get("authorization", "").encode(), f"Bearer {self._token}".encode()
        ):
            return self.COMMAND_LINE
        if not self._login_header:
            return ""
        named = headers.getlist(self._login_header)
        if len(named) != 1 or not _PERSON.fullmatch(named[0]) or not self._is_proxy(scope):
            raise RefusedError(
                401, "Nobody who is believed says who asks; come by the proxy that BANANA_PAGES_PROXIES names."
            )
        return named[0]

    def _is_ours(self, origin: str, scope: Scope, host: str) -> bool:
        """Whether a page's origin is that of the pages: scheme, name and port."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        theirs, asked = _place(parts.netloc), _place(host)
        if theirs is None or asked is None or parts.scheme not in PORTS:
            return False
        public = _place(self._public.netloc.rpartition("@")[2])
        if public and _at(theirs, parts.scheme) == _at(public, self._public.scheme):
            return parts.scheme == self._public.scheme
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        return parts.scheme == scheme and _at(theirs, scheme) == _at(asked, scheme)

    def _is_proxy(self, scope: Scope) -> bool:
        try:
            address = ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._proxies)


def _place(host: str) -> Place | None:
    """A host with or without a port; None if it is none."""
    found = _HOST.fullmatch(host.lower().removesuffix("."))
    return Place(found["name"], int(found["port"]) if found["port"] else None) if found else None


def _at(place: Place, scheme: str) -> tuple[str, int]:
    return place.name, PORTS.get(scheme, 0) if place.port is None else place.port
