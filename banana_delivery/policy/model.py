"""The facts that decisions are made of: environments, colours, releases, traffic counters and the rollout record.

Everything here is an immutable value that turns into JSON and back. What belongs elsewhere: rules about these values
(the other modules of this package) and how an environment stores them (``banana_delivery.targets``).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import from_json
from typing_extensions import override

SCHEMA = 7
"""The form of stored documents. Raised when a field is added, renamed or means something else."""
_NEWER = "newer"
"""In the context of a validation: the document was written by a version newer than this one."""


class Model(BaseModel):
    """An immutable value with a JSON form; unknown keys are refused, so that a typo cannot be lost silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def replace(self, **changes: object) -> Self:
        """The same value with some fields changed, validated again."""
        return type(self).model_validate({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


class StoredModel(Model):
    """A value that is kept somewhere, alone or inside a ``StoredRecord``, and read back by later and earlier versions.

    Keys that this version does not know are kept where a newer version wrote them, so that whoever only passes a record
    on loses nothing; anywhere else they are refused as by any ``Model``.

    Attributes:
        OLD_NAMES: how fields were called by earlier versions, to what they are called now.
    """

    model_config = ConfigDict(extra="allow", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)
    OLD_NAMES: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _by_present_names(cls, data: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        # Cheap questions first: an instance check of an abstract class is not, and records are made all the time.
        if type(data) is cls or (not isinstance(data, dict) and isinstance(data, cls)):
            return handler(data)  # Judged when it was made.
        if cls.OLD_NAMES and isinstance(data, Mapping) and not cls.OLD_NAMES.keys().isdisjoint(data):
            data = {cls.OLD_NAMES.get(name, name): value for name, value in data.items()}
        value = handler(data)
        if value.model_extra and not (info.context or {}).get(_NEWER):
            raise ValueError(f"{cls.__name__} has no field {', '.join(value.model_extra)}")
        return value

    @override
    def replace(self, **changes: object) -> Self:
        """The same value with some fields changed, validated again; what a newer version added stays."""
        kept = dict(self.model_extra or {})
        known = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**known, **kept, **changes}, context={_NEWER: bool(kept)})


class StoredRecord(StoredModel):
    """A stored document.

    Attributes:
        schema_number: the version of its form, ``schema`` in JSON; documents older than the number have none. A newer
            one is read as far as it is understood, and keeps its number when it is written back.
    """

    schema_number: int = Field(default=SCHEMA, alias="schema")

    @classmethod
    def read(cls, data: object) -> Self:
        """The record that an earlier, this or a later version stored, from what its JSON holds.

        Raises:
            ValidationError: if it is none.
        """
        stored = data.get("schema", 0) if isinstance(data, Mapping) else 0
        newer = isinstance(stored, int) and stored > SCHEMA
        return cls.model_validate(data, context={_NEWER: newer})

    @classmethod
    def read_json(cls, text: str | bytes) -> Self:
        """The same from JSON text.

        Raises:
            ValidationError: if it is no JSON, or no such record.
        """
        try:
            data = from_json(text)
        except ValueError:
            return cls.model_validate_json(text)  # Says what is wrong with the text.
        return cls.read(data)

    @field_validator("schema_number")
    @classmethod
    def _at_least_ours(cls, stored: int) -> int:
        return max(stored, SCHEMA)


class Environment(StrEnum):
    """Where a release runs."""

    STAGING = "staging"
    PRODUCTION = "production"


class Colour(StrEnum):
    """One of the sets of replicas of an environment. Production has blue and green, staging its sole one."""

    BLUE = "blue"
    GREEN = "green"
    SOLE = "sole"

    @property
    def other(self) -> Colour:
        """The colour on the other side of a blue-green release.

        Raises:
            ValueError: for ``sole``, which has no other side.
        """
        if self is Colour.SOLE:
            raise ValueError("The sole colour of staging has no other side; only production is blue-green.")
        return Colour.GREEN if self is Colour.BLUE else Colour.BLUE


COLOURS: dict[Environment, tuple[Colour, ...]] = {
    Environment.STAGING: (Colour.SOLE,),
    Environment.PRODUCTION: (Colour.BLUE, Colour.GREEN),
}


class TrafficSource(StrEnum):
    """Whose requests: the users' own, or the probe's, which arrive by a route that users cannot reach."""

    USER = "user"
    PROBE = "probe"


class Phase(StrEnum):
    """Where a delivery stands in one environment. ``idle`` and ``held`` are at rest, all others belong to an owner."""

    IDLE = "idle"
    DEPLOYING = "deploying"
    TESTING = "testing"
    COMPARING = "comparing"
    SCALING = "scaling"
    SHIFTING = "shifting"
    WATCHING = "watching"
    PROMOTING = "promoting"
    ROLLING_BACK = "rolling_back"
    DRIFTED = "held"


class Outcome(StrEnum):
    """How an attempt to deliver a version ended."""

    RELEASED = "released"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    PARKED = "parked"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    ERROR = "error"


class ImageRef(StoredModel):
    """An image, pinned: what runs is the digest, never a tag.

    Attributes:
        repository: where the image lives, for example ``registry/banana`` or a directory.
        digest: ``sha256:<64 hex>`` of its manifest.
        version: the MLflow model version inside.
        key: the identity key it was built for (see ``banana_delivery.images.base``).
    """

    repository: str
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    version: str
    key: str

    @property
    def pinned(self) -> str:
        """``repository@digest``, the only form in which an image is deployed."""
        return f"{self.repository}@{self.digest}"


class Deployment(StoredModel):
    """What one colour runs, as its environment was told.

    Attributes:
        image: the release.
        replicas: how many; 0 means that the release is remembered but cold.
    """

    image: ImageRef
    replicas: int = Field(ge=0)


class Counters(StoredModel):
    """Cumulative counts of one backend and source since some moment that nobody may rely on.

    Attributes:
        requests: answered or failed requests that count (a client that left early does not).
        failures: by class: ``5xx``, ``connection``, ``timeout``, ``gave_up``.
        overloads: of the requests, 503 answers with Retry-After; limited on their own, never a failure.
        retries: connections that the router had to try again.
        unfinished: uploads that ended before any replica had them whole, by their clients' doing; neither requests that
            count nor failures.
        latency: requests answered within each upper edge in seconds, cumulative as in Prometheus (``"+Inf"`` last).
    """

    requests: int = 0
    failures: dict[str, int] = {}
    overloads: int = 0
    retries: int = 0
    unfinished: int = 0
    latency: dict[str, int] = {}

    @property
    def failed(self) -> int:
        """All failures, whatever their class."""
        return sum(self.failures.values())


class Backend(Model):
    """A colour as one source of traffic sees it: the unit for which traffic is counted."""

    colour: Colour
    source: TrafficSource

    @property
    def key(self) -> str:
        """``<colour>/<source>``: how the backend is named in JSON."""
        return f"{self.colour}/{self.source}"


class TrafficSnapshot(StoredModel):
    """The counters of every backend of an environment at one moment.

    Attributes:
        at: seconds of the meter's clock, which only goes forward: two of one meter say how much time passed between.
        backends: cumulative counters by ``Backend.key``.
        digests: the digest that each colour reported in its own metrics, by colour: what was measured.
        meter: who added the counters up. Those of two meters begin at two moments: their difference says nothing.
    """

    at: float
    backends: dict[str, Counters] = {}
    digests: dict[str, str] = {}
    meter: str = ""

    def of(self, colour: Colour, source: TrafficSource) -> Counters:
        """The counters of one backend; zeros if it has not been seen."""
        return self.backends.get(Backend(colour=colour, source=source).key, Counters())


class RollbackIntent(StoredModel):
    """A rollback that was begun: written before anything moves, so that whoever finds it later can finish it.

    Attributes:
        bad: the release that has to go, and is revoked.
        good: what serves instead; None if nothing did before.
        colour: where the bad one runs.
        actor: who wants it.
        reason: why, in one sentence.
        run_id: the run under which it stands in the audit trail; empty if a person does it without one.
        at: when it was begun, seconds since the epoch.
        seconds: how long it took until the users were back; None while they are not.
        revokes: the run that put the bad one into production, whenever its line arrives; empty if it is not known.
        earlier: rollbacks of other releases that are not on record either, oldest first.
    """

    bad: ImageRef
    good: ImageRef | None
    colour: Colour | None
    actor: str
    reason: str
    run_id: str = ""
    at: float
    seconds: float | None = None
    revokes: str = ""
    earlier: tuple[RollbackIntent, ...] = ()


class RolloutRecord(StoredRecord):
    """What an environment durably knows about itself and the delivery under way; kept beside its weights.

    Attributes:
        environment: whose record this is.
        generation: grows with every claim that takes over from another owner; a mutation under an older one is refused.
        owner: the Dagster run id or the person that may change the environment; None at rest.
        beat: grows with every sign of life of an owner; whoever wants to know whether one lives looks twice, and times
            that with a clock of its own.
        heartbeat: when that was by the owner's clock, seconds since the epoch; for people, never compared.
        phase: where the delivery stands.
        candidate: the release under way, if any.
        active: the colour that owns the traffic at rest; None before the first release.
        deployments: what each colour was told to run, by colour.
        weights: percent of user traffic by colour; sums to 100, or to 0 before the first release.
        plan: name of the rollout plan in use.
        rules: the plan itself and whose it is, as JSON; empty in records of earlier versions.
        look: what the owner saw last of the step under way, as JSON (``policy.rollout.live``); empty at rest.
        baseline: counters at the start of the current step; None before the first one of a delivery.
        scale_down_at: until about when the colour that was replaced stays at full strength, by the clock of whoever
            promoted, seconds since the epoch; for people. It is warm until this is None: ``cool_down`` times it.
        note: one sentence for a person, for example why the environment is held.
        previous: what served before the present release; None where nothing did, or it is not known.
        rolled_back: the version that the last change of production took out; empty after a promotion.
        intent: a rollback that is not on record yet.
        promoted_by: the run that made the present release active; empty if it came back by a rollback, and None where
            that is not known.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"warm_until": "scale_down_at"}

    environment: Environment
    generation: int = 0
    owner: str | None = None
    beat: int = 0
    heartbeat: float = 0.0
    phase: Phase = Phase.IDLE
    candidate: ImageRef | None = None
    active: Colour | None = None
    deployments: dict[Colour, Deployment] = {}
    weights: dict[Colour, int] = {}
    plan: str | None = None
    rules: str = ""
    look: str = ""
    baseline: TrafficSnapshot | None = None
    scale_down_at: float | None = None
    note: str = ""
    previous: ImageRef | None = None
    rolled_back: str = ""
    intent: RollbackIntent | None = None
    promoted_by: str | None = None

    @property
    def sign_of_life(self) -> str:
        """The last sign of life of the owner, unlike every other one.

        An owner of an earlier version counts nothing and only writes its time: that it changed is a sign as well.
        """
        return f"{self.generation} {self.owner} {self.beat} {self.heartbeat!r}"

    @property
    def pending(self) -> tuple[RollbackIntent, ...]:
        """Every rollback that was begun and is not on record, oldest first."""
        return (*self.intent.earlier, self.intent) if self.intent else ()

    @property
    def idle(self) -> Colour:
        """The production colour that a candidate takes: the one that is not active (blue before the first release)."""
        return Colour.BLUE if self.active is None else self.active.other

    @property
    def live(self) -> ImageRef | None:
        """The release that owns the traffic at rest."""
        deployment = self.deployments.get(self.active) if self.active else None
        return deployment.image if deployment else None

    @property
    def resting_weights(self) -> dict[Colour, int]:
        """All traffic on the active colour: what every way out of a delivery restores."""
        return {colour: 100 if colour is self.active else 0 for colour in COLOURS[self.environment]}
