"""Which versions are staged, without asking for all versions of a model at each look.

MLflow has no way to ask for a stage (its search knows names, numbers, runs, sources and tags), and tells all versions,
at one to two milliseconds each. What it tells at once, however many there are, is of each stage the one with the
highest number. So where nothing is staged, that is known exactly from one call. Where something is, one with a lower
number may be staged beside it: what was staged at the last look is asked for by its number, and the rest is among the
versions that were changed since then, since setting a stage moves a version's time.

Times are the server's own and are compared with nothing else. Where they cannot be relied on, all versions are read: at
the first look of all, when the time of the model went back or does not fit what is told, and when more was changed
since the last look than one may read, as after a bulk import. They are read by their numbers, a part at each look, so
that no look takes long; nothing is said before all are. Beside that a part is read now and then in any case, all within
the hour. What is remembered may be taken to another process, however late: it says when it was true, and of which
server.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from pydantic import ValidationError

from banana_delivery.errors import RegistryUnreadError
from banana_delivery.model_registry.transitions import STAGED
from banana_delivery.policy.model import Model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel

OVERLAP_MILLISECONDS = 300_000
"""So far before the last look what was changed is read again, as far as there is time: several servers of one MLflow
have clocks of their own, and a change may be seen late."""
PART = 200
"""Numbers of versions that are read at once: a server that is busy takes 5 ms for each, and is given up after five
seconds."""
READING_SECONDS = 1.0
"""After that a look reads no further part, and no more than one part of what was changed."""
PART_SECONDS, ALL_SECONDS = 60.0, 3600.0
"""While something is staged, one part is read so often, or as often as all takes within the hour."""
MOST_ASKED = 25
"""So many of a part are asked for one by one; reading the part is as quick as more."""


class Memory(Model):
    """What a look found.

    Attributes:
        server: where that was; empty in what earlier versions wrote, which is nobody's.
        created: when the model was made, milliseconds by the server's clock: another one knows nothing of this.
        at: when it was changed last before the look, likewise.
        numbers: of the versions that were staged then.
        unread: the part that is read next ends with this number.
        whole: whether all versions were read, or known without, so that no other was staged.
        again: whether something may have been staged in a part that was read before.
    """

    server: str = ""
    created: int | None
    at: int | None
    numbers: tuple[str, ...] = ()
    unread: int
    whole: bool
    again: bool = False


class Stages:
    """Looks for the versions that are staged, and remembers what it needs for the next look.

    Args:
        between: the versions with numbers above one and up to another.
        last_changed: all versions, the one that was changed last before the others; what is not asked for is not read.
        one: a version by its number; None if there is none.
        highest: the highest number of all.
        server: whose versions these are: of another one nothing is remembered.
        monotonic: seconds that only go forward.

    Attributes:
        memory: what the last look found; None before the first one.
    """

    def __init__(
        self,
        between: Callable[[int, int], Iterable[MlflowVersion]],
        last_changed: Callable[[], Iterator[MlflowVersion]],
        one: Callable[[str], MlflowVersion | None],
        highest: Callable[[], int],
        server: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._between, self._last_changed, self._one, self._highest = between, last_changed, one, highest
        self._server = server
        self._monotonic = monotonic
        self._read_at: float | None = None
        self.memory: Memory | None = None

    def recall(self, memory: str) -> None:
        """Go on with what the looks of another process found, unless this one looked already.

        Versions of another server under the same numbers are others, also where that one is a copy of this one.
        """
        if self.memory is not None or not memory:
            return
        with suppress(ValidationError):
            found = Memory.model_validate_json(memory)
            self.memory = found if found.server == self._server else None

    def staged(self, model: RegisteredModel) -> dict[str, MlflowVersion]:
        """Those that are staged, by their numbers. A look that fails leaves what was known before.

        Args:
            model: as the server told it just now, before anything else is asked.

        Raises:
            RegistryUnreadError: if not all versions are read that have to be; the next look goes on.
        """
        told = {str(one.current_stage): int(one.version) for one in model.latest_versions or ()}
        top = max(told.values()) if told else self._highest()
        if told and STAGED not in told:
            self.memory = self._fresh(model, top).replace(whole=True)
            return {}
        before, limit = self._continued(model, top)
        found: dict[str, MlflowVersion] = {}
        if limit is not None:
            found, left = self._since(limit)
            before = before if left < (before.at or limit) else self._not_reached(before, model, top, left)
        found |= self._asked([number for number in before.numbers if number not in found])
        if (one := told.get(STAGED)) and str(one) not in found and (hidden := self._one(str(one))):
            found[str(one)] = hidden
            moved = hidden.last_updated_timestamp
            if hidden.current_stage == STAGED and limit is not None and moved is not None and moved < limit:
                before = before.replace(unread=top, whole=False)
        found = self._read(before.replace(at=model.last_updated_timestamp), _only_staged(found), top)
        if self.memory and not self.memory.whole and self.memory.unread < top:
            raise RegistryUnreadError(
                f"MLflow has versions up to {top:,}, some of them staged; those up to {self.memory.unread:,} are "
                "looked at next, and nothing newly staged is delivered before."
            )
        return found

    def _fresh(self, model: RegisteredModel, top: int) -> Memory:
        at, created = model.last_updated_timestamp, model.creation_timestamp
        return Memory(server=self._server, created=created, at=at, unread=top, whole=False)

    def _not_reached(self, before: Memory, model: RegisteredModel, top: int, left: float) -> Memory:
        """What to go on with where not all could be read that was changed since the last look.

        All is read then. What seems to have been changed after the model was, by a clock that was set back since, or
        with it at one moment, or bears no time, would be read before all else at each look, and nothing be said for as
        long: the reading that is under way goes on, tells what it found at its end, and begins again.
        """
        if not before.whole and left >= (model.last_updated_timestamp or 0):
            return before.replace(again=True)
        return self._fresh(model, top).replace(numbers=before.numbers)

    def _continued(self, model: RegisteredModel, top: int) -> tuple[Memory, int | None]:
        """What is remembered, and since when changes have to be read; None if that does not tell."""
        known, at = self.memory, model.last_updated_timestamp
        if known is None or known.created != model.creation_timestamp:
            return self._fresh(model, top), None
        limit = None if known.at is None else known.at - OVERLAP_MILLISECONDS
        if at is None or limit is None or at < limit:
            return self._fresh(model, top).replace(numbers=known.numbers), None
        return known, limit

    def _asked(self, numbers: Iterable[str]) -> dict[str, MlflowVersion]:
        """Versions by their numbers, as they are now."""
        parts: dict[int, list[str]] = defaultdict(list)
        for number in numbers:
            parts[(int(number) - 1) // PART].append(number)
        found: list[MlflowVersion | None] = []
        for part, these in parts.items():
            many = len(these) > MOST_ASKED
            found += self._between(part * PART, (part + 1) * PART) if many else map(self._one, these)
        return {str(one.version): one for one in found if one}

    def _since(self, limit: int) -> tuple[dict[str, MlflowVersion], float]:
        """What was changed since a time of the server; what bears no time was, too.

        Returns:
            What was read before the time for it was over, the latest first, and when the next one was changed.
        """
        changed: dict[str, MlflowVersion] = {}
        started = self._monotonic()
        for one in self._last_changed():
            moved = one.last_updated_timestamp
            if moved is not None and moved < limit:
                break
            if len(changed) >= PART and self._monotonic() - started >= READING_SECONDS:
                return changed, inf if moved is None else moved
            changed[str(one.version)] = one
        return changed, -inf

    def _read(self, memory: Memory, found: dict[str, MlflowVersion], top: int) -> dict[str, MlflowVersion]:
        """Read what is due of all versions, and remember."""
        started = self._monotonic()
        self._read_at = started if self._read_at is None else self._read_at
        resting = min(PART_SECONDS, ALL_SECONDS * PART / max(top, 1))
        due = not memory.whole or started - self._read_at >= resting
        while due:
            above = max(memory.unread - PART, 0)
            part = {str(one.version): one for one in self._between(above, memory.unread)}
            found = {number: one for number, one in found.items() if number not in part} | _only_staged(part)
            self.memory = memory = memory.replace(numbers=tuple(found), unread=above)
            self._read_at = self._monotonic()
            # What has no times cannot be read in parts: nothing would tell what was changed meanwhile.
            on = memory.at is None or self._read_at - started < READING_SECONDS
            due = not memory.whole and above > 0 and on
        done = memory.unread == 0
        self.memory = memory.replace(
            numbers=tuple(found),
            whole=memory.whole or (done and not memory.again),
            unread=top if done else memory.unread,
            again=memory.again and not done,
        )
        return found


def _only_staged(versions: dict[str, MlflowVersion]) -> dict[str, MlflowVersion]:
    return {number: one for number, one in versions.items() if one.current_stage == STAGED}
