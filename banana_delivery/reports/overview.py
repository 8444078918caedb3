"""All that ``status`` shows, looked up once: as a view for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.text import Text

from banana_delivery.policy.asset_records import AttemptRecord, ManualDecision
from banana_delivery.policy.drift import Observed, find_drift
from banana_delivery.policy.holds import FreezeRecord, PauseRecord
from banana_delivery.policy.model import COLOURS, Colour, Environment, ImageRef, RolloutRecord
from banana_delivery.policy.rollout.live import live_of
from banana_delivery.quoting import in_terminal
from banana_delivery.reports.terminal import decisions_view, role, status_view, ticks_view

Json = dict[str, object]
FORM = 1
"""Of the JSON; it grows when a key goes or means something else, and not when one is added."""


@dataclass(frozen=True)
class Overview:
    """What is, as far as it could be seen.

    Attributes:
        at: when it was looked up, seconds since the epoch.
        records: of each environment that could be asked.
        observed: what really is there.
        unseen: why an environment could not be seen, in one sentence.
        waiting: deliveries that have not begun, in words, in the order in which they will.
        attempts: the last ones, newest first.
        decisions: each with the seconds for which it counts, and whether production went past it.
        unsigned: how many of the latest records bear no signature.
        freeze: which policy judges, and whether anything keeps deliveries out.
        hold: who said last that nothing is to enter production, while that stands.
        ticks: when each sensor ticked last, seconds since the epoch; None if never.
        pause: who keeps the delivery in production where it is; None if nobody does, or nobody asked.
        beat: the page's word for how new this is; empty where nobody decides on it.
    """

    at: float
    records: Sequence[RolloutRecord] = ()
    observed: Mapping[Environment, Observed] = field(default_factory=dict)
    unseen: Mapping[Environment, str] = field(default_factory=dict)
    waiting: Sequence[str] = ()
    attempts: Sequence[AttemptRecord] = ()
    decisions: Sequence[tuple[ManualDecision, float, bool]] = ()
    unsigned: int = 0
    freeze: Text = field(default_factory=Text)
    hold: FreezeRecord | None = None
    ticks: Mapping[str, float | None] = field(default_factory=dict)
    pause: PauseRecord | None = None
    beat: str = ""

    def view(self) -> Group:
        """For a terminal."""
        unseen = [
            Text(f"{environment.capitalize()} cannot be seen: {in_terminal(why)}", "red")
            for environment, why in self.unseen.items()
        ]
        return Group(
            *unseen,
            status_view(self.records, self.attempts, self.at, observed=self.observed, waiting=self.waiting),
            self.freeze,
            decisions_view(self.decisions, self.unsigned),
            ticks_view(self.ticks, self.at),
        )

    def json(self) -> Json:
        """For programs; docs/operations.md says what each key is."""
        seen = {record.environment: self._environment(record) for record in self.records}
        return {
            "form": FORM,
            "at": self.at,
            "environments": {
                str(environment): {**seen.get(environment, {}), "unseen": self.unseen.get(environment, "")}
                for environment in Environment
            },
            "waiting": list(self.waiting),
            "freeze": self.freeze.plain,
            "frozen": self.hold and self.hold.model_dump(mode="json", include={"by", "reason", "at", "until"}),
            "decisions": [
                {
                    **decision.model_dump(mode="json", include={"kind", "version", "digest", "by", "reason", "at"}),
                    "seconds_left": max(left, 0.0),
                    "spent": spent,
                }
                for decision, left, spent in self.decisions
            ],
            "unsigned_records": self.unsigned,
            "attempts": [attempt.model_dump(mode="json", include=_OF_ATTEMPTS) for attempt in self.attempts],
            "sensors": dict(self.ticks),
        }

    def _environment(self, record: RolloutRecord) -> Json:
        observed = self.observed.get(record.environment)
        differences = find_drift(record, observed) if observed else []
        return {
            "phase": str(record.phase),
            "note": record.note,
            "owner": record.owner,
            "active": record.active and str(record.active),
            "serving": _image(record.live),
            "candidate": _image(record.candidate),
            "step": _step(record, self.at),
            "previous": _image(record.previous),
            "colours": {str(colour): self._colour(record, observed, colour) for colour in COLOURS[record.environment]},
            "differences": [{"sentence": one.sentence, "failing_share": one.share} for one in differences],
        }

    def _colour(self, record: RolloutRecord, observed: Observed | None, colour: Colour) -> Json:
        deployment = record.deployments.get(colour)
        return {
            "role": role(record, colour),
            "image": _image(deployment.image if deployment else None),
            "replicas": deployment.replicas if deployment else 0,
            "ready": observed.ready.get(colour, 0) if observed else None,
            "weight": record.weights.get(colour, 0),
            "share": observed.share(colour) if observed else None,
        }


_OF_ATTEMPTS = {
    *("version", "outcome", "reason", "digest", "serving_version", "at", "seconds", "requests", "failed"),
    *("rollback_seconds", "trigger", "actor", "run_id", "revoked"),
}


def _step(record: RolloutRecord, now: float) -> Json | None:
    """The step under way as its owner saw it last, and how old that is by the clock here."""
    step = live_of(record)
    if step is None:
        return None
    return {**step.model_dump(mode="json", exclude={"schema_number"}), "age": max(now - step.at, 0.0)}


def _image(image: ImageRef | None) -> Json | None:
    return {"version": image.version, "digest": image.digest} if image else None
