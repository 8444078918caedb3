"""How this process talks to MLflow: within bounded time, without telemetry, and with errors a person can read.

Nothing here imports MLflow before it is needed: that takes seconds, and loading the code location must not.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLIENT_ENVIRONMENT = {
    # A refused connection is told after 2 s and a silent server after 17 s; MLflow's own values take minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""What MLflow's client is told through this process's environment, unless somebody set it otherwise."""


def open_client(tracking_uri: str) -> MlflowClient:
    """A client of one server; its registry is used too, unless ``MLFLOW_REGISTRY_URI`` names another one."""
    for name, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def failures() -> tuple[type[Exception], ...]:
    """Everything that MLflow's client and its artifact stores raise when a server, a store or a disk fails them."""
    from botocore.exceptions import (  # type: ignore[import-untyped]
        BotoCoreError,
        ClientError,
    )
    from mlflow.exceptions import MlflowException

    # ImportError: the artifact store's own client (Azure, Google) is not installed here.
    return MlflowException, BotoCoreError, ClientError, OSError, ImportError


def is_missing(error: Exception) -> bool:
    """Whether the error says that the thing asked for does not exist."""
    return getattr(error, "error_code", "") in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}


def plain_reason(error: Exception) -> str:
    """Why it failed, in a few words: the system's own if a connection or a file failed, else the error's first line.

    Credentials within a URL are left out.
    """
    root: BaseException = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    text = (root.strerror if isinstance(root, OSError) else None) or str(error).strip() or type(error).__name__
    return re.sub(r"//[^/@\s]+@", "//", text.splitlines()[0])[:300].rstrip(".")


def without_credentials(uri: str) -> str:
    """The URI without user, password and query, any of which may be a secret."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
