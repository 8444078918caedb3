"""Ports of this machine for servers that tests start."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice

from banana_delivery.embedded.paths import is_free

FIRST, SHARE, SHARES = 20_000, 1_250, 8
"""Above the stack's own, and below those that the kernel gives to connections and to Kubernetes' services."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens now, nor will anybody before the server that they are for.

    A port that the kernel chose and got back is soon another's: it takes seconds until a process listens. These are
    given neither by the kernel nor to another of the processes that share the tests, and here not twice.
    """
    return list(islice(filter(is_free, _own()), count))


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


@cache
def _own() -> Iterator[int]:
    """This process's share for ever; in any order, as other tests may run on this machine."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = FIRST + worker % SHARES * SHARE
    return cycle(random.sample(range(start, start + SHARE), SHARE))
