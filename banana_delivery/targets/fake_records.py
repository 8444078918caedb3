"""The records of environments in memory, each with its copy, which a test may lose, spoil or put back."""

from __future__ import annotations

from dataclasses import dataclass, field

from banana_delivery.policy.model import Environment, RolloutRecord
from banana_delivery.targets.restoring import Found, KeptRecord, Settled, Traces, kept, next_revision, parsed, settled

Lying = KeptRecord | str
"""What lies in one place: a whole record, or a text that may be none."""


@dataclass
class FakeRecords:
    """Both places of every environment.

    Attributes:
        first: the records.
        copies: their copies.
        stamps: the highest generation that a claim left on what runs.
    """

    first: dict[Environment, Lying] = field(default_factory=dict)
    copies: dict[Environment, Lying] = field(default_factory=dict)
    stamps: dict[Environment, int] = field(default_factory=dict)

    def __setitem__(self, environment: Environment, record: RolloutRecord) -> None:
        """What a test says is so, and always was."""
        assert record.environment is environment
        self.store(record, next_revision(*self.found(environment)))

    def found(self, environment: Environment) -> tuple[Found, Found]:
        """What lies in either place."""
        return _lying("the record", self.first.get(environment)), _lying("its copy", self.copies.get(environment))

    def settled(self, environment: Environment, running: tuple[str, ...]) -> Settled:
        """What is believed, while so much runs."""
        return settled(environment, *self.found(environment), self.traces(environment, running))

    def traces(self, environment: Environment, running: tuple[str, ...] = ()) -> Traces:
        """What is left of earlier claims."""
        return Traces(self.stamps.get(environment, 0), running)

    def store(self, record: RolloutRecord, revision: int) -> RolloutRecord:
        """Keep a record, then its copy, then the stamp of its generation."""
        stored = kept(record, revision)
        self.first[record.environment] = self.copies[record.environment] = stored
        self.stamps[record.environment] = record.generation
        return record


def _lying(where: str, there: Lying | None) -> Found:
    if there is None:
        return Found(where)
    return parsed(where, there) if isinstance(there, str) else Found(where, there)
