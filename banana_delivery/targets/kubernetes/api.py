"""The Kubernetes API as JSON in, JSON out, through the official client; the only place where that client is used.

The client is imported when the first request is made: loading it takes longer than loading the whole code location.
"""

from __future__ import annotations

import json
import os
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from banana_delivery.errors import ConflictError, TargetError
from banana_delivery.settings import Settings
from banana_delivery.waiting import retry_after

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

Json = dict[str, Any]

TIMEOUT_SECONDS = (3.0, 10.0)
"""To connect, and between two pieces of an answer."""
PAGE_SECONDS = (1.0, 2.0)
"""The same for a pod's own page. Behind the proxy, a pod that is no more looks like one that takes its time."""
CONNECTIONS = 8
"""Requests at the same time, and connections that are kept for them."""
OUTAGE_SECONDS = 25.0
"""How long an API server that does not answer is asked again. Every request here may be repeated: writes carry a
resourceVersion or say the same thing twice."""
FORBIDDEN = (401, 403)
_ADVICE = {
    401: " The credentials were read again, and are refused as well: renew them.",
    403: " Grant the verb: see k8s/base/rbac.",
}
MERGE_PATCH = "application/merge-patch+json"
_WHO = "authentication.k8s.io"


class KubernetesApi:
    """One API server.

    Args:
        context: a context of the kubeconfig; empty means the cluster we run in, or else the kubeconfig's current one.
        outage_seconds: how long an API server that does not answer is asked again.
    """

    def __init__(self, context: str = "", *, outage_seconds: float = OUTAGE_SECONDS) -> None:
        self._context = context
        self._outage_seconds = outage_seconds
        self._renewing = threading.Lock()

    def get(self, path: str, **query: str) -> Json | None:
        """Read one object or list; None if it does not exist."""
        status, text = self._ask("GET", path, query=query)
        return None if status == 404 else _parsed(status, text, "GET", path)

    def text(self, path: str) -> str | None:
        """Read something that is not JSON, through the API server's proxy; None if it does not answer.

        Raises:
            TargetError: if we may not.
        """
        status, text = self._ask("GET", path, accept="*/*", patient=False)
        if status in FORBIDDEN:
            _parsed(status, text, "GET", path)
        return text if status == 200 else None

    def create(self, path: str, body: Json) -> Json:
        """Create an object.

        Raises:
            ConflictError: if it exists.
        """
        return self._change("POST", path, body)

    def replace(self, path: str, body: Json) -> Json:
        """Write an object back.

        Raises:
            ConflictError: if it was changed since ``body`` was read.
        """
        return self._change("PUT", path, body)

    def patch(self, path: str, body: Json) -> Json | None:
        """Merge some fields into an object; None if it does not exist.

        Raises:
            ConflictError: if ``body`` says what resourceVersion it is meant for, and that is not the present one.
        """
        status, text = self._ask("PATCH", path, body=body, content_type=MERGE_PATCH)
        return None if status == 404 else _changed(status, text, "PATCH", path)

    def user(self) -> str:
        """Who asks, by the API server's own word; empty if it does not say so at once.

        One before Kubernetes 1.27 knows no review of oneself; of a token it says so to whoever may review tokens.
        """
        for version in ("v1", "v1beta1"):
            body: Json = {"apiVersion": f"{_WHO}/{version}", "kind": "SelfSubjectReview"}
            status, said = self._ask("POST", f"/apis/{_WHO}/{version}/selfsubjectreviews", body=body, patient=False)
            if status != 404:
                return _username(status, said, "userInfo")
        login = self._client.configuration.auth_settings().get("BearerToken", {})
        token = str(login.get("value") or "").removeprefix("Bearer ")
        if not token:
            return ""
        body = {"apiVersion": f"{_WHO}/v1", "kind": "TokenReview", "spec": {"token": token}}
        return _username(*self._ask("POST", f"/apis/{_WHO}/v1/tokenreviews", body=body, patient=False), "user")

    def _change(self, method: str, path: str, body: Json) -> Json:
        return _changed(*self._ask(method, path, body=body), method, path)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        accept: str = "application/json",
        content_type: str = "application/json",
        patient: bool = True,
    ) -> tuple[int, str]:
        """Send a request until it is answered; returns status and text.

        Raises:
            TargetError: if nobody answers for ``outage_seconds``.
        """
        content = {"Accept": accept, "Content-Type": content_type}
        patience = TIMEOUT_SECONDS if patient else PAGE_SECONDS
        deadline, pause, renewed = time.monotonic() + self._outage_seconds, 0.1, False
        while True:
            client = self._client
            answer = _once(client, method, path, query or {}, content, body, patience)
            if not renewed and _may_be_stale(answer):
                self._renew(client)
                renewed = True
                continue
            if not patient or not _worth_another_try(answer.status):
                return answer.status or 503, answer.text
            left = deadline - time.monotonic()
            if left <= 0:
                raise TargetError(
                    f"The Kubernetes API server at {client.configuration.host} did not answer for "
                    f"{self._outage_seconds:.0f} s ({answer.problem}). Traffic flows on as it was; try again when it "
                    "is back."
                )
            # However long it asks to be left alone, it is asked a last time before the caller is told.
            time.sleep(min(max(pause, answer.pause), left))
            pause = min(2 * pause, 1.0)

    def _renew(self, stale: ApiClient) -> None:
        """Read the configuration again, unless another thread has done so since ``stale`` was made.

        Few credentials say when they expire: plugins, token files and certificates are renewed behind our back.
        """
        with self._renewing:
            if self._client is stale:
                self._client = self._connect()
                stale.rest_client.pool_manager.clear()

    @cached_property
    def _client(self) -> ApiClient:
        return self._connect()

    def _connect(self) -> ApiClient:
        """A client with the credentials that stand in the configuration now.

        Raises:
            TargetError: if it cannot be read, or leads nowhere.
        """
        import yaml
        from kubernetes import client, config

        configuration = client.Configuration()
        configuration.retries = False
        configuration.connection_pool_maxsize = CONNECTIONS
        try:
            if not self._context and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=configuration)
            else:
                # Named here, because the client looks at KUBECONFIG only once, when it is imported.
                config.load_kube_config(
                    config_file=os.environ.get("KUBECONFIG"),
                    context=self._context or None,
                    client_configuration=configuration,
                )
        except (config.ConfigException, yaml.YAMLError, OSError) as error:
            where = f"context {self._context!r}" if self._context else "a cluster"
            raise TargetError(
                f"The kubeconfig does not lead to {where} ({error}); set KUBECONFIG, or "
                "BANANA_KUBERNETES_STAGING_CONTEXT and BANANA_KUBERNETES_PRODUCTION_CONTEXT."
            ) from error
        _strip_token(configuration)
        return client.ApiClient(configuration)


