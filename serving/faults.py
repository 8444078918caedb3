"""A rehearsal switch: it breaks /predict on purpose, so that a rollback can be practised.

It is off unless the process was started with FAULT set; no request can turn it on. The syntax is a kind, a colon and
conditions, for example `error:rate=0.5,after=200,environment=production,traffic=user`:

- `error` answers 500, `hang` does not answer, `slow` answers `seconds` (default 2) late;
- `rate` is the share of requests it strikes (default 1), `after` the number of requests it spares first (default 0);
- `environment` and `traffic` (user, probe or any) limit where, and whom, it strikes.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from serving.errors import ConfigurationError
from serving.settings import Environment

Kind = Literal["error", "hang", "slow"]
_KEYS = frozenset({"rate", "after", "seconds", "environment", "traffic"})
_ENVIRONMENTS = ("any", *get_args(Environment))
_TRAFFIC = ("any", "user", "probe")


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks, how often, and for whom."""

    kind: Kind
    rate: float = 1.0
    after: int = 0
    seconds: float = 2.0
    environment: str = "any"
    traffic: str = "any"

    def applies_to(self, environment: str, traffic: str) -> bool:
        """Tells whether requests of this traffic in this environment can be struck."""
        return self.environment in {"any", environment} and self.traffic in {"any", traffic}


def parse_fault(text: str) -> Fault | None:
    """Reads FAULT; empty means none.

    Raises:
        ConfigurationError: with one sentence that names the mistake.
    """
    if not text.strip():
        return None
    kind, _, conditions = text.strip().partition(":")
    values = dict(_pair(part) for part in conditions.split(",") if part.strip())
    unknown = values.keys() - _KEYS
    if kind not in get_args(Kind) or unknown:
        wrong = f"{sorted(unknown)[0]!r} is no condition" if unknown else f"{kind!r} is no kind of fault"
        raise _mistake(f"{wrong}; kinds are {', '.join(get_args(Kind))}, conditions {', '.join(sorted(_KEYS))}")
    try:
        return _fault(kind, values)
    except ValueError as error:
        raise _mistake(str(error)) from None


def _mistake(what: str) -> ConfigurationError:
    return ConfigurationError(f"FAULT cannot be understood: {what}; example: error:rate=0.5,after=200.")


def _pair(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals:
        raise _mistake(f"{part.strip()!r} is not key=value")
    return key.strip(), value.strip()


def _fault(kind: str, values: Mapping[str, str]) -> Fault:
    fault = Fault(
        kind=kind,  # type: ignore[arg-type]
        rate=float(values.get("rate", "1")),
        after=int(values.get("after", "0")),
        seconds=float(values.get("seconds", "2")),
        environment=values.get("environment", "any"),
        traffic=values.get("traffic", "any"),
    )
    if not 0 <= fault.rate <= 1:
        raise ValueError(f"rate={fault.rate} is not between 0 and 1")
    if fault.after < 0 or not 0 <= fault.seconds <= 3600:
        raise ValueError("after and seconds cannot be negative, and seconds is at most 3600")
    for key, value, known in (
        ("traffic", fault.traffic, _TRAFFIC),
        ("environment", fault.environment, _ENVIRONMENTS),
    ):
        if value not in known:
            raise ValueError(f"{key}={value!r} is not one of {', '.join(known)}")
    return fault


class FaultSwitch:
    """Decides for each request whether the fault strikes it."""

    def __init__(self, fault: Fault | None, environment: str, chance: Callable[[], float] = random.random) -> None:
        self._fault = fault
        self._environment = environment
        self._chance = chance
        self._seen = 0

    def strike(self, traffic: str) -> Fault | None:
        """Counts a request; returns the fault if it is to be struck."""
        fault = self._fault
        if fault is None or not fault.applies_to(self._environment, traffic):
            return None
        self._seen += 1
        return fault if self._seen > fault.after and self._chance() < fault.rate else None
