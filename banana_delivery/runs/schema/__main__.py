"""What a new version's Job does, ``python -m banana_delivery.runs.schema migrate``, and its pods do first: ``wait``.

What follows ``wait`` is the command that this process becomes then. Dagster's own programs end where the database does
not answer as they start, and a pod that does so again and again is started later and later.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from banana_delivery.errors import BananaDeliveryError
from banana_delivery.runs.schema.migration import bring_forward, own_storage, told_to_libpq
from banana_delivery.runs.schema.waiting import wait_until_forward


def main(told: list[str]) -> None:
    """Do what is told, or end with a sentence."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Alembic says which dialect it speaks, and Dagster each of its tries; what is waited for is said in a sentence.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger().handlers[0].addFilter(lambda record: not record.getMessage().startswith("Retrying failed"))
    inherited = dict(os.environ)
    match told:
        case ["migrate"]:
            os.environ.update(told_to_libpq(os.environ, changes=True))
            bring_forward(own_storage())
        case ["wait", *command]:
            # The first process of a container is not ended by a signal that it does not handle.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            os.environ.update(told_to_libpq(os.environ, changes=False))
            wait_until_forward(own_storage())
            if command:
                _become(command, inherited)
        case _:
            sys.exit("Say `migrate`, or `wait` and what to do then.")


def _become(command: list[str], environment: dict[str, str]) -> None:
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - as the manifest says it
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started ({error.strerror}); `wait` is followed by a program of the image.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BananaDeliveryError as error:
        sys.exit(str(error))
