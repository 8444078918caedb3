"""Where a version's artifacts may lie: what a registered source may make this process ask, and with which login.

MLflow's client sends its login to whatever host a source names, and opens whatever path it names, so that both are
judged before it is asked. Pure: nothing here reaches for a network or a disk.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

from banana_delivery.model_registry.client import without_credentials

_THROUGH_MLFLOW = frozenset({"runs", "models"})
_BY_MLFLOWS_LOGIN = frozenset({"http", "https", "mlflow-artifacts"})
_WITHOUT_HOST = frozenset({"", "file", "s3", "gs"})
"""Whatever host they are asked at is named by our own environment, never by the address."""
_ODD = re.compile(r"[\\\x00-\x1f\x7f]")
_PORTS = {"http": 80, "https": 443}


def refusal(uri: str, tracking_uri: str, own: Collection[str], allowed: Collection[str]) -> str:
    """Why an address of artifacts is not read, as the middle of a sentence; empty if it may be.

    Args:
        uri: the address, or what MLflow makes of it.
        tracking_uri: MLflow's.
        own: where MLflow says that it keeps artifacts of the version's run.
        allowed: addresses that are allowed beside these, with all below them.
    """
    if _ODD.search(uri):
        return "is written in a way that two programs may read differently"
    scheme = urlsplit(uri).scheme.lower()
    scheme = "" if len(scheme) == 1 else scheme
    if scheme in _THROUGH_MLFLOW:
        return f"names the server {urlsplit(uri).netloc!r}" if urlsplit(uri).netloc else ""
    if scheme in _BY_MLFLOWS_LOGIN:
        return _foreign_host(uri, tracking_uri)
    if any(is_below(uri, root) for root in allowed):
        return ""
    if scheme not in _WITHOUT_HOST:
        return f"is at {_host(uri)!r}, which BANANA_ARTIFACT_ROOTS does not name"
    if any(is_below(uri, root) for root in own):
        return ""
    return "is none of the places where MLflow keeps the artifacts of its run, nor below BANANA_ARTIFACT_ROOTS"


def is_below(uri: str, root: str) -> bool:
    """Whether an address is a root, or below it, however either is spelled.

    >>> is_below("s3://models/a/../../other", "s3://models/a")
    False
    >>> is_below("file:///srv/mlflow/1/r", "/srv/mlflow")
    True
    """
    one, other = _spelled(uri), _spelled(root)
    return one[:2] == other[:2] and (one[2] == other[2] or one[2].startswith(other[2].rstrip("/") + "/"))


def _spelled(uri: str) -> tuple[str, str, str]:
    parts = urlsplit(uri)
    scheme = parts.scheme.lower() or "file"
    path = unquote(parts.path)
    return scheme, parts.netloc.lower(), posixpath.normpath("/" + path.lstrip("/")) if path else "/"


def _foreign_host(uri: str, tracking_uri: str) -> str:
    """MLflow's client would send its login there, whatever is allowed: so no other host is ever asked."""
    if urlsplit(uri).scheme.lower() == "mlflow-artifacts" and not urlsplit(uri).netloc:
        return ""
    if urlsplit(uri).scheme.lower() == "mlflow-artifacts":
        uri = f"{urlsplit(tracking_uri).scheme}:{uri.partition(':')[2]}"  # As MLflow's client makes it.
    if _host(uri) == _host(tracking_uri) and _is_as_private(uri, tracking_uri):
        return ""
    return f"is at {_host(uri)!r}, and not at the MLflow server {without_credentials(tracking_uri)}"


def _host(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        port = parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        return "?"
    return f"{(parts.hostname or '').lower()}:{port}" if port else (parts.hostname or "").lower()


def _is_as_private(uri: str, tracking_uri: str) -> bool:
    return urlsplit(uri).scheme.lower() != "http" or urlsplit(tracking_uri).scheme.lower() == "http"
