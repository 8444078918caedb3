"""What every release target promises, as tests that any implementation inherits.

An implementation subclasses ``ReleaseTargetContract`` and overrides the fixture ``fixture``.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from banana_delivery.errors import ClaimOutdatedError, ClaimRefusedError, FencedError, LostRecordError, TargetError
from banana_delivery.policy.drift import find_drift
from banana_delivery.policy.model import Colour, Counters, Environment, ImageRef, Phase, RolloutRecord, TrafficSource
from banana_delivery.targets.base import Claim, Readiness, ReleaseTarget, Takeover
from banana_delivery.targets.sightings import OwnerWatch, Sightings
from tests.support.claims import steal
from tests.support.clock import HandClock

PRODUCTION, STAGING = Environment.PRODUCTION, Environment.STAGING
BLUE, GREEN, SOLE = Colour.BLUE, Colour.GREEN, Colour.SOLE
PATIENCE_SECONDS = 120.0
"""A cluster may need a minute to put a replica away that has ended."""
Where = Literal["record", "copy"]
STEPS = (-3600.0, -90.0, -1.0, 1.0, 90.0, 120.0, 3600.0)
"""What a wall clock does overnight, seconds; some of them have cost a living owner its environment."""
PATIENCE = 20.0


class TargetFixture(ABC):
    """A target to be tried, and what the tests do around it."""

    target: ReleaseTarget

    @abstractmethod
    def another_target(self) -> ReleaseTarget:
        """A second target object on the same place, as another process would have it."""

    @abstractmethod
    def image(self, version: str, *, failing: bool = False, broken: bool = False) -> ImageRef:
        """An image that runs; ``failing`` answers every prediction with 500, ``broken`` never gets ready."""

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Set the wall clock of every target there on, or back."""

    @abstractmethod
    def send(self, environment: Environment, requests: int) -> None:
        """Users send so many predictions."""

    @abstractmethod
    def probe(self, environment: Environment, colour: Colour, requests: int) -> None:
        """The probe sends so many predictions to one colour."""

    @abstractmethod
    def pose_as_probe(self, environment: Environment, colour: Colour) -> None:
        """A user tries one request that looks like the probe's."""

    @abstractmethod
    def come_by_the_probes_way(self, environment: Environment, colour: Colour) -> None:
        """Somebody who is let in where the probe is asks as the probe does, without its proof and with a guess."""

    @abstractmethod
    def edit_weights(self, weights: dict[Colour, int]) -> None:
        """A person changes production's weights by hand."""

    @abstractmethod
    def replicas(self, environment: Environment, colour: Colour) -> set[str]:
        """What tells the running replicas of a colour apart from any that are started later."""

    @abstractmethod
    def lying(self, environment: Environment, where: Where) -> str | None:
        """The text of the record, or of its copy, as it is stored; None if there is none."""

    @abstractmethod
    def lay(self, environment: Environment, where: Where, text: str | None) -> None:
        """Put a text in the place of the record or its copy; None removes it."""

    @abstractmethod
    def lose_the_way(self) -> None:
        """Remove whatever splits production's users, with all that stands on it."""

    @abstractmethod
    def forget(self) -> None:
        """Make every environment one in which nothing of ours ever was."""


