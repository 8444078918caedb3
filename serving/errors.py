"""What can go wrong, as the client or the operator is told about it."""

from dataclasses import dataclass

LONGEST_NAME = 60


class ConfigurationError(Exception):
    """The process cannot start, or cannot get ready, as configured; the message says what to change."""


@dataclass(eq=False)
class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        code: stable machine-readable name, part of the API.
        message: one sentence for the person who sent it.
        retry_after: seconds after which the same request may succeed, if it may.
    """

    status: int
    code: str
    message: str
    retry_after: int | None = None

    def __str__(self) -> str:
        return self.message


def unsupported_media(message: str) -> RequestError:
    """The bytes are not an image of a supported format."""
    return RequestError(415, "unsupported_media_type", message)


def corrupt_image(message: str) -> RequestError:
    """The bytes begin like an image but cannot be decoded."""
    return RequestError(422, "corrupt_image", message)


def too_large(message: str) -> RequestError:
    """The body, or the image it unpacks to, exceeds a limit."""
    return RequestError(413, "too_large", message)


def invalid_request(message: str) -> RequestError:
    """The request is not what the API describes."""
    return RequestError(422, "invalid_request", message)


def overloaded(message: str) -> RequestError:
    """More work than this replica can take; another moment, or another replica, can."""
    return RequestError(503, "overloaded", message, retry_after=1)


def not_here() -> RequestError:
    """It is for whoever runs this replica, and answered where users do not come."""
    return RequestError(404, "internal_port", "This is answered on the replica's internal port alone.")


def not_ready(message: str) -> RequestError:
    """The model is not loaded and warm yet, or cannot be."""
    return RequestError(503, "not_ready", message, retry_after=1)


def quoted(name: str) -> str:
    """A name that a client made up, as a sentence may repeat it; it can be as long as a body."""
    return repr(name) if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]!r}..."
