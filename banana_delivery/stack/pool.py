"""The one slot for which deliveries wait.

Its limit has to be there, by name, before the daemon starts: Dagster's default limit did not hold back the first runs
of a fresh instance. As a program this sets it, in a process of its own, since opening an instance loads much that the
command line does not need.
"""

from __future__ import annotations

import subprocess
import sys

from banana_delivery.settings import Settings
from banana_delivery.stack.environment import children_environment
from banana_delivery.stack.errors import StackError

LIMIT = 1
TIMEOUT_SECONDS = 120


def limit_delivery_pool(settings: Settings) -> None:
    """Let one delivery run at a time, in the embedded stack's Dagster instance; doing so again changes nothing.

    Raises:
        StackError: if the instance cannot be opened.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        env=children_environment(settings),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise StackError(f"Dagster's instance in {settings.home / 'dagster'} cannot be opened: {last}")


if __name__ == "__main__":
    import dagster as dg

    from banana_delivery.assets.common import POOL

    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, LIMIT)
