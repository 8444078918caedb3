"""All that a release looked at, one line of JSON a look, so that it can be judged again by another policy.

A look keeps what has changed since the one before; the first of a step has everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydantic import Field, ValidationError
from pydantic_core import from_json, to_json

from banana_delivery.policy.model import Colour, Counters, Model, StoredModel, StoredRecord, TrafficSnapshot
from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric, Usual
from banana_delivery.policy.rollout.comparison import NOT_COMPARED, Paired
from banana_delivery.policy.rollout.decision import Action, StepVerdict
from banana_delivery.policy.rollout.plan import Step
from banana_delivery.policy.rollout.traffic.split import Split
from banana_delivery.policy.rollout.trial.tried import NOTHING_TRIED, Tried

Own = dict[str, tuple[Measurement, Measurement | None]]
"""What a team's metrics were answered with, by name: of the candidate, and of the active release where it was asked."""


class StepHeader(StoredRecord):
    """A step that begins.

    Attributes:
        step: which one.
        candidate: the colour that is judged.
        digest: what is meant to run there.
        overridden: whether a person wants it out whatever production does.
        first: whether nothing serves yet.
        snapshot: the counters.
        paired: probes of both colours compared until then.
        tried: what trials had found until then.
        split: how users were meant to be shared out; None if nobody knew.
        metrics: the team's own that are asked for.
        usual: how the active release stood by each of them in the steps before, by name.
    """

    step: Step
    candidate: Colour
    digest: str
    overridden: bool = False
    first: bool = False
    snapshot: TrafficSnapshot
    paired: Paired = NOT_COMPARED
    tried: Tried = NOTHING_TRIED
    split: Split | None = None
    metrics: tuple[OwnMetric, ...] = ()
    usual: dict[str, Usual] = Field(default_factory=dict)


class StepLook(StoredModel):
    """One look.

    Attributes:
        at: as in ``TrafficSnapshot``.
        backends: the counters that have changed since the look before.
        digests: what each colour reported; None if that has not changed.
        meter: who added the counters up; None if that has not changed.
        paused: whether a person kept the rollout where it was.
        own: what was answered about the team's metrics since the look before.
    """

    at: float
    backends: dict[str, Counters] = Field(default_factory=dict)
    digests: dict[str, str] | None = None
    meter: str | None = None
    paused: bool = False
    own: Own = Field(default_factory=dict)


class StepEnd(StoredModel):
    """How a step ended.

    Attributes:
        verdict: of its last look.
        action: what was done; after a trial, what followed from that.
        cut: whether it had more looks than are kept.
    """

    verdict: StepVerdict
    action: str
    cut: bool = False


class KeptStep(Model):
    """A step as it was kept.

    Attributes:
        header: its begin.
        looks: in order.
        end: None if whoever looked did not live to see it.
    """

    header: StepHeader
    looks: tuple[StepLook, ...]
    end: StepEnd | None = None

    def snapshots(self) -> Iterator[tuple[StepLook, TrafficSnapshot]]:
        """Each look with all counters."""
        seen = self.header.snapshot
        for look in self.looks:
            seen = TrafficSnapshot(
                at=look.at,
                # A backend that a look does not show stays as it was, which is how it is judged.
                backends={**seen.backends, **look.backends},
                digests=seen.digests if look.digests is None else look.digests,
                meter=seen.meter if look.meter is None else look.meter,
            )
            yield look, seen


def look_since(before: TrafficSnapshot, now: TrafficSnapshot, *, paused: bool, own: Own) -> StepLook:
    """What is kept of a look.

    Args:
        before: the look before it.
        now: it.
        paused: as in ``StepLook``.
        own: likewise.
    """
    return StepLook(
        at=now.at,
        backends={key: counters for key, counters in now.backends.items() if counters != before.backends.get(key)},
        digests=now.digests if now.digests != before.digests else None,
        meter=now.meter if now.meter != before.meter else None,
        paused=paused,
        own=own,
    )


def end_of(verdict: StepVerdict, action: Action, *, cut: bool) -> StepEnd:
    """What is kept of an end."""
    return StepEnd(verdict=verdict, action=action.kind.value, cut=cut)


def line_of(kept: StepHeader | StepLook | StepEnd) -> bytes:
    """A line, without its end."""
    said = kept.model_dump(mode="json", exclude_defaults=not isinstance(kept, StepHeader))
    return to_json([_NAMES[type(kept)], said])


def steps_in(lines: Iterable[bytes]) -> Sequence[KeptStep]:
    """The steps in some lines; of one that was not written whole, what is there.

    Raises:
        ValueError: if they are no such lines, or a later version's.
    """
    steps: list[KeptStep] = []
    header: StepHeader | None = None
    looks: list[StepLook] = []
    try:
        for line in lines:
            name, said = from_json(line)
            if name == "step":
                steps += [KeptStep(header=header, looks=tuple(looks))] if header else []
                header, looks = StepHeader.read(said), []
            elif header is None:
                raise ValueError("A look without its step.")
            elif name == "end":
                steps.append(KeptStep(header=header, looks=tuple(looks), end=StepEnd.model_validate(said)))
                header = None
            else:
                looks.append(StepLook.model_validate(said))
    except (ValidationError, TypeError) as error:
        raise ValueError(str(error)) from None
    return [*steps, *([KeptStep(header=header, looks=tuple(looks))] if header else [])]


_NAMES: dict[type, str] = {StepHeader: "step", StepLook: "look", StepEnd: "end"}
