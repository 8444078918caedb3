"""A router and its replicas as the policy sees them: counters that grow, and a clock that the test turns."""

from dataclasses import dataclass, field

from banana_delivery.policy import rollout
from banana_delivery.policy.counting import add
from banana_delivery.policy.records import Backend, Colour, Counters, Stratum, TrafficSnapshot

DIGEST = f"sha256:{'a' * 64}"
GREEN, BLUE = Colour.GREEN, Colour.BLUE
USER, PROBE = Stratum.USER, Stratum.PROBE
QUICK = rollout.Plan(
    name="quick",
    ab_seconds=40,
    step_seconds=40,
    watch_seconds=40,
    ab_minimum_seconds=5,
    step_minimum_seconds=5,
    watch_minimum_seconds=10,
)
SHIFT_20 = rollout.release_steps(QUICK)[0]
SHIFT_100 = rollout.release_steps(QUICK)[-2]
WATCH = rollout.release_steps(QUICK)[-1]


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

    step: rollout.Step = SHIFT_20
    plan: rollout.Plan = QUICK
    now: float = 1000.0
    backends: dict[str, Counters] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=lambda: {"green": DIGEST})
    judgements: list[rollout.Judgement] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = rollout.begin(self.plan, self.step, self.snapshot())

    def snapshot(self) -> TrafficSnapshot:
        return TrafficSnapshot(at=self.now, backends=dict(self.backends), digests=self.digests)

    def serve(self, colour: Colour, stratum: Stratum, requests: int, failed: int = 0, slow: int = 0) -> None:
        """Requests that arrive before the next look."""
        key = Backend(colour=colour, stratum=stratum).key
        more = counters(requests, failed, slow)
        self.backends[key] = add(self.backends[key], more) if key in self.backends else more

    def look(self, seconds: float = 1.0) -> rollout.Judgement:
        self.now += seconds
        judgement, self.state = rollout.judge(self.plan, self.state, self.snapshot(), GREEN, DIGEST)
        self.judgements.append(judgement)
        return judgement

    def action(self) -> rollout.Action:
        return rollout.next_action(self.plan, self.state, self.judgements[-1])

    def probe_rate(self) -> float:
        return rollout.probe_rate(self.plan, self.state, self.snapshot(), GREEN)