def kubernetes_user(settings: Settings) -> str:
    """Who types, by the word of production's API server; empty if there is none that says so."""
    try:
        name = KubernetesApi(settings.kubernetes_production_context).user()
    except TargetError:
        return ""
    return "" if name == "system:anonymous" else name


def _username(status: int, said: str, field: str) -> str:
    """The name in a review; empty if it was refused, or says nothing of anybody."""
    try:
        name = json.loads(said)["status"][field]["username"] if status < 300 else ""
    except (ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""


def _strip_token(configuration: Configuration) -> None:
    """Keep the line end of a token's file out of the header, where the client would break off with a ValueError."""
    refresh = configuration.refresh_api_key_hook

    def refreshed(changed: Configuration) -> None:
        if refresh:
            refresh(changed)
        changed.refresh_api_key_hook = refreshed  # The client's own puts itself back each time.
        changed.api_key.update({name: key.strip() for name, key in changed.api_key.items()})

    configuration.refresh_api_key_hook = refreshed


class _Answer(NamedTuple):
    """What became of one request.

    Attributes:
        status: HTTP's; 503 if nobody answered, 0 if TLS did not begin.
        text: the body.
        problem: what went wrong, for a person.
        pause: seconds for which the API server asks to be left alone.
    """

    status: int
    text: str = ""
    problem: str = ""
    pause: float = 0.0


def _once(
    client: ApiClient,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: Json | None,
    patience: tuple[float, float],
) -> _Answer:
    """Send one request."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        response = client.call_api(
            path,
            method,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=patience,
        )
        return _Answer(int(response.status), bytes(response.data).decode())
    except ApiException as error:
        said = str(error.body or error.reason)
        return _Answer(int(error.status or 0), said, str(error.reason), retry_after(error.headers or {}))
    except HTTPError as error:
        return _Answer(503, problem=str(error))
    except AttributeError as error:
        # The client cannot read its own exception for a broken TLS connection, which has no body.
        if not isinstance(error.__context__, ApiException):
            raise
        return _Answer(0, problem=str(error.__context__.reason))


def _may_be_stale(answer: _Answer) -> bool:
    """Whether credentials read again may help: they are refused, or missing (a plugin failed), or TLS fails."""
    return answer.status in (0, 401) or (answer.status == 403 and "system:anonymous" in answer.text)


def _worth_another_try(status: int) -> bool:
    """Whether the API server may answer differently in a moment: it is starting, stopping or busy."""
    return status in (0, 429) or status >= 500


def _changed(status: int, text: str, method: str, path: str) -> Json:
    """The object as stored.

    Raises:
        ConflictError: if somebody else was faster.
    """
    if status == 409:
        raise ConflictError(f"{path} was changed by somebody else at the same moment.")
    return _parsed(status, text, method, path)


def _parsed(status: int, text: str, method: str, path: str) -> Json:
    """The body of a success.

    Raises:
        TargetError: with the API server's own words otherwise.
    """
    try:
        body: Json = json.loads(text)
    except ValueError:
        body = {"message": text[:300]}
    if status < 300:
        return body
    reason = body.get("message", "no reason given")
    raise TargetError(f"Kubernetes refused {method} {path} ({status}): {reason}.{_ADVICE.get(status, '')}")
