"""After how many labelled images a comparison is looked at, and how often each look may be wrong.

Two errors are bounded, each by itself:

- A candidate that loses more than the margin passes. Nobody passes by a part of the images, so that happens at the last
  look or not at all, and whatever the early looks do makes it rarer, since they only turn back. The bound by which
  somebody passes is therefore as wide as if there were no stages.
- A candidate that keeps the margin is turned back. Any look may do that, and who turns back by the first that is failed
  is wrong more often than one look says. So the looks share that error: what is spent early the last one lacks. By
  Bonferroni's inequality the sum bounds all of them together, however much they depend on each other, which they do: a
  later look has the images of the earlier ones. That is the alpha spending of K. K. G. Lan and D. L. DeMets, "Discrete
  sequential boundaries for clinical trials", Biometrika 70 (1983), 659-663, without the gain of their joint
  distribution, of which nobody knows enough here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

ERROR = 0.05
"""How often a bound of a whole comparison may lie on the wrong side."""
ONE_SIDED = 1.645
"""Standard errors between an estimate and its 95 % bound."""
EARLY_SHARE = 0.2
"""Of how often one may be turned back wrongly, for all looks before the last: its bound lies 6 % farther out for it."""


@dataclass(frozen=True)
class Look:
    """One look at a comparison.

    Attributes:
        images: after so many labelled images.
        of: so many there are.
        share: of how often the whole comparison may turn back wrongly.
    """

    images: int
    of: int
    share: float = 1.0

    @property
    def is_last(self) -> bool:
        """Whether no more images can be asked about."""
        return self.images == self.of

    @property
    def turning_errors(self) -> float:
        """Standard errors between an estimate and the bound beyond the margin that turns back."""
        return ONE_SIDED if self.share == 1 else NormalDist().inv_cdf(1 - ERROR * self.share)

    @property
    def passing_errors(self) -> float:
        """The same of the bound within the margin that lets pass; before the last look it is only told."""
        return ONE_SIDED if self.is_last else self.turning_errors

    @property
    def confidence(self) -> float:
        """Of the interval between both bounds."""
        return 1 - ERROR * (self.share + (1 if self.is_last else self.share))


def looks(images: int, stages: Sequence[int]) -> tuple[Look, ...]:
    """The looks at a comparison on so many images.

    A stage of more than half of them is left out: it would save little, and would cost the last look a share.

    Args:
        images: that there are.
        stages: after how many the policy wants to look.
    """
    early = [stage for stage in stages if 2 * stage <= images]
    if not early:
        return (Look(images, images),)
    share = EARLY_SHARE / len(early)
    return (*(Look(stage, images, share) for stage in early), Look(images, images, 1 - EARLY_SHARE))
