"""The secret that MLflow signs its webhooks with: of a variable, of a file, or made in the home."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from banana_delivery.errors import BadSettingsError, hide
from banana_delivery.files import write_once
from banana_delivery.settings import Settings

NAME = "webhook.secret"
"""In the home, where no setting names a secret."""
SHORTEST = 16
"""Characters; a shorter one can be guessed by whoever has seen one delivery."""
LONGEST = 1000
OTHERS = 0o027
"""A Secret is mounted for the group of its pod to read; nobody else may, and nobody may write but the owner."""


def webhook_secret(settings: Settings) -> str:
    """The secret, which no log shows from now on.

    Raises:
        BadSettingsError: if there is none, or none that can be used.
    """
    told = settings.webhook_secret.get_secret_value()
    file = _file(settings)
    where = "BANANA_WEBHOOK_SECRET" if told else str(file)
    secret = told or _read(file)
    if not SHORTEST <= len(secret) <= LONGEST or not secret.isascii() or not secret.isprintable():
        raise BadSettingsError(
            f"{where} holds no secret of {SHORTEST} to {LONGEST} plain characters; make one by: openssl rand -hex 32"
        )
    hide([secret])
    return secret


def make_webhook_secret(settings: Settings) -> None:
    """Make one in the home, unless there is one or a setting names one; whoever comes second finds that of the first.

    Raises:
        OSError: if it cannot be made.
    """
    if not settings.webhook_secret.get_secret_value() and settings.webhook_secret_file is None:
        write_once(_file(settings), f"{secrets.token_hex(32)}\n")


def listening_token(secret: str) -> str:
    """By which the sensor shows the receiver that it is one of ours; the secret cannot be guessed from it."""
    return hmac.new(secret.encode(), b"listen", hashlib.sha256).hexdigest()


def _file(settings: Settings) -> Path:
    return settings.webhook_secret_file or settings.home / NAME


def _read(file: Path) -> str:
    try:
        if file.stat().st_mode & OTHERS:
            raise BadSettingsError(f"{file} is open to other users; type: chmod 600 {file}")
        return file.read_text("ascii").strip()
    except FileNotFoundError as error:
        raise BadSettingsError(
            f"There is no {file} with the secret of MLflow's webhooks; make one by: openssl rand -hex 32"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettingsError(f"The secret of MLflow's webhooks cannot be read from {file}: {error}") from error
