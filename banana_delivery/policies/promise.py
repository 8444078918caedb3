"""What a policy promises, found by playing deliveries through the functions that decide about real ones.

Every figure says on how many deliveries it rests: as many are played as there is time for, on all processors, so a
slow machine gives coarser figures and not later ones.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from banana_delivery.policies.document import ReleasePolicy
from banana_delivery.policies.lasting import longest_seconds, shortest_seconds
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.plan import Plan, Step, release_steps
from banana_delivery.policy.simulation.deliveries import deliver, every_second, play
from banana_delivery.policy.simulation.traffic import USUAL, Faulty

ERRORS = (1.0, 0.5, 0.2, 0.1, 0.05)
USERS = (1.0, 5.0, 50.0)
"""Requests a second of all users."""
BUDGET_SECONDS = 7.0
"""For playing; what has begun by then ends within the ten seconds that people wait, or is not counted."""
GRACE_SECONDS = 1.5
"""So much longer may what has begun take: a watch of a day is a hundred thousand looks."""
MOST_ROUNDS = 200
LOOKS_EVERY = 10
"""After so many seconds of a fault the looks at it grow rarer, with its age: what is found is told late by a tenth at
most, and costs a tenth of the looks."""
RAREST_LOOK = 10
"""Seconds."""
SELDOM = 4
"""What no test is to find takes as long as a whole delivery, so it is played in one round of so many."""
PARTS = 4
"""Of a round, which processors share."""
EARLY, LATE = "early", "late"
WORKERS = os.cpu_count() or 1


@dataclass(frozen=True)
class Cell:
    """A candidate, and the users it meets.

    Attributes:
        errors: share of its requests that fail.
        users: requests a second of all users.
        onset: seconds from the beginning of the watch to that of the fault; None for a fault that is there from the
            first request of the A/B, or for none at all.
    """

    errors: float
    users: float
    onset: float | None = None

    @property
    def is_long(self) -> bool:
        """Whether it is played to the end of a delivery, most of the time."""
        return self.errors <= min(ERRORS)


@dataclass(frozen=True)
class Played:
    """How one delivery went.

    Attributes:
        turned_back: whether the candidate was: its users were sent away, whatever is found out about the version then.
        seconds: from the onset to the end; from the first look at production where there is no fault.
        requests: of the candidate meanwhile, of users and of the probe.
        hurt: user requests that failed on it.
    """

    turned_back: bool
    seconds: float
    requests: int
    hurt: int


@dataclass(frozen=True)
class Figure:
    """What many deliveries of a kind show. What was not found has no time: None.

    Attributes:
        errors: share of the candidate's requests that fail.
        users_per_second: of all users.
        onset: ``early``, with the first request of the A/B; ``late``, in the watch.
        deliveries: how many were played.
        turned_back: of these, how many turned the candidate back.
        median_seconds: from the onset to the verdict.
        p95_seconds: the same; the slowest of fewer than 20.
        median_requests: of the candidate, of users and of the probe, until then.
        p95_requests: the same.
        median_failed_users: user requests that failed on it until the verdict, or until the end without one.
    """

    errors: float
    users_per_second: float
    onset: str
    deliveries: int
    turned_back: int
    median_seconds: float | None
    p95_seconds: float | None
    median_requests: int | None
    p95_requests: int | None
    median_failed_users: int | None


@dataclass(frozen=True)
class Sound:
    """What deliveries of a sound candidate show, one request in a thousand of which fails.

    Attributes:
        users_per_second: of all users.
        deliveries: how many were played.
        turned_back: of these, false alarms.
        median_seconds: of the steps, and of the looks at production before them.
        longest_seconds: the longest that was played.
    """

    users_per_second: float
    deliveries: int
    turned_back: int
    median_seconds: float | None
    longest_seconds: float | None


@dataclass(frozen=True)
class Promise:
    """What a policy promises.

    Attributes:
        name: of the policy.
        digest: of the policy.
        false_alarm_bound: chance at most, if requests are independent, that a candidate within its limits is turned
            back by the A/B and the shift.
        late_onset_seconds: into the watch, where late faults begin.
        shortest_seconds: of the steps of any delivery that ends well.
        longest_seconds: of the steps of any delivery, however few users come and however long production is in trouble.
        sound: what happens to sound candidates.
        figures: what happens to others.
    """

    name: str
    digest: str
    false_alarm_bound: float
    late_onset_seconds: float
    shortest_seconds: float
    longest_seconds: float
    sound: tuple[Sound, ...]
    figures: tuple[Figure, ...]

    def json(self) -> dict[str, object]:
        """As programs read it."""
        return asdict(self)


def promise(
    policy: ReleasePolicy,
    *,
    rounds: int | None = None,
    budget_seconds: float = BUDGET_SECONDS,
    workers: int = WORKERS,
) -> Promise:
    """Play deliveries by a policy.

    Args:
        policy: checked already.
        rounds: how many, for figures that are the same on every machine; None for as many as there is time for.
        budget_seconds: how much time there is, without ``rounds``.
        workers: processes that play.
    """
    plan = policy.plan
    cells = _cells(plan)
    played: dict[Cell, list[Played]] = {cell: [] for cell in cells}
    for one in _rounds(plan, cells, rounds, time.monotonic() + budget_seconds, workers):
        for cell, result in one:
            played[cell].append(result)
    return Promise(
        name=policy.name,
        digest=policy.digest,
        false_alarm_bound=plan.alpha,
        late_onset_seconds=_late(plan),
        shortest_seconds=shortest_seconds(plan),
        longest_seconds=longest_seconds(plan),
        sound=tuple(_sound(cell, played[cell]) for cell in cells if cell.errors == USUAL),
        figures=tuple(_figure(cell, played[cell]) for cell in cells if cell.errors != USUAL),
    )


def _cells(plan: Plan) -> list[Cell]:
    """What takes least time first."""
    onsets = (None, _late(plan))
    faulty = [Cell(errors, users, onset) for errors in ERRORS for users in USERS for onset in onsets]
    return sorted([*faulty, *(Cell(USUAL, users) for users in USERS)], key=lambda cell: cell.is_long)


def _late(plan: Plan) -> float:
    """When the watch of a sound release ends at the earliest, or half of it, so that there is time to find anything."""
    return float(math.floor(min(plan.watch_minimum_seconds, plan.watch_seconds / 2)))


Round = list[tuple[Cell, Played]]


def _rounds(plan: Plan, cells: list[Cell], rounds: int | None, deadline: float, workers: int) -> Iterator[Round]:
    """Every cell once a round, in parts that workers share."""
    until = deadline if rounds is None else None
    numbers = range(MOST_ROUNDS if rounds is None else rounds)
    parts = ((number, place) for number in numbers for place in range(PARTS))
    if workers == 1:
        for part in parts:
            yield play_part(plan, cells, part, until)
            if _is_over(until):
                return
        return
    with ProcessPoolExecutor(workers) as pool:
        pending: set[Future[Round]] = set()
        for part in parts:
            pending.add(pool.submit(play_part, plan, cells, part, until))
            if len(pending) > workers:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
            if _is_over(until):
                break
        yield from (one.result() for one in pending)


def play_part(plan: Plan, cells: list[Cell], part: tuple[int, int], deadline: float | None) -> Round:
    """Some cells once, by chances that belong to the cell and the round.

    Args:
        plan: the rollout plan.
        cells: what there is to play.
        part: numbers of the round, and of its part.
        deadline: by ``time.monotonic``, from when on no more is begun.
    """
    (number, which), played = part, []
    for place, cell in enumerate(cells):
        if _is_over(deadline):
            break
        if place % PARTS == which and (not cell.is_long or number % SELDOM == 0):
            with suppress(_TooLongError):
                played.append((cell, play_cell(plan, cell, np.random.default_rng((number, place)), deadline)))
    return played


class _TooLongError(Exception):
    """A delivery that was begun in time is not over."""


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def play_cell(plan: Plan, cell: Cell, rng: np.random.Generator, deadline: float | None = None) -> Played:
    """One delivery, or one watch that is held open for a late fault.

    Args:
        plan: the rollout plan.
        cell: the candidate.
        rng: chance.
        deadline: by ``time.monotonic``, a little after which it is broken off.
    """
    onset = cell.onset or 0.0
    budget = plan.latency_budget_seconds
    traffic = Faulty(rng, cell.users, budget_seconds=budget, share=cell.errors, onset=onset)
    rarer = every_second if cell.errors == USUAL else partial(_seconds_to_next_look, onset)

    def pace(step: Step, now: int) -> int:
        if deadline is not None and _is_over(deadline + GRACE_SECONDS):
            raise _TooLongError
        return rarer(step, now)

    if cell.onset is None:
        kind = deliver(plan, traffic, pace, is_tried=False).kind
    else:
        watch = release_steps(plan)[-1].replace(minimum_seconds=plan.watch_seconds)
        kind = play(plan, watch, traffic, pace, is_tried=False)[0].kind
    return Played(kind is ActionKind.ROLL_BACK, traffic.now - onset, traffic.met, traffic.hurt)


def _seconds_to_next_look(onset: float, step: Step, now: int) -> int:
    """Rarer the longer a fault has lasted, and before it; but ten times in any step, and once where it begins."""
    rarest = max(1, min(RAREST_LOOK, int(step.ceiling_seconds) // LOOKS_EVERY))
    if now < onset:
        return max(1, min(rarest, int(onset) - now))
    return max(1, min(rarest, int(now - onset) // LOOKS_EVERY))


def _figure(cell: Cell, played: list[Played]) -> Figure:
    seconds = [one.seconds if one.turned_back else math.inf for one in played]
    requests = [float(one.requests) if one.turned_back else math.inf for one in played]
    return Figure(
        errors=cell.errors,
        users_per_second=cell.users,
        onset=EARLY if cell.onset is None else LATE,
        deliveries=len(played),
        turned_back=sum(one.turned_back for one in played),
        median_seconds=_quantile(seconds, 0.5),
        p95_seconds=_quantile(seconds, 0.95),
        median_requests=_whole(_quantile(requests, 0.5)),
        p95_requests=_whole(_quantile(requests, 0.95)),
        median_failed_users=_whole(_quantile([float(one.hurt) for one in played], 0.5)),
    )


def _sound(cell: Cell, played: list[Played]) -> Sound:
    seconds = [one.seconds for one in played if not one.turned_back]
    return Sound(
        users_per_second=cell.users,
        deliveries=len(played),
        turned_back=sum(one.turned_back for one in played),
        median_seconds=_quantile(seconds, 0.5),
        longest_seconds=max(seconds, default=None),
    )


def _quantile(values: list[float], share: float) -> float | None:
    """One of the values, so that what was never found is no number; None then, and without any value."""
    found = float(np.quantile(values, share, method="inverted_cdf")) if values else math.inf
    return found if math.isfinite(found) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
