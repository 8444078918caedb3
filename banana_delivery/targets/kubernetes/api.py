"""The Kubernetes API as JSON in, JSON out, through the official client; the only place where that client is used.

The client is imported when the first request is made: loading it takes longer than loading the whole code location.
"""

from __future__ import annotations

import json
import math
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from banana_delivery.errors import ConflictError, TargetError
from banana_delivery.waiting import Backoff, retry

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

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
PAUSES = Backoff(0.1, longest=1.0)
FORBIDDEN = (401, 403)
MERGE_PATCH = "application/merge-patch+json"


class _OutageError(Exception):
    """A try that another one may cure: nobody answered, or somebody who cannot answer now."""

    def __init__(self, why: str, status: int = 503, text: str = "") -> None:
        super().__init__(why)
        self.status = status
        self.text = text


class KubernetesApi:
    """One API server.

    Args:
        context: a context of the kubeconfig; empty means the cluster we run in, or else the kubeconfig's current one.
        outage_seconds: how long an API server that does not answer is asked again.
    """

    def __init__(self, context: str = "", *, outage_seconds: float = OUTAGE_SECONDS) -> None:
        self._context = context
        self._outage_seconds = outage_seconds

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
        """Merge some fields into an object; None if it does not exist."""
        status, text = self._ask("PATCH", path, body=body, content_type=MERGE_PATCH)
        return None if status == 404 else _parsed(status, text, "PATCH", path)

    def _change(self, method: str, path: str, body: Json) -> Json:
        status, text = self._ask(method, path, body=body)
        if status == 409:
            raise ConflictError(f"{path} was changed by somebody else at the same moment.")
        return _parsed(status, text, method, path)

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
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        def send() -> tuple[int, str]:
            try:
                response = self._client.call_api(
                    path,
                    method,
                    query_params=list((query or {}).items()),
                    header_params={"Accept": accept, "Content-Type": content_type},
                    body=body,
                    auth_settings=["BearerToken"],
                    _preload_content=False,
                    _return_http_data_only=True,
                    _request_timeout=TIMEOUT_SECONDS if patient else PAGE_SECONDS,
                )
            except ApiException as error:
                status, text = int(error.status or 0), str(error.body or error.reason)
                if status and not _worth_another_try(status):
                    return status, text
                raise _OutageError(str(error.reason), status, text) from error
            except HTTPError as error:
                raise _OutageError(str(error)) from error
            except AttributeError as error:
                # The client cannot read its own exception for a broken TLS connection, which has no body.
                if not isinstance(error.__context__, ApiException):
                    raise
                raise _OutageError(str(error.__context__.reason)) from error
            return int(response.status), bytes(response.data).decode()

        try:
            return retry(send, self._outage_seconds, on=(_OutageError,), pause=PAUSES, tries=math.inf if patient else 1)
        except _OutageError as outage:
            if not patient:
                return outage.status, outage.text
            raise TargetError(
                f"The Kubernetes API server at {self._client.configuration.host} did not answer for "
                f"{self._outage_seconds:.0f} s ({outage}). Traffic flows on as it was; try again when it is back."
            ) from outage

    @cached_property
    def _client(self) -> ApiClient:
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
        except config.ConfigException as error:
            where = f"context {self._context!r}" if self._context else "a cluster"
            raise TargetError(
                f"The kubeconfig does not lead to {where} ({error}); set KUBECONFIG, or "
                "BANANA_KUBERNETES_STAGING_CONTEXT and BANANA_KUBERNETES_PRODUCTION_CONTEXT."
            ) from error
        return client.ApiClient(configuration)


def _worth_another_try(status: int) -> bool:
    """Whether the API server may answer differently in a moment: it is starting, stopping or busy."""
    return status == 429 or status >= 500


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
    advice = " Grant the verb: see k8s/base/rbac." if status == 403 else ""
    raise TargetError(
        f"Kubernetes refused {method} {path} ({status}): {body.get('message', 'no reason given')}.{advice}"
    )
