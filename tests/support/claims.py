"""Taking environments over, in tests."""

from __future__ import annotations

from banana_delivery.policy.model import Environment
from banana_delivery.targets.base import Claim, ReleaseTarget, Takeover


def steal(target: ReleaseTarget, environment: Environment, owner: str) -> Claim:
    """Take an environment from whoever has it at this moment."""
    return target.claim(environment, owner, seen=target.record(environment), takeover=Takeover.ANYBODY)
