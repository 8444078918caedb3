"""Which versions are in a stage, without asking for all versions of a model at each look.

MLflow has no way to ask for a stage (its search knows names, numbers, runs, sources and tags), and tells all versions,
at about a millisecond each. What it tells at once, however many there are, is of each stage the one with the highest
number. So where nothing is in a stage, that is known exactly from one call. Where something is, one with a lower one
may be there beside it: what was there at the last look is asked for one by one, and the rest is among the versions that
were changed since then, since setting a stage moves a version's time.

Times are the server's own and are compared with nothing else. Where they cannot be relied on, all versions are read: at
the first look, when the time of the model went back, when what is told and what is remembered do not fit, and once in
an hour in any case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banana_delivery.model_registry.transitions import SERVING, STAGED

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel

OVERLAP_MILLISECONDS = 300_000
"""So far before the last look what was changed is read again: several servers of one MLflow have clocks of their own,
and a change may be seen late."""
READ_ALL_SECONDS = 3600.0
"""While something is in a stage, all versions are read so often, whatever was remembered."""
MOST_ASKED = 50
"""So many versions are asked for one by one; where more are in a stage, reading all is as quick."""
REMEMBERED = (STAGED, SERVING)
"""Stages of which somebody asks for every version."""


@dataclass(frozen=True)
class _Known:
    """What a look found.

    Attributes:
        versions: numbers of those that were in the stage.
        at: when the model was changed last, milliseconds by the server's clock.
        read_all: when all was known without remembering, seconds that only go forward.
    """

    versions: frozenset[str]
    at: int | None
    read_all: float


@dataclass
class Stages:
    """Looks for the versions in a stage, and remembers what it needs for the next look.

    Attributes:
        everything: all versions.
        last_changed: the same, the one that was changed last before the others; what is not asked for is not read.
        one: a version by its number; None if there is none.
        monotonic: seconds that only go forward.
    """

    everything: Callable[[], Iterable[MlflowVersion]]
    last_changed: Callable[[], Iterator[MlflowVersion]]
    one: Callable[[str], MlflowVersion | None]
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[str, _Known] = field(default_factory=dict, init=False)

    def versions(self, stage: str, model: RegisteredModel) -> dict[str, MlflowVersion]:
        """Those in a stage of ``REMEMBERED``, by their numbers. A look that fails leaves what was known before.

        Args:
            stage: which one.
            model: as the server told it just now, before anything else is asked.
        """
        now, known = self.monotonic(), self._known.get(stage)
        at: int | None = model.last_updated_timestamp
        told = {str(one.current_stage): str(one.version) for one in model.latest_versions or ()}
        highest = told.get(stage)
        if told and highest is None:
            self._known[stage] = _Known(frozenset(), at, now)
            return {}
        found = self._since(known, stage, at, now) if known else None
        if known and found is not None and (highest is None or highest in found):
            self._known[stage] = _Known(frozenset(found), at, known.read_all)
            return found
        read: dict[str, dict[str, MlflowVersion]] = {one: {} for one in REMEMBERED}
        for one in self.everything():
            read.get(str(one.current_stage), {})[str(one.version)] = one
        self._known = {each: _Known(frozenset(there), at, now) for each, there in read.items()}
        return read[stage]

    def _since(self, known: _Known, stage: str, at: int | None, now: float) -> dict[str, MlflowVersion] | None:
        """What is in a stage by what was known; None if that does not tell."""
        if at is None or known.at is None or len(known.versions) > MOST_ASKED:
            return None
        limit = known.at - OVERLAP_MILLISECONDS
        if at < limit or now - known.read_all > READ_ALL_SECONDS:
            return None
        seen: dict[str, MlflowVersion | None] = {}
        for one in self.last_changed():
            if one.last_updated_timestamp is not None and one.last_updated_timestamp < limit:
                break
            seen[str(one.version)] = one
        for number in known.versions - seen.keys():
            seen[number] = self.one(number)
        return {number: one for number, one in seen.items() if one and one.current_stage == stage}
