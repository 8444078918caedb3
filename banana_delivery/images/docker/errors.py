"""Turning what engines and registries say when they fail into one sentence, and into whether another try may help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import docker.errors
import requests
import urllib3.exceptions

from banana_delivery.errors import ImageError, PassingError

_REFUSED = ("unauthorized", "authentication required", "denied", "no basic auth credentials", "forbidden")
_FULL = ("no space left on device", "disk quota exceeded")
_PASSING = (
    "connection refused",
    "connection reset",
    "timeout",
    "timed out",
    "eof",
    "broken pipe",
    "no route to host",
    "no such host",
    "temporary failure",
    "unexpected http status: 5",
    "internal server error",
    "service unavailable",
    "bad gateway",
    "too many requests",
    "toomanyrequests",
)


def failure(what: str, where: str, said: str) -> ImageError:
    """The error for something an engine or registry said.

    Args:
        what: what was being done, for example ``pushing version 7``.
        where: the registry or engine that it was done with.
        said: its words.
    """
    words = " ".join(said.split())
    lower = words.lower()
    if any(sign in lower for sign in _FULL):
        return ImageError(f"The disk is full while {what} ({where}: {words}); free some space, then try again.")
    if any(sign in lower for sign in _REFUSED):
        return ImageError(
            f"{where} refused the credentials while {what} ({words}); run `docker login {where}`, or set "
            "BANANA_REGISTRY_USERNAME and BANANA_REGISTRY_PASSWORD."
        )
    if any(sign in lower for sign in _PASSING):
        return PassingError(f"{where} failed while {what} ({words}); see whether it runs and can be reached.")
    return ImageError(f"{what[0].upper()}{what[1:]} failed ({where}: {words}).")


def engine_gone(what: str, error: Exception) -> ImageError:
    """The error for an engine that went away in the middle."""
    return ImageError(
        f"The Docker engine stopped answering while {what} ({type(error).__name__}); start it again, then materialize "
        "`image` again: nothing half-done was published."
    )


@contextmanager
def engine_errors(what: str, where: str) -> Iterator[None]:
    """Raise everything that the engine or the way to it can throw as ``ImageError``."""
    try:
        yield
    except docker.errors.APIError as error:
        raise failure(what, where, str(error.explanation or error)) from error
    except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise engine_gone(what, error) from error
