"""Asking replicas themselves: whether they are ready, with the right release, and what they measured."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from banana_delivery.embedded.router.traefik import NO_AUTHORITY


@dataclass(frozen=True)
class Health:
    """A replica's answer.

    Attributes:
        ready: whether it takes requests, as the release that was asked for.
        waiting_for: what it is still doing otherwise.
        reported: the digest with which something else answers in its place.
    """

    ready: bool
    waiting_for: str = ""
    reported: str = ""


class ReplicaClient:
    """Speaks to replicas on this machine directly, not through the router."""

    def __init__(self) -> None:
        # No connection is kept: replicas come and go, and nobody has to close it.
        self._client = httpx.Client(
            timeout=2.0, trust_env=False, verify=NO_AUTHORITY, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def health(self, port: int, digest: str) -> Health:
        """Whether the replica on a port is ready and runs this digest."""
        try:
            answer = self._client.get(f"http://127.0.0.1:{port}/ready")
        except httpx.TimeoutException:
            return Health(ready=False, waiting_for="it accepts connections, but does not answer")
        except httpx.TransportError:
            return Health(ready=False, waiting_for="its process is starting")
        if answer.status_code != httpx.codes.OK:
            return Health(ready=False, waiting_for=_sentence(answer))
        reported = answer.headers.get("X-Image-Digest", "")
        if reported == digest:
            return Health(ready=True)
        return Health(False, f"port {port} is answered by {reported or 'something else'}", reported)

    def metrics(self, *ports: int, digest: str) -> str | None:
        """The replica's own counters in Prometheus' text format; None if it does not answer.

        Args:
            ports: where they may be; the next one is asked where nobody listens, or somebody else does: a release that
                does not know of an internal port leaves it to whoever takes it.
            digest: of its release.
        """
        for port in ports:
            try:
                answer = self._client.get(f"http://127.0.0.1:{port}/metrics")
            except httpx.ConnectError:
                continue
            except httpx.TransportError:
                return None
            # What answers where its users come is told by the digest on its page.
            if port != ports[-1] and answer.headers.get("X-Image-Digest") != digest:
                continue
            return answer.text if answer.status_code == httpx.codes.OK else None
        return None


def _sentence(answer: httpx.Response) -> str:
    """Why it is not ready, in the replica's own words if it has any."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"/ready answers {answer.status_code}"
