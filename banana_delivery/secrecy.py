"""Which values are secrets, and logs without them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from banana_delivery.errors import redacted
from banana_delivery.quoting import in_log

FOREIGN_SECRETS = re.compile(
    r"(?:.*_)?(?:TOKEN|PASSWORD|SECRET|SECRET_ACCESS_KEY|ACCESS_KEY|API_KEY|ENCRYPTION_KEY|CREDENTIALS?)"
)
"""Names of variables that other programs read, whose values are secrets."""


def secrets_of(settings: BaseModel) -> Iterator[str]:
    """Every secret value that this process knows: of the settings, and of other programs' variables."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, SecretStr):
                yield item.get_secret_value()
                yield from _secret_parts(item.get_secret_value())
    yield from (value for name, value in os.environ.items() if FOREIGN_SECRETS.fullmatch(name))


def _secret_parts(address: str) -> Iterator[str]:
    """The password of an address, and what may be a token in its path; whoever fails at it may tell these alone.

    Before an address of a channel may stand who is told there, which whoever fails at it does not tell.
    """
    whom, equals, alone = address.partition("=")
    if equals and "://" in alone and "://" not in whom:
        yield alone
        address = alone
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    yield unquote(parts.password or "")
    yield parts.password or ""
    if parts.scheme not in {"", "sqlite", "file"}:
        yield from (part for part in parts.path.split("/") if len(part) >= SHORTEST_TOKEN)


def quiet_logs() -> None:
    """Leave secrets out of every line that the product logs, whatever handler writes it."""
    make = logging.getLogRecordFactory()
    if getattr(make, "is_quiet", False):
        return

    def factory(*arguments: object, **more: object) -> logging.LogRecord:
        record: logging.LogRecord = make(*arguments, **more)
        # The name is None where a record is made of another one's parts.
        if str(record.name).partition(".")[0] == PACKAGE:
            with suppress(TypeError, ValueError, KeyError):  # Arguments that do not fit are for the handler to tell.
                record.msg, record.args = in_log(redacted(record.getMessage())), ()
            if record.exc_info and record.exc_info[0]:
                # Formatters take this instead of the error, if it is there.
                record.exc_text = in_log(redacted(logging.Formatter().formatException(record.exc_info)))
        return record

    factory.is_quiet = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


PACKAGE = __name__.partition(".")[0]
SHORTEST_TOKEN = 16
"""Characters of a part of a path that may be a token; shorter ones are names."""
