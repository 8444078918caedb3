"""Where a delivery gets its evidence: tests over HTTP, answers to labelled images, and load by the internal route."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from banana_delivery.policy.asset_records import TestRow
from banana_delivery.policy.model import ImageRef
from banana_delivery.policy.quality.comparison import RESAMPLES
from banana_delivery.policy.quality.matching import Matches

Log = Callable[[str], None]


@dataclass(frozen=True)
class ReleaseEndpoint:
    """A release and where it answers."""

    url: str
    ref: ImageRef


class Load(Protocol):
    """Load whose rate can be changed while it runs."""

    def set_rate(self, requests_per_second: float) -> None:
        """Send so many requests a second from now on; 0 pauses."""


class Evaluator(ABC):
    """Gathers what the policies judge.

    Attributes:
        resamples: how many bootstrap resamples a comparison of its answers takes.
    """

    resamples: int = RESAMPLES

    @abstractmethod
    def sample_images(self, count: int) -> list[Path]:
        """Files of the first labelled images, for the parity of the exported model."""

    @abstractmethod
    def tests(self, release: ReleaseEndpoint, log: Log) -> list[TestRow]:
        """The smoke, integration and performance table of a release, gathered over HTTP."""

    @abstractmethod
    def answers(self, release: ReleaseEndpoint, log: Log, *, fresh: bool) -> Matches:
        """A release's answers to all labelled images, matched with the labels.

        Args:
            release: what must answer, and where.
            log: told how far it is.
            fresh: ask in any case. Otherwise earlier answers of the same digest to the same images will do, since
                equal images give equal answers.

        Raises:
            EvaluationError: if other digests answered than were meant, or too many questions got no answer.
        """

    @abstractmethod
    def probe(self, url: str) -> AbstractContextManager[Load]:
        """Load that replays labelled images against an internal route; starts at rate 0, ends with the block."""
