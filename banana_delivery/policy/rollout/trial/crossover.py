"""Whether what users met comes with the candidate: it gets some of them again, in a few seconds drawn by lot.

In every group of blocks the candidate has users in one, and nobody but the lot knows in which. If the version is sound,
the users fail as they fail, wherever they are sent: the bad requests of all users together do not depend on the lot,
so the block with the candidate is like any other of its group. This needs no word about how requests hang together,
who sends them or what else happens meanwhile.
"""

from __future__ import annotations

import math

from banana_delivery.policy.model import StoredModel

BLOCKS = 8
"""In a group. One of them costs users something, and a group multiplies the evidence by so much at most."""
GROUPS = 10
STEEPNESS = (0.25, 1.0, 2.0)
"""How much more likely one more bad request makes a block that of the candidate (logarithms); believed equally."""
ENOUGH_BAD = 4
"""More bad requests in one block add next to nothing: then the candidate's users leave at once."""
AIM_PER_SECOND = 10.0
"""User requests a second that tell enough."""
AIM_PER_BLOCK = 3.0
SHORTEST_SECONDS = 2.0
LONGEST_SECONDS = 20.0
QUIET_GROUPS = 3
"""After so many groups in which the candidate's users met nothing bad at all, no more of them are asked for."""


class Crossover(StoredModel):
    """A crossover under way.

    Attributes:
        seed: of the lots.
        weight: percent of the users that the candidate has in its blocks.
        block_seconds: how long a block is meant to last.
        began_at: when the block under way did, by the meter's clock.
        block: its number, over all groups.
        bad: bad requests of all users in the block under way.
        met: bad requests in the blocks with the candidate, of groups that are over.
        counts: in the blocks before it that are of the same group, each as if it had lasted ``block_seconds``.
        ratios: for each of ``STEEPNESS``, the log of the product of the groups' factors.
    """

    seed: int
    weight: int
    block_seconds: float
    began_at: float
    block: int = 0
    bad: int = 0
    met: float = 0.0
    counts: tuple[float, ...] = ()
    ratios: tuple[float, ...] = (0.0,) * len(STEEPNESS)

    @property
    def log_e(self) -> float:
        """The evidence that the bad requests come with the candidate."""
        largest = max(self.ratios)
        return largest + math.log(math.fsum(math.exp(one - largest) for one in self.ratios) / len(self.ratios))

    @property
    def groups_left(self) -> int:
        """How many groups may still be completed."""
        return GROUPS - self.block // BLOCKS

    @property
    def is_quiet(self) -> bool:
        """Whether what users met with the candidate does not come again with it."""
        return self.block >= QUIET_GROUPS * BLOCKS and not self.met

    @property
    def current_weight(self) -> int:
        """Percent of the users that the candidate is to have now."""
        drawn = self.block % BLOCKS == lot(self.seed, self.block // BLOCKS)
        return self.weight if drawn and self.bad < ENOUGH_BAD and self.groups_left else 0


def lot(seed: int, group: int) -> int:
    """The block of a group in which the candidate has users: three bits of the seed for each group."""
    return (seed >> (3 * group)) % BLOCKS


def begin_crossover(*, seed: int, users_per_second: float, most_weight: int, loaded: bool, now: float) -> Crossover:
    """A crossover that starts now.

    Args:
        seed: at least 30 bits, unpredictable to whoever sends requests.
        users_per_second: of both colours.
        most_weight: percent that the candidate had when its users were taken away.
        loaded: whether the fault may come from load; then it gets as much as it had.
        now: by the meter's clock.
    """
    enough = math.ceil(100 * AIM_PER_SECOND / max(users_per_second, 0.01))
    weight = most_weight if loaded else max(min(enough, most_weight), 1)
    seconds = math.ceil(AIM_PER_BLOCK / max(users_per_second * weight / 100, 0.01))
    return Crossover(
        seed=seed,
        weight=weight,
        block_seconds=min(max(float(seconds), SHORTEST_SECONDS), LONGEST_SECONDS),
        began_at=now,
    )


def crossover_after(crossover: Crossover, bad: int, now: float) -> Crossover:
    """One look later.

    Args:
        crossover: at the last look.
        bad: requests of all users that broke the limit since then, whoever served them.
        now: by the meter's clock.
    """
    crossover = crossover.replace(bad=crossover.bad + bad)
    lasted = now - crossover.began_at
    if lasted < crossover.block_seconds:
        return crossover
    counts = (*crossover.counts, crossover.bad * crossover.block_seconds / lasted)
    ratios, met = crossover.ratios, crossover.met
    if len(counts) == BLOCKS:
        drawn = lot(crossover.seed, crossover.block // BLOCKS)
        ratios = tuple(
            ratio + log_factor(counts, drawn, steepness) for ratio, steepness in zip(ratios, STEEPNESS, strict=True)
        )
        met += counts[drawn]
        counts = ()
    return crossover.replace(began_at=now, block=crossover.block + 1, bad=0, met=met, counts=counts, ratios=ratios)


def log_factor(counts: tuple[float, ...], drawn: int, steepness: float) -> float:
    """What a group says; over all lots its mean is 1, whatever the counts are."""
    largest = max(counts)
    whole = math.fsum(math.exp(steepness * (count - largest)) for count in counts) / len(counts)
    return steepness * (counts[drawn] - largest) - math.log(whole)
