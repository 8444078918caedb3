"""How this process talks to MLflow: within bounded time, without telemetry, and with errors a person can read.

Nothing here imports MLflow before it is needed: that takes seconds, and loading the code location must not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from typing_extensions import override

from banana_delivery.errors import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient

REQUEST_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
CLIENT_ENVIRONMENT = {
    # A refused connection is told after 2 s and a silent server after 17 s; MLflow's own values take minutes.
    REQUEST_TIMEOUT: "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""What MLflow's client is told through this process's environment, unless somebody set it otherwise."""
ARTIFACT_TIMEOUT = "60"
"""Seconds to an artifact's next byte. A server that keeps artifacts in a bucket fetches the whole file from there
before it sends the first byte, which takes longer than any answer about versions."""
PLAIN_NAME = re.compile(r"[\w .,()%+@-]+", re.ASCII)
"""Names that need no care between quotes."""
REFUSALS = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}


def open_client(tracking_uri: str) -> MlflowClient:
    """A client of one server; its registry is used too, unless ``MLFLOW_REGISTRY_URI`` names another one."""
    for name, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    class Client(MlflowClient):
        """Does not ask before each write whether the model is a prompt: the server reads all versions to tell that."""

        @override
        def _raise_if_prompt(self, name: str) -> None:
            pass

    return Client(tracking_uri=tracking_uri)


def registry_of(tracking_uri: str) -> str:
    """Where the client of a server finds its registry, without credentials."""
    return without_credentials(os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri).rstrip("/")


@contextmanager
def patient() -> Iterator[None]:
    """Wait for artifacts as long as they take, unless somebody set MLflow's timeout themselves.

    MLflow's artifact stores read the time from the environment alone, so it holds for the whole process meanwhile.
    """
    if os.environ.get(REQUEST_TIMEOUT) != CLIENT_ENVIRONMENT[REQUEST_TIMEOUT]:
        yield
        return
    os.environ[REQUEST_TIMEOUT] = ARTIFACT_TIMEOUT
    try:
        yield
    finally:
        os.environ[REQUEST_TIMEOUT] = CLIENT_ENVIRONMENT[REQUEST_TIMEOUT]


def failures() -> tuple[type[Exception], ...]:
    """Everything that MLflow's client and its artifact stores raise when a server, a store or a disk fails them."""
    from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
    from botocore.exceptions import (  # type: ignore[import-untyped]
        BotoCoreError,
        ClientError,
    )
    from mlflow.exceptions import MlflowException
    from urllib3.exceptions import HTTPError

    # ImportError: the artifact store's own client (Azure, Google) is not installed here.
    return MlflowException, Boto3Error, BotoCoreError, ClientError, HTTPError, OSError, ImportError


def is_missing(error: Exception) -> bool:
    """Whether MLflow itself says that the thing asked for does not exist.

    A 404 that is not in MLflow's words comes from something in between, such as a proxy without a route, and says
    nothing about the thing.
    """
    said = str(error)
    in_between = said.startswith("API request to endpoint ") and " failed with error code " in said
    return not in_between and getattr(error, "error_code", "") in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}


def is_refused(error: Exception) -> bool:
    """Whether the server answered that this account may not do that."""
    return getattr(error, "error_code", "") in REFUSALS


def plain_reason(error: Exception) -> str:
    """Why it failed, in a few words: the system's own if a connection or a file failed, else the error's first line.

    Credentials within a URL are left out.
    """
    root: BaseException = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    text = (root.strerror if isinstance(root, OSError) else None) or str(error).strip() or type(error).__name__
    return redacted(_telling_line(text))[:300].rstrip(".")


def _telling_line(text: str) -> str:
    """The first line; of MLflow's lists of failed files, the first failure."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[2] if len(lines) > 2 and lines[1].startswith("##### File") else lines[0]


def without_credentials(uri: str) -> str:
    """The URI without user, password and query, any of which may be a secret."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def name_filter(name: str) -> str:
    """MLflow's search expression that finds the versions of a model, and perhaps those of others with a like name.

    MLflow's parser knows no way to write both kinds of quotes, nor a backslash before one, so that whatever is not
    plain is written as the wildcard for one character.

    >>> name_filter("banana_sigatoka_detector")
    "name = 'banana_sigatoka_detector'"
    >>> name_filter("Anna's detector")
    "name LIKE 'Anna_s detector'"
    """
    if PLAIN_NAME.fullmatch(name):
        return f"name = '{name}'"
    return f"name LIKE '{re.sub('[^A-Za-z0-9 .-]', '_', name)}'"
