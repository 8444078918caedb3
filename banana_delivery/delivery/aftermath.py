"""What follows once an attempt is written down: the registry says what really serves, and people are told.

Runs in the op that ended the attempt and again in the run-status sensor; both are idempotent, so that what failed the
first time is made good the second time. What failed both times is made good by a sensor that looks again and again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from banana_delivery.delivery.untold import Untold
from banana_delivery.notifications import Notifier
from banana_delivery.policy.messages import notice
from banana_delivery.policy.outcomes import registry_mark
from banana_delivery.policy.records import Environment
from banana_delivery.policy.releases import AttemptRecord
from banana_delivery.registry.base import ModelRegistry, RegistryError, UnknownVersionError
from banana_delivery.targets.base import ReleaseTarget, TargetError

LOG = logging.getLogger(__name__)
MOST_AT_ONCE = 5


@dataclass(frozen=True)
class Aftermath:
    """The registry and the people.

    Attributes:
        registry: is told how the attempt ended.
        target: knows what production serves.
        notifier: tells people.
        untold: remembers what the registry could not be told.
        model: name of the registered model, for messages.
        dagster_url: where the pages are, for links.
    """

    registry: ModelRegistry
    target: ReleaseTarget
    notifier: Notifier
    untold: Untold
    model: str
    dagster_url: str

    def settle(self, attempt: AttemptRecord) -> None:
        """Mark the version and tell people; what is away now is only logged, ``catch_up`` comes back to it."""
        try:
            if trouble := self._not_marked(attempt):
                LOG.warning("The registry was not told yet how version %s ended: %s", attempt.version, trouble)
            self.notifier.tell(notice(self.model, attempt, self.dagster_url))
        except OSError as error:
            LOG.warning("Nobody could be told how version %s ended: %s", attempt.version, error)

    def catch_up(self) -> None:
        """Make good what could not be told before, a bounded part of it each time."""
        try:
            for attempt in self.untold.attempts()[:MOST_AT_ONCE]:
                if self._not_marked(attempt):
                    break  # The others would wait for the same registry; this one is the last in turn now.
                LOG.info("The registry was told late how version %s ended.", attempt.version)
            self.notifier.catch_up()
        except OSError as error:
            LOG.warning("What was not told before could not be told now: %s", error)

    def _not_marked(self, attempt: AttemptRecord) -> str:
        """Mark the version; why that failed, and then it is remembered for later; empty if nothing is left to do."""
        try:
            self.mark(attempt)
        except UnknownVersionError as error:
            LOG.warning("No registry can be told how version %s ended: %s", attempt.version, error)
        except (RegistryError, TargetError) as error:
            self.untold.remember(attempt)
            return str(error)
        self.untold.forget(attempt)
        return ""

    def mark(self, attempt: AttemptRecord) -> None:
        """Write the outcome into the registry, with what production serves now and not what it served then.

        Raises:
            RegistryError: if it cannot be reached, or does not know the version.
            TargetError: if production cannot be asked what it serves.
        """
        live = self.target.record(Environment.PRODUCTION).live
        serving = live.version if live else None
        mark = registry_mark(attempt.outcome, attempt.reason, attempt.digest, attempt.run_id, serving)
        self.registry.mark(attempt.version, mark)
