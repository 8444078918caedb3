"""One game day: a bad release, whatever else is broken, a rollback, and what has to be so in the end."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from unittest import mock

import dagster as dg
from typing_extensions import override

from banana_delivery import waiting
from banana_delivery.defs.resources import Resources
from banana_delivery.delivery import lease, rollback
from banana_delivery.delivery.rescue import emergency
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.errors import ClaimOutdatedError, NothingToRollBackError
from banana_delivery.evaluation.fake import FakeEvaluator
from banana_delivery.images.fake import FakeImages
from banana_delivery.model_registry.fake import FakeRegistry
from banana_delivery.names import WORKER_TAG
from banana_delivery.notifications import notifier
from banana_delivery.notifications.channels import Channel
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.policy.outcomes import is_revoked
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import open_instance_if_it_answers
from banana_delivery.settings import Settings
from tests.integration.delivery.gameday.place import PRODUCTION, GameDayTarget
from tests.integration.delivery.serving import FIRST, Serving, outside
from tests.support.phases import NoPlots, PhaseHook, SimulatedClock, conversion
from tests.support.pipeline import PipelineHarness

if TYPE_CHECKING:
    from apprise.plugins.base import NotifyBase

BAD = "2"
AT_ONCE_SECONDS = 2.0
BETWEEN_LOOKS = 10.0
HANGS_SECONDS = 30.0
DATABASE = Path("dagster") / "history" / "runs" / "index.db"
"""Where the embedded stack's instance keeps the audit trail, below the home."""


class DatabaseError(Exception):
    """What a database's driver says; no error of ours."""


@dataclass
class Templates:
    """What is left of a pipeline at three moments of the bad release, each made once and copied for each day.

    Attributes:
        shifting: its home while the bad release is on its way, and has some of the users.
        shifting_place: what its place and image store held then.
        promoted_place: the same at the moment of its promotion.
        released: its home once the bad release serves.
        released_place: what its place and image store held then.
    """

    shifting: Path
    released: Path
    shifting_place: bytes = b""
    promoted_place: bytes = b""
    released_place: bytes = b""


def make_templates(serving: Serving, folder: Path) -> Templates:
    """Release version 2 over version 1, by a real delivery."""
    made = Templates(folder / "shifting", folder / "released")
    with serving.open(folder / "world") as pipeline:
        home = pipeline.resources.settings.home

        def at_the_shift() -> None:
            shutil.copytree(home, made.shifting)
            made.shifting_place = outside(pipeline)

        def at_the_promotion() -> None:
            made.promoted_place = outside(pipeline)

        pipeline.target.at[PhaseHook(PRODUCTION, Phase.SHIFTING)] = at_the_shift
        pipeline.target.at[PhaseHook(PRODUCTION, Phase.PROMOTING)] = at_the_promotion
        assert pipeline.stage(0.9999) == BAD
        assert pipeline.run(BAD).is_success
        made.released_place = outside(pipeline)
    shutil.copytree(home, made.released)
    return made


@dataclass
class Phone:
    """A channel as Apprise has them: what people read.

    Attributes:
        read: titles, in order.
        hangs: whether it never answers, nor delivers.
    """

    clock: SimulatedClock
    read: list[str] = field(default_factory=list)
    hangs: bool = False
    socket_read_timeout: float = 60.0
    notify_format: str = "text"
    attachment_support: bool = False

    def resolve_format(self, body_format: object) -> str:
        """Text and nothing else."""
        del body_format
        return self.notify_format

    def notify(self, title: str, body: str, **how: object) -> bool:
        """Deliver a message."""
        del body, how
        if self.hangs:
            self.clock.now += self.socket_read_timeout
            return False
        self.read.append(title)
        return True


class DayClock(SimulatedClock):
    """Time that passes; users are counted only where somebody judges by them."""

    counts_users: bool = False

    @override
    def sleep(self, seconds: float) -> None:
        if self.counts_users:
            super().sleep(seconds)
            return
        self.now += seconds
        for call in list(self.on_sleep):
            call()