def eventually(holds: Callable[[], bool], explain: Callable[[], str] = lambda: "") -> None:
    """Wait until something holds; ``explain`` says what was there instead."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"It did not come true in time. {explain()}"
        time.sleep(0.05)


def bring_up(target: ReleaseTarget, claim: Claim, colour: Colour, image: ImageRef, replicas: int = 1) -> Readiness:
    target.deploy(claim, colour, image, replicas)
    return wait_until_ready(target, claim.environment, colour)


def wait_until_ready(target: ReleaseTarget, environment: Environment, colour: Colour) -> Readiness:
    """Waiting, because what runs may miss a single question: a place stalls for a moment now and then."""
    seen: list[Readiness] = []

    def complete() -> bool:
        seen.append(target.readiness(environment, colour))
        assert not seen[-1].failure, seen[-1].failure
        return seen[-1].complete

    eventually(complete, lambda: f"Seen last: {seen[-1]}")
    return seen[-1]


def moved(target: ReleaseTarget, environment: Environment = PRODUCTION) -> tuple[object, ...]:
    """What only a change by somebody moves; whether a replica answers this very moment is its own affair."""
    observed = target.observed(environment)
    return observed.weights, observed.replicas, observed.digests


def counters(target: ReleaseTarget, colour: Colour, source: TrafficSource = TrafficSource.USER) -> Counters:
    environment = STAGING if colour is SOLE else PRODUCTION
    return target.traffic(environment).of(colour, source)


def timed(counted: Counters) -> int:
    """How many requests the replicas timed; before the first, nothing is known of them."""
    return max(counted.latency.values(), default=0)


@dataclass
class Observer:
    """Somebody who looks whether the owners live, with a clock of his own."""

    clock: HandClock
    watch: OwnerWatch


class _Contract:
    """What both parts of the contract stand on."""

    @pytest.fixture
    def fixture(self) -> TargetFixture:
        raise NotImplementedError

    @pytest.fixture
    def target(self, fixture: TargetFixture) -> ReleaseTarget:
        return fixture.target

    @pytest.fixture
    def observer(self, fixture: TargetFixture, tmp_path: Path) -> Observer:
        clock = HandClock()
        return Observer(clock, OwnerWatch(fixture.another_target(), Sightings(tmp_path, clock), PATIENCE, 1.0))

    @pytest.fixture
    def claim(self, target: ReleaseTarget) -> Claim:
        return target.claim(PRODUCTION, "run-1")


class RecordContract(_Contract):
    """The claims and the record: to be kept by each way of routing, since each has a carrier of its own for them."""

    def test_an_environment_that_was_never_used_has_a_blank_record(self, target: ReleaseTarget) -> None:
        for environment in Environment:
            assert target.record(environment) == RolloutRecord(environment=environment)

    def test_a_claim_is_written_into_the_record(self, target: ReleaseTarget) -> None:
        claim = target.claim(PRODUCTION, "run-1")

        record = target.record(PRODUCTION)
        assert (record.owner, record.generation) == (claim.owner, claim.generation) == ("run-1", 1)
        assert target.record(STAGING).owner is None

    def test_the_same_owner_may_claim_again_and_keeps_its_generation(self, target: ReleaseTarget) -> None:
        assert target.claim(PRODUCTION, "run-1") == target.claim(PRODUCTION, "run-1")

    @pytest.mark.parametrize("step", STEPS)
    def test_a_claim_is_refused_while_another_owner_has_it_whatever_the_clocks_say(
        self, fixture: TargetFixture, claim: Claim, step: float
    ) -> None:
        fixture.advance(step)
        fixture.target.heartbeat(claim)
        fixture.advance(step)
        before = fixture.target.record(PRODUCTION)

        with pytest.raises(ClaimRefusedError, match="run-1"):
            fixture.target.claim(PRODUCTION, "run-2")
        assert fixture.target.record(PRODUCTION) == before

    def test_a_silent_owner_may_be_replaced(self, fixture: TargetFixture, claim: Claim, observer: Observer) -> None:
        assert not observer.watch.is_silent(fixture.target.record(PRODUCTION)), "One look shows no silence."
        observer.clock.now += PATIENCE + 1
        seen = fixture.target.record(PRODUCTION)

        assert observer.watch.is_silent(seen)
        taken = fixture.another_target().claim(PRODUCTION, "run-2", seen=seen, takeover=Takeover.SILENT)

        assert taken.generation > claim.generation
        assert fixture.target.record(PRODUCTION).owner == "run-2"

    @pytest.mark.parametrize("step", STEPS)
    def test_a_clock_that_steps_makes_no_living_owner_silent_and_hides_no_dead_one(
        self, fixture: TargetFixture, claim: Claim, observer: Observer, step: float
    ) -> None:
        for _ in range(3):
            fixture.target.heartbeat(claim)
            fixture.advance(step)
            assert not observer.watch.is_silent(fixture.target.record(PRODUCTION))
            observer.clock.now += PATIENCE / 2
        fixture.target.heartbeat(claim)
        assert not observer.watch.is_silent(fixture.target.record(PRODUCTION))

        fixture.advance(step)
        observer.clock.now += PATIENCE + 1
        assert observer.watch.is_silent(fixture.target.record(PRODUCTION))

    def test_an_owner_that_shows_life_after_it_was_judged_dead_keeps_its_environment(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        seen = fixture.target.record(PRODUCTION)
        fixture.target.heartbeat(claim)

        with pytest.raises(ClaimOutdatedError, match="run-1 has worked on it since"):
            fixture.another_target().claim(PRODUCTION, "reconcile", seen=seen, takeover=Takeover.SILENT)

        fixture.target.heartbeat(claim)

    @pytest.mark.parametrize("takeover", Takeover)
    def test_whoever_claimed_after_a_look_is_not_robbed_by_who_looked(
        self, fixture: TargetFixture, claim: Claim, takeover: Takeover
    ) -> None:
        looked = fixture.target.record(PRODUCTION)
        person = fixture.target.claim(PRODUCTION, "Ada", seen=looked, takeover=Takeover.ANYBODY)

        with pytest.raises(ClaimOutdatedError, match="Ada has it now"):
            fixture.another_target().claim(PRODUCTION, "reconcile", seen=looked, takeover=takeover)

        fixture.target.heartbeat(person)

    def test_what_was_free_when_it_was_seen_is_not_taken_from_whoever_came_first(self, fixture: TargetFixture) -> None:
        free = fixture.target.record(PRODUCTION)
        first = fixture.target.claim(PRODUCTION, "run-1", seen=free)
        fixture.target.release(first)

        with pytest.raises(ClaimOutdatedError, match="given it back"):
            fixture.another_target().claim(PRODUCTION, "run-2", seen=free)
        assert fixture.target.record(PRODUCTION).owner is None

    def test_what_changed_under_the_same_owner_is_judged_anew_before_it_is_taken(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        """Between the look of whoever rolls back and the claim, a run may have promoted its candidate."""
        seen = fixture.target.record(PRODUCTION)
        fixture.target.write(claim, seen.replace(phase=Phase.PROMOTING, active=BLUE))

        with pytest.raises(ClaimOutdatedError, match="look again"):
            fixture.another_target().claim(PRODUCTION, "Ada", seen=seen, takeover=Takeover.ANYBODY)

        fixture.target.heartbeat(claim)

    def test_a_living_owner_is_replaced_on_purpose_only(self, target: ReleaseTarget, claim: Claim) -> None:
        seen = target.record(PRODUCTION)
        target.heartbeat(claim)

        stolen = target.claim(PRODUCTION, "person", seen=seen, takeover=Takeover.ANYBODY)

        assert stolen.generation > claim.generation
        with pytest.raises(FencedError):
            target.heartbeat(claim)

    def test_a_person_in_two_terminals_is_two_owners(self, target: ReleaseTarget) -> None:
        first = steal(target, PRODUCTION, "Ada (rollback)")
        second = steal(target, PRODUCTION, "Ada (rollback)")

        assert second.generation > first.generation
        with pytest.raises(FencedError):
            target.heartbeat(first)

    def test_nobody_takes_over_without_saying_from_whom(self, target: ReleaseTarget, claim: Claim) -> None:
        with pytest.raises(ValueError, match="judged"):
            target.claim(PRODUCTION, "run-2", takeover=Takeover.ANYBODY)

        target.heartbeat(claim)

    def test_of_many_that_claim_at_once_one_wins(self, fixture: TargetFixture) -> None:
        won: list[Claim] = []
        refused: list[ClaimRefusedError] = []
        start = threading.Barrier(6)

        def claim(owner: str) -> None:
            target = fixture.another_target()
            start.wait()
            try:
                won.append(target.claim(PRODUCTION, owner))
            except ClaimRefusedError as error:
                refused.append(error)

        threads = [threading.Thread(target=claim, args=(f"run-{number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (len(won), len(refused)) == (1, 5)
        assert fixture.target.record(PRODUCTION).owner == won[0].owner

    def test_of_many_that_take_over_from_the_same_dead_owner_one_wins(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        seen = fixture.target.record(PRODUCTION)
        won: list[Claim] = []
        refused: list[ClaimOutdatedError] = []
        start = threading.Barrier(4)

        def take(owner: str) -> None:
            target = fixture.another_target()
            start.wait()
            try:
                won.append(target.claim(PRODUCTION, owner, seen=seen, takeover=Takeover.SILENT))
            except ClaimOutdatedError as error:
                refused.append(error)

        threads = [threading.Thread(target=take, args=(f"run-{number}",)) for number in range(2, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (len(won), len(refused)) == (1, 3)
        assert won[0].generation == claim.generation + 1

    def test_an_environment_given_back_can_be_claimed_at_once(self, target: ReleaseTarget, claim: Claim) -> None:
        target.write(claim, target.record(PRODUCTION).replace(phase=Phase.SHIFTING, note="half way"))

        target.release(claim)

        record = target.record(PRODUCTION)
        assert (record.owner, record.phase, record.note) == (None, Phase.IDLE, "half way")
        assert target.claim(PRODUCTION, "run-2").generation > claim.generation

    def test_a_hold_outlasts_the_owner(self, target: ReleaseTarget, claim: Claim) -> None:
        target.write(claim, target.record(PRODUCTION).replace(phase=Phase.DRIFTED))

        target.release(claim)

        assert target.record(PRODUCTION).phase is Phase.DRIFTED

    # The record.

    def test_the_owner_writes_what_it_knows_and_nothing_else(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        image = fixture.image("7")
        fixture.advance(3)
        known = {"phase": Phase.WATCHING, "candidate": image, "active": GREEN, "plan": "demo", "scale_down_at": 12.5}
        lies = {"generation": 99, "owner": "nobody", "weights": {BLUE: 100}, "environment": STAGING, "heartbeat": 1.0}
        before = target.record(PRODUCTION)

        stored = target.write(claim, before.replace(**known, **lies, beat=77))

        shown = {"beat": before.beat + 1, "heartbeat": stored.heartbeat}
        assert stored == target.record(PRODUCTION) == before.replace(**known, **shown)
        assert stored.heartbeat > before.heartbeat

    def test_a_heartbeat_changes_nothing_but_the_heartbeat(self, fixture: TargetFixture, claim: Claim) -> None:
        before = fixture.target.record(PRODUCTION)
        fixture.advance(3)

        fixture.target.heartbeat(claim)

        after = fixture.target.record(PRODUCTION)
        assert after.heartbeat > before.heartbeat
        assert after.beat == before.beat + 1
        assert after == before.replace(heartbeat=after.heartbeat, beat=after.beat)

    def test_what_the_owner_sees_is_told_until_somebody_else_has_the_environment(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        fixture.target.heartbeat(claim, "seen")
        fixture.target.heartbeat(claim)
        assert fixture.another_target().record(PRODUCTION).look == "seen"
        fixture.target.release(claim)
        assert fixture.target.record(PRODUCTION).look == ""

    def test_the_record_and_the_claim_survive_the_process(self, fixture: TargetFixture, claim: Claim) -> None:
        fixture.target.write(
            claim, fixture.target.record(PRODUCTION).replace(phase=Phase.SHIFTING, baseline=None, note="x")
        )

        other = fixture.another_target()

        assert other.record(PRODUCTION) == fixture.target.record(PRODUCTION)
        other.heartbeat(claim)


class ReplicaContract(_Contract):
    """The replicas: to be kept once by each place, however its users are routed."""

    def test_a_deployed_colour_gets_ready_with_the_digest_that_was_deployed(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        image = fixture.image("1")

        readiness = bring_up(fixture.target, claim, BLUE, image, replicas=2)

        assert readiness.ready == 2
        deployment = fixture.target.record(PRODUCTION).deployments[BLUE]
        assert (deployment.image, deployment.replicas) == (image, 2)
        observed = fixture.target.observed(PRODUCTION)
        assert (observed.digests[BLUE], observed.replicas[BLUE]) == (image.digest, 2)
        eventually(lambda: fixture.target.traffic(PRODUCTION).digests == {BLUE: image.digest})

    def test_what_is_observed_says_how_many_replicas_take_requests(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"), replicas=2)
        target.deploy(claim, GREEN, fixture.image("3", broken=True), 1)

        eventually(lambda: target.observed(PRODUCTION).ready.get(BLUE) == 2)

        observed = target.observed(PRODUCTION)
        assert (observed.ready.get(GREEN, 0), observed.reported, observed.route) == (0, {}, "")
        assert (observed.answers(BLUE), observed.answers(GREEN)) == (True, False)
        target.scale(claim, BLUE, 0)
        eventually(lambda: not target.observed(PRODUCTION).answers(BLUE))

    def test_deploying_what_runs_changes_nothing(self, fixture: TargetFixture, claim: Claim) -> None:
        bring_up(fixture.target, claim, BLUE, fixture.image("1"))
        running, record = fixture.replicas(PRODUCTION, BLUE), fixture.target.record(PRODUCTION)

        bring_up(fixture.target, claim, BLUE, fixture.image("1"))

        assert fixture.replicas(PRODUCTION, BLUE) == running
        after = fixture.target.record(PRODUCTION)
        assert after == record.replace(heartbeat=after.heartbeat, beat=after.beat)

    def test_another_digest_replaces_the_one_on_an_idle_colour(self, fixture: TargetFixture, claim: Claim) -> None:
        bring_up(fixture.target, claim, BLUE, fixture.image("1"))
        before = fixture.replicas(PRODUCTION, BLUE)

        bring_up(fixture.target, claim, BLUE, fixture.image("2"))

        # What goes finishes what it has accepted, and nobody waits for that.
        eventually(lambda: not before & fixture.replicas(PRODUCTION, BLUE))
        assert fixture.target.observed(PRODUCTION).digests[BLUE] == fixture.image("2").digest
        eventually(lambda: fixture.target.traffic(PRODUCTION).digests == {BLUE: fixture.image("2").digest})

    def test_scaling_up_keeps_the_replicas_that_run(self, fixture: TargetFixture, claim: Claim) -> None:
        bring_up(fixture.target, claim, BLUE, fixture.image("1"))
        before = fixture.replicas(PRODUCTION, BLUE)

        fixture.target.scale(claim, BLUE, 2)
        wait_until_ready(fixture.target, PRODUCTION, BLUE)

        assert before < fixture.replicas(PRODUCTION, BLUE)
        assert fixture.target.record(PRODUCTION).deployments[BLUE].replicas == 2

    def test_a_cold_colour_is_remembered_and_comes_back(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))

        target.scale(claim, BLUE, 0)

        assert target.readiness(PRODUCTION, BLUE).complete
        assert target.record(PRODUCTION).deployments[BLUE].image == fixture.image("1")
        assert target.observed(PRODUCTION).replicas.get(BLUE, 0) == 0
        eventually(lambda: not fixture.replicas(PRODUCTION, BLUE))
        target.scale(claim, BLUE, 1)
        wait_until_ready(target, PRODUCTION, BLUE)

    def test_a_colour_that_was_never_deployed_cannot_be_scaled_nor_get_ready(
        self, target: ReleaseTarget, claim: Claim
    ) -> None:
        with pytest.raises(TargetError, match="ever deployed on the green colour"):
            target.scale(claim, GREEN, 1)
        assert not target.readiness(PRODUCTION, GREEN).complete
        assert "ever deployed" in target.readiness(PRODUCTION, GREEN).failure

    def test_a_release_that_cannot_start_is_reported_in_a_sentence(self, fixture: TargetFixture, claim: Claim) -> None:
        fixture.target.deploy(claim, BLUE, fixture.image("3", broken=True), 1)

        eventually(lambda: bool(fixture.target.readiness(PRODUCTION, BLUE).failure))

        assert not fixture.target.readiness(PRODUCTION, BLUE).complete

    def test_a_colour_of_another_environment_is_refused(self, fixture: TargetFixture, claim: Claim) -> None:
        with pytest.raises(TargetError, match="no colour sole"):
            fixture.target.deploy(claim, SOLE, fixture.image("1"), 1)

    def test_stagings_sole_colour_carries_all_of_its_traffic(self, fixture: TargetFixture) -> None:
        target = fixture.target
        claim = target.claim(STAGING, "run-1")
        bring_up(target, claim, SOLE, fixture.image("1"))
        bring_up(target, claim, SOLE, fixture.image("2"))
        before = counters(target, SOLE)

        fixture.send(STAGING, 2)

        assert target.record(STAGING).weights == {SOLE: 100} == target.observed(STAGING).weights
        eventually(lambda: counters(target, SOLE).requests == before.requests + 2)
        assert target.record(PRODUCTION) == RolloutRecord(environment=PRODUCTION)

    def test_staging_goes_to_nothing_between_deliveries_and_comes_back_with_any_release(
        self, fixture: TargetFixture
    ) -> None:
        target, first = fixture.target, fixture.image("1")
        for image in (first, first, fixture.image("2")):
            claim = target.claim(STAGING, "run-1")
            bring_up(target, claim, SOLE, image)
            target.write(claim, target.record(STAGING).replace(active=SOLE))
            target.release(claim)
            scaler = target.claim(STAGING, "cool_down", seen=target.record(STAGING))
            target.scale(scaler, SOLE, 0)
            target.release(scaler)

            eventually(lambda: not fixture.replicas(STAGING, SOLE))
            record = target.record(STAGING)
            assert (record.live, record.deployments[SOLE].replicas, record.owner) == (image, 0, None)
            assert find_drift(record, target.observed(STAGING)) == ()
            assert target.default_replicas(STAGING) >= 1

        claim = target.claim(STAGING, "run-2")
        bring_up(target, claim, SOLE, first)
        fixture.send(STAGING, 1)


class RoutingContract(_Contract):
    """How users get to the replicas, and who may change it: to be kept once by each way of routing."""

    def test_a_dead_owner_that_wakes_up_changes_nothing(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        dead = target.record(PRODUCTION)
        fixture.another_target().claim(PRODUCTION, "run-2", seen=dead, takeover=Takeover.SILENT)
        record, before = target.record(PRODUCTION), moved(target)
        mutations: list[Callable[[], object]] = [
            lambda: target.write(claim, record.replace(phase=Phase.SHIFTING)),
            lambda: target.heartbeat(claim),
            lambda: target.deploy(claim, BLUE, fixture.image("2"), 2),
            lambda: target.scale(claim, BLUE, 0),
            lambda: target.set_weights(claim, {BLUE: 100, GREEN: 0}),
        ]

        for mutate in mutations:
            with pytest.raises(FencedError, match="run-1"):
                mutate()
        target.release(claim)

        assert target.record(PRODUCTION) == record
        assert moved(target) == before

    def test_every_change_of_an_owner_is_a_sign_of_life(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        signs = [target.record(PRODUCTION).sign_of_life]
        changes: list[Callable[[], object]] = [
            lambda: target.heartbeat(claim),
            lambda: target.write(claim, target.record(PRODUCTION)),
            lambda: target.deploy(claim, BLUE, fixture.image("1"), 1),
            lambda: target.scale(claim, BLUE, 1),
            lambda: target.set_weights(claim, {BLUE: 100}),
        ]

        for change in changes:
            change()
            signs.append(target.record(PRODUCTION).sign_of_life)

        assert len(set(signs)) == len(signs)

    def test_another_digest_never_replaces_one_that_carries_users(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        target.set_weights(claim, {BLUE: 100, GREEN: 0})
        record, before = target.record(PRODUCTION), moved(target)

        with pytest.raises(TargetError, match="100 % of production's traffic"):
            target.deploy(claim, BLUE, fixture.image("2"), 1)
        with pytest.raises(TargetError, match="cannot be scaled to 0"):
            target.scale(claim, BLUE, 0)

        assert (target.record(PRODUCTION), moved(target)) == (record, before)

    @pytest.mark.parametrize("weights", [{BLUE: 60, GREEN: 50}, {BLUE: 110, GREEN: -10}, {BLUE: 40}, {}])
    def test_weights_that_are_no_split_are_refused(
        self, fixture: TargetFixture, claim: Claim, weights: dict[Colour, int]
    ) -> None:
        fixture.target.write(claim, fixture.target.record(PRODUCTION).replace(active=BLUE))
        record = fixture.target.record(PRODUCTION)

        with pytest.raises(TargetError, match="sum to 100"):
            fixture.target.set_weights(claim, weights)

        assert fixture.target.record(PRODUCTION) == record

    def test_users_are_never_sent_to_a_colour_without_replicas(self, fixture: TargetFixture, claim: Claim) -> None:
        fixture.target.deploy(claim, BLUE, fixture.image("1"), 0)

        for colour in (BLUE, GREEN):
            with pytest.raises(TargetError, match="no replicas"):
                fixture.target.set_weights(claim, {colour: 100})

    def test_a_first_release_can_be_taken_back_to_no_traffic_at_all(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        target.set_weights(claim, {BLUE: 100})

        target.set_weights(claim, target.record(PRODUCTION).resting_weights)

        assert not any(target.observed(PRODUCTION).weights.values())

    def test_users_are_split_by_weight_and_counted_where_they_went(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        target.deploy(claim, BLUE, fixture.image("1"), 1)
        target.deploy(claim, GREEN, fixture.image("2"), 1)
        wait_until_ready(target, PRODUCTION, BLUE)
        wait_until_ready(target, PRODUCTION, GREEN)
        before = {colour: counters(target, colour) for colour in (BLUE, GREEN)}

        target.set_weights(claim, {BLUE: 75, GREEN: 25})

        assert target.record(PRODUCTION).weights == {BLUE: 75, GREEN: 25} == target.observed(PRODUCTION).weights
        fixture.send(PRODUCTION, 20)

        def sent(colour: Colour) -> int:
            return counters(target, colour).requests - before[colour].requests

        eventually(lambda: sent(BLUE) + sent(GREEN) == 20)
        assert (sent(BLUE), sent(GREEN)) == (15, 5)
        assert counters(target, BLUE).failed == before[BLUE].failed
        eventually(lambda: counters(target, BLUE).latency.get("+Inf", 0) - before[BLUE].latency.get("+Inf", 0) == 15)

    def test_the_probe_and_the_users_are_counted_apart(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        target.set_weights(claim, {BLUE: 100})
        before = {source: counters(target, BLUE, source).requests for source in TrafficSource}

        fixture.send(PRODUCTION, 3)
        fixture.probe(PRODUCTION, BLUE, 5)

        def counted() -> list[int]:
            return [counters(target, BLUE, source).requests - before[source] for source in before]

        eventually(lambda: counted() == [3, 5])

    def test_nobody_outside_can_pose_as_the_probe(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        target.set_weights(claim, {BLUE: 100})
        before = {source: counters(target, BLUE, source) for source in TrafficSource}

        fixture.pose_as_probe(PRODUCTION, BLUE)

        eventually(lambda: counters(target, BLUE).requests > before[TrafficSource.USER].requests)
        probed = counters(target, BLUE, TrafficSource.PROBE)
        assert (probed.requests, probed.latency) == (
            before[TrafficSource.PROBE].requests,
            before[TrafficSource.PROBE].latency,
        )
        assert not target.probe_url(PRODUCTION, BLUE).startswith(target.url(PRODUCTION) + "/")

    def test_who_comes_by_the_probes_way_without_its_proof_moves_none_of_its_figures(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        target.set_weights(claim, {BLUE: 100})
        before = counters(target, BLUE, TrafficSource.PROBE)

        fixture.come_by_the_probes_way(PRODUCTION, BLUE)
        fixture.probe(PRODUCTION, BLUE, 1)

        def moved() -> tuple[int, int]:
            now = counters(target, BLUE, TrafficSource.PROBE)
            return now.requests - before.requests, timed(now) - timed(before)

        eventually(lambda: min(moved()) >= 1)
        assert moved() == (1, 1)
        after = counters(target, BLUE, TrafficSource.PROBE)
        assert (after.failed, after.overloads) == (before.failed, before.overloads)

    def test_each_release_has_a_proof_of_its_own_that_stays_while_it_runs(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        target = fixture.target
        assert not target.probe_token(PRODUCTION, GREEN)
        bring_up(target, claim, BLUE, fixture.image("1"))
        bring_up(target, claim, GREEN, fixture.image("2"))
        tokens = {colour: target.probe_token(PRODUCTION, colour) for colour in (BLUE, GREEN)}

        target.deploy(claim, BLUE, fixture.image("1"), 1)
        target.scale(claim, GREEN, 2)

        assert all(tokens.values()) and len(set(tokens.values())) == 2
        assert tokens == {colour: fixture.another_target().probe_token(PRODUCTION, colour) for colour in (BLUE, GREEN)}

    def test_failures_are_counted_where_they_happened(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        target.deploy(claim, BLUE, fixture.image("1"), 1)
        target.deploy(claim, GREEN, fixture.image("4", failing=True), 1)
        wait_until_ready(target, PRODUCTION, BLUE)
        wait_until_ready(target, PRODUCTION, GREEN)
        target.set_weights(claim, {BLUE: 50, GREEN: 50})
        before = {colour: counters(target, colour) for colour in (BLUE, GREEN)}

        fixture.send(PRODUCTION, 10)

        eventually(lambda: counters(target, GREEN).requests == before[GREEN].requests + 5)
        assert counters(target, GREEN).failures["5xx"] == before[GREEN].failures["5xx"] + 5
        assert counters(target, BLUE).failed == before[BLUE].failed

    def test_a_hand_edit_shows_in_what_is_observed_and_not_in_the_record(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        target = fixture.target
        target.deploy(claim, BLUE, fixture.image("1"), 1)
        target.set_weights(claim, {BLUE: 100})

        fixture.edit_weights({BLUE: 70, GREEN: 30})

        eventually(lambda: target.observed(PRODUCTION).weights == {BLUE: 70, GREEN: 30})
        assert target.record(PRODUCTION).weights == {BLUE: 100, GREEN: 0}

    def test_no_replica_is_taken_from_under_users_whom_only_the_router_knows_of(
        self, fixture: TargetFixture, claim: Claim
    ) -> None:
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        bring_up(target, claim, GREEN, fixture.image("2"))
        target.set_weights(claim, {BLUE: 100})
        fixture.edit_weights({BLUE: 15, GREEN: 85})
        eventually(lambda: target.observed(PRODUCTION).weights == {BLUE: 15, GREEN: 85})
        running, record = fixture.replicas(PRODUCTION, GREEN), target.record(PRODUCTION)

        with pytest.raises(TargetError, match="85 % of production's traffic, so it cannot be scaled to 0"):
            target.scale(claim, GREEN, 0)
        with pytest.raises(TargetError, match="85 % of production's traffic; move that away"):
            target.deploy(claim, GREEN, fixture.image("4"), 1)
        with pytest.raises(TargetError, match="cannot be scaled to 0"):
            target.deploy(claim, GREEN, fixture.image("2"), 0)

        assert fixture.replicas(PRODUCTION, GREEN) == running
        assert target.record(PRODUCTION).deployments == record.deployments
        target.set_weights(claim, {BLUE: 100})
        target.scale(claim, GREEN, 0)

    def test_a_deployment_leaves_a_hand_edit_of_the_weights_alone(self, fixture: TargetFixture, claim: Claim) -> None:
        target = fixture.target
        target.deploy(claim, BLUE, fixture.image("1"), 1)
        target.set_weights(claim, {BLUE: 100})
        fixture.edit_weights({BLUE: 70, GREEN: 30})
        eventually(lambda: target.observed(PRODUCTION).weights == {BLUE: 70, GREEN: 30})

        target.deploy(claim, GREEN, fixture.image("2"), 1)

        assert target.observed(PRODUCTION).weights == {BLUE: 70, GREEN: 30}

    def test_every_environment_and_colour_has_an_address_of_its_own(self, target: ReleaseTarget) -> None:
        addresses = [
            target.url(STAGING),
            target.url(PRODUCTION),
            target.probe_url(STAGING, SOLE),
            target.probe_url(PRODUCTION, BLUE),
            target.probe_url(PRODUCTION, GREEN),
        ]

        assert len(set(addresses)) == len(addresses)
        assert not any(address.endswith("/") for address in addresses)
        assert all(target.default_replicas(environment) >= 1 for environment in Environment)


class RestoringContract(_Contract):
    """What becomes of the record when somebody loses, spoils or replaces it: to be kept by each way of routing."""

    @pytest.fixture
    def released(self, fixture: TargetFixture, claim: Claim) -> RolloutRecord:
        """Version 1 on blue with all users, by the claim ``run-1``."""
        target = fixture.target
        bring_up(target, claim, BLUE, fixture.image("1"))
        target.set_weights(claim, {BLUE: 100, GREEN: 0})
        return target.write(
            claim, target.record(PRODUCTION).replace(active=BLUE, previous=fixture.image("2"), note="x")
        )

    def test_a_whole_record_with_its_copy_has_no_damage(self, fixture: TargetFixture, released: RolloutRecord) -> None:
        assert fixture.target.record(PRODUCTION) == released
        assert fixture.target.damage(PRODUCTION) is None
        assert fixture.lying(PRODUCTION, "record") and fixture.lying(PRODUCTION, "copy")

    def test_a_record_that_was_deleted_is_what_its_copy_says_and_its_owner_goes_on(
        self, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        fixture.lay(PRODUCTION, "record", None)

        for target in (fixture.target, fixture.another_target()):
            assert target.record(PRODUCTION) == released
            damage = target.damage(PRODUCTION)
            assert damage and damage.restored and "missing" in damage.what
            with pytest.raises(ClaimRefusedError, match="run-1"):
                target.claim(PRODUCTION, "run-2")

        fixture.target.heartbeat(claim)

        assert fixture.target.damage(PRODUCTION) is None
        assert fixture.target.observed(PRODUCTION).weights == released.weights

    def test_a_record_that_was_deleted_while_nobody_owned_it_is_stored_again_by_the_next_claim(
        self, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        fixture.target.release(claim)
        fixture.lay(PRODUCTION, "record", None)

        taken = fixture.another_target().claim(PRODUCTION, "run-2")

        assert taken.generation > claim.generation
        record = fixture.target.record(PRODUCTION)
        assert (record.active, record.live, record.previous) == (BLUE, fixture.image("1"), fixture.image("2"))
        assert fixture.target.damage(PRODUCTION) is None
        fixture.target.set_weights(taken, {BLUE: 100, GREEN: 0})

    def test_the_record_of_staging_has_a_copy_of_its_own(self, fixture: TargetFixture) -> None:
        target = fixture.target
        claim = target.claim(STAGING, "run-1")
        target.deploy(claim, SOLE, fixture.image("1"), 1)
        record = target.record(STAGING)
        fixture.lay(STAGING, "record", None)

        assert target.record(STAGING) == record
        assert fixture.another_target().claim(STAGING, "run-1") == claim
        assert target.damage(STAGING) is None

    @pytest.mark.parametrize("later", ["the same claim", "a later claim"])
    @pytest.mark.parametrize("seen_by", ["the process that wrote", "another process"])
    def test_an_older_record_that_somebody_puts_back_is_not_believed(
        self, later: str, seen_by: str, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        backup = fixture.lying(PRODUCTION, "record")
        target = fixture.target
        if later == "a later claim":
            target.release(claim)
            claim = target.claim(PRODUCTION, "run-2")
        now = target.write(claim, released.replace(note="what happened since"))

        fixture.lay(PRODUCTION, "record", backup)

        target = target if seen_by == "the process that wrote" else fixture.another_target()
        assert target.record(PRODUCTION) == now
        damage = target.damage(PRODUCTION)
        assert damage and damage.restored
        target.heartbeat(claim)
        assert target.damage(PRODUCTION) is None
        with pytest.raises(ClaimRefusedError, match=claim.owner):
            fixture.another_target().claim(PRODUCTION, "run-3")

    @pytest.mark.parametrize("half", ["the beginning", "nothing of it"])
    def test_a_record_that_is_half_there_is_restored(
        self, half: str, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        text = fixture.lying(PRODUCTION, "record") or ""
        fixture.lay(PRODUCTION, "record", text[: len(text) // 2] if half == "the beginning" else " ")

        assert fixture.another_target().record(PRODUCTION) == released
        damage = fixture.target.damage(PRODUCTION)
        assert damage and damage.restored and "cannot be read" in damage.what
        fixture.target.heartbeat(claim)
        assert fixture.target.damage(PRODUCTION) is None

    @pytest.mark.parametrize("copy", ["older", "none", "half"])
    def test_a_copy_that_is_behind_hurts_nobody_and_the_next_write_brings_it_along(
        self, copy: str, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        """As after a kill between the two writes, or before there were copies."""
        before = fixture.lying(PRODUCTION, "copy") or ""
        now = fixture.target.write(claim, released.replace(note="what happened since"))

        fixture.lay(PRODUCTION, "copy", {"older": before, "none": None, "half": before[:40]}[copy])

        for target in (fixture.target, fixture.another_target()):
            assert target.record(PRODUCTION) == now
            damage = target.damage(PRODUCTION)
            assert damage and not damage.restored
        fixture.another_target().heartbeat(claim)
        assert fixture.target.damage(PRODUCTION) is None
        fixture.lay(PRODUCTION, "record", None)
        assert fixture.target.record(PRODUCTION).note == now.note

    @pytest.mark.parametrize("lost", ["both deleted", "both half", "both older"])
    def test_a_record_that_is_lost_with_its_copy_is_never_taken_for_the_first_day(
        self, lost: str, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        text = fixture.lying(PRODUCTION, "record") or ""
        if lost == "both older":
            fixture.target.release(claim)
            fixture.target.claim(PRODUCTION, "run-2")
        for where in ("record", "copy"):
            there = {"both deleted": None, "both half": text[:40], "both older": text}[lost]
            fixture.lay(PRODUCTION, where, there)
        running = fixture.replicas(PRODUCTION, BLUE)

        for target in (fixture.target, fixture.another_target()):
            asked: list[Callable[[], object]] = [
                lambda target=target: target.record(PRODUCTION),  # type: ignore[misc]
                lambda target=target: target.claim(PRODUCTION, "run-3", takeover=True),  # type: ignore[misc]
                lambda target=target: target.heartbeat(claim),  # type: ignore[misc]
                lambda target=target: target.damage(PRODUCTION),  # type: ignore[misc]
            ]
            for ask in asked:
                with pytest.raises(LostRecordError, match="banana-delivery restore --environment production"):
                    ask()
        assert fixture.replicas(PRODUCTION, BLUE) == running
        assert fixture.target.observed(PRODUCTION).digests == {BLUE: fixture.image("1").digest}

    @pytest.mark.parametrize("lost", ["both deleted", "both older"])
    def test_a_lost_record_is_rebuilt_from_what_runs_and_nobody_is_locked_out(
        self, lost: str, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        text = fixture.lying(PRODUCTION, "record")
        if lost == "both older":
            fixture.target.release(claim)
            claim = fixture.target.claim(PRODUCTION, "run-2")
        for where in ("record", "copy"):
            fixture.lay(PRODUCTION, where, text if lost == "both older" else None)

        target = fixture.another_target()
        rebuilt = target.rebuild(PRODUCTION)
        taken = target.restore(rebuilt, "a person")

        assert taken.generation > claim.generation
        record = fixture.target.record(PRODUCTION)
        assert (record.active, record.weights, record.owner) == (BLUE, {BLUE: 100, GREEN: 0}, "a person")
        assert record.live and (record.live.digest, record.live.version) == (fixture.image("1").digest, "1")
        assert record.deployments[BLUE].replicas == 1
        assert record.previous == (fixture.image("2") if lost == "both older" else None)
        assert fixture.target.damage(PRODUCTION) is None
        with pytest.raises(FencedError):
            fixture.target.heartbeat(claim)
        target.set_weights(taken, record.weights)
        target.release(taken)
        assert fixture.target.claim(PRODUCTION, "run-4").generation > taken.generation

    def test_a_record_that_another_living_owner_has_is_not_replaced(
        self, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        rebuilt = fixture.target.rebuild(PRODUCTION)

        with pytest.raises(ClaimRefusedError, match="run-1"):
            fixture.target.restore(rebuilt, "a person")

        assert fixture.target.record(PRODUCTION) == released

    def test_a_colour_that_does_not_answer_cannot_be_said_to_own_the_traffic(
        self, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        with pytest.raises(TargetError, match="No replica of green answers"):
            fixture.target.rebuild(PRODUCTION, GREEN)
        assert fixture.target.rebuild(PRODUCTION, BLUE).active is BLUE

    def test_where_nothing_of_ours_ever_was_it_is_the_first_day(
        self, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        fixture.forget()

        for target in (fixture.target, fixture.another_target()):
            assert target.record(PRODUCTION) == RolloutRecord(environment=PRODUCTION)
            assert target.damage(PRODUCTION) is None

    def test_users_get_their_colour_back_when_what_splits_them_is_lost(
        self, fixture: TargetFixture, claim: Claim, released: RolloutRecord
    ) -> None:
        fixture.target.release(claim)
        fixture.lose_the_way()

        target = fixture.another_target()
        record = target.record(PRODUCTION)
        assert (record.active, record.weights) == (BLUE, {BLUE: 100, GREEN: 0})
        target.set_weights(target.claim(PRODUCTION, "run-2"), record.resting_weights)

        eventually(lambda: target.observed(PRODUCTION).weights == {BLUE: 100, GREEN: 0})
        assert target.damage(PRODUCTION) is None


class ReleaseTargetContract(RecordContract, ReplicaContract, RoutingContract, RestoringContract):
    """All that a release target promises."""
