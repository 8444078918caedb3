"""How the staging sensor hears that it should look now."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import httpx
from typing_extensions import override

from banana_delivery.errors import BadSettingsError
from banana_delivery.model_registry.webhooks.secret import listening_token, webhook_secret
from banana_delivery.settings import Settings

LOG = logging.getLogger(__name__)
ANSWER_SECONDS = 1.0
"""A receiver that takes longer to answer is as good as none: whoever wants to hear it looks by itself."""


class Bell(ABC):
    """Rings when the registry may have something new. Hearing nothing is never a reason not to look."""

    can_ring: bool = True
    """Whether there is anything to listen to."""

    @abstractmethod
    def heard(self) -> str | None:
        """What it says now, to be compared; None if it cannot be heard."""

    @abstractmethod
    def wait(self, heard: str, seconds: float) -> str | None:
        """Return as soon as it has rung since ``heard``.

        Args:
            heard: what it said before somebody looked.
            seconds: how long to wait at most.

        Returns:
            What it says now; None if it did not ring in this time, or cannot be heard any more.
        """


class NoBell(Bell):
    """Nobody rings."""

    can_ring = False

    @override
    def heard(self) -> str | None:
        return None

    @override
    def wait(self, heard: str, seconds: float) -> str | None:
        return None


class ReceiverBell(Bell):
    """The receiver of the webhooks, over HTTP.

    Args:
        url: of the receiver.
        secret: asks for the secret, which it shares with us.
    """

    def __init__(self, url: str, secret: Callable[[], str]) -> None:
        self._url = f"{url.rstrip('/')}/rings"
        self._secret = secret
        self._trouble = ""

    @cached_property
    def _client(self) -> httpx.Client:
        return httpx.Client(trust_env=False, timeout=ANSWER_SECONDS)

    @override
    def heard(self) -> str | None:
        return self._ask({}, ANSWER_SECONDS)

    @override
    def wait(self, heard: str, seconds: float) -> str | None:
        if seconds <= 0:
            return None
        now = self._ask({"heard": heard, "seconds": f"{seconds:.3f}"}, seconds + ANSWER_SECONDS)
        return None if now == heard else now

    def _ask(self, asked: dict[str, str], seconds: float) -> str | None:
        """What it says; None, and one line in the log, if it cannot be heard."""
        try:
            token = listening_token(self._secret())
            answer = self._client.get(
                self._url, params=asked, headers={"Authorization": f"Bearer {token}"}, timeout=seconds
            )
            if not answer.is_success:
                raise ValueError(f"{self._url} answered {answer.status_code}")  # noqa: TRY301 - told as the others are
            said = str(answer.json()["heard"])
        except (httpx.HTTPError, httpx.InvalidURL, BadSettingsError, ValueError, LookupError, TypeError) as error:
            self._say(str(error) or type(error).__name__)
            return None
        self._say("")
        return said

    def _say(self, trouble: str) -> None:
        """Log what is new about it, since it is asked every few seconds."""
        if trouble and not self._trouble:
            LOG.warning("Webhooks cannot be heard of, so that the registry is looked at every few seconds: %s", trouble)
        elif self._trouble and not trouble:
            LOG.warning("Webhooks are heard of again.")
        self._trouble = trouble


def bell_for(settings: Settings) -> Bell:
    """The one that the settings name."""
    if not settings.webhook_receiver:
        return NoBell()
    return ReceiverBell(settings.webhook_receiver, lambda: webhook_secret(settings))
