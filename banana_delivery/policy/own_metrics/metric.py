"""A team's own metric as its policy file says it, and one measurement of it."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from banana_delivery.policy.model import Model, StoredModel
from banana_delivery.policy.rollout.plan import DAY_SECONDS

PLACEHOLDERS = ("colour", "digest", "version")
"""What a query may say as ``$colour``: whose figures are meant."""
MOST_METRICS = 10
CONDITION = r"^(<|<=|>|>=) ?-?[0-9]+(\.[0-9]+)?$"
ADDRESS = r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$"
PLACE = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
_RANGE, _SECONDS = re.compile(r"\[([0-9]+)(s|m|h|d)[\]:]"), {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAMED = re.compile(r"\$([A-Za-z_]+)")
_HOLDS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
)

Text = Annotated[str, Field(max_length=1000)]
Seconds = Annotated[float, Field(ge=1, le=DAY_SECONDS)]


class MetricProvider(StrEnum):
    """Who is asked."""

    PROMETHEUS = "prometheus"
    JSON = "json"


class MetricKind(StrEnum):
    """What the figures are, and so how they are judged."""

    SHARE = "share"
    MEAN = "mean"
    VALUE = "value"
    RATIO = "ratio"


class OwnMetric(Model):
    """A figure that a team measures itself, and what it may not be.

    Attributes:
        name: what reports call it.
        provider: who is asked: a Prometheus, or a page that answers with JSON.
        address: where that answers, without login, query or fragment. Nothing else is asked, wherever it leads.
        query: PromQL that gives one value, or what follows the address of the page, from its first slash on. `$colour`,
            `$digest` and `$version` are those of the release that is asked about.
        kind: `share` and `mean` are counters, tested at every look within alpha; `value`, and `ratio` to the active
            release's, are thresholds.
        total: of a share or a mean, the counter of everything: PromQL as well, or where it stands in the page.
        value: of a page, where the figure stands, `data.rate` or `rows.0.rate`.
        time: when the figure was taken, in seconds since the epoch: where a page says it, or PromQL such as
            `max(timestamp(x))`. It may be left out for counters of a Prometheus, which count nothing where nothing
            arrives, and for queries of a range within `stale_seconds`, such as `avg_over_time(x[1m])`.
        failure_condition: what the figure is if the candidate fails, such as `> 0.02`.
        success_condition: of a value or a ratio, what it has to be for a step to end well; empty: not a failure. What
            is neither is inconclusive, and the step waits.
        largest: of a mean, the most that one observation can be; none is below 0.
        interval_seconds: from one measurement to the next.
        initial_delay_seconds: from the begin of a step to the first one that counts.
        stale_seconds: a figure that is older is none.
        consecutive_failures: of a value or a ratio, so many measurements in a row turn the candidate back. One that is
            given again with the same `time` is no other one.
        minimum_sample: of a share or a mean, how much has to be counted before a step ends well.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", examples=["empty-answers"])]
    provider: MetricProvider
    address: Annotated[str, Field(pattern=ADDRESS, max_length=200, examples=["http://prometheus.monitoring:9090"])]
    query: Text
    kind: MetricKind
    total: Text = ""
    value: Annotated[str, Field(max_length=200)] = ""
    time: Text = ""
    failure_condition: Annotated[str, Field(pattern=CONDITION, examples=["> 0.02"])]
    success_condition: Annotated[str, Field(pattern=f"{CONDITION}|^$", examples=["< 0.01"])] = ""
    largest: float = Field(default=1.0, gt=0)
    interval_seconds: Seconds = 10.0
    initial_delay_seconds: float = Field(default=0.0, ge=0, le=DAY_SECONDS)
    stale_seconds: Seconds = 90.0
    consecutive_failures: int = Field(default=3, ge=1, le=100)
    minimum_sample: int = Field(default=10, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if mistake := self._mistake():
            raise ValueError(f"Metric {self.name}: {mistake}")
        return self

    def _mistake(self) -> str:
        """What does not fit, as the end of a sentence; empty if all does."""
        page = self.provider is MetricProvider.JSON
        for name in _NAMED.findall(f"{self.query} {self.total} {'' if page else self.time}"):
            if name not in PLACEHOLDERS:
                return f"${name} stands for nothing; there are ${', $'.join(PLACEHOLDERS)}"
        if not self.query.strip():
            return "its query is empty"
        if page and not (self.query.startswith("/") and self.query.isprintable() and " " not in self.query):
            return "the query of a page begins with a slash and has no spaces"
        if page and not all(re.match(PLACE, place) for place in (self.value, self.time)):
            return "a page needs value and time, such as data.rate: what has no time may be old"
        if not page and self.value:
            return "value is for pages of JSON"
        return self._mistake_of_counters() if self.counts else self._mistake_of_threshold()

    def _mistake_of_counters(self) -> str:
        if not self.total.strip():
            return f"a {self.kind} needs total, the counter of everything"
        if self.provider is MetricProvider.JSON and not re.match(PLACE, self.total):
            return "total is a place in the page, such as data.answers"
        if self.success_condition:
            return f"success_condition is for a value or a ratio; a {self.kind} is tested"
        if not 0 < self.limit < 1:
            most = "1" if self.kind is MetricKind.SHARE else f"{self.largest:g} (largest)"
            return f"the limit of its failure_condition lies between 0 and {most}"
        return ""

    def _mistake_of_threshold(self) -> str:
        if self.total:
            return f"total is for a share or a mean, and this is a {self.kind}"
        if self.provider is MetricProvider.PROMETHEUS and not self.time:
            ranges = [int(number) * _SECONDS[unit] for number, unit in _RANGE.findall(self.query)]
            if not ranges or max(ranges) > self.stale_seconds:
                return (
                    f"a figure older than {self.stale_seconds:g} s would not be noticed; give time, such as "
                    "max(timestamp(x)), or ask for a range that is no longer, such as avg_over_time(x[1m])"
                )
        if self.kind is MetricKind.RATIO and not self.tells_colours:
            return f"a ratio compares two releases, so its query has to name one by ${', $'.join(PLACEHOLDERS)}"
        return ""

    @property
    def counts(self) -> bool:
        """Whether it is made of counters, and so tested within alpha; otherwise it is a threshold."""
        return self.kind in {MetricKind.SHARE, MetricKind.MEAN}

    @property
    def tells_colours(self) -> bool:
        """Whether candidate and active release have figures of their own."""
        return bool(_NAMED.search(f"{self.query} {self.total}"))

    @property
    def limit(self) -> float:
        """Of counters, the share of ``broken`` that is still allowed."""
        sign, limit = _condition(self.failure_condition)
        share = limit / self.largest if self.kind is MetricKind.MEAN else limit
        return share if sign.startswith(">") else 1 - share

    def broken(self, value: float, total: float) -> float:
        """Of counters, how much of ``total`` is on the wrong side, at most ``total``."""
        part = value / self.largest if self.kind is MetricKind.MEAN else value
        return part if self.failure_condition.startswith(">") else total - part

    def fails(self, value: float) -> bool:
        """Whether one figure is a failure."""
        return _meets(value, self.failure_condition)

    def succeeds(self, value: float) -> bool:
        """Whether one figure lets a step end well."""
        return _meets(value, self.success_condition) if self.success_condition else not self.fails(value)


class Measurement(StoredModel):
    """What was answered about one release at one moment.

    Attributes:
        value: the figure, or the counter; None if there is none that can be used.
        total: of a share or a mean, the counter of everything.
        trouble: why there is none, as a clause; empty if there is.
        taken: when it was, seconds since the epoch by the server's clock; None if nobody says.
    """

    value: float | None = None
    total: float | None = None
    trouble: str = ""
    taken: float | None = None

    def repeats(self, before: Measurement) -> bool:
        """Whether it is the one before, asked for once more: a page or a scrape is not renewed at every question."""
        return self.taken is not None and (self.taken, self.value) == (before.taken, before.value)


class Usual(StoredModel):
    """How the active release stood by a metric while it had users: with 100 % for the candidate it has none to tell.

    Attributes:
        bad: of counters, how much was on the wrong side.
        judged: of so much.
        value: otherwise its latest figure; None if there was none.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    bad: float = Field(default=0.0, ge=0)
    judged: float = Field(default=0.0, ge=0)
    value: float | None = None

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if self.bad > self.judged:
            raise ValueError(f"{self.bad:g} on the wrong side of {self.judged:g} cannot be")
        return self


UNKNOWN = Usual()


class OwnSeen(StoredModel):
    """How a team's metric stood at the end of a step.

    Attributes:
        name: of the metric.
        said: one clause with its figures.
        share: how much of what turns the candidate back was there; 1 does.
        tested: whether alpha covers it; otherwise it is a threshold.
        active: how the active release stood by it until then.
    """

    name: str
    said: str
    share: float
    tested: bool
    active: Usual = UNKNOWN


def named(text: str, names: Mapping[str, str]) -> str:
    """A query about one release.

    Args:
        text: with placeholders.
        names: what each of ``PLACEHOLDERS`` stands for.
    """
    return _NAMED.sub(lambda one: names[one[1]], text)


def usable(value: float | None) -> bool:
    """Whether a figure is one."""
    return value is not None and math.isfinite(value)


def _meets(value: float, condition: str) -> bool:
    sign, limit = _condition(condition)
    return _HOLDS[sign](value, limit)


def _condition(condition: str) -> tuple[str, float]:
    sign = condition.rstrip("0123456789.- ")
    return sign, float(condition.removeprefix(sign))
