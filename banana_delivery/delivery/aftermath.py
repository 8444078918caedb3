"""What follows once an attempt is written down: the registry says what really serves, and people are told.

Runs in the op that ended the attempt and again in the run-status sensor; both are idempotent, so that what failed the
first time is made good the second time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from banana_delivery.notifications import Notifier
from banana_delivery.policy.messages import notice
from banana_delivery.policy.outcomes import registry_mark
from banana_delivery.policy.records import Environment
from banana_delivery.policy.releases import AttemptRecord
from banana_delivery.registry.base import ModelRegistry, RegistryError
from banana_delivery.targets.base import ReleaseTarget, TargetError

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aftermath:
    """The registry and the people.

    Attributes:
        registry: is told how the attempt ended.
        target: knows what production serves.
        notifier: tells people.
        model: name of the registered model, for messages.
        dagster_url: where the pages are, for links.
    """

    registry: ModelRegistry
    target: ReleaseTarget
    notifier: Notifier
    model: str
    dagster_url: str

    def settle(self, attempt: AttemptRecord) -> None:
        """Mark the version and tell people; a registry that is away is only logged, the sensor comes back to it."""
        try:
            self.mark(attempt)
        except (RegistryError, TargetError) as error:
            LOG.warning("The registry was not told how version %s ended: %s", attempt.version, error)
        self.notifier.tell(notice(self.model, attempt, self.dagster_url))

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
