"""A candidate whose users have just met too many failures, or slow answers, and were sent away."""

from dataclasses import dataclass, field

from banana_delivery.policy.model import Counters
from banana_delivery.policy.rollout.decision import Action, ActionKind, StepVerdict
from banana_delivery.policy.rollout.trial.judge import Trial, assess_trial, begin_trial, needs_trial
from tests.unit.policy.rollout.scene import BLUE, GREEN, PROBE, QUICK, SHIFT_20, USER, Scene

RATE = 30


@dataclass
class Tried:
    """Its trial, second by second.

    Attributes:
        scene: where it happens.
        bad: which limit it breaks: ``failed``, ``slow`` or ``overloads``.
        seed: of the lots.
        users: requests a second of all users.
        weight: percent of the users that it has now.
    """

    scene: Scene = field(default_factory=lambda: Scene(step=SHIFT_20))
    bad: str = "failed"
    seed: int = 1
    users: int = 40
    weight: int = 0

    def __post_init__(self) -> None:
        share = self.scene.step.weight / 100
        if self.bad == "overloads":
            self.scene.backends["green/user"] = Counters(
                requests=round(5 * self.users * share), overloads=round(4 * self.users * share)
            )
        else:
            self.scene.serve(GREEN, USER, round(5 * self.users * share), **{self.bad: round(4 * self.users * share)})
        self.scene.serve(BLUE, USER, round(5 * self.users * (1 - share)))
        self.judgement = self.scene.look()
        assert self.judgement.verdict is StepVerdict.FAIL
        assert needs_trial(self.judgement)
        snapshot = self.scene.snapshot()
        self.trial: Trial = begin_trial(
            QUICK, self.scene.state, snapshot, self.judgement, GREEN, self.scene.digests["green"], seed=self.seed
        )

    def second(self, candidate: int = 0, active: int = 0, rate: int = RATE, users_bad: float = 0.0) -> Action:
        """So many of a second's probes to each colour meet the fault.

        Args:
            candidate: bad probes of the candidate.
            active: of the active release.
            rate: probes to each.
            users_bad: the share of the candidate's user requests that meet it; the active release's users never do.
        """
        ours = round(self.users * self.weight / 100)
        self.scene.serve(GREEN, USER, ours, **{self.bad: round(ours * users_bad)})
        self.scene.serve(BLUE, USER, self.users - ours)
        self.scene.serve(GREEN, PROBE, rate, **{self.bad: candidate})
        self.scene.serve(BLUE, PROBE, rate, **{self.bad: active})
        return self.look()

    def look(self) -> Action:
        """One look later."""
        self.scene.now += 1
        action, self.trial = assess_trial(QUICK, self.trial, self.scene.snapshot(), GREEN)
        self.weight = action.weight
        return action

    def until_decided(
        self, candidate: int = 0, active: int = 0, rate: int = RATE, users_bad: float = 0.0
    ) -> tuple[Action, int]:
        """The end of a trial in which every second is alike, and how many it took."""
        for second in range(1, 700):
            action = self.second(candidate, active, rate, users_bad)
            if action.kind is not ActionKind.WAIT:
                return action, second
        raise AssertionError("A trial never ended.")