class _Time:
    """The module ``time``, as the simulated clock has it."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.time, self.monotonic, self.sleep = clock.time, clock.monotonic, clock.sleep


@dataclass
class Day:
    """A day.

    Attributes:
        pipeline: with the bad release on its way or in production.
        templates: what it was made from.
        on_its_way: whether a delivery has production.
        faults: undone when they end.
        database: called by whoever asks Dagster's database; raises or takes its time.
        dies: whether the delivery under way dies when it is fenced off, and not only ends.
    """

    pipeline: PipelineHarness
    target: GameDayTarget
    phone: Phone
    templates: Templates
    on_its_way: bool
    faults: ExitStack = field(default_factory=ExitStack)
    database: Callable[[], None] = lambda: None
    dies: bool = False
    in_the_end: list[Callable[[], object]] = field(default_factory=list)
    out_after: float | None = None
    worst: int = 0
    _cursors: dict[str, str | None] = field(default_factory=dict)

    @property
    def clock(self) -> DayClock:
        assert isinstance(self.pipeline.clock, DayClock)
        return self.pipeline.clock

    @property
    def home(self) -> Path:
        return self.pipeline.resources.settings.home

    @property
    def run_id(self) -> str:
        """The delivery of the bad release."""
        (run,) = self.pipeline.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": BAD}))
        return run.run_id

    def opened(self, home: str) -> AbstractContextManager[dg.DagsterInstance]:
        """What opening Dagster's instance does."""
        assert Path(home) == self.home / "dagster"
        self.database()
        return nullcontext(self.pipeline.instance)

    def history(self) -> AuditLog | None:
        """The audit trail, opened as the command opens it."""
        with open_instance_if_it_answers(self.pipeline.resources.settings) as instance:
            return AuditLog(instance, CodeLocation.of(self.pipeline.resources.settings)) if instance else None

    def type_rollback(self, person: str = "Ada", to: str = "") -> AttemptRecord:
        """What the command does."""
        resources = self.pipeline.resources
        rescue = EmergencyRollback(
            resources.release_target, resources.recorder, self.history, lambda _: None, resources.image_store
        )
        return rescue.roll_back(actor=person, reason="It harms users.", to=to)

    def watched(self, act: Callable[[], object]) -> None:
        """Do something, and see how long the bad release keeps its users, and where they go."""
        begin, place = self.clock.monotonic(), self.target.game_place

        def look() -> None:
            self.worst = max(self.worst, place.unanswered())
            if place.users_of(BAD):
                self.out_after = None
            elif self.out_after is None:
                self.out_after = self.clock.monotonic() - begin

        self.target.moved.append(look)
        try:
            act()
            look()
        finally:
            self.target.moved.remove(look)

    def person_rolls_back(self) -> None:
        """Somebody types the command; that somebody else was faster is an answer, too."""
        try:
            self.type_rollback()
        except NothingToRollBackError as answer:
            assert f"Version {BAD} was rolled back already" in str(answer)
        except ClaimOutdatedError:
            # The other one took longer than anybody looks again.
            assert not self.target.game_place.users_of(BAD)

    def watch_rolls_back(self) -> None:
        """The bad release fails its users, and the watch looks until it has seen enough."""
        self.clock.counts_users = True
        self.pipeline.break_image(self.digest(BAD), error_rate=1.0)
        for _ in range(20):
            if not self.target.game_place.users_of(BAD):
                break
            self.clock.sleep(1.0)
            self.tick("production_watch")
        self.clock.counts_users = False

    def digest(self, version: str) -> str:
        """Which image a version has."""
        deployments = self.target.place.deployments[PRODUCTION]
        return next(one.image.digest for one in deployments.values() if one.image.version == version)

    def tick(self, sensor: str) -> str:
        """A sensor looks once; what it says."""
        context = dg.build_sensor_context(
            instance=self.pipeline.instance,
            cursor=self._cursors.get(sensor),
            resources=self.pipeline.resources.by_key(),
            sensor_name=sensor,
        )
        answer = self.pipeline.defs.resolve_sensor_def(sensor)(context)
        self._cursors[sensor] = context.cursor
        return (answer.skip_message or "") if isinstance(answer, dg.SkipReason) else ""

    def faults_end(self) -> None:
        """All is well again, and whoever noticed nothing yet does so now."""
        self.faults.close()
        if not self.on_its_way:
            return
        run = self.pipeline.run_of(self.run_id)
        if run.is_finished:
            return
        if self.dies:
            signed = run.tags[WORKER_TAG].rpartition(":")[0]
            self.pipeline.instance.add_run_tags(run.run_id, {WORKER_TAG: f"{signed}:1"})
        else:
            self.pipeline.instance.report_run_failed(run, f"{run.run_id} no longer owns the production environment.")
            self.pipeline.after(self.pipeline.run_of(run.run_id))

    def settle(self) -> None:
        """Sensors tick, as long as something is left to be done."""
        for _ in range(8):
            self.clock.sleep(BETWEEN_LOOKS)
            said = self.tick("reconcile")
            if said == "No orphaned environment or run." and self.is_at_rest():
                break
        if self.on_its_way and self.dies:
            self.pipeline.after(self.pipeline.run_of(self.run_id))
        self.clock.now += 400.0  # What a channel may have had, it gets once more only after a while.
        self.tick("staged_versions")

    def is_at_rest(self) -> bool:
        """Whether nobody has production, and nothing is left to be done there."""
        now = self.target.record(PRODUCTION)
        return (now.owner, now.phase, now.candidate, now.intent) == (None, Phase.IDLE, None, None)

    def told(self) -> list[str]:
        """What people read about the rollback."""
        return [title for title in self.phone.read if "ROLLED BACK" in title]

    def is_over(self, *, at_least_once: bool) -> None:
        """Production is whole, and everybody and everything knows what was done."""
        pipeline, now = self.pipeline, self.target.record(PRODUCTION)
        assert self.is_at_rest(), now
        assert pipeline.serving == FIRST
        assert pipeline.weights == now.weights == now.resting_weights
        assert self.target.game_place.unanswered() == 0
        running = {colour for colour, one in self.target.place.deployments[PRODUCTION].items() if one.replicas}
        assert running == {now.active}
        history = list(pipeline.audit_log.each_readable(BAD))
        lines = [one for one in history if one.revoked]
        assert [one.outcome for one in lines] == [Outcome.ROLLED_BACK]
        assert is_revoked(history)
        marked = pipeline.registry.describe(BAD)
        assert marked.tags["banana.outcome"] == "rolled_back"
        assert marked.stage not in {"Staging", "Production"}
        assert pipeline.registry.aliases["production"] == FIRST
        told = self.told()
        assert f"version {BAD} was ROLLED BACK" in told[0]
        assert len(told) == 1 or (at_least_once and len(told) == 2)
        for environment in Environment:
            with lease.Lease(self.target, environment, "the next one", heartbeat_seconds=60.0):
                pass
        for check in self.in_the_end:
            check()


