"""Traffic of two colours, second by second: requests that are independent of each other, and ones that are not.

In every condition both colours are equally good; what differs is how their bad requests hang together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from typing_extensions import override

from banana_delivery.policy.model import Colour, Counters, TrafficSnapshot
from banana_delivery.policy.rollout.counters import add

DIGEST = f"sha256:{'0' * 64}"
CANDIDATE, ACTIVE = Colour.GREEN, Colour.BLUE
USUAL = 0.001
"""A sound release fails one in a thousand requests."""
RANDOM_MOMENT_SECONDS = 120.0
"""What happens once begins within this time: a sound release is under way for longer at every rate."""
CLIENTS = 20
REPEATS = 10
POISONOUS = 0.001
RHO = 0.1
"""Correlation of the requests of one second, in bursts."""


@dataclass
class Traffic:
    """Users and probes that send requests, independently of each other.

    Attributes:
        rng: where chance comes from.
        users: requests a second of all users.
        now: seconds since the delivery began.
        hurt: user requests that failed on the candidate.
        protected: when the candidate's users were taken away by evidence; None if they never were.
        lasting: seconds that passed at once, the last time.
        budget_seconds: latency budget, the edge between quick answers and slow ones.
    """

    rng: np.random.Generator
    users: float
    now: int = 0
    hurt: int = 0
    protected: float | None = None
    lasting: int = 1
    budget_seconds: float = 1.0
    _backends: dict[str, Counters] = field(default_factory=dict)

    def second(self, weight: int, probe: float, control: float, *, lasting: int = 1) -> None:
        """Let one second pass, or several that are alike.

        Args:
            weight: percent of the users that the candidate has.
            probe: requests a second to the candidate.
            control: requests a second to the active release.
            lasting: how many; more than one only where no moment differs from the others.
        """
        self.now += lasting
        self.lasting = lasting
        shares = {colour: (self.failing(colour), self.slow(colour)) for colour in (CANDIDATE, ACTIVE)}
        before = self.of(f"{CANDIDATE}/user").failed
        self.serve_users(weight, shares)
        self.hurt += self.of(f"{CANDIDATE}/user").failed - before
        self.serve(f"{CANDIDATE}/probe", self._poisson(probe * lasting), *shares[CANDIDATE])
        self.serve(f"{ACTIVE}/probe", self._poisson(control * lasting), *shares[ACTIVE])

    def of(self, backend: str) -> Counters:
        """What one backend has counted so far."""
        return self._backends.get(backend, Counters())

    def serve_users(self, weight: int, shares: dict[Colour, tuple[float, float]]) -> None:
        """The requests of the users meanwhile."""
        everybody = self._poisson(self.users * self.lasting)
        ours = self._binomial(everybody, weight / 100)
        self.serve(f"{CANDIDATE}/user", ours, *shares[CANDIDATE])
        self.serve(f"{ACTIVE}/user", everybody - ours, *shares[ACTIVE])

    def failing(self, colour: Colour) -> float:
        """The share of a colour's requests that fail in this second."""
        del colour
        return USUAL

    def stalls(self, now: float) -> bool:
        """Whether nothing at all answers in the second that ends now, not even `/health`."""
        del now
        return False

    def slow(self, colour: Colour) -> float:
        """The share of a colour's answers that are over budget in this second."""
        del colour
        return 0.0

    def snapshot(self) -> TrafficSnapshot:
        """The counters now."""
        digests = {str(CANDIDATE): DIGEST, str(ACTIVE): f"sha256:{'1' * 64}"}
        return TrafficSnapshot(at=float(self.now), backends=dict(self._backends), digests=digests)

    def serve(self, backend: str, requests: int, failing: float, slow: float) -> None:
        """Requests that a backend answers, some of them badly."""
        self.count(backend, requests, self._binomial(requests, failing), self._binomial(requests, slow))

    def count(self, backend: str, requests: int, failed: int, slow: int = 0) -> None:
        """So many more of each."""
        quick = requests - slow
        more = Counters(
            requests=requests, failures={"5xx": failed}, latency={str(self.budget_seconds): quick, "+Inf": requests}
        )
        known = self._backends.get(backend)
        self._backends[backend] = add(known, more) if known else more

    def _poisson(self, mean: float) -> int:
        return int(self.rng.poisson(mean)) if mean else 0

    def _binomial(self, count: int, share: float) -> int:
        return int(self.rng.binomial(count, share)) if count and share else 0


@dataclass
class Faulty(Traffic):
    """The candidate alone fails a share of its requests from a moment on.

    Attributes:
        share: that fails.
        onset: from which second on.
        met: requests of the candidate since then, of users and of the probe.
    """

    share: float = 0.0
    onset: float = 0.0
    met: int = 0

    @override
    def second(self, weight: int, probe: float, control: float, *, lasting: int = 1) -> None:
        before = self._candidates
        super().second(weight, probe, control, lasting=lasting)
        if self.now > self.onset:
            self.met += self._candidates - before

    @property
    def _candidates(self) -> int:
        return sum(self.of(f"{CANDIDATE}/{source}").requests for source in ("user", "probe"))

    @override
    def failing(self, colour: Colour) -> float:
        return self.share if colour is CANDIDATE and self.now > self.onset else USUAL


