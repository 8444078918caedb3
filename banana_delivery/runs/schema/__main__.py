"""What a new version's Job does, ``python -m banana_delivery.runs.schema migrate``, and its pods do first: ``wait``.

The pod in which the dead man watches does ``wait-if-it-answers``: a database that is away is what he has to tell of.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial

from banana_delivery.errors import BananaDeliveryError
from banana_delivery.runs.schema.migration import (
    Storage,
    bring_forward,
    own_storage,
    told_to_libpq,
    wait_until_forward,
)

DOES: dict[str, Callable[[Storage], None]] = {
    "migrate": bring_forward,
    "wait": wait_until_forward,
    "wait-if-it-answers": partial(wait_until_forward, away=False),
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Alembic says which dialect it speaks.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if len(sys.argv) != 2 or sys.argv[1] not in DOES:
        sys.exit(f"Say one of these: {', '.join(DOES)}")
    does = DOES[sys.argv[1]]
    os.environ.update(told_to_libpq(os.environ, changes=does is bring_forward))
    try:
        does(own_storage())
    except BananaDeliveryError as error:
        sys.exit(str(error))
