"""What is in a policy file, and the JSON schema that is published of it.

Every key here is obeyed by the code; whoever adds one adds what obeys it. The schema is generated from these models and
their docstrings, and the reader refuses what it does not know, so the two cannot say different things.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from banana_delivery.policies.calendar import FreezeWindow
from banana_delivery.policy.gate import Approvers
from banana_delivery.policy.hindsight.would_have import Mode
from banana_delivery.policy.model import Model, StoredRecord
from banana_delivery.policy.own_metrics.judging import plan_beside
from banana_delivery.policy.own_metrics.metric import MOST_METRICS, OwnMetric, Usual
from banana_delivery.policy.performance import PerformanceMargins
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.rollout.plan import Plan, PolicyStamp

SCHEMA_ID = "release-policy.schema.json"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
LATENCY_BUDGETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the edges of the histogram in which replicas count their answers; between two of them nobody can tell."""
_ATTRIBUTE = re.compile(r"^ {4}(\w+): ", re.MULTILINE)


class ReleasePolicy(Model):
    """How releases of one installation are judged. What a file leaves out is as in ``standard``.

    Attributes:
        name: what reports and records call it; the file's own name if it is left out.
        mode: `act`, or `observe`: judge, record and report what it would have done, and let the release go on.
        plan: the steps of a rollout, its limits, and the risk it may take.
        quality: what a candidate may lose beside production on the labelled images.
        performance: how much slower than production it may be in staging.
        metrics: what the team measures itself, and a candidate may not break.
        approvers: whose word lets a version in that the evidence does not.
        freeze: the calendar of times in which nothing enters production.
    """

    name: Annotated[str, Field(pattern=NAME, examples=["bananas"])]
    mode: Mode = Mode.ACT
    plan: Plan
    quality: QualityMargins = QualityMargins()
    performance: PerformanceMargins = PerformanceMargins()
    metrics: tuple[OwnMetric, ...] = ()
    approvers: Approvers = Approvers()
    freeze: tuple[FreezeWindow, ...] = ()

    @model_validator(mode="after")
    def _tells_metrics_apart(self) -> Self:
        names = [metric.name for metric in self.metrics]
        if len(names) > MOST_METRICS:
            raise ValueError(f"There are {len(names)} metrics, and {MOST_METRICS} are allowed")
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"Two metrics are called {twice}; give each a name of its own")
        return self

    @cached_property
    def text(self) -> str:
        """The whole policy as a file that says everything: what counted, whatever ``standard`` becomes later."""
        said = self.model_dump(mode="json")
        said["plan"].pop("name")
        return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=120)

    @cached_property
    def digest(self) -> str:
        """Of the text: two files that say the same have the same."""
        return f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()}"

    @property
    def stamp(self) -> PolicyStamp:
        """As it stands in what was judged by it."""
        return PolicyStamp(name=self.name, digest=self.digest, text=self.text)


OBSERVED = "observed"
NOTHING_ENDS = {
    "alpha": 1e-300,
    "error_threshold": 1 - 1e-9,
    "latency_share": 1 - 1e-9,
    "overload_share": 1 - 1e-9,
    "minimum_failures": 1000,
}
"""A plan with these can be judged by and turns nobody back by what is counted."""


class Rules(StoredRecord):
    """The part of a policy that a release under way goes by, kept in its environment's record.

    Those that only observe are written so that a version which does not know that goes by a plan that no evidence ends:
    it would else act where nobody wanted it to.

    Attributes:
        run_id: the delivery that they were set for; it goes on by them whatever the file says by then.
        digest: of the whole policy.
        plan: the rollout plan.
        metrics: the team's own.
        mode: whether it acts by the evidence.
        usual: how what served before stood by each metric while it had users, by name; from the promotion on.
    """

    run_id: str
    digest: str
    plan: Plan
    metrics: tuple[OwnMetric, ...] = ()
    mode: Mode = Mode.ACT
    usual: dict[str, Usual] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _as_it_is(cls, data: Any) -> Any:
        """What an earlier version is not to see, in its place."""
        if not isinstance(data, Mapping) or OBSERVED not in data:
            return data
        hidden = data[OBSERVED]
        if isinstance(hidden, Mapping):
            return {**{name: value for name, value in data.items() if name != OBSERVED}, **hidden}
        raise ValueError(f"{OBSERVED} holds a plan and metrics")

    @model_serializer(mode="wrap")
    def _as_earlier_versions_may_read_it(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if not self.observes:
            return written
        hidden = {"plan": written["plan"], "metrics": written["metrics"]}
        return {**written, "plan": {**written["plan"], **NOTHING_ENDS}, "metrics": [], OBSERVED: hidden}

    @property
    def observes(self) -> bool:
        """Whether the evidence ends nothing."""
        return self.mode is Mode.OBSERVE

    @property
    def plan_of_limits(self) -> Plan:
        """The plan with what of alpha is its own limits'."""
        return plan_beside(self.plan, self.metrics)

    @classmethod
    def kept(cls, text: str) -> Rules | None:
        """The rules in a record; None if it has none, or some that this version cannot obey."""
        try:
            return cls.read_json(text) if text else None
        except ValidationError:
            return None


@cache
def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of a policy file, for editors and for ``read_policy``."""
    whole = ReleasePolicy.model_json_schema()
    for part in _objects(whole):
        part.pop("required", None)  # What is left out is as in `standard`.
        _describe(part)
    plan = whole["$defs"]["Plan"]["properties"]
    plan.pop("name")
    plan["latency_budget_seconds"]["enum"] = list(LATENCY_BUDGETS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **whole,
        "title": "Release policy",
    }


def resolved(part: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the schema itself, where it only names one."""
    name = str(part.get("$ref", "")).rpartition("/")[2]
    return whole["$defs"][name] if name else part


def _objects(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield whole
    yield from (part for part in whole.get("$defs", {}).values() if "properties" in part)


def _describe(part: dict[str, Any]) -> None:
    """Move what the docstring says of each attribute to where editors show it."""
    text, _, attributes = inspect.cleandoc(part.get("description", "")).partition("\nAttributes:\n")
    part["description"] = _one_line(text)
    pieces = _ATTRIBUTE.split(attributes)[1:]
    for name, said in zip(pieces[::2], pieces[1::2], strict=True):
        if name.rstrip("_") in part["properties"]:
            part["properties"][name.rstrip("_")]["description"] = _one_line(said)
    for one in part["properties"].values():
        one.pop("title", None)
        one.pop("default", None)  # Of the model; for a file it is what `standard` says.


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")