@dataclass
class UsersOnly(Faulty):
    """The same, but no probe ever meets it: it is in what users send."""

    @override
    def second(self, weight: int, probe: float, control: float, *, lasting: int = 1) -> None:
        super().second(weight, 0.0, 0.0, lasting=lasting)
        self.serve(f"{CANDIDATE}/probe", self._poisson(lasting * probe), USUAL, 0.0)
        self.serve(f"{ACTIVE}/probe", self._poisson(lasting * control), USUAL, 0.0)


@dataclass
class Outage(Traffic):
    """Both fail a share of their requests for a while: once, at a random moment, or again and again.

    Attributes:
        seconds: for how long.
        share: of the requests.
        every: seconds from one to the next; 0 for a single one.
    """

    seconds: float = 1.0
    share: float = 1.0
    every: float = 0.0

    def __post_init__(self) -> None:
        self._start = float(self.rng.uniform(0, self.every or RANDOM_MOMENT_SECONDS))

    @override
    def stalls(self, now: float) -> bool:
        return self.share == 1.0 and self.rng.random() < self._within(now)

    @override
    def failing(self, colour: Colour) -> float:
        return max(USUAL, self.share * self._within(float(self.now)))

    def _within(self, end: float) -> float:
        """The part of the second that it lasts."""
        begin = end - 1.0
        start = self._start
        if self.every and begin > start:
            start += self.every * ((begin - start) // self.every)
        starts = (start, start + self.every) if self.every else (start,)
        within = sum(max(0.0, min(end, one + self.seconds) - max(begin, one)) for one in starts)
        return min(within, 1.0)


@dataclass
class Poison(Traffic):
    """One request in a thousand fails wherever it lands, and its client repeats it ten times within a second or so."""

    _again: int = 0

    @override
    def serve_users(self, weight: int, shares: dict[Colour, tuple[float, float]]) -> None:
        super().serve_users(weight, shares)
        poisonous = self._binomial(self._poisson(self.users), POISONOUS)
        at_once = int(self.rng.binomial(REPEATS * poisonous, 0.5)) if poisonous else 0
        bad = poisonous + at_once + self._again
        self._again = REPEATS * poisonous - at_once
        ours = self._binomial(bad, weight / 100)
        self.count(f"{CANDIDATE}/user", ours, ours)
        self.count(f"{ACTIVE}/user", bad - ours, bad - ours)


@dataclass
class Bursts(Traffic):
    """Every second each colour draws its own share of bad requests from a beta distribution.

    Attributes:
        mean: of the share.
        are_slow: bad means slow rather than failed.
    """

    mean: float = 0.01
    are_slow: bool = False

    @override
    def failing(self, colour: Colour) -> float:
        return USUAL if self.are_slow else self._share()

    @override
    def slow(self, colour: Colour) -> float:
        return self._share() if self.are_slow else 0.0

    def _share(self) -> float:
        size = 1 / RHO - 1
        return float(self.rng.beta(self.mean * size, (1 - self.mean) * size))


@dataclass
class Pinned(Traffic):
    """Twenty clients keep their connections; one of them fails 30 % wherever it lands."""

    bad_share: float = 0.3

    def __post_init__(self) -> None:
        self._bad_client = int(self.rng.integers(CLIENTS))

    @override
    def serve_users(self, weight: int, shares: dict[Colour, tuple[float, float]]) -> None:
        theirs = round(CLIENTS * weight / 100)
        by_colour = {CANDIDATE: range(theirs), ACTIVE: range(theirs, CLIENTS)}
        for colour, clients in by_colour.items():
            has_bad = self._bad_client in clients
            sound = self._poisson(self.users * (len(clients) - has_bad) / CLIENTS)
            self.serve(f"{colour}/user", sound, *shares[colour])
            if has_bad:
                self.serve(f"{colour}/user", self._poisson(self.users / CLIENTS), self.bad_share, 0.0)


Maker = Callable[[np.random.Generator, float], Traffic]

CONDITIONS: dict[str, Maker] = {
    "independent, 0.1 % fail": Traffic,
    "shared outage of 1 s at 100 %": lambda rng, users: Outage(rng, users, seconds=1.0),
    "shared outage of 2 s at 100 %": lambda rng, users: Outage(rng, users, seconds=2.0),
    "shared outage of 5 s at 100 %": lambda rng, users: Outage(rng, users, seconds=5.0),
    "shared 10 % errors for 60 s": lambda rng, users: Outage(rng, users, seconds=60.0, share=0.1),
    "half a second at 100 % once a minute": lambda rng, users: Outage(rng, users, seconds=0.5, every=60.0),
    "one request in 1,000 always fails, repeated ten times": Poison,
    "failures in bursts, own to each colour (mean 1 %, rho 0.1)": Bursts,
    "20 kept connections, one of them fails 30 %": Pinned,
    "slow answers in bursts, own to each colour (mean 4 %, rho 0.1)": lambda rng, users: Bursts(
        rng, users, mean=0.04, are_slow=True
    ),
}
"""By the words of the table. Both colours are alike in each of them."""
