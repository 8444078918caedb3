"""A router and its replicas as the policy sees them: counters that grow, and a clock that the test turns."""

from dataclasses import dataclass, field

from banana_delivery.policy.model import Backend, Colour, Counters, TrafficSnapshot, TrafficSource
from banana_delivery.policy.rollout.analysis import begin_step
from banana_delivery.policy.rollout.comparison import NOT_COMPARED, Paired
from banana_delivery.policy.rollout.counters import add
from banana_delivery.policy.rollout.decision import Action, StepAssessment, assess_step, next_action, probe_rate
from banana_delivery.policy.rollout.plan import Plan, Step, release_steps
from banana_delivery.policy.rollout.traffic.split import Split
from banana_delivery.policy.rollout.trial.tried import NOTHING_TRIED, Tried

DIGEST = f"sha256:{'a' * 64}"
GREEN, BLUE = Colour.GREEN, Colour.BLUE
USER, PROBE = TrafficSource.USER, TrafficSource.PROBE
QUICK = Plan(
    name="quick",
    ab_seconds=40,
    step_seconds=40,
    watch_seconds=40,
    ab_minimum_seconds=5,
    step_minimum_seconds=5,
    watch_minimum_seconds=10,
)
SHIFT_20 = release_steps(QUICK)[0]
SHIFT_100 = release_steps(QUICK)[-2]
WATCH = release_steps(QUICK)[-1]


def counters(requests: int, failed: int = 0, slow: int = 0, overloads: int = 0) -> Counters:
    """Counters with three latency edges; nothing that is not slow takes longer than 0.1 s."""
    quick = requests - slow
    return Counters(
        requests=requests,
        failures={"5xx": failed} if failed else {},
        overloads=overloads,
        latency={"0.1": quick, "1.0": quick, "+Inf": requests},
    )


@dataclass
class Scene:
    """One step under way, looked at once a second."""

    step: Step = SHIFT_20
    plan: Plan = QUICK
    now: float = 1000.0
    backends: dict[str, Counters] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=lambda: {"green": DIGEST})
    meter: str = ""
    overridden: bool = False
    first: bool = False
    paired: Paired = NOT_COMPARED
    tried: Tried = NOTHING_TRIED
    split: Split | None = None
    judgements: list[StepAssessment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = begin_step(
            self.plan, self.step, self.snapshot(), paired=self.paired, tried=self.tried, split=self.split
        )

    def snapshot(self) -> TrafficSnapshot:
        return TrafficSnapshot(at=self.now, backends=dict(self.backends), digests=self.digests, meter=self.meter)

    def serve(self, colour: Colour, source: TrafficSource, requests: int, failed: int = 0, slow: int = 0) -> None:
        """Requests that arrive before the next look."""
        key = Backend(colour=colour, source=source).key
        more = counters(requests, failed, slow)
        self.backends[key] = add(self.backends[key], more) if key in self.backends else more

    def look(self, seconds: float = 1.0) -> StepAssessment:
        self.now += seconds
        judgement, self.state = assess_step(
            self.plan, self.state, self.snapshot(), GREEN, DIGEST, overridden=self.overridden, first=self.first
        )
        self.judgements.append(judgement)
        return judgement

    def action(self) -> Action:
        return next_action(self.plan, self.state, self.judgements[-1])

    def probe_rate(self) -> float:
        return probe_rate(self.plan, self.state, self.snapshot(), GREEN)