@dataclass
class Stage:
    """Where days are played, one after the other: one Dagster instance, whose files are replaced between them.

    Attributes:
        home: of the pipeline.
        instance: opened once.
        templates: to begin from.
    """

    home: Path
    instance: dg.DagsterInstance
    templates: Templates
    _defs: dg.Definitions | None = None

    def day(self, *, on_its_way: bool) -> Iterator[Day]:
        """A day, on which nothing is broken yet."""
        templates = self.templates
        shutil.rmtree(self.home)
        shutil.copytree(templates.shifting if on_its_way else templates.released, self.home)
        clock = DayClock()
        target, phone = GameDayTarget(clock), Phone(clock)
        pipeline = _harness(self.home, self.instance, target, clock, phone)
        # Their resources are given to them at each tick; making them takes longer than a day.
        self._defs = pipeline.__dict__["defs"] = self._defs or pipeline.defs
        put_place(pipeline, templates.shifting_place if on_its_way else templates.released_place)
        for version in (FIRST, BAD):
            assert pipeline.stage() == version
        for version in (FIRST,) if on_its_way else (FIRST, BAD):
            pipeline.resources.publisher.mark(pipeline.attempts(version)[0])
        day = Day(pipeline, target, phone, templates, on_its_way)
        day._cursors["staged_versions"] = None
        with ExitStack() as patched:
            for module in (waiting, emergency, rollback, lease, notifier):
                patched.enter_context(mock.patch.object(module, "time", _Time(clock)))
            patched.enter_context(mock.patch.object(dg.DagsterInstance, "from_config", day.opened))
            patched.callback(day.faults.close)
            yield day


def put_place(pipeline: PipelineHarness, kept: bytes) -> None:
    """Let a place and an image store be as they were."""
    place, images = pickle.loads(kept)
    vars(pipeline.target.place).update(place)
    vars(pipeline.resources.image_store).update(images)


def _harness(
    home: Path, instance: dg.DagsterInstance, target: GameDayTarget, clock: SimulatedClock, phone: Phone
) -> PipelineHarness:
    evaluator, registry = FakeEvaluator(), FakeRegistry()
    classes: dict[str, tuple[str, ...]] = {}
    clock.target, clock.evaluator = target, evaluator
    telling = Notifier(home / "notifications.jsonl", clock=clock.monotonic)
    telling.__dict__["_channels"] = {"phone": Channel(1, cast("NotifyBase", phone), "phone://...")}
    resources = Resources(
        settings=Settings(home=home, plan="demo", rival_wait_seconds=0.0, ready_timeout_seconds=30.0),
        model_registry=registry,
        exporter=conversion(classes),
        image_store=FakeImages(),
        release_target=target,
        evaluator=evaluator,
        notifier=telling,
        plots=NoPlots(),
        clock=clock,
    )
    return PipelineHarness(instance, resources, registry, target, evaluator, clock, classes)
